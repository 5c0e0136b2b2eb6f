//! Targets: the cards of `targets/*.ron`, each with the calibrated constants of the cost model.
//!
//! The file of a target holds the properties of the card itself: its chips, grid and banks. The part of L1 and DRAM that TT-NN leaves free
//! depends on the release of TT-NN and is taken from [`TtnnRelease`], unless the file says otherwise.

mod calibration;
mod error;
mod figure;
mod file;

use std::path::Path;

use bitnetc_plan::{Card, TtnnRelease, input};
use ron::extensions::Extensions;
use serde::Serialize;

pub use calibration::{
    ArgMax, Attention, Calibration, Dispatch, DramSharded, Fpu, Host, Movement, Multicast, Multicast1D, Norm, Sampling,
};
pub use error::TargetError;
pub use figure::{Bands, Figure, Moved};
use file::TargetFile;

/// A card under a release of TT-NN, with the constants of its cost model.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The release.
    pub release: &'static TtnnRelease,
    /// The card: its cores and memories, which decide the calls that fit and are legal.
    pub card: Card,
    /// The constants of the cost model.
    pub cost: Calibration,
    /// How far each of them may be off.
    pub bands: Bands,
}

/// The shipped targets: name and file.
const SHIPPED: [(&str, &str); 4] = [
    ("n150", include_str!("../targets/n150.ron")),
    ("n300", include_str!("../targets/n300.ron")),
    ("p100", include_str!("../targets/p100.ron")),
    ("p150", include_str!("../targets/p150.ron")),
];

/// Names of the shipped targets.
pub const NAMES: [&str; SHIPPED.len()] = [SHIPPED[0].0, SHIPPED[1].0, SHIPPED[2].0, SHIPPED[3].0];

impl Target {
    /// A shipped target by name, or a target file by path (anything with a `/` or that ends in `.ron`).
    ///
    /// ```
    /// use bitnetc_compiler::target::Target;
    ///
    /// assert_eq!(Target::find("n150")?.card.grid, (8, 8));
    /// assert!(Target::find("n151").is_err_and(|error| error.to_string().contains("shipped are n150")));
    /// # Ok::<(), bitnetc_compiler::target::TargetError>(())
    /// ```
    ///
    /// # Errors
    /// When there is no such target, or its file is unreadable, malformed or out of range.
    pub fn find(name: &str) -> Result<Target, TargetError> {
        Target::under(name, TtnnRelease::latest())
    }

    /// The target under a given release of TT-NN; [`Target::find`] takes the latest.
    ///
    /// # Errors
    /// As for [`Target::find`].
    pub fn under(name: &str, release: &'static TtnnRelease) -> Result<Target, TargetError> {
        if let Some((_, text)) = SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
            return Target::parse(text, &format!("targets/{name}.ron"), release);
        }
        if !name.contains('/') && !name.ends_with(".ron") {
            return Err(TargetError::Unknown(name.to_string()));
        }
        let text =
            input::text(Path::new(name)).map_err(|source| TargetError::Read { path: name.to_string(), source })?;
        Target::parse(&text, name, release)
    }

    /// The target that the text of a file describes; `path` is what errors call it.
    ///
    /// # Errors
    /// When the text is malformed or a figure of it is one that no card has.
    pub fn parse(text: &str, path: &str, release: &'static TtnnRelease) -> Result<Target, TargetError> {
        // Optional figures are written without `Some` around them.
        let ron = ron::Options::default().with_default_extension(Extensions::IMPLICIT_SOME);
        let file: TargetFile = ron.from_str(text).map_err(|e| TargetError::Syntax {
            path: path.to_string(),
            position: e.span.start.to_string(),
            reason: e.code.to_string(),
        })?;
        let card = file.card.under(release);
        validate(&card, &file.cost, path)?;
        let Some((cost, bands)) = Bands::split(&file.cost) else {
            return Err(TargetError::Range {
                path: path.to_string(),
                field: "cost".into(),
                found: "no number".into(),
                expected: "finite numbers",
            });
        };
        Ok(Target { release, card, cost, bands })
    }

    /// The text of a target's file, from which [`Target::parse`] reads the same target.
    ///
    /// # Errors
    /// None for a target that was read: every one of them can be written.
    pub fn to_ron(&self) -> Result<String, ron::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            card: &'a Card,
            cost: Calibration<Figure>,
        }
        let cost =
            self.bands.join(&self.cost).ok_or_else(|| ron::Error::Message("a constant that is no number".into()))?;
        ron::ser::to_string_pretty(&Written { card: &self.card, cost }, ron::ser::PrettyConfig::new())
    }
}

/// Refuses figures that no card has.
fn validate(card: &Card, cost: &Calibration<Figure>, path: &str) -> Result<(), TargetError> {
    let range = |ok: bool, field: &str, found: String, expected| {
        let field = field.to_string();
        if ok { Ok(()) } else { Err(TargetError::Range { path: path.to_string(), field, found, expected }) }
    };
    let (w, h) = card.grid;
    range(
        (1..=64).contains(&w) && (1..=64).contains(&h),
        "card.grid",
        format!("({w}, {h})"),
        "1 to 64 columns and rows",
    )?;
    range((1..=64).contains(&card.dram.banks), "card.dram.banks", card.dram.banks.to_string(), "1 to 64")?;
    range(
        (1..=3).contains(&card.dram.readers_per_bank),
        "card.dram.readers_per_bank",
        card.dram.readers_per_bank.to_string(),
        "1 to 3",
    )?;
    range(
        (1..=MOST_BANK).contains(&card.dram.bank_bytes),
        "card.dram.bank_bytes",
        card.dram.bank_bytes.to_string(),
        "1 to 2^40 bytes",
    )?;
    range(card.dram.base <= MOST_BANK, "card.dram.base", card.dram.base.to_string(), "an address up to 2^40")?;
    let l1 = &card.l1;
    range(
        l1.base < l1.end && l1.end <= 1 << 24,
        "card.l1",
        format!("{}..{}", l1.base, l1.end),
        "base < end, at most 2^24",
    )?;
    for (field, alignment) in [("card.l1.alignment", l1.alignment), ("card.dram.alignment", card.dram.alignment)] {
        range(
            alignment.is_power_of_two() && (16..=4096).contains(&alignment),
            field,
            alignment.to_string(),
            "a power of two from 16, which a word of the NoC has, to 4096",
        )?;
    }
    for (field, value) in cost.figures() {
        let divides =
            ["gb_per_s", "ghz", "fitted_block", "run_ahead", "whole"].iter().any(|unit| field.ends_with(unit));
        let expected = if divides { "a positive number up to 1e9" } else { "a number from 0 to 1e9" };
        let ok = value.is_some_and(|v| v <= MOST && if divides { v > 0.0 } else { v >= 0.0 });
        range(ok, &field, value.map_or_else(|| "no finite number".into(), |v| v.to_string()), expected)?;
    }
    Ok(())
}

/// The largest figure of the cost model. It is far beyond any card, and small enough that sums of such times in nanoseconds are still
/// exact.
const MOST: f64 = 1e9;

/// Bytes of the largest DRAM bank.
const MOST_BANK: u64 = 1 << 40;

#[cfg(test)]
mod tests;
