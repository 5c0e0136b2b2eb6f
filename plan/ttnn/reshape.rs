//! `ttnn.reshape` of a row-major tensor to rows of another length.
//!
//! Two RISC-Vs of a core share the work where the length of one row divides the other's and rows are written whole. Each has two buffers for
//! a row that it reads and, where rows do not end on 16 bytes, eight for rows that it writes (`reshape_rm_program_factory.cpp`).

use super::constraint::{constraints, values};
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::Reshape;
use crate::ttnn::checks::operands;
use crate::{Card, DType, Layout, Memory, TensorSpec};

constraints! { "reshape", "reshape.cpp", also [placement];
    ROWS: "The tensor is row-major bf16 [1, 1, N, D], interleaved."
        because "rows of logits are; other tensors take other kernels"
        => "reshape of {input}", "a row-major bf16 tensor [1, 1, N, D], interleaved";
    SHAPE_OF_ROWS: "The new shape is [1, 1, N, D]."
        because "plans ask for no other"
        => "reshape to {shape}", "[1, 1, N, D]";
    VOLUME: "The new shape has as many elements."
        => "Attempting to reshape between two shapes with different volumes: {from} to {to}", "as many elements";
    WHOLE_ROWS: "Each row is cut into whole rows."
        because "rows that cross others take turns that were not studied"
        => "rows of {from} cut into rows of {to}", "a shorter row, whose length divides {from}";
    SHORT_OR_ALIGNED: "A row whose parts do not end on 16 bytes has at most 32,768 elements."
        because "TT-NN takes smaller buffers where less L1 is left"
        => "rows of {from} cut into rows of {to}", "parts of a multiple of 8 elements, or shorter rows";
    INTERLEAVED: "The result is interleaved."
        because "kernels for shards were not studied"
        => "reshape into {memory}", "an interleaved result";
}

/// Row-major `[1,1,N,D]` -> row-major `[1,1,N*D/d,d]`.
pub(super) fn check(args: &Reshape, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    let rows = x.layout == Layout::RowMajor && x.dtype == DType::Bf16 && x.shape.len() == 4 && x.outer() == 1;
    checks.require(&ROWS, rows && !x.memory.is_sharded(), values![input = x]);
    let shaped = matches!(*args.shape.as_slice(), [1, 1, n, d] if n > 0 && d > 0);
    checks.require(&SHAPE_OF_ROWS, shaped, values![shape = args.shape]);
    checks.require(&INTERLEAVED, !args.memory.is_sharded(), values![memory = args.memory]);
    checks.settle()?;
    let output = TensorSpec { shape: args.shape.clone(), memory: args.memory.clone(), ..x.clone() };
    let volume = |spec: &TensorSpec| u64::from(spec.rows()) * u64::from(spec.columns());
    checks.require(&VOLUME, volume(x) == volume(&output), values![from = x.shape, to = args.shape]);
    let (from, to) = (x.columns(), output.columns());
    checks.require(&WHOLE_ROWS, to < from && from % to == 0, values![from, to]);
    let aligned = from % 8 == 0 && to % 8 == 0;
    checks.require(&SHORT_OR_ALIGNED, aligned || from <= 1 << 15, values![from, to]);
    require_placement(&output, card, &mut checks);
    let circular_buffers = bytes(u64::from(from) * 2, u64::from(to) * 2, args.memory.memory());
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

/// Of rows of `source` bytes that are cut into rows of `dest`.
fn bytes(source: u64, dest: u64, to: Memory) -> u64 {
    let read = (source - 1) / 64 * 64 + 128;
    let write = (dest - 1) / 64 * 64 + 80;
    let slots = if source.is_multiple_of(16) && dest.is_multiple_of(16) { 1 } else { 8 };
    let processors = if dest.is_multiple_of(16) || to == Memory::L1 { 2 } else { 1 };
    processors * (2 * read + slots * write)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryConfig;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, n150, p150, refusal};

    #[test]
    fn bytes_as_mock_cards_report_them() {
        let of = |rows, columns, to: [u32; 2], memory: MemoryConfig| {
            let x = TensorSpec::row_major([1, 1, rows, columns], DType::Bf16, MemoryConfig::DRAM);
            let args = Reshape { input: any(), shape: vec![1, 1, to[0], to[1]], memory };
            [n150(), p150()].map(|card| check(&args.clone().into(), &[&x], &card).unwrap().circular_buffers)
        };
        assert_eq!(of(32, 128_256, [5344, 768], MemoryConfig::L1), [1_029_408; 2]);
        assert_eq!(of(8, 32_000, [320, 800], MemoryConfig::DRAM), [259_488; 2]);
        assert_eq!(of(1, 5344, [32, 167], MemoryConfig::DRAM), [24_704; 2]);
        assert_eq!(of(1, 1280, [32, 40], MemoryConfig::DRAM), [10_784; 2]);
        assert_eq!(of(1, 5344, [32, 167], MemoryConfig::L1), [49_408; 2]);
        assert_eq!(of(1, 20, [5, 4], MemoryConfig::DRAM), [896; 2]);
    }

    #[test]
    fn rows_are_cut_and_not_joined() {
        let x = TensorSpec::row_major([1, 1, 32, 768], DType::Bf16, MemoryConfig::DRAM);
        let to = |n, d| Reshape { input: any(), shape: vec![1, 1, n, d], memory: MemoryConfig::DRAM }.into();
        assert!(refusal(check(&to(16, 1536), &[&x], &n150())).contains("cut into rows of 1536"));
        assert!(refusal(check(&to(64, 383), &[&x], &n150())).contains("different volumes"));
    }
}
