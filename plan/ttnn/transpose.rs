//! `ttnn.transpose` of the two middle dimensions, or of a column that becomes a row.

use super::constraint::{constraints, values};
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::Transpose;
use crate::ttnn::checks::operands;
use crate::{Card, DType, Layout, TILE, TensorSpec};

constraints! { "transpose", "", also [placement];
    MIDDLE_DIMENSIONS: "Dimensions 1 and 2 of four change places, or the last two."
        because "plans exchange heads and rows; other dimensions take other kernels"
        => "transpose of dimensions {dims} of {shape}", "dimensions 1 and 2 of four, or 2 and 3";
    COLUMN: "Of dimensions 2 and 3 only those of a bf16 column [1, 1, N, 1] change places."
        because "maxima of groups of logits are one; other matrices were not studied"
        => "transpose of {input}", "a bf16 column [1, 1, N, 1]";
    TILED_INTERLEAVED: "The tensor is tiled and interleaved."
        because "kernels for other tensors were not studied"
        => "transpose of {input}", "a tiled, interleaved tensor";
    WHOLE_NUMBERS: "The tensor is bf16 or f32."
        because "block formats are converted and back, through buffers that were not studied"
        => "transpose of {dtype}", "bf16 or f32";
}

/// `[A,B,C,D] -> [A,C,B,D]` of an interleaved tiled bf16 or f32 tensor.
pub(super) fn check(args: &Transpose, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    checks.require(
        &MIDDLE_DIMENSIONS,
        matches!(args.dims, (1, 2) | (2, 1) | (2, 3)) && x.shape.len() == 4,
        values![dims = args.dims, shape = x.shape],
    );
    checks.require(&TILED_INTERLEAVED, x.layout == Layout::Tile && !x.memory.is_sharded(), values![input = x]);
    checks.require(&WHOLE_NUMBERS, matches!(x.dtype, DType::Bf16 | DType::F32), values![dtype = x.dtype]);
    let column = args.dims == (2, 3);
    let turns = x.shape.len() == 4 && x.outer() == 1 && x.columns() == 1 && x.dtype == DType::Bf16;
    checks.require(&COLUMN, !column || turns, values![input = x]);
    checks.settle()?;
    if column {
        let output = TensorSpec::tile([1, 1, 1, x.rows()], x.dtype, args.memory.clone());
        require_placement(&output, card, &mut checks);
        let circular_buffers = 4 * x.dtype.tile_bytes();
        return checks.finish(|| Outcome {
            outputs: vec![output],
            circular_buffers,
            temporaries: Vec::new(),
            programs: 1,
        });
    }
    let mut shape = x.shape.clone();
    shape.swap(1, 2);
    // Rows of the result that only fill up tiles are written from a buffer of one face.
    let padding = if shape[2] % TILE == 0 { 0 } else { x.dtype.tile_bytes() / 4 };
    let output = TensorSpec::tile(shape, x.dtype, args.memory.clone());
    require_placement(&output, card, &mut checks);
    let circular_buffers = 2 * x.dtype.tile_bytes() + padding;
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryConfig;
    use crate::ttnn::mock::{any, bytes, n150};

    #[test]
    fn transposes() {
        let of = |shape: [u32; 4], dtype| {
            let x = TensorSpec::tile(shape, dtype, MemoryConfig::L1);
            let args = Transpose { input: any(), dims: (1, 2), memory: MemoryConfig::L1 };
            bytes(args, &[&x], &n150())
        };
        assert_eq!(of([1, 1, 64, 128], DType::Bf16), 4608);
        assert_eq!(of([1, 64, 1, 128], DType::Bf16), 4096);
        assert_eq!(of([1, 1, 64, 128], DType::F32), 9216);
        let column = TensorSpec::tile([1, 1, 5344, 1], DType::Bf16, MemoryConfig::L1);
        let turn = Transpose { input: any(), dims: (2, 3), memory: MemoryConfig::L1 };
        assert_eq!(bytes(turn, &[&column], &n150()), 8192);
    }
}
