//! `ttnn.plus_one`: every element of an integer tensor grows by one, but for negative ones that are to stay.

use bitnetc_plan::op::PlusOne;

use crate::DeviceError;
use crate::host::run::Run;
use crate::host::tensor::Data;

pub fn execute(op: &PlusOne, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.change(0, |_, buffer| {
        let Data::Integer(values) = &mut buffer.data else { return Err(buffer.unexpected(0, "integers")) };
        count_on(values, op.skip_negative);
        Ok(())
    })
}

fn count_on(values: &mut [u32], skip_negative: bool) {
    let counted = |v: &&mut u32| !(skip_negative && (**v as i32) < 0);
    values.iter_mut().filter(counted).for_each(|v| *v = v.wrapping_add(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_users_stay_idle() {
        let mut values = [0, u32::MAX, 7];
        count_on(&mut values, true);
        assert_eq!(values, [1, u32::MAX, 8]);
        count_on(&mut values, false);
        assert_eq!(values, [2, 0, 9]);
    }
}
