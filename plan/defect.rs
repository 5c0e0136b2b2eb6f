//! Defects of a plan. Each names the invariant that is broken and the place, and says what was found there and what would be right.

use std::fmt;

use crate::PhaseKind;
use crate::ttnn::Violation;

/// The invariants of a plan; [`mod@crate::verify`] says each in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub enum Invariant {
    /// The plan is of this format version.
    Format,
    /// The plan is of a release of TT-NN that is known, and makes calls it has.
    Release,
    /// The card's figures make sense.
    Card,
    /// Options and model facts are in range.
    Options,
    /// Every number is small enough to calculate with.
    Bounds,
    /// Phases, names and lists are complete, in order, and without repetition.
    Names,
    /// A weight's tensor is what its source makes.
    WeightSource,
    /// A buffer's tensor is what its role asks for.
    BufferRole,
    /// A tensor's placement exists on the card.
    Placement,
    /// A scalar can be evaluated.
    Scalar,
    /// Operands are defined before they are used, and of the right kind.
    Defined,
    /// No value is used after it was freed or taken over, and none is freed twice.
    Alive,
    /// A layer leaves the memory as it found it.
    LayerLoop,
    /// Every value is freed, but for the results.
    Freed,
    /// Every value is used.
    Used,
    /// TT-NN accepts the call.
    Legal,
    /// The outputs are what TT-NN returns.
    Outputs,
    /// Addresses are the allocator's.
    Address,
    /// The footprint is the call's.
    Footprint,
    /// Tensors and circular buffers fit L1.
    L1Capacity,
    /// Tensors fit the DRAM banks.
    DramCapacity,
    /// Persistent buffers are written as their roles ask.
    Dataflow,
    /// Padding is made of zeros that do not count.
    Padding,
    /// Phases compute one function.
    Function,
    /// A traced phase can be replayed.
    Trace,
    /// Predicted costs are numbers.
    Cost,
}

/// Where a defect is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// The plan as a whole.
    Plan,
    /// A weight.
    Weight(String),
    /// A persistent buffer.
    Buffer(String),
    /// A phase.
    Phase(PhaseKind),
    /// A step of a phase.
    Step(PhaseKind, String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Plan => write!(f, "plan"),
            Place::Weight(name) => write!(f, "weight `{name}`"),
            Place::Buffer(name) => write!(f, "buffer `{name}`"),
            Place::Phase(kind) => write!(f, "{kind}"),
            Place::Step(kind, step) => write!(f, "{kind}, step `{step}`"),
        }
    }
}

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Defect {
    /// Which one.
    pub invariant: Invariant,
    /// Where.
    pub place: Place,
    /// The finding.
    pub what: String,
    /// The correct state; empty when `what` says it.
    pub hint: String,
    /// The constraint that a call or a placement breaks; `None` for other invariants.
    pub violation: Option<Violation>,
}

/// Collects defects.
#[derive(Debug, Default)]
pub(crate) struct Defects(pub Vec<Defect>);

impl Defects {
    pub fn push(&mut self, invariant: Invariant, place: Place, what: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Defect { invariant, place, what: what.into(), hint: hint.into(), violation: None });
    }

    /// A constraint of TT-NN's that is broken; `call` stands before its text.
    pub fn broken(&mut self, invariant: Invariant, place: Place, call: &str, violation: Violation) {
        let (what, hint) = (format!("{call}{violation}"), violation.hint());
        self.0.push(Defect { invariant, place, what, hint, violation: Some(violation) });
    }
}
