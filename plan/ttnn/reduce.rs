//! Reductions of rows: `ttnn.max`, `ttnn.argmax`.

use super::{Answer, Checks, Outcome, operands, require_placement};
use crate::op::{ArgMax, RowMax};
use crate::{Card, DType, Layout, MemoryConfig, TILE, TensorSpec};

/// `[..,M,N] -> [..,M,1]`, any placement in, interleaved out.
///
/// Rows that do not fill their tiles are first filled with minus infinity, in the input itself. Stricter than TT-NN: at least four tiles
/// of columns, all of them full; bfp8 only with full rows (TT-NN would convert to bf16 and back).
///
/// # Errors
/// The above and what no tensor may break.
pub fn check_row_max(args: &RowMax, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    let full = x.rows() % TILE == 0;
    checks.narrow(
        x.layout == Layout::Tile && x.columns() % TILE == 0 && x.columns() >= 4 * TILE,
        format_args!("max over the rows of {x}"),
        format_args!("a tiled tensor with at least 128 columns, a multiple of 32"),
    );
    checks.narrow(
        matches!(x.dtype, DType::Bf16 | DType::F32) || (x.dtype == DType::Bfp8 && full),
        format_args!("max over {} rows of {}", x.rows(), x.dtype),
        format_args!("bf16 or f32"),
    );
    checks.require(
        full || x.outer() == 1 || !x.memory.is_sharded(),
        format_args!("FillPadL1ShardedProgramFactory: N_slices > 1 not yet supported (got {})", x.outer()),
        format_args!("rows in multiples of 32, or an interleaved tensor"),
    );
    checks.narrow(
        !args.memory.is_sharded(),
        format_args!("max into {}", args.memory),
        format_args!("an interleaved result"),
    );
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

/// Row-major `[1,1,B,V]` in DRAM -> `[1,1,B]` u32, into the tensor given.
///
/// Every core searches an aligned stretch of each row; core 0 compares. TT-NN does not check the shape of the tensor it writes to; this
/// rule does.
///
/// # Errors
/// The constraints of `argmax_device_operation.cpp` that the call breaks, and the above.
pub fn check_argmax(_args: &ArgMax, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x, out] = operands(given)?;
    let mut checks = Checks::new();
    checks.narrow(
        x.layout == Layout::RowMajor && x.memory == MemoryConfig::DRAM && x.shape.len() == 4 && x.outer() == 1,
        format_args!("argmax of {x}"),
        format_args!("a row-major tensor [1, 1, B, V], interleaved in DRAM"),
    );
    checks.narrow(
        matches!(x.dtype, DType::Bf16 | DType::F32),
        format_args!("argmax of {}", x.dtype),
        format_args!("bf16 or f32"),
    );
    checks.narrow(
        out.layout == Layout::RowMajor && out.dtype == DType::U32 && out.memory == MemoryConfig::DRAM,
        format_args!("argmax into {out}"),
        format_args!("a row-major u32 tensor, interleaved in DRAM"),
    );
    checks.narrow(
        out.shape.last() == Some(&x.rows())
            && out.shape.iter().map(|&d| u64::from(d)).product::<u64>() == u64::from(x.rows()),
        format_args!("argmax of {} rows into {:?}", x.rows(), out.shape),
        format_args!("[1, 1, {}]", x.rows()),
    );
    checks.settle()?;
    let circular_buffers = argmax_bytes(x, card);
    checks.finish(|| Outcome { outputs: Vec::new(), circular_buffers, temporaries: Vec::new(), programs: 1 })
}

fn argmax_bytes(x: &TensorSpec, card: &Card) -> u64 {
    let element = x.dtype.element_bytes().unwrap_or(0);
    let (rows, columns) = (u64::from(x.rows()), u64::from(x.columns()));
    let unit = card.dram.alignment / 2;
    let units = columns.div_ceil(unit);
    let cores = argmax_cores(rows, columns * element, card).min(units);
    let stretch = (units.div_ceil(cores) * unit * element).next_multiple_of(32);
    let buffers = if rows > 1 { 2 } else { 1 };
    let indices = (rows * 4).next_multiple_of(32);
    let values = (rows * element).next_multiple_of(32);
    buffers * stretch + indices + cores * (indices + values)
}

/// All cores for a single row; otherwise the smallest power of two `n` with `8 n^2` at least the bytes of a row, up to 64.
fn argmax_cores(rows: u64, row_bytes: u64, card: &Card) -> u64 {
    let all = u64::from(card.cores());
    if rows == 1 {
        return all;
    }
    (0..=6).map(|power| 1 << power).find(|n| 8 * n * n >= row_bytes).unwrap_or(all).min(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, bytes, n150, p150, refusal, row, users};

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

    #[test]
    fn bytes_of_argmax() {
        let of = |rows, columns, dtype, card: &Card| {
            let x = TensorSpec::row_major([1, 1, rows, columns], dtype, MemoryConfig::DRAM);
            let out = TensorSpec::row_major([1, 1, rows], DType::U32, MemoryConfig::DRAM);
            bytes(ArgMax { input: any(), output: any() }, &[&x, &out], card)
        };
        let (wh, bh) = (n150(), p150());
        assert_eq!(of(32, 128_256, DType::Bf16, &wh), 20_480);
        assert_eq!(of(8, 128_256, DType::Bf16, &wh), 12_192);
        assert_eq!(of(1, 128_256, DType::Bf16, &wh), 8160);
        assert_eq!(of(32, 128_256, DType::F32, &wh), 32_640);
        assert_eq!(of(32, 32_000, DType::Bf16, &wh), 14_464);
        assert_eq!(of(31, 4008, DType::Bf16, &wh), 6784);
        assert_eq!(of(32, 1024, DType::Bf16, &wh), 3456);
        assert_eq!(of(32, 128_256, DType::Bf16, &bh), 25_984);
        assert_eq!(of(1, 128_256, DType::Bf16, &bh), 9440);
        assert_eq!(of(32, 131_080, DType::Bf16, &bh), 26_112);
    }

    #[test]
    fn argmax_writes_one_token_a_row() {
        let x = TensorSpec::row_major([1, 1, 8, 32_000], DType::Bf16, MemoryConfig::DRAM);
        let out = TensorSpec::row_major([1, 1, 32], DType::U32, MemoryConfig::DRAM);
        let answer = check(&ArgMax { input: any(), output: any() }.into(), &[&x, &out], &n150());
        assert!(refusal(answer).contains("argmax of 8 rows into [1, 1, 32]"));
    }
}
