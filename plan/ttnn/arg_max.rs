//! `ttnn.argmax` over the last dimension, into a tensor given.
//!
//! Every core searches an aligned stretch of each row; core 0 compares.

use super::constraint::{constraints, values};
use super::{Answer, Checks, Outcome};
use crate::op::ArgMax;
use crate::ttnn::checks::operands;
use crate::{Card, DType, Layout, MemoryConfig, TensorSpec};

constraints! { "arg_max", "argmax_device_operation.cpp", also [];
    ROWS_IN_DRAM: "The tensor is row-major [1, 1, B, V], interleaved in DRAM."
        because "logits lie there; other tensors take other kernels"
        => "argmax of {input}", "a row-major tensor [1, 1, B, V], interleaved in DRAM";
    FLOAT: "The tensor is bf16 or f32."
        because "logits are; integers were not studied"
        => "argmax of {dtype}", "bf16 or f32";
    RESULT_BUFFER: "The tensor written to is row-major u32, interleaved in DRAM."
        because "the next step's embedding reads its tokens so"
        => "argmax into {output}", "a row-major u32 tensor, interleaved in DRAM";
    RESULT_SHAPE: "The tensor written to has one element for each row."
        because "TT-NN does not check the shape, and would write beside a smaller tensor"
        => "argmax of {rows} rows into {shape}", "[1, 1, {rows}]";
}

/// Row-major `[1,1,B,V]` in DRAM -> `[1,1,B]` u32, into the tensor given.
pub(super) fn check(_args: &ArgMax, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x, out] = operands(given)?;
    let mut checks = Checks::new();
    let rows_in_dram =
        x.layout == Layout::RowMajor && x.memory == MemoryConfig::DRAM && x.shape.len() == 4 && x.outer() == 1;
    checks.require(&ROWS_IN_DRAM, rows_in_dram, values![input = x]);
    checks.require(&FLOAT, matches!(x.dtype, DType::Bf16 | DType::F32), values![dtype = x.dtype]);
    checks.require(
        &RESULT_BUFFER,
        out.layout == Layout::RowMajor && out.dtype == DType::U32 && out.memory == MemoryConfig::DRAM,
        values![output = out],
    );
    checks.require(
        &RESULT_SHAPE,
        out.shape.last() == Some(&x.rows())
            && out.shape.iter().map(|&d| u64::from(d)).product::<u64>() == u64::from(x.rows()),
        values![rows = x.rows(), shape = out.shape],
    );
    checks.settle()?;
    let circular_buffers = bytes(x, card);
    checks.finish(|| Outcome { outputs: Vec::new(), circular_buffers, temporaries: Vec::new(), programs: 1 })
}

/// Circular buffers of a search over the rows of a tensor.
pub(super) fn bytes(x: &TensorSpec, card: &Card) -> u64 {
    let element = x.dtype.element_bytes().unwrap_or(0);
    let (rows, columns) = (u64::from(x.rows()), u64::from(x.columns()));
    let unit = card.dram.alignment / 2;
    let units = columns.div_ceil(unit);
    let cores = search_cores(rows, columns * element, card).min(units);
    let stretch = (units.div_ceil(cores) * unit * element).next_multiple_of(32);
    let buffers = if rows > 1 { 2 } else { 1 };
    let indices = (rows * 4).next_multiple_of(32);
    let values = (rows * element).next_multiple_of(32);
    buffers * stretch + indices + cores * (indices + values)
}

/// All cores for a single row; otherwise the smallest power of two `n` with `8 n^2` at least the bytes of a row, or all where that is more.
fn search_cores(rows: u64, row_bytes: u64, card: &Card) -> u64 {
    let all = u64::from(card.cores());
    if rows == 1 {
        return all;
    }
    (0..=16).map(|power| 1 << power).find(|n: &u64| 8 * n * n >= row_bytes).unwrap_or(all).min(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, bytes, n150, p150, refusal};

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
        // A chip with more than 128 cores.
        let whole = Card { grid: (13, 10), ..p150() };
        assert_eq!(of(17, 32_002, DType::F32, &whole), 26_720);
    }

    #[test]
    fn argmax_writes_one_token_a_row() {
        let x = TensorSpec::row_major([1, 1, 8, 32_000], DType::Bf16, MemoryConfig::DRAM);
        let out = TensorSpec::row_major([1, 1, 32], DType::U32, MemoryConfig::DRAM);
        let answer = check(&ArgMax { input: any(), output: any() }.into(), &[&x, &out], &n150());
        assert!(refusal(answer).contains("argmax of 8 rows into [1, 1, 32]"));
    }
}
