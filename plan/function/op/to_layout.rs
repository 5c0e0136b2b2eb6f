//! `ttnn.to_layout`: the same tensor.

use super::{Execution, Meaning};
use crate::Step;
use crate::op::ToLayout;

pub(super) fn meaning(args: &ToLayout, _: &Step, run: &mut Execution<'_>) -> Meaning {
    Ok(vec![run.value(&args.input)?])
}
