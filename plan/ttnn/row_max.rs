//! `ttnn.max` over the last dimension.
//!
//! Rows that do not fill their tiles are first filled with minus infinity, in the input itself.

use super::constraint::{constraints, values};
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::RowMax;
use crate::ttnn::checks::operands;
use crate::{Card, DType, Layout, TILE, TensorSpec};

constraints! { "row_max", "fill_pad_device_operation.cpp", also [placement];
    FULL_COLUMNS: "The tensor is tiled and has at least four tiles of columns, all of them full."
        because "narrower tensors take another kernel; columns of a model are whole tiles"
        => "max over the rows of {input}", "a tiled tensor with at least 128 columns, a multiple of 32";
    FLOAT: "The tensor is bf16 or f32, or bfp8 with rows that fill their tiles."
        because "TT-NN would convert to bf16 and back"
        => "max over {rows} rows of {dtype}", "bf16 or f32";
    ONE_MATRIX: "A sharded tensor whose rows do not fill their tiles is a single matrix."
        => "FillPadL1ShardedProgramFactory: N_slices > 1 not yet supported (got {outer})",
           "rows in multiples of 32, or an interleaved tensor";
    RESULT_INTERLEAVED: "The result is interleaved."
        because "plans read the maxima as a column; kernels for shards were not studied"
        => "max into {memory}", "an interleaved result";
}

/// `[..,M,N] -> [..,M,1]`, any placement in, interleaved out.
pub(super) fn check(args: &RowMax, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    let full = x.rows() % TILE == 0;
    checks.require(
        &FULL_COLUMNS,
        x.layout == Layout::Tile && x.columns() % TILE == 0 && x.columns() >= 4 * TILE,
        values![input = x],
    );
    checks.require(
        &FLOAT,
        matches!(x.dtype, DType::Bf16 | DType::F32) || (x.dtype == DType::Bfp8 && full),
        values![rows = x.rows(), dtype = x.dtype],
    );
    checks.require(&ONE_MATRIX, full || x.outer() == 1 || !x.memory.is_sharded(), values![outer = x.outer()]);
    checks.require(&RESULT_INTERLEAVED, !args.memory.is_sharded(), values![memory = args.memory]);
    let mut shape = x.shape.clone();
    if let Some(last) = shape.last_mut() {
        *last = 1;
    }
    let output = TensorSpec::tile(shape, x.dtype, args.memory.clone());
    require_placement(&output, card, &mut checks);
    let scaler = if x.dtype == DType::F32 { DType::F32 } else { DType::Bf16 };
    let circular_buffers = 10 * x.dtype.tile_bytes() + scaler.tile_bytes();
    let programs = if full { 1 } else { 2 };
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryConfig;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, n150, refusal, row, users};

    #[test]
    fn bytes_of_max() {
        let card = n150();
        let max = || RowMax { input: any(), memory: MemoryConfig::L1 };
        let of = |rows, dtype| {
            let x = TensorSpec { dtype, ..row(&card, rows, 2560, 8, 10) };
            check(&max().into(), &[&x], &card).unwrap()
        };
        assert_eq!((of(32, DType::Bf16).circular_buffers, of(32, DType::Bf16).programs), (22_528, 1));
        assert_eq!((of(8, DType::F32).circular_buffers, of(8, DType::F32).programs), (45_056, 2));
        assert_eq!(of(32, DType::Bfp8).circular_buffers, 12_928);
        assert_eq!(of(8, DType::Bf16).outputs[0].shape, [1, 1, 8, 1]);
        let heads = users(&card, 0, 8, 5, 128);
        assert!(refusal(check(&max().into(), &[&heads], &card)).contains("N_slices > 1 not yet supported (got 8)"));
    }
}
