//! Padding: zeros that make every width of a model one of whole tiles.
//!
//! TT-NN computes on tiles of 32 columns. Where a model's width is no multiple of that, a plan's tensors are wider than the model's: zeros
//! follow each head, or the end of each row. [`Padding`] says where they are, of a weight in its source and of a value beside its spec.
//!
//! The zeros are made once, in the weights, and no call ever has to mask them, because every call makes zeros of zeros:
//!
//! | call | why the padding stays zero and the rest is as without it |
//! |---|---|
//! | embedding | the table's rows end in zeros |
//! | matrix product | the matrix has zero rows for the zeros it reads, and zero columns for those it makes |
//! | norm | a mean over `D` columns of which `d` are the model's is `d/D` of the model's; an epsilon times `d/D` and factors times `sqrt(d/D)` make up for it |
//! | product, sum, functions | a plan contains only functions that are 0 at 0 wherever their result is padded |
//! | quantisation | zeros change no maximum of magnitudes, and are rounded to zeros |
//! | head split and merge | padding follows each head, so that heads are cut between paddings |
//! | rotary embedding | pairs of zeros are turned into zeros |
//! | attention | zeros add nothing to a score, and columns of zero values are summed to zeros; the scale is the model's |
//! | pick of a token | reads no padding, as a zero could be the largest logit |
//!
//! `follow.rs` applies these rules to a phase. The compiler takes the padding of each value from it, and [`mod@crate::verify`] compares.

mod follow;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::TILE;
pub(crate) use follow::{Followed, follow};

/// Columns made of groups that each end in zeros: `groups` times `from` columns of the model's and `to - from` zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Padding {
    /// Groups side by side: heads, or 1 for a row that is padded as a whole.
    pub groups: u32,
    /// Columns of a group in the model.
    pub from: u32,
    /// Columns of a group on the card.
    pub to: u32,
}

impl Padding {
    /// The padding of `groups` groups of `from` columns to whole tiles, at least `least` columns each; `None` where they are that already,
    /// or where a tensor cannot be that wide.
    pub fn to_tiles(groups: u32, from: u32, least: u32) -> Option<Padding> {
        let to = from.max(least).checked_next_multiple_of(TILE)?;
        (to != from).then_some(Padding { groups, from, to })
    }

    /// Columns on the card.
    pub fn columns(self) -> u64 {
        u64::from(self.groups) * u64::from(self.to)
    }

    /// The part of the columns that is the model's.
    pub fn share(self) -> f64 {
        f64::from(self.from) / f64::from(self.to)
    }

    /// The padding itself, or `None` when it adds no zeros.
    pub fn added(self) -> Option<Padding> {
        (self.from != self.to).then_some(self)
    }
}

impl fmt::Display for Padding {
    /// `5460 of 5472`, `20 x 80 of 96`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.groups {
            1 => write!(f, "{} of {}", self.from, self.to),
            groups => write!(f, "{groups} x {} of {}", self.from, self.to),
        }
    }
}

/// The state of columns, for a sentence.
pub(crate) fn text(padding: Option<Padding>) -> String {
    padding.map_or_else(|| "not padded".into(), |padding| format!("padded ({padding})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_become_whole_tiles() {
        let padded = |from, least| Padding::to_tiles(1, from, least).map(|p| p.to);
        assert_eq!([padded(5460, 0), padded(5472, 0), padded(1, 0)], [Some(5472), None, Some(32)]);
        assert_eq!([padded(64, 128), padded(128, 128)], [Some(128), None]);
        assert_eq!(padded(u32::MAX, 0), None);
        assert_eq!(Padding::to_tiles(20, 80, 0).unwrap().to_string(), "20 x 80 of 96");
        assert_eq!(Padding::to_tiles(1, 5460, 0).unwrap().to_string(), "5460 of 5472");
    }
}
