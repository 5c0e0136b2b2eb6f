//! `ttnn.deallocate`: nothing is computed.

use super::{Execution, Meaning};
use crate::Step;
use crate::op::Deallocate;

pub(super) fn meaning(_: &Deallocate, _: &Step, _: &mut Execution<'_>) -> Meaning {
    Ok(Vec::new())
}
