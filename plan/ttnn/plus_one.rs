//! `ttnn.plus_one`: positions, incremented in place.

use super::constraint::{constraints, values};
use super::placement::alignment;
use super::{Answer, Checks, Outcome};
use crate::op::PlusOne;
use crate::ttnn::checks::operands;
use crate::{Card, DType, Layout, TensorSpec};

constraints! { "plus_one", "plusone_device_operation.cpp", also [];
    INTEGERS: "The buffer holds i32 or u32."
        => "Only INT32 and UINT32 is supported for inputs! {dtype}", "an i32 or u32 buffer";
    ROW_MAJOR: "The buffer is row-major."
        => "Only ROW_MAJOR layout is supported for inputs!", "a row-major buffer";
    ONE_ROW: "The buffer is one interleaved row."
        because "positions are one row; buffers of more were not studied"
        => "plus_one of {input}", "one row, interleaved";
}

/// One row of i32 or u32, row-major, interleaved; in place.
pub(super) fn check(_args: &PlusOne, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    checks.require(&INTEGERS, matches!(x.dtype, DType::I32 | DType::U32), values![dtype = x.dtype]);
    checks.require(&ROW_MAJOR, x.layout == Layout::RowMajor, values![]);
    checks.require(&ONE_ROW, x.matrix_rows() == 1 && !x.memory.is_sharded(), values![input = x]);
    let circular_buffers = (u64::from(x.columns()) * 4).next_multiple_of(alignment(x.memory.memory(), card));
    checks.finish(|| Outcome { outputs: Vec::new(), circular_buffers, temporaries: Vec::new(), programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryConfig;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, bytes, integers, n150, p150, refusal};

    #[test]
    fn bytes_of_plus_one() {
        let of = |count: u32, card: &Card| {
            bytes(PlusOne { buffer: any(), skip_negative: true }, &[&integers([count])], card)
        };
        assert_eq!((of(32, &n150()), of(1, &n150()), of(9, &n150())), (128, 32, 64));
        assert_eq!((of(32, &p150()), of(1, &p150()), of(9, &p150())), (128, 64, 64));
        let wrong = TensorSpec::row_major([32], DType::Bf16, MemoryConfig::DRAM);
        let answer = check(&PlusOne { buffer: any(), skip_negative: true }.into(), &[&wrong], &n150());
        assert!(refusal(answer).contains("Only INT32 and UINT32"));
    }
}
