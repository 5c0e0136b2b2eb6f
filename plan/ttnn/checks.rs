//! Collecting broken constraints.

use std::fmt::Arguments;

use super::{Answer, Outcome, Violation};
use crate::TensorSpec;

/// The constraints a call was found to break so far.
#[derive(Debug, Default)]
pub struct Checks {
    broken: Vec<Violation>,
}

impl Checks {
    /// Nothing broken yet.
    pub const fn new() -> Self {
        Checks { broken: Vec::new() }
    }

    /// Notes a violation of TT-NN's constraint unless `ok`; returns `ok`. The texts are only rendered when needed.
    pub fn require(&mut self, ok: bool, what: Arguments<'_>, hint: Arguments<'_>) -> bool {
        self.note(ok, what, hint, false)
    }

    /// As [`Checks::require`], for a limit of the rule's own: TT-NN may take the call.
    pub fn narrow(&mut self, ok: bool, what: Arguments<'_>, hint: Arguments<'_>) -> bool {
        self.note(ok, what, hint, true)
    }

    fn note(&mut self, ok: bool, what: Arguments<'_>, hint: Arguments<'_>, narrower: bool) -> bool {
        if !ok {
            self.broken.push(Violation { what: what.to_string(), hint: hint.to_string(), narrower });
        }
        ok
    }

    /// True while nothing is broken.
    pub fn ok(&self) -> bool {
        self.broken.is_empty()
    }

    /// The violations found, for a rule that cannot go on.
    ///
    /// # Errors
    /// Every violation, when there is one.
    pub fn settle(&mut self) -> Result<(), Vec<Violation>> {
        if self.broken.is_empty() { Ok(()) } else { Err(std::mem::take(&mut self.broken)) }
    }

    /// `outcome()` when nothing is broken.
    ///
    /// # Errors
    /// Every violation, when there is one.
    pub fn finish(self, outcome: impl FnOnce() -> Outcome) -> Answer {
        if self.broken.is_empty() { Ok(outcome()) } else { Err(self.broken) }
    }
}

/// Exactly `N` operands.
///
/// # Errors
/// One violation that tells the counts.
pub fn operands<'a, const N: usize>(given: &[&'a TensorSpec]) -> Result<[&'a TensorSpec; N], Vec<Violation>> {
    <[&TensorSpec; N]>::try_from(given).map_err(|_| {
        let (what, hint) = (format!("{} operands given", given.len()), format!("this call takes {N}"));
        vec![Violation { what, hint, narrower: false }]
    })
}
