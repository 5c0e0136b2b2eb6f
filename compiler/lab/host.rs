//! Published figures of host copies in a decode step, read from `host.ron`.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::rows::RowsError;

/// The host copies of a decode step that does not use a second command queue.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copies {
    /// The time of all copies of a step, in microseconds.
    pub us: f64,
    /// The card and model it was measured on.
    pub card: String,
    /// The publication.
    pub source: String,
}

/// The contents of `host.ron`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Host copies.
    pub copies: Copies,
}

static PUBLISHED: LazyLock<Result<Published, RowsError>> = LazyLock::new(|| {
    let syntax = |e: ron::error::SpannedError| RowsError::Syntax {
        path: "compiler/lab/host.ron".into(),
        position: e.span.start.to_string(),
        reason: e.code.to_string(),
    };
    ron::from_str(include_str!("host.ron")).map_err(syntax)
});

/// The published figures.
///
/// # Errors
/// None for the file as shipped; a test reads it.
pub fn published() -> Result<&'static Published, RowsError> {
    PUBLISHED.as_ref().map_err(Clone::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_figures_are_read() {
        assert!(published().unwrap().copies.us > 0.0);
    }
}
