//! Targets: the cards of `targets/*.ron`, each with the calibrated constants of the cost model.
//!
//! The file of a target holds the properties of the card itself: its chips, grid and banks. The part of L1 and DRAM that TT-NN leaves free
//! depends on the release of TT-NN and is taken from [`TtnnRelease`], unless the file says otherwise.

use std::path::Path;

use bitnetc_plan::card::{Dram, L1};
use bitnetc_plan::{Arch, Card, TtnnRelease, input};
use ron::extensions::Extensions;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A card under a release of TT-NN, with the constants of its cost model.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The release.
    pub release: &'static TtnnRelease,
    /// The card: its cores and memories, which decide the calls that fit and are legal.
    pub card: Card,
    /// The constants of the cost model.
    pub cost: Calibration,
}

/// The file of a target.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "Target")]
struct TargetFile {
    card: CardFile,
    cost: Calibration,
}

/// A [`Card`] without the figures that a release of TT-NN determines.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "Card")]
struct CardFile {
    name: String,
    arch: Arch,
    grid: (u32, u32),
    #[serde(default)]
    l1: Option<L1>,
    dram: DramFile,
}

/// A [`Dram`] without the figures that a release of TT-NN determines.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "Dram")]
struct DramFile {
    banks: u32,
    #[serde(default)]
    bank_bytes: Option<u64>,
    #[serde(default)]
    alignment: Option<u64>,
    #[serde(default)]
    readers_per_bank: Option<u32>,
}

impl CardFile {
    /// The card under a release; `None` where neither knows the size of a DRAM bank.
    fn under(self, release: &TtnnRelease) -> Option<Card> {
        let (chip, dram) = (release.chip(self.arch), self.dram);
        let dram = Dram {
            banks: dram.banks,
            bank_bytes: dram.bank_bytes.or_else(|| chip.bank_bytes(dram.banks))?,
            alignment: dram.alignment.unwrap_or(chip.dram_alignment),
            readers_per_bank: dram.readers_per_bank.unwrap_or(chip.readers_per_bank),
        };
        Some(Card { name: self.name, arch: self.arch, grid: self.grid, l1: self.l1.unwrap_or(chip.l1), dram })
    }
}

/// Constants of the cost model (see [`crate::ttnn::cost`]); times in microseconds, bandwidths in 1e9 bytes per second.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Clock of the worker cores.
    pub clock_ghz: f64,
    /// Gap between two ops.
    pub launch_us: f64,
    /// Shortest period of an op.
    pub period_us: f64,
    /// Peak DRAM bandwidth.
    pub dram_gb_per_s: f64,
    /// DRAM-sharded matmul.
    pub dram_sharded: DramSharded,
    /// 1D and 2D matmul.
    pub multicast: Multicast,
    /// Matrix unit.
    pub fpu: Fpu,
    /// RMS norm, sharded.
    pub norm: Norm,
    /// Attention, decode and prefill.
    pub attention: Attention,
    /// Everything that moves data or works elementwise.
    pub movement: Movement,
    /// Host work per decode step, outside the trace, when the card picks the token: starting the trace and reading the token.
    pub host_us: f64,
    /// The same when the host reads the logits and samples.
    pub host_sampling_us: f64,
}

/// `start + blocks * max(block_floor, block + in0_block_w * max(read, compute))`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DramSharded {
    /// Once per op.
    pub start_us: f64,
    /// Of one bank.
    pub bank_gb_per_s: f64,
    /// Per K-block.
    pub block_us: f64,
    /// Least time of a K-block.
    pub block_floor_us: f64,
    /// Tiles of the longest K-block of the fit: what its first and last take is in `start`.
    pub fitted_block: u32,
}

/// `start + max(compute, read) + unhidden * min(compute, read)`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Multicast {
    /// Once per op.
    pub start_us: f64,
    /// Of all operands together.
    pub gb_per_s: f64,
    /// Part of the shorter of computing and reading that the longer does not hide, 0 to 1.
    pub unhidden: f64,
    /// Tiles of the K-blocks of the fit: shorter ones start more often.
    pub fitted_block: u32,
}

/// Cycles of one 32x32x32 tile product: `tile_cycles + 16 * phases * phase_factor`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fpu {
    /// Without the multiplier's phases.
    pub tile_cycles: f64,
    /// Measured over nominal cycles of a phase.
    pub phase_factor: f64,
}

/// Sharded: `start + per_1000 * width / 1000 + per_tile * tiles of a core beyond the uncrowded ones`.
/// Interleaved, where a core takes whole rows: `start + interleaved_tile * tiles of the rows of a core`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Norm {
    /// Once per op.
    pub start_us: f64,
    /// Per thousand columns.
    pub per_1000_us: f64,
    /// Per tile of a core.
    pub per_tile_us: f64,
    /// Per tile of a core, interleaved.
    pub interleaved_tile_us: f64,
    /// Tiles of a core up to which sharded norms and elementwise work were measured: `per_tile` counts from there.
    pub uncrowded_tiles: u32,
}

/// Flash attention: `start + max(bytes / bandwidth, work of the busiest core) + combine * rounds`, where a core works through chunks of
/// keys, each `chunk + tiles of scores * (score_tile + their products)`, and reads them at its own bandwidth.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// Once per op.
    pub start_us: f64,
    /// Of the KV cache in decode, all cores together.
    pub gb_per_s: f64,
    /// Two cores' partial results made one, decode only.
    pub combine_us: f64,
    /// One core reading tiles.
    pub core_gb_per_s: f64,
    /// Per chunk of keys: every block operation starts anew.
    pub chunk_us: f64,
    /// Softmax of a tile of scores.
    pub score_tile_us: f64,
}

/// Times of ops on one tile of rows, and bandwidths for larger ones.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Movement {
    /// From shards to interleaved.
    pub to_interleaved_us: f64,
    /// From interleaved to shards.
    pub to_sharded_us: f64,
    /// From shards to other shards; also views, transposes, slices and concatenations that move data.
    pub reshard_us: f64,
    /// Splitting a fused QKV projection into heads.
    pub create_heads_us: f64,
    /// Rotary embedding of q, of k, or of both at once.
    pub rotary_us: f64,
    /// New rows into one KV cache or both.
    pub cache_update_us: f64,
    /// Joining heads.
    pub concat_heads_us: f64,
    /// Adding two tensors.
    pub add_us: f64,
    /// Multiplying two tensors, and other elementwise work: `multiply + multiply_per_7000 * width / 7000`.
    pub multiply_us: f64,
    /// Per 7000 columns of elementwise work.
    pub multiply_per_7000_us: f64,
    /// Looking up rows of a table.
    pub embedding_us: f64,
    /// From tiles to rows or back.
    pub untilize_us: f64,
    /// Logits read by argmax.
    pub argmax_gb_per_s: f64,
    /// Counting positions up.
    pub plus_one_us: f64,
    /// Interleaved tensors in DRAM, read or written.
    pub interleaved_gb_per_s: f64,
}

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
    /// The file leaves out the size of a bank, and no board of this chip has its number of banks, so the size is not known.
    #[error(
        "{path}: card.dram.bank_bytes is missing, and no {arch:?} board of TT-NN {release} has {banks} banks: give the bytes of a bank \
         as `bitnetc ttnn info --real` shows them, less those of a trace region"
    )]
    UnknownBanks {
        /// As given.
        path: String,
        /// The chip.
        arch: Arch,
        /// Its banks.
        banks: u32,
        /// The release.
        release: &'static str,
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
        let (arch, banks) = (file.card.arch, file.card.dram.banks);
        let unknown = || TargetError::UnknownBanks { path: path.to_string(), arch, banks, release: release.version };
        let card = file.card.under(release).ok_or_else(unknown)?;
        let target = Target { release, card, cost: file.cost };
        target.validate(path)?;
        Ok(target)
    }

    /// The text of a target's file, from which [`Target::parse`] reads the same target.
    ///
    /// # Errors
    /// None in practice: every target can be written.
    pub fn to_ron(&self) -> Result<String, ron::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            card: &'a Card,
            cost: &'a Calibration,
        }
        ron::ser::to_string_pretty(&Written { card: &self.card, cost: &self.cost }, ron::ser::PrettyConfig::new())
    }

    fn validate(&self, path: &str) -> Result<(), TargetError> {
        let range = |ok: bool, field: &str, found: String, expected| {
            let field = field.to_string();
            if ok { Ok(()) } else { Err(TargetError::Range { path: path.to_string(), field, found, expected }) }
        };
        let card = &self.card;
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
        let l1 = &card.l1;
        range(
            l1.base < l1.end && l1.end <= 1 << 24,
            "card.l1",
            format!("{}..{}", l1.base, l1.end),
            "base < end, at most 16 MiB",
        )?;
        for (field, alignment) in [("card.l1.alignment", l1.alignment), ("card.dram.alignment", card.dram.alignment)] {
            range(
                alignment.is_power_of_two() && (16..=4096).contains(&alignment),
                field,
                alignment.to_string(),
                "a power of two from 16, which a word of the NoC has, to 4096",
            )?;
        }
        for (field, value) in self.cost.figures() {
            let divides = ["gb_per_s", "ghz", "fitted_block"].iter().any(|unit| field.ends_with(unit));
            let expected = if divides { "a positive number up to 1e9" } else { "a number from 0 to 1e9" };
            let ok = value.is_some_and(|v| v <= MOST && if divides { v > 0.0 } else { v >= 0.0 });
            range(ok, &field, value.map_or_else(|| "no finite number".into(), |v| v.to_string()), expected)?;
        }
        Ok(())
    }
}

/// The largest figure of the cost model. It is far beyond any card, and small enough that sums of such times in nanoseconds are still
/// exact.
const MOST: f64 = 1e9;

/// Bytes of the largest DRAM bank.
const MOST_BANK: u64 = 1 << 40;

impl Calibration {
    /// Every figure by the path of its field, `None` where it is not finite. The figures are read from the serialised form, so that none is
    /// left out.
    fn figures(&self) -> Vec<(String, Option<f64>)> {
        let mut figures = Vec::new();
        collect("cost", &serde_json::to_value(self).unwrap_or_default(), &mut figures);
        figures
    }
}

fn collect(path: &str, value: &Value, figures: &mut Vec<(String, Option<f64>)>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, v)| collect(&format!("{path}.{name}"), v, figures)),
        // JSON has no NaN and no infinity; they are serialised as null.
        figure => figures.push((path.to_string(), figure.as_f64())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_target_loads_under_its_own_name() {
        for name in NAMES {
            assert_eq!(Target::find(name).unwrap().card.name, name);
        }
    }

    #[test]
    fn a_target_is_read_as_it_was_written() {
        for name in NAMES {
            let target = Target::find(name).unwrap();
            assert_eq!(parse(&target.to_ron().unwrap()).unwrap(), target);
        }
    }

    fn parse(text: &str) -> Result<Target, TargetError> {
        Target::parse(text, "t.ron", TtnnRelease::latest())
    }

    #[test]
    fn a_cards_file_comes_before_the_release() {
        let n150 = SHIPPED[0].1;
        let own =
            "l1: (base: 1024, end: 2048, alignment: 32), dram: (bank_bytes: 4096, alignment: 64, readers_per_bank: 2, ";
        let card = parse(&n150.replace("dram: (", own)).unwrap().card;
        assert_eq!(card.l1, L1 { base: 1024, end: 2048, alignment: 32 });
        assert_eq!(card.dram, Dram { banks: 12, bank_bytes: 4096, alignment: 64, readers_per_bank: 2 });
        let harvested = n150.replace("banks: 12", "banks: 11");
        let error = parse(&harvested).unwrap_err().to_string();
        assert!(error.contains("t.ron: card.dram.bank_bytes is missing") && error.contains("11 banks"), "{error}");
        let card = parse(&harvested.replace("banks: 11", "banks: 11, bank_bytes: 1000000")).unwrap().card;
        assert_eq!((card.dram.bank_bytes, card.l1), (1_000_000, TtnnRelease::latest().wormhole.l1));
    }

    #[test]
    fn a_bad_target_is_one_clear_error() {
        assert!(Target::find("n151").unwrap_err().to_string().contains("shipped are n150, n300, p100, p150"));
        assert!(matches!(Target::find("no/such.ron"), Err(TargetError::Read { .. })));
        let n150 = SHIPPED[0].1;
        let text = n150.replace("grid: (8, 8)", "grid: (0, 8)");
        assert!(parse(&text).unwrap_err().to_string().contains("card.grid is (0, 8)"));
        let text = n150.replace("grid:", "gird:");
        assert!(parse(&text).unwrap_err().to_string().starts_with("t.ron:7"));
    }

    #[test]
    fn a_card_that_cannot_be_is_refused_by_its_field() {
        let n150 = SHIPPED[0].1;
        let own = |figures: &str| parse(&n150.replace("dram: (", figures)).map(|_| ()).unwrap_err().to_string();
        for (figures, field) in [
            ("dram: (bank_bytes: 0, ", "card.dram.bank_bytes is 0"),
            ("dram: (bank_bytes: 18446744073709551615, ", "card.dram.bank_bytes"),
            ("dram: (alignment: 0, ", "card.dram.alignment is 0"),
            ("dram: (alignment: 24, ", "card.dram.alignment is 24"),
            ("dram: (readers_per_bank: 0, ", "card.dram.readers_per_bank is 0"),
            ("l1: (base: 2048, end: 2048, alignment: 16), dram: (", "card.l1 is 2048..2048"),
            ("l1: (base: 1024, end: 2048, alignment: 0), dram: (", "card.l1.alignment is 0"),
            ("l1: (base: 1024, end: 2048, alignment: 8), dram: (", "card.l1.alignment is 8"),
        ] {
            let error = own(figures);
            assert!(error.contains(field), "{error}");
        }
        for grid in ["(8, 0)", "(65, 8)"] {
            let error = parse(&n150.replace("grid: (8, 8)", &format!("grid: {grid}"))).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains(&format!("card.grid is {grid}")), "{error}");
        }
    }

    #[test]
    fn every_figure_of_the_cost_model_is_checked() {
        let target = Target::find("n150").unwrap();
        let figures = target.cost.figures();
        assert_eq!(figures.len(), 43, "{figures:?}");
        for (path, _) in &figures {
            let field = path.rsplit('.').next().unwrap();
            for bad in ["NaN", "inf", "-1.0"] {
                let figure = if field.ends_with("_block") || field.ends_with("_tiles") { "0" } else { bad };
                if figure == "0" && field == "uncrowded_tiles" {
                    continue;
                }
                let text = with(SHIPPED[0].1, path, figure);
                let error = parse(&text).map(|_| ()).expect_err(path).to_string();
                assert!(error.contains(path.as_str()), "{error}");
            }
        }
        let text = with(SHIPPED[0].1, "cost.attention.core_gb_per_s", "0.0");
        assert!(parse(&text).unwrap_err().to_string().contains("expected a positive number"));
    }

    /// The file with another value of one field.
    fn with(text: &str, path: &str, value: &str) -> String {
        let mut at = 0;
        for name in path.split('.').skip(1) {
            at += text[at..].find(&format!("{name}: ")).unwrap() + name.len() + 2;
        }
        let end = at + text[at..].find([',', ')']).unwrap();
        format!("{}{value}{}", &text[..at], &text[end..])
    }
}
