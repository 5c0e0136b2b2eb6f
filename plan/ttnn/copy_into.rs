//! `ttnn.copy` of a row of u32 into a persistent buffer.

use super::constraint::{constraints, values};
use super::integers::require_row;
use super::{Answer, Checks, Outcome};
use crate::op::CopyInto;
use crate::ttnn::checks::operands;
use crate::{Card, TensorSpec};

constraints! { "copy_into", "copy_device_operation.cpp", also [integers];
    SAME_SHAPE: "Both tensors have one shape."
        => "Copy requires input and output tensors to have the same logical shape: {input} and {output}", "tensors of one shape";
}

/// `[..,N]` u32 into the same.
pub(super) fn check(_args: &CopyInto, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x, out] = operands(given)?;
    let mut checks = Checks::new();
    require_row(x, &mut checks);
    require_row(out, &mut checks);
    checks.require(&SAME_SHAPE, x.shape == out.shape, values![input = x, output = out]);
    let circular_buffers = 2 * (u64::from(x.columns()) * 4).next_multiple_of(card.dram.alignment);
    checks.finish(|| Outcome { outputs: Vec::new(), circular_buffers, temporaries: Vec::new(), programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, integers, n150, p150, refusal};

    #[test]
    fn bytes_as_mock_cards_report_them() {
        let copy = || CopyInto { input: any(), output: any() }.into();
        let row = |count: u32| TensorSpec { dtype: DType::U32, ..integers([1, 1, count]) };
        let of = |count, card| check(&copy(), &[&row(count), &row(count)], &card).unwrap().circular_buffers;
        assert_eq!((of(32, n150()), of(8, n150()), of(1, n150())), (256, 64, 64));
        assert_eq!((of(32, p150()), of(8, p150()), of(1, p150())), (256, 128, 128));
        assert!(refusal(check(&copy(), &[&row(8), &row(32)], &n150())).contains("same logical shape"));
    }
}
