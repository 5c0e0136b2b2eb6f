//! `ttnn.manual_seed`: random numbers are no part of what a model computes.

use super::{Execution, Meaning};
use crate::Step;
use crate::op::ManualSeed;

pub(super) fn meaning(_: &ManualSeed, _: &Step, _: &mut Execution<'_>) -> Meaning {
    Ok(Vec::new())
}
