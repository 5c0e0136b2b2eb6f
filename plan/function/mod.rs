//! The function that a phase computes, as terms that do not show how it is computed.
//!
//! [`of_phase`] executes a phase on terms instead of numbers: each column of each tensor is an element of a [`Term`] times a
//! [`Scale`]. A term is named by a hash of what it computes, with the arithmetic of real numbers. Whatever does not change the function
//! leaves no trace in it:
//!
//! | difference | is gone because |
//! |---|---|
//! | moves, layouts, data types, views, slices of rows | a tensor is its columns, and a note of which rows it has ([`value`]) |
//! | padding | columns of zeros belong to no term |
//! | projections side by side, cut into chunks or into heads | columns are elements of a matrix's product, whatever stands beside them |
//! | reordered pairs of queries and keys | scores are sums of products, in no order |
//! | folded scales of weights and of rows | factors are kept beside terms, and carried through every function that allows it ([`algebra`]) |
//! | functions fused into matmuls and operands | they make the same term wherever they are applied |
//!
//! The compiler makes the function of a model from its graph in the same language, and `differences` compares the two. It also compares
//! the phases of a plan with each other and, by [`Function::digest`], with what the plan records. The layer is executed once, with the
//! residual stream as a term of its own: tensors of a layer are named by the pattern of their name, so that all layers are one.
//!
//! What is compared are the residual stream when it enters the first layer and at the end of a layer, and the logits. Tokens, positions and
//! caches are state between the runs of a phase: which buffers are read and written, and when, is the invariant
//! [`Dataflow`](crate::Invariant::Dataflow); that decode finds in the caches what prefill wrote is checked here, and there the order of
//! columns and their factors count.
//!
//! Data types and fidelity are no part of the function. Whether a precision lower than the one that a policy asks for loses nothing is
//! proved by the compiler, which knows the policy.

pub mod algebra;
pub mod columns;
mod differ;
pub mod heads;
pub mod matrices;
pub mod node;
mod op;
mod phase;
pub mod scale;
mod show;
pub mod value;

use sha2::{Digest as _, Sha256};

pub use columns::Columns;
pub use differ::{Difference, difference};
pub use node::{Term, Terms};
pub use phase::{Executed, of_phase};
pub use scale::{Factor, Scale};

/// Why something has no meaning here: what was found, and what would have one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; right would be: {hint}")]
pub struct Unclear {
    /// The finding.
    pub what: String,
    /// The form that is understood; may be empty.
    pub hint: String,
}

impl Unclear {
    /// Both as text.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Unclear { what: what.into(), hint: hint.into() }
    }
}

/// A step or a statement, and the terms that it was the first to make.
#[derive(Debug)]
pub struct Made {
    /// Its name.
    pub name: String,
    /// The terms of its results.
    pub terms: Vec<Term>,
}

/// The function of a phase or of a model.
#[derive(Debug)]
pub struct Function {
    /// The residual stream that enters the first layer.
    pub start: Term,
    /// The residual stream at the end of a layer.
    pub end: Term,
    /// The logits of the last token.
    pub logits: Term,
    /// What made which term, in order.
    pub made: Vec<Made>,
    /// All terms.
    pub terms: Terms,
}

impl Function {
    /// SHA-256 of the function of a model with so many layers, in hex. Equal functions have equal digests, however they are written down.
    pub fn digest(&self, layers: u32) -> String {
        let mut hash = Sha256::new();
        for term in [self.start, self.end, self.logits] {
            hash.update(term.hex());
        }
        hash.update(layers.to_le_bytes());
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// True when both are one function of one layer.
    pub fn is(&self, other: &Function) -> bool {
        (self.start, self.end, self.logits) == (other.start, other.end, other.logits)
    }
}

/// Makes the record of what was made by which step.
#[derive(Debug, Default)]
pub struct Record {
    made: Vec<Made>,
    known: std::collections::HashSet<Term>,
}

impl Record {
    /// Notes that `name` made the terms of `columns`, unless something before it did.
    pub fn note(&mut self, name: &str, columns: &Columns) {
        let new = columns.runs().iter().filter_map(|run| run.of).filter(|term| self.known.insert(*term));
        let terms: Vec<Term> = new.collect();
        if !terms.is_empty() {
            self.made.push(Made { name: name.to_owned(), terms });
        }
    }

    /// Everything noted, in order.
    pub fn finish(self) -> Vec<Made> {
        self.made
    }
}
