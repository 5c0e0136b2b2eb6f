//! `ttnn.slice` of rows that start where a tensor says.

use super::constraint::{constraints, values};
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::SliceAt;
use crate::ttnn::checks::operands;
use crate::{Card, DType, Layout, MemoryConfig, TILE, TensorSpec};

constraints! { "slice_at", "slice_device_operation.cpp", also [placement];
    TILED_MATRIX: "The tensor is a single tiled matrix of whole tiles of columns."
        because "plans slice nothing else"
        => "slice of {input}", "a tiled tensor [1, 1, rows, columns], the columns in multiples of 32";
    EQUAL_PARTS: "The tensor's rows come in equal parts."
        => "Input dimension 2 (size={rows}) must be evenly divisible by num_devices ({parts})", "a divisor of {rows}";
    WHOLE_TILES: "A part has whole tiles of rows."
        => "Can only slice tilized tensor with height begin index aligned to tiles: {rows} rows a part", "parts of 32 rows or a multiple";
    INDICES_RANK: "First and last indices are tensors of one dimension." in "slice.cpp"
        => "The start tensor for slicing must be in 1D shape, but got {shape}", "[4]";
    INDICES: "First and last indices are [4] u32, row-major, interleaved in DRAM."
        because "the kernel reads four words and looks at nothing else of the tensor"
        => "indices {indices}", "[4] u32, row-major, DRAM interleaved";
}

/// `[1,1,S,N]` tiled -> `[1,1,S/parts,N]` anywhere.
pub(super) fn check(args: &SliceAt, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x, starts, ends] = operands(given)?;
    let mut checks = Checks::new();
    checks.require(
        &TILED_MATRIX,
        x.layout == Layout::Tile && x.shape.len() == 4 && x.outer() == 1 && x.columns().is_multiple_of(TILE),
        values![input = x],
    );
    for indices in [starts, ends] {
        checks.require(&INDICES_RANK, indices.shape.len() == 1, values![shape = indices.shape]);
        let words = *indices == TensorSpec::row_major([4], DType::U32, MemoryConfig::DRAM);
        checks.require(&INDICES, words, values![indices]);
    }
    let parts = args.parts;
    checks.require(&EQUAL_PARTS, parts > 0 && x.rows().is_multiple_of(parts), values![rows = x.rows(), parts]);
    checks.settle()?;
    let rows = x.rows() / parts;
    checks.require(&WHOLE_TILES, rows.is_multiple_of(TILE), values![rows]);
    let output = TensorSpec::tile([1, 1, rows, x.columns()], x.dtype, args.memory.clone());
    require_placement(&output, card, &mut checks);
    checks.finish(|| Outcome {
        outputs: vec![output],
        // Two tiles, one for the indices, and four words of where the kernel is.
        circular_buffers: 3 * x.dtype.tile_bytes() + 16,
        temporaries: Vec::new(),
        programs: 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, n150, refusal, row};

    fn indices() -> TensorSpec {
        TensorSpec::row_major([4], DType::U32, MemoryConfig::DRAM)
    }

    fn answer(x: &TensorSpec, parts: u32, memory: MemoryConfig, indices: &TensorSpec) -> Answer {
        let args = SliceAt { input: any(), starts: any(), ends: any(), parts, memory };
        check(&args.into(), &[x, indices, indices], &n150())
    }

    /// Figures of the library on a mock n150.
    #[test]
    fn bytes_of_slices() {
        let x = |dtype| TensorSpec::tile([1, 1, 128, 2560], dtype, MemoryConfig::DRAM);
        let shards = row(&n150(), 32, 2560, 8, 10).memory;
        for (dtype, memory, bytes) in [
            (DType::Bf16, shards, 6160),
            (DType::Bf16, MemoryConfig::DRAM, 6160),
            (DType::Bfp8, MemoryConfig::DRAM, 3280),
            (DType::F32, MemoryConfig::L1, 12_304),
        ] {
            let outcome = answer(&x(dtype), 4, memory, &indices()).unwrap();
            assert_eq!((outcome.circular_buffers, outcome.outputs[0].rows()), (bytes, 32));
        }
        let whole = TensorSpec::tile([1, 1, 32, 2560], DType::Bf16, MemoryConfig::DRAM);
        assert_eq!(answer(&whole, 1, MemoryConfig::DRAM, &indices()).unwrap().outputs, [whole]);
    }

    #[test]
    fn refusals_are_tt_nns() {
        let x = TensorSpec::tile([1, 1, 128, 2560], DType::Bf16, MemoryConfig::DRAM);
        let refused = |parts, indices: &TensorSpec| refusal(answer(&x, parts, MemoryConfig::DRAM, indices));
        assert!(refused(3, &indices()).contains("(size=128) must be evenly divisible by num_devices (3)"));
        assert!(refused(8, &indices()).contains("height begin index aligned to tiles"));
        let square = TensorSpec::row_major([1, 4], DType::U32, MemoryConfig::DRAM);
        assert!(refused(4, &square).contains("must be in 1D shape"));
    }
}
