//! `ttnn.multiply` of a row of u32 by a number.

use super::constraint::{constraints, values};
use super::integers::require_row;
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::TimesInteger;
use crate::ttnn::checks::operands;
use crate::{Card, DType, MemoryConfig, TensorSpec};

constraints! { "times_integer", "binary_ng_device_operation.cpp", also [placement, integers];
    RESULT_IN_DRAM: "The result is interleaved in DRAM."
        because "other placements were not studied"
        => "product into {memory}", "DRAM";
}

/// `[..,N]` u32 -> the same times a number.
pub(super) fn check(args: &TimesInteger, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    require_row(x, &mut checks);
    checks.require(&RESULT_IN_DRAM, args.memory == MemoryConfig::DRAM, values![memory = args.memory]);
    let output = TensorSpec { memory: args.memory.clone(), ..x.clone() };
    require_placement(&output, card, &mut checks);
    // Two tiles of the operand and of the result, and one of the number.
    let circular_buffers = 5 * DType::U32.tile_bytes();
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, integers, n150, refusal};

    #[test]
    fn a_row_of_up_to_32() {
        let times = |memory| TimesInteger { input: any(), factor: 768, memory }.into();
        let row = |count: u32| TensorSpec { dtype: DType::U32, ..integers([count]) };
        assert_eq!(check(&times(MemoryConfig::DRAM), &[&row(32)], &n150()).unwrap().circular_buffers, 20_480);
        assert!(refusal(check(&times(MemoryConfig::DRAM), &[&row(33)], &n150())).contains("row of integers"));
        assert!(refusal(check(&times(MemoryConfig::L1), &[&row(32)], &n150())).contains("product into"));
    }
}
