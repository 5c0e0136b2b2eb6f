//! Two functions compared, and the place at which they part.

use super::node::Term;
use super::show::Shown;
use super::{Function, Made};
use crate::{Defect, Invariant, PhaseKind, Place};

/// How a function differs from the one that is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The first step that computes what the expected function has nowhere; `None` when each is there and they are put together in another
    /// way.
    pub step: Option<String>,
    /// What it computes.
    pub found: String,
    /// The first step or statement of the expected function that is not found.
    pub missing: Option<String>,
    /// What that computes.
    pub expected: String,
}

impl Difference {
    /// The difference of a phase as a defect; `of` has the expected function.
    pub fn defect(self, phase: PhaseKind, of: &str) -> Defect {
        let Difference { step, found, missing, expected } = self;
        let place = step.map_or(Place::Phase(phase), |step| Place::Step(phase, step));
        let missing = missing.map_or(String::new(), |name| format!("`{name}`, "));
        let what = if matches!(place, Place::Phase(_)) { found } else { format!("it computes {found}") };
        let hint = format!("{of} has here {missing}{expected}");
        Defect { invariant: Invariant::Function, place, what, hint, violation: None }
    }
}

/// The first difference of a function from the expected one; `None` when they are equal.
pub fn difference(found: &Function, expected: &Function) -> Option<Difference> {
    if found.is(expected) {
        return None;
    }
    let (ours, theirs) = (Shown::new(found), Shown::new(expected));
    let (strange, missing) = (first_without(found, expected), first_without(expected, found));
    let ends = [
        ("the residual stream starts as", found.start, expected.start),
        ("a layer ends in", found.end, expected.end),
        ("the logits are", found.logits, expected.logits),
    ];
    let (what, end, expected_end) = ends.into_iter().find(|(_, a, b)| a != b)?;
    let at_end = |shown: &Shown<'_>, term| format!("{what} {}", shown.term(term));
    let of = |shown: &Shown<'_>, step: &Option<(&Made, Term)>, end| match step {
        Some((_, term)) => shown.term(*term),
        None => at_end(shown, end),
    };
    Some(Difference {
        found: of(&ours, &strange, end),
        expected: of(&theirs, &missing, expected_end),
        step: strange.map(|(made, _)| made.name.clone()),
        missing: missing.map(|(made, _)| made.name.clone()),
    })
}

/// The first thing that a function makes and the other does not.
fn first_without<'f>(function: &'f Function, other: &Function) -> Option<(&'f Made, Term)> {
    let strange = |term: &&Term| other.terms.node(**term).is_none();
    let strange = |made: &'f Made| made.terms.iter().find(strange).map(|term| (made, *term));
    function.made.iter().find_map(strange)
}
