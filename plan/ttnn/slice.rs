//! `ttnn.slice` of rows.

use super::constraint::{constraints, values};
use super::to_memory_config::moved;
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::{Rows, Slice};
use crate::ttnn::checks::operands;
use crate::{Card, Layout, TILE, TensorSpec};

constraints! { "slice", "slice_device_operation.cpp", also [to_memory_config, placement];
    ROWS: "The rows are some of the tensor's."
        => "Ends {end} must be less than or equal to the shape of the tensor {rows}", "rows within 0..{rows}";
    WHOLE_TILES: "The first row is a multiple of 32."
        because "TT-NN takes rows from anywhere by way of a row-major copy, whose buffers were not studied"
        => "slice of tiles from row {start}", "a first row that is a multiple of 32";
    TILED_MATRIX: "The tensor is a single tiled matrix."
        because "plans slice nothing else"
        => "slice of {input}", "a tiled tensor [1, 1, rows, columns]";
    LAST_TILE_IS_FULL: "Where the last token's tile is kept, all tiles of rows are full."
        because "which tile it is shows only when the call is made, and every tile must be one that can be taken"
        => "the last token's tile of {rows} rows", "rows in multiples of 32";
}

/// `[1,1,S,N]` tiled, rows from a multiple of 32 on -> `[1,1,rows,N]` anywhere. A slice of all rows is a copy to another placement.
pub(super) fn check(args: &Slice, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    let (start, end) = match args.rows {
        Rows::Range(start, end) => (start, end),
        Rows::LastTokenTile => (0, TILE.min(x.rows())),
    };
    checks.require(&ROWS, start < end && end <= x.rows(), values![end, rows = x.rows()]);
    checks.require(&WHOLE_TILES, start % TILE == 0, values![start]);
    checks.require(&TILED_MATRIX, x.layout == Layout::Tile && x.outer() == 1 && x.shape.len() >= 2, values![input = x]);
    checks.require(
        &LAST_TILE_IS_FULL,
        !matches!(args.rows, Rows::LastTokenTile) || x.rows() % TILE == 0,
        values![rows = x.rows()],
    );
    checks.settle()?;
    if end - start == x.rows() {
        return moved(x, &args.memory, card, checks);
    }
    let mut shape = x.shape.clone();
    let last = shape.len() - 2;
    shape[last] = end - start;
    let output = TensorSpec::tile(shape, x.dtype, args.memory.clone());
    require_placement(&output, card, &mut checks);
    // Two tiles and four words of indices.
    let circular_buffers = 2 * x.dtype.tile_bytes() + 16;
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, bytes, n150, refusal, row};
    use crate::{DType, MemoryConfig};

    fn slice(rows: Rows, memory: MemoryConfig) -> Slice {
        Slice { input: any(), rows, memory }
    }

    #[test]
    fn bytes_of_slices() {
        let card = n150();
        let x = |dtype| TensorSpec::tile([1, 1, 128, 2560], dtype, MemoryConfig::DRAM);
        let shards = row(&card, 32, 2560, 8, 10).memory;
        for rows in [Rows::Range(96, 128), Rows::LastTokenTile] {
            let answer = check(&slice(rows, shards.clone()).into(), &[&x(DType::Bf16)], &card).unwrap();
            assert_eq!((answer.circular_buffers, answer.outputs[0].rows()), (4112, 32));
        }
        assert_eq!(bytes(slice(Rows::Range(0, 32), MemoryConfig::L1), &[&x(DType::F32)], &card), 8208);
        assert_eq!(bytes(slice(Rows::Range(64, 65), MemoryConfig::DRAM), &[&x(DType::Bfp8)], &card), 2192);
        let whole = TensorSpec::tile([1, 1, 32, 2560], DType::Bf16, MemoryConfig::DRAM);
        assert_eq!(bytes(slice(Rows::LastTokenTile, shards), &[&whole], &card), 0);
        let said = refusal(check(&slice(Rows::Range(95, 127), MemoryConfig::DRAM).into(), &[&x(DType::Bf16)], &card));
        assert!(said.contains("from row 95"));
    }
}
