//! The constants of the cost model that the file of a target gives.

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// Drawing tokens on the card.
    pub sampling: Sampling,
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

/// Times of the search for the likeliest tokens and of the draw among them, for up to 32 users.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// A tile of logits, searched by one core alone.
    pub tile_us: f64,
    /// A tile of logits of each of several cores that share a row.
    pub shared_tile_us: f64,
    /// A tile of one core's finds, merged with those of the others.
    pub merged_tile_us: f64,
    /// A thousand columns of a row that a core has to itself.
    pub row_per_1000_us: f64,
    /// The draw.
    pub draw_us: f64,
    /// Seeding random numbers.
    pub seed_us: f64,
}

impl Calibration {
    /// Every figure by the path of its field, `None` where it is not finite. The figures are read from the serialised form, so that none is
    /// left out.
    pub(super) fn figures(&self) -> Vec<(String, Option<f64>)> {
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
