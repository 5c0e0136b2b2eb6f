//! Some rows of a tensor.

use serde::{Deserialize, Serialize};

use super::argument::{Argument, Field, Plain, Visit};
use super::declare::op;
use crate::{MemoryConfig, Ref};

op! {
    /// `ttnn.slice` of rows (second-to-last dimension).
    Slice = "slice" -> 1 {
        /// The tensor.
        input: Ref [reads Cut],
        /// The rows kept.
        rows: Rows,
        /// Placement of the result.
        memory: MemoryConfig,
    }
}

/// Which rows a [`Slice`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rows {
    /// `start..end`.
    Range(u32, u32),
    /// The tile of 32 rows that holds the prompt's last token. The row it starts at, a multiple of 32, is known only at the call.
    LastTokenTile,
}

impl Field for Rows {}

impl Plain for Rows {
    fn visit<'a>(&'a self, name: &'static str, visit: &mut Visit<'_, 'a>) {
        match *self {
            Rows::Range(start, end) => visit(name, Argument::Range(start, end)),
            Rows::LastTokenTile => visit(name, Argument::KnownAtCall),
        }
    }
}
