//! Collecting broken constraints.

use super::constraint::{Constraint, Values, Violation, constraints, values};
use super::{Answer, Outcome};
use crate::TensorSpec;

constraints! { "call", "the binding of the call";
    OPERANDS: "A call has as many operands as it takes."
        => "{given} operands given", "this call takes {taken}";
}

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

    /// Notes `constraint` as broken unless it `holds`; returns `holds`. Values are only made into text when it does not.
    #[inline]
    pub fn require(&mut self, constraint: &'static Constraint, holds: bool, values: Values<'_>) -> bool {
        if !holds {
            self.note(constraint, values);
        }
        holds
    }

    #[cold]
    fn note(&mut self, constraint: &'static Constraint, values: Values<'_>) {
        self.broken.push(Violation::new(constraint, values));
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
        if self.broken.is_empty() { Ok(()) } else { Err(self.take()) }
    }

    /// The violations found so far, which are no longer kept here.
    pub fn take(&mut self) -> Vec<Violation> {
        std::mem::take(&mut self.broken)
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
pub(super) fn operands<'a, const N: usize>(given: &[&'a TensorSpec]) -> Result<[&'a TensorSpec; N], Vec<Violation>> {
    <[&TensorSpec; N]>::try_from(given)
        .map_err(|_| vec![Violation::new(&OPERANDS, values![given = given.len(), taken = N])])
}
