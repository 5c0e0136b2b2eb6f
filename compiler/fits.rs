//! For a model that does not fit the DRAM of a card: the largest prefill bucket, context and batch that do.

use std::fmt;

use crate::compile::compile;
use crate::model::Model;
use crate::options::Options;
use crate::target::Target;

/// Most values of an option that lie between nothing and the one that does not fit.
const STEPS: u32 = 32;

/// One option changed so that the rest fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// No bucket larger than this.
    Prefill(u32),
    /// A shorter context.
    Context(u32),
    /// Fewer users.
    Batch(u32),
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fit::Prefill(0) => f.write_str("it fits without prefill"),
            Fit::Prefill(tokens) => write!(f, "prefill {tokens} fits"),
            Fit::Context(tokens) => write!(f, "context {tokens} fits"),
            Fit::Batch(1) => f.write_str("one user fits"),
            Fit::Batch(users) => write!(f, "batch {users} fits"),
        }
    }
}

/// The changes of one option with which `model`, which `target` cannot hold with `options`, has a plan: each of them was compiled. The
/// search takes for granted that what fits keeps fitting when an option gets smaller; where it does not, a larger value may have been missed.
pub fn fits(model: &Model, target: &Target, options: &Options) -> Vec<Fit> {
    let compiles = |options: &Options| compile(model, target, options).is_ok();
    let largest = options.prefill.iter().copied().max().unwrap_or(0);
    let with_prefill = |most: u32| {
        let mut prefill: Vec<u32> = options.prefill.iter().copied().filter(|bucket| *bucket < most).collect();
        prefill.extend((most > 0).then_some(most));
        Options { prefill, ..options.clone() }
    };
    let with_context = |context: u32| {
        let prefill = options.prefill.iter().map(|bucket| (*bucket).min(context)).collect();
        Options { context, prefill, ..options.clone() }
    };
    let with_batch = |batch: u32| Options { batch, ..options.clone() };
    let mut found = Vec::new();
    if largest > 0 && compiles(&with_prefill(0)) {
        let bucket = best(largest, 32, |bucket| compiles(&with_prefill(bucket)));
        found.push(Fit::Prefill(bucket.unwrap_or(0)));
    }
    let context = best(options.context, options.block, |context| compiles(&with_context(context)));
    found.extend(context.map(Fit::Context));
    found.extend(best(options.batch, 1, |batch| compiles(&with_batch(batch))).map(Fit::Batch));
    found
}

/// The largest multiple of `unit` below `limit` for which `holds`, on a scale of [`STEPS`] steps; `None` when there is none.
fn best(limit: u32, unit: u32, holds: impl Fn(u32) -> bool) -> Option<u32> {
    let step = limit.div_ceil(STEPS).next_multiple_of(unit).max(unit);
    let (mut fitting, mut failing) = (0, limit.div_ceil(step));
    while failing - fitting > 1 {
        let middle = fitting.midpoint(failing);
        if holds(middle * step) { fitting = middle } else { failing = middle }
    }
    (fitting > 0).then_some(fitting * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_the_largest_that_holds() {
        assert_eq!(best(32_768, 32, |n| n <= 28_672), Some(28_672));
        assert_eq!(best(32, 1, |n| n <= 31), Some(31));
        assert_eq!(best(32, 1, |_| false), None);
        assert_eq!(best(1, 1, |_| true), None, "there is nothing below one user");
        assert_eq!(best(100, 32, |_| true), Some(96));
    }
}
