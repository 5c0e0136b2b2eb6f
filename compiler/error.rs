//! The reasons for which a compilation ends without a plan.

use bitnetc_plan::{Defect, PhaseKind};

use crate::graph::{GraphError, TypeError};
use crate::model::PhaseError;
use crate::passes::{PlaceError, SelectError};
use crate::policy::PolicyError;

/// The reasons for which a compilation ends without a plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// An option that no plan can have.
    #[error("{option} is {found}; expected {expected}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        found: String,
        /// The value or form that would be accepted.
        expected: String,
    },
    /// A precision that cannot be asked for.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The model has no such phase.
    #[error(transparent)]
    Phase(#[from] PhaseError),
    /// A pass broke the graph: a defect of bitnetc.
    #[error("{phase}: a pass left a broken graph: {}", list(.errors))]
    Graph {
        /// The phase.
        phase: PhaseKind,
        /// The broken invariants.
        errors: Vec<GraphError>,
    },
    /// A pass met an operation that does not fit its inputs: a defect of bitnetc.
    #[error("{phase}: {error}")]
    Fuse {
        /// The phase.
        phase: PhaseKind,
        /// The input that does not fit.
        error: TypeError,
    },
    /// TT-NN has no call for an operation.
    #[error("{phase}: {error}")]
    Select {
        /// The phase.
        phase: PhaseKind,
        /// Which and why.
        error: SelectError,
    },
    /// No placement is legal or fits.
    #[error("{phase} on {card}: {error}")]
    Place {
        /// The phase.
        phase: PhaseKind,
        /// The card.
        card: String,
        /// Which call and why.
        error: PlaceError,
    },
    /// Weights, caches and activations need more DRAM than the card has.
    #[error("{what}")]
    Dram {
        /// The tensor that finds no room, or the bytes that are needed, and what the card has.
        what: String,
    },
    /// The plan does not verify: a defect of bitnetc.
    #[error("the plan does not hold: {}", list(.0))]
    Plan(Vec<Defect>),
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    let shown: Vec<_> = items.iter().take(3).map(ToString::to_string).collect();
    let more = if items.len() > 3 { format!(" and {} more", items.len() - 3) } else { String::new() };
    format!("{}{more}", shown.join("; "))
}
