//! Some rows or columns of a tensor.

use serde::{Deserialize, Serialize};

use super::argument::{Argument, Field, Plain, Visit};
use super::declare::op;
use crate::{MemoryConfig, Ref};

op! {
    /// `ttnn.slice` of rows (second-to-last dimension) or of columns (the last).
    Slice = "slice" -> 1 {
        /// The tensor.
        input: Ref [reads Cut],
        /// The part kept.
        kept: Kept,
        /// Placement of the result.
        memory: MemoryConfig,
    }
}

/// The part of a tensor that a [`Slice`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Kept {
    /// Rows `start..end`.
    Rows(u32, u32),
    /// The first so many columns of every row.
    Columns(u32),
}

impl Field for Kept {}

impl Plain for Kept {
    fn visit<'a>(&'a self, name: &'static str, visit: &mut Visit<'_, 'a>) {
        match *self {
            Kept::Rows(start, end) => visit(name, Argument::Range(start, end)),
            Kept::Columns(count) => visit(name, Argument::Range(0, count)),
        }
    }
}
