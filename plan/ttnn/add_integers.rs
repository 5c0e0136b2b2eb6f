//! `ttnn.add` of two rows of u32.

use super::constraint::{constraints, values};
use super::integers::require_row;
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::AddIntegers;
use crate::ttnn::checks::operands;
use crate::{Card, DType, MemoryConfig, TensorSpec};

constraints! { "add_integers", "binary_ng_device_operation.cpp", also [placement, integers];
    AS_MANY: "Both rows are of one length."
        because "TT-NN repeats a row of one, which plans have no use for"
        => "sum of {a} and {b}", "rows of one length";
    RESULT_IN_DRAM: "The result is interleaved in DRAM."
        because "other placements were not studied"
        => "sum into {memory}", "DRAM";
}

/// `[..,N]` and `[..,N]` u32 -> u32 of the longer of both shapes.
pub(super) fn check(args: &AddIntegers, given: &[&TensorSpec], card: &Card) -> Answer {
    let [a, b] = operands(given)?;
    let mut checks = Checks::new();
    require_row(a, &mut checks);
    require_row(b, &mut checks);
    checks.require(&AS_MANY, a.columns() == b.columns(), values![a, b]);
    checks.require(&RESULT_IN_DRAM, args.memory == MemoryConfig::DRAM, values![memory = args.memory]);
    let longer = if a.shape.len() >= b.shape.len() { a } else { b };
    let output = TensorSpec { memory: args.memory.clone(), ..longer.clone() };
    require_placement(&output, card, &mut checks);
    // Two tiles of each operand and of the result.
    let circular_buffers = 6 * DType::U32.tile_bytes();
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, integers, n150, refusal};

    #[test]
    fn a_row_and_a_row() {
        let add = || AddIntegers { a: any(), b: any(), memory: MemoryConfig::DRAM }.into();
        let row = |shape: &[u32]| TensorSpec { dtype: DType::U32, ..integers(shape.to_vec()) };
        let answer = check(&add(), &[&row(&[1, 8]), &row(&[1, 1, 8])], &n150()).unwrap();
        assert_eq!((answer.circular_buffers, &answer.outputs[0].shape[..]), (24_576, &[1, 1, 8][..]));
        assert!(refusal(check(&add(), &[&row(&[1, 8]), &row(&[1, 7])], &n150())).contains("sum of"));
    }
}
