//! `add_rows`: everything in f32, and the sum rounded once.
//!
//! The kernel's packer rounds half away from zero, which exact numerics do as well; fast numerics round to nearest even.

use bitnetc_numerics::kernels::add_rows;
use bitnetc_plan::op::AddRows;
use half::bf16;

use crate::DeviceError;
use crate::host::rows::settle;
use crate::host::run::Run;
use crate::host::tensor::{Data, HostTensor};

pub fn execute(op: &AddRows, run: &mut Run<'_>) -> Result<(), DeviceError> {
    let exact = run.exact();
    let numbers = [op.floor.value as f32, op.scale.value as f32];
    run.replace(0, |x, out| sum(numbers, exact, [x.tensor(0)?, x.tensor(1)?, x.tensor(2)?], out))
}

fn sum(
    numbers: [f32; 2],
    exact: bool,
    [a, b, factors]: [&HostTensor; 3],
    out: &mut HostTensor,
) -> Result<(), DeviceError> {
    let (Data::Bf16(x), Data::F32(y), Data::F32(rows), Data::Bf16(to)) =
        (&a.data, &b.data, &factors.data, &mut out.data)
    else {
        return Err(a.unexpected(0, "bf16, to which f32 is added with factors in f32"));
    };
    let round = if exact { bitnetc_numerics::kernels::packed } else { bf16::from_f32 };
    add_rows((x, y, a.columns()), (rows, numbers), round, to)?;
    settle(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::{tensor, values};
    use bitnetc_plan::DType;

    #[test]
    fn a_row_is_added_times_its_number_and_rounded_once() {
        let a = tensor(&[1, 1, 2, 2], DType::Bf16, &[1.0, 256.0, 2.0, 3.0]);
        let b = tensor(&[1, 1, 2, 2], DType::F32, &[3.0, 2.0, 100.0, 200.0]);
        let factors = tensor(&[1, 1, 2, 1], DType::F32, &[2.0, 0.0]);
        let of = |exact| {
            let mut out = tensor(&[1, 1, 2, 2], DType::Bf16, &[0.0; 4]);
            sum([0.5, 0.25], exact, [&a, &b, &factors], &mut out).unwrap();
            values(&out)
        };
        // 257 lies between 256 and 258: the packer rounds away from zero, the formula to the even one.
        assert_eq!(of(true), [2.5, 258.0, 14.5, 28.0]);
        assert_eq!(of(false), [2.5, 256.0, 14.5, 28.0]);
    }
}
