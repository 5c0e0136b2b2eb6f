//! Taking a piece out of a tensor and putting pieces together: `ttnn.slice` of rows, `ttnn.concat` of columns.

use super::movement::moved;
use super::{Answer, Checks, Outcome, operands, require_placement};
use crate::op::{Concat, Rows, Slice};
use crate::{Card, DType, Layout, TILE, TensorSpec};

/// `[1,1,S,N]` tiled, rows from a multiple of 32 on -> `[1,1,rows,N]` anywhere.
///
/// A slice of all rows is a copy ([`super::check_to_memory_config`]). Stricter than TT-NN, which takes rows from anywhere by way of a
/// row-major copy.
///
/// # Errors
/// Rows outside the tensor, and the above.
pub fn check_slice(args: &Slice, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    let (start, end) = match args.rows {
        Rows::Range(start, end) => (start, end),
        Rows::LastTokenTile => (0, TILE.min(x.rows())),
    };
    checks.require(
        start < end && end <= x.rows(),
        format_args!("Ends {end} must be less than or equal to the shape of the tensor {}", x.rows()),
        format_args!("rows within 0..{}", x.rows()),
    );
    checks.narrow(
        start % TILE == 0,
        format_args!("slice of tiles from row {start}"),
        format_args!("a first row that is a multiple of 32"),
    );
    checks.narrow(
        x.layout == Layout::Tile && x.outer() == 1 && x.shape.len() >= 2,
        format_args!("slice of {x}"),
        format_args!("a tiled tensor [1, 1, rows, columns]"),
    );
    checks.narrow(
        !matches!(args.rows, Rows::LastTokenTile) || x.rows() % TILE == 0,
        format_args!("the last token's tile of {} rows", x.rows()),
        format_args!("rows in multiples of 32"),
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

/// Most tensors that one program joins; more are joined in several.
const MOST_AT_ONCE: usize = 47;

/// Row-major DRAM tensors of equal rows, side by side.
///
/// A core reads whole rows of the result, two at a time when four fit into what L1 leaves. Stricter than TT-NN: rows of every tensor end
/// on the alignment of DRAM (TT-NN transposes others, one by one), at least two and at most 47 tensors.
///
/// # Errors
/// The above and what no tensor may break.
pub fn check_concat(args: &Concat, given: &[&TensorSpec], card: &Card) -> Answer {
    let mut checks = Checks::new();
    checks.narrow(
        (2..=MOST_AT_ONCE).contains(&given.len()),
        format_args!("concat of {} tensors", given.len()),
        format_args!("2 to {MOST_AT_ONCE}"),
    );
    checks.narrow(
        !args.memory.is_sharded(),
        format_args!("concat into {}", args.memory),
        format_args!("an interleaved result"),
    );
    checks.settle()?;
    let first = given[0];
    let leading = first.shape.len().saturating_sub(1);
    for (i, x) in given.iter().enumerate() {
        let bytes = u64::from(x.columns()) * x.dtype.element_bytes().unwrap_or(0);
        checks.narrow(
            x.layout == Layout::RowMajor && !x.memory.is_sharded() && matches!(x.dtype, DType::Bf16 | DType::F32),
            format_args!("concat of {x} (tensor {i})"),
            format_args!("row-major bf16 or f32 tensors, interleaved"),
        );
        checks.require(
            x.dtype == first.dtype && x.shape.len() == first.shape.len() && x.shape[..leading] == first.shape[..leading],
            format_args!("All input tensors must have the same dimensions except at the concat dimension: tensor {i} is {x}, the first {first}"),
            format_args!("equal types and shapes but for the columns"),
        );
        checks.narrow(
            bytes % card.dram.alignment == 0,
            format_args!("rows of tensor {i} are {bytes} B, not a multiple of {} B", card.dram.alignment),
            format_args!("columns in multiples of {}", card.dram.alignment / x.dtype.element_bytes().unwrap_or(1)),
        );
    }
    checks.settle()?;
    let columns: u32 = given.iter().map(|x| x.columns()).sum();
    let row = u64::from(columns) * first.dtype.element_bytes().unwrap_or(0);
    let circular_buffers = if 4 * row + 2 * card.l1.base <= card.l1.end { 2 * row } else { row };
    let mut shape = first.shape.clone();
    if let Some(last) = shape.last_mut() {
        *last = columns;
    }
    let output = TensorSpec::row_major(shape, first.dtype, args.memory.clone());
    require_placement(&output, card, &mut checks);
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryConfig;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, bytes, n150, p150, refusal, row};

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

    #[test]
    fn bytes_of_concat() {
        let of = |count, columns, dtype, card: &Card| {
            let x = TensorSpec::row_major([1, 1, 8, columns], dtype, MemoryConfig::DRAM);
            let args = Concat { inputs: vec![any(); count], memory: MemoryConfig::DRAM };
            check(&args.into(), &vec![&x; count], card)
        };
        let bytes = |count, columns, dtype, card: &Card| of(count, columns, dtype, card).unwrap().circular_buffers;
        assert_eq!(bytes(8, 16032, DType::Bf16, &n150()), 513_024);
        assert_eq!(bytes(4, 32064, DType::F32, &n150()), 513_024);
        assert_eq!(bytes(2, 80448, DType::Bf16, &n150()), 643_584);
        assert_eq!(bytes(2, 80480, DType::Bf16, &n150()), 321_920);
        assert_eq!(bytes(2, 84320, DType::Bf16, &p150()), 674_560);
        assert!(refusal(of(16, 8016, DType::Bf16, &p150())).contains("16032 B, not a multiple of 64 B"));
        assert!(refusal(of(48, 640, DType::Bf16, &n150())).contains("concat of 48 tensors"));
    }
}
