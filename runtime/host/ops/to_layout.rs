//! `ttnn.to_layout`: layouts do not show in a [`crate::host::tensor::HostTensor`], so this is a copy.

use bitnetc_plan::op::ToLayout;

use crate::DeviceError;
use crate::host::movement;
use crate::host::run::Run;

pub fn execute(_: &ToLayout, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.produce(|x, [out]| movement::copy(x.tensor(0)?, out))
}
