//! Cards as data: `targets/*.ron`, each a [`Card`] with the calibrated constants of the cost model.

use std::path::Path;

use bitnetc_plan::Card;
use serde::Deserialize;

/// A card and what things cost on it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// What fits and what is legal.
    pub card: Card,
    /// What it costs.
    pub cost: Calibration,
}

/// Constants of the cost model (see [`crate::ttnn::cost`]); times in microseconds, bandwidths in 1e9 bytes per second.
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
    /// Attention in decode.
    pub sdpa_decode: SdpaDecode,
    /// Everything that moves data or works elementwise.
    pub movement: Movement,
    /// Host work per decode step, outside the trace, when the card picks the token: starting the trace and reading the token.
    pub host_us: f64,
    /// The same when the host reads the logits and samples.
    pub host_sampling_us: f64,
}

/// `start + blocks * max(block_floor, block + in0_block_w * max(read, compute))`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
}

/// `start + max(compute, read) + min(compute, read) / 4`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Multicast {
    /// Once per op.
    pub start_us: f64,
    /// Of all operands together.
    pub gb_per_s: f64,
}

/// Cycles of one 32x32x32 tile product: `tile_cycles + 16 * phases * phase_factor`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fpu {
    /// Without the multiplier's phases.
    pub tile_cycles: f64,
    /// Measured over nominal cycles of a phase.
    pub phase_factor: f64,
}

/// Sharded: `start + per_1000 * width / 1000 + per_tile * tiles of a core beyond the four of the rows it was fitted on`.
/// Interleaved, where a core takes whole rows: `start + interleaved_tile * tiles of the rows of a core`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
}

/// `start + bytes / bandwidth`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SdpaDecode {
    /// Once per op.
    pub start_us: f64,
    /// Of the KV cache.
    pub gb_per_s: f64,
}

/// Times of ops on one tile of rows, and bandwidths for larger ones.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Movement {
    pub to_interleaved_us: f64,
    pub to_sharded_us: f64,
    pub reshard_us: f64,
    pub create_heads_us: f64,
    pub rotary_us: f64,
    pub cache_update_us: f64,
    pub concat_heads_us: f64,
    pub add_us: f64,
    pub multiply_us: f64,
    pub multiply_per_7000_us: f64,
    pub embedding_us: f64,
    pub untilize_us: f64,
    pub argmax_gb_per_s: f64,
    pub plus_one_us: f64,
    pub interleaved_gb_per_s: f64,
}

/// Why a target cannot be had.
#[derive(Debug, thiserror::Error)]
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
        /// What is wrong.
        reason: String,
    },
    /// A figure that no card has.
    #[error("{path}: {field} is {found}, expected {expected}")]
    Range {
        /// As given.
        path: String,
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
}

/// Names of the shipped targets.
pub const NAMES: [&str; 4] = ["n150", "n300", "p100", "p150"];

const SHIPPED: [&str; 4] = [
    include_str!("../../targets/n150.ron"),
    include_str!("../../targets/n300.ron"),
    include_str!("../../targets/p100.ron"),
    include_str!("../../targets/p150.ron"),
];

impl Target {
    /// A shipped target by name, or a target file by path (anything with a `/` or that ends in `.ron`).
    ///
    /// # Errors
    /// When there is no such target, or its file is unreadable, malformed or out of range.
    pub fn find(name: &str) -> Result<Target, TargetError> {
        if let Some(at) = NAMES.iter().position(|n| *n == name) {
            return Target::parse(SHIPPED[at], &format!("targets/{name}.ron"));
        }
        if !name.contains('/') && !name.ends_with(".ron") {
            return Err(TargetError::Unknown(name.to_string()));
        }
        let text = std::fs::read_to_string(Path::new(name))
            .map_err(|source| TargetError::Read { path: name.to_string(), source })?;
        Target::parse(&text, name)
    }

    fn parse(text: &str, path: &str) -> Result<Target, TargetError> {
        let target: Target = ron::from_str(text).map_err(|e| TargetError::Syntax {
            path: path.to_string(),
            position: e.span.start.to_string(),
            reason: e.code.to_string(),
        })?;
        target.validate(path)?;
        Ok(target)
    }

    fn validate(&self, path: &str) -> Result<(), TargetError> {
        let range = |ok: bool, field, found: String, expected| {
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
        let l1 = &card.l1;
        range(
            l1.base < l1.end && l1.end <= 1 << 24,
            "card.l1",
            format!("{}..{}", l1.base, l1.end),
            "base < end, at most 16 MiB",
        )?;
        for (field, alignment) in [("card.l1.alignment", l1.alignment), ("card.dram.alignment", card.dram.alignment)] {
            range(
                alignment.is_power_of_two() && alignment <= 4096,
                field,
                alignment.to_string(),
                "a power of two up to 4096",
            )?;
        }
        let c = &self.cost;
        for (field, value) in [
            ("cost.clock_ghz", c.clock_ghz),
            ("cost.dram_gb_per_s", c.dram_gb_per_s),
            ("cost.dram_sharded.bank_gb_per_s", c.dram_sharded.bank_gb_per_s),
            ("cost.multicast.gb_per_s", c.multicast.gb_per_s),
            ("cost.sdpa_decode.gb_per_s", c.sdpa_decode.gb_per_s),
            ("cost.movement.argmax_gb_per_s", c.movement.argmax_gb_per_s),
            ("cost.movement.interleaved_gb_per_s", c.movement.interleaved_gb_per_s),
        ] {
            range(value.is_finite() && value > 0.0, field, value.to_string(), "a positive number")?;
        }
        Ok(())
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
    fn a_bad_target_is_one_clear_error() {
        assert!(Target::find("n151").unwrap_err().to_string().contains("shipped are n150, n300, p100, p150"));
        assert!(matches!(Target::find("no/such.ron"), Err(TargetError::Read { .. })));
        let text = SHIPPED[0].replace("grid: (8, 8)", "grid: (0, 8)");
        assert!(Target::parse(&text, "t.ron").unwrap_err().to_string().contains("card.grid is (0, 8)"));
        let text = SHIPPED[0].replace("grid:", "gird:");
        assert!(Target::parse(&text, "t.ron").unwrap_err().to_string().starts_with("t.ron:7"));
    }
}
