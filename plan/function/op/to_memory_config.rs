//! `ttnn.to_memory_config`: the same tensor.

use super::{Execution, Meaning};
use crate::Step;
use crate::op::ToMemoryConfig;

pub(super) fn meaning(args: &ToMemoryConfig, _: &Step, run: &mut Execution<'_>) -> Meaning {
    Ok(vec![run.value(&args.input)?])
}
