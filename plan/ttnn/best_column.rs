//! `ttnn.argmax` over the last dimension, into a tensor of its own.

use super::arg_max::bytes;
use super::constraint::{constraints, values};
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::BestColumn;
use crate::ttnn::checks::operands;
use crate::{Card, DType, Layout, MemoryConfig, TensorSpec};

constraints! { "best_column", "argmax_device_operation.cpp", also [placement];
    ROWS_IN_DRAM: "The tensor is row-major bf16 [1, 1, B, N] or [1, B, N], interleaved in DRAM."
        because "parts of logits lie there; other tensors take other kernels"
        => "argmax of {input}", "a row-major bf16 tensor [1, 1, B, N] or [1, B, N], interleaved in DRAM";
    RESULT_IN_DRAM: "The result is interleaved in DRAM."
        because "other placements were not studied"
        => "argmax into {memory}", "DRAM";
}

/// Row-major `[1,1,B,N]` -> `[1,1,B]` u32, or `[1,B,N]` -> `[1,B]`.
pub(super) fn check(args: &BestColumn, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    let rank = matches!(*x.shape.as_slice(), [1, 1, _, _] | [1, _, _]);
    let rows = x.layout == Layout::RowMajor && x.dtype == DType::Bf16 && x.memory == MemoryConfig::DRAM;
    checks.require(&ROWS_IN_DRAM, rank && rows, values![input = x]);
    checks.require(&RESULT_IN_DRAM, args.memory == MemoryConfig::DRAM, values![memory = args.memory]);
    checks.settle()?;
    let shape = x.shape[..x.shape.len() - 1].to_vec();
    let output = TensorSpec::row_major(shape, DType::U32, args.memory.clone());
    require_placement(&output, card, &mut checks);
    let circular_buffers = bytes(x, card);
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, n150, p150, refusal};

    #[test]
    fn bytes_as_mock_cards_report_them() {
        let of = |shape: &[u32]| {
            let x = TensorSpec::row_major(shape, DType::Bf16, MemoryConfig::DRAM);
            let args = BestColumn { input: any(), memory: MemoryConfig::DRAM };
            [n150(), p150()].map(|card| check(&args.clone().into(), &[&x], &card).unwrap().circular_buffers)
        };
        assert_eq!(of(&[1, 1, 32, 167]), [1792, 1408]);
        assert_eq!(of(&[1, 32, 768]), [3392, 3456]);
        assert_eq!(of(&[1, 1, 1, 40]), [256, 224]);
        assert_eq!(of(&[1, 3, 384]), [1184, 928]);
    }

    #[test]
    fn tiles_are_refused() {
        let x = TensorSpec::tile([1, 1, 32, 768], DType::Bf16, MemoryConfig::DRAM);
        let answer = check(&BestColumn { input: any(), memory: MemoryConfig::DRAM }.into(), &[&x], &n150());
        assert!(refusal(answer).contains("argmax of"));
    }
}
