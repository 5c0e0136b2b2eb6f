//! `ttnn.transpose` of the two middle dimensions.

use super::constraint::{constraints, values};
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::Transpose;
use crate::ttnn::checks::operands;
use crate::{Card, DType, Layout, TILE, TensorSpec};

constraints! { "transpose", "", also [placement];
    MIDDLE_DIMENSIONS: "Dimensions 1 and 2 of four change places."
        because "plans exchange heads and rows; other dimensions take other kernels"
        => "transpose of dimensions {dims} of {shape}", "dimensions 1 and 2 of four";
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
        matches!(args.dims, (1, 2) | (2, 1)) && x.shape.len() == 4,
        values![dims = args.dims, shape = x.shape],
    );
    checks.require(&TILED_INTERLEAVED, x.layout == Layout::Tile && !x.memory.is_sharded(), values![input = x]);
    checks.require(&WHOLE_NUMBERS, matches!(x.dtype, DType::Bf16 | DType::F32), values![dtype = x.dtype]);
    checks.settle()?;
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
    }
}
