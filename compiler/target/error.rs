//! The reasons for which there is no target.

use super::NAMES;

/// The reasons for which there is no target.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Neither a shipped name nor a file.
    #[error("no target `{0}`: shipped are {names}, or give the path of a target's RON file", names = NAMES.join(", "))]
    Unknown(String),
    /// The file cannot be read.
    #[error("cannot read target file {path}")]
    Read {
        /// As given.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a target.
    #[error("{path}:{position}: {reason}")]
    Syntax {
        /// As given.
        path: String,
        /// Line and column.
        position: String,
        /// The mistake.
        reason: String,
    },
    /// A figure that no card has.
    #[error("{path}: {field} is {found}, expected {expected}")]
    Range {
        /// As given.
        path: String,
        /// The field.
        field: String,
        /// Its value.
        found: String,
        /// The value or form that would be accepted.
        expected: &'static str,
    },
}
