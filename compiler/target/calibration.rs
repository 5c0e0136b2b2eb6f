//! The constants of the cost model that the file of a target gives.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Constants of the cost model (see [`crate::ttnn::cost`](mod@crate::ttnn::cost)); times in microseconds, bandwidths in 1e9 bytes per second.
///
/// `F` is a number where the model computes, and a [`Figure`](super::Figure), a number with its band, in the file.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration<F = f64> {
    /// Clock of the worker cores.
    pub clock_ghz: F,
    /// Time between the end of a program and the start of the next one that is dispatched already.
    pub gap_us: F,
    /// Times that the dispatcher needs for a program.
    pub dispatch: Dispatch<F>,
    /// Peak DRAM bandwidth.
    pub dram_gb_per_s: F,
    /// DRAM-sharded matmul.
    pub dram_sharded: DramSharded<F>,
    /// 2D matmul.
    pub multicast: Multicast<F>,
    /// 1D matmul, whose weights are interleaved.
    pub multicast_1d: Multicast1D<F>,
    /// Matrix unit.
    pub fpu: Fpu<F>,
    /// RMS norm, sharded.
    pub norm: Norm<F>,
    /// Attention, decode and prefill.
    pub attention: Attention<F>,
    /// The index of the largest element.
    pub argmax: ArgMax<F>,
    /// Everything that moves data or works elementwise.
    pub movement: Movement<F>,
    /// Drawing tokens on the card.
    pub sampling: Sampling<F>,
    /// Host work per decode step, outside the trace.
    pub host: Host<F>,
    /// A factor on the time of a phase, which is 1. Its band is what measured steps that were not fitted to are off by: what the formulas
    /// leave out, whatever their constants.
    pub whole: F,
}

/// Times that the dispatcher needs for one program of each kind when no kernel hides them, and how many programs it runs ahead.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Dispatch<F = f64> {
    /// Matrix products.
    pub matmul_us: F,
    /// Attention.
    pub attention_us: F,
    /// Norms and reductions.
    pub norm_us: F,
    /// Elementwise work.
    pub elementwise_us: F,
    /// Rows into the KV cache.
    pub cache_update_us: F,
    /// Rotary embedding.
    pub rotary_us: F,
    /// Between shards and other placements, and whatever was not measured.
    pub reshard_us: F,
    /// Tiles to rows and data types.
    pub untilize_us: F,
    /// Counting positions up.
    pub plus_one_us: F,
    /// Programs that the dispatcher may be ahead of the one that runs.
    pub run_ahead: u32,
}

/// `start + blocks * max(block_floor, block + in0_block_w * max(read, compute))`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DramSharded<F = f64> {
    /// Once per op.
    pub start_us: F,
    /// Of one bank.
    pub bank_gb_per_s: F,
    /// Cycles of a tile product beside the multiplier's phases. A tile of the weight is used once, so unpacking it is not hidden as it is
    /// where tiles are used again.
    pub tile_cycles: F,
    /// Per K-block.
    pub block_us: F,
    /// Least time of a K-block.
    pub block_floor_us: F,
    /// Tiles of the longest K-block of the fit: what its first and last take is in `start`.
    pub fitted_block: u32,
}

/// `start + max(compute, read) + unhidden * min(compute, read)`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Multicast<F = f64> {
    /// Once per op.
    pub start_us: F,
    /// Of all operands together.
    pub gb_per_s: F,
    /// Part of the shorter of computing and reading that the longer does not hide, 0 to 1.
    pub unhidden: F,
    /// Tiles of the K-blocks of the fit: shorter ones start more often.
    pub fitted_block: u32,
}

/// `start + max(tiles of the weight * tile, bytes / bandwidth, compute) + unhidden * compute`, as in [`Multicast`].
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Multicast1D<F = f64> {
    /// Once per op.
    pub start_us: F,
    /// Of all operands together.
    pub gb_per_s: F,
    /// Least time of reading one tile, all cores together, in nanoseconds: an interleaved tensor's pages are its tiles, and small ones do not
    /// reach the bandwidth.
    pub tile_ns: F,
}

/// Cycles of one 32x32x32 tile product: `tile_cycles + 16 * phases * phase_factor`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fpu<F = f64> {
    /// Without the multiplier's phases.
    pub tile_cycles: F,
    /// Measured over nominal cycles of a phase.
    pub phase_factor: F,
}

/// Sharded: `start + per_1000 * width / 1000 + per_tile * tiles of a core beyond the uncrowded ones`.
/// Interleaved, where a core takes whole rows: `start + interleaved_tile * tiles of the rows of a core`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Norm<F = f64> {
    /// Once per op.
    pub start_us: F,
    /// Per thousand columns.
    pub per_1000_us: F,
    /// Per tile of a core.
    pub per_tile_us: F,
    /// Per tile of a core, interleaved.
    pub interleaved_tile_us: F,
    /// Tiles of a core up to which sharded norms and elementwise work were measured: `per_tile` counts from there.
    pub uncrowded_tiles: u32,
}

/// Flash attention: `start + groups * group + max(work of the busiest core, reading) + combine * rounds`, where a core works through chunks of
/// keys, each `chunk + tiles of scores * (score_tile + their products)`, and reading takes all bytes at the bandwidth of DRAM and the
/// core's own at that of a core.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Attention<F = f64> {
    /// Once per op.
    pub start_us: F,
    /// Per head of a user that a core works through.
    pub group_us: F,
    /// Of the KV cache, all cores together.
    pub dram_gb_per_s: F,
    /// Of one core.
    pub core_gb_per_s: F,
    /// Two cores' partial results made one, decode only.
    pub combine_us: F,
    /// Per chunk of keys: every block operation starts anew.
    pub chunk_us: F,
    /// Softmax of a tile of scores.
    pub score_tile_us: F,
}

/// `start + rows in turn * (row + columns of a core * element) + rows * cores * merge`: a loop of the two RISC-Vs that move data, which share
/// the rows.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ArgMax<F = f64> {
    /// Once per op.
    pub start_us: F,
    /// Per row.
    pub row_us: F,
    /// Per element, in nanoseconds.
    pub element_ns: F,
    /// Per row and core, in nanoseconds: one core compares what all have found.
    pub merge_ns: F,
}

/// Host work around a traced decode step.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Host<F = f64> {
    /// Starting the trace and reading the token that the card picked.
    pub replay_us: F,
    /// A loop that samples on the host, beside what follows.
    pub sampling_us: F,
    /// The time that such a loop takes for each user.
    pub user_us: F,
    /// Logits read from the card.
    pub link_gb_per_s: F,
}

impl Host {
    /// Microseconds of a step whose logits the host reads and samples from, in bf16.
    pub fn sampled_us(&self, users: u32, vocab: u32) -> f64 {
        let bytes = 2.0 * f64::from(users) * f64::from(vocab);
        self.sampling_us + f64::from(users) * self.user_us + bytes / (self.link_gb_per_s * 1000.0)
    }
}

/// Times of ops on one tile of rows, and bandwidths for larger ones.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Movement<F = f64> {
    /// From shards to interleaved.
    pub to_interleaved_us: F,
    /// From interleaved to shards.
    pub to_sharded_us: F,
    /// From shards to other shards; also views, transposes, slices and concatenations that move data.
    pub reshard_us: F,
    /// Splitting a fused QKV projection into heads.
    pub create_heads_us: F,
    /// Rotary embedding of q, of k, or of both at once.
    pub rotary_us: F,
    /// New rows into one KV cache or both.
    pub cache_update_us: F,
    /// Joining heads.
    pub concat_heads_us: F,
    /// Adding two tensors.
    pub add_us: F,
    /// Multiplying two tensors, and other elementwise work: `multiply + multiply_per_7000 * width / 7000`.
    pub multiply_us: F,
    /// Per 7000 columns of elementwise work.
    pub multiply_per_7000_us: F,
    /// SiLU of an operand of elementwise work, beside the rest.
    pub silu_us: F,
    /// Looking up rows of a table.
    pub embedding_us: F,
    /// From tiles to rows or back.
    pub untilize_us: F,
    /// Counting positions up.
    pub plus_one_us: F,
    /// Interleaved tensors in DRAM, read or written.
    pub interleaved_gb_per_s: F,
    /// A write that is waited for before the next.
    pub write_us: F,
}

/// Times of the search for the likeliest tokens and of the draw among them, for up to 32 users.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling<F = f64> {
    /// A tile of logits, searched by one core alone.
    pub tile_us: F,
    /// A tile of logits of each of several cores that share a row.
    pub shared_tile_us: F,
    /// A tile of one core's finds, merged with those of the others.
    pub merged_tile_us: F,
    /// A thousand columns of a row that a core has to itself.
    pub row_per_1000_us: F,
    /// The draw.
    pub draw_us: F,
    /// Seeding random numbers.
    pub seed_us: F,
}

impl<F: Serialize> Calibration<F> {
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
        // A figure with its band; what the band may be is checked where it is read.
        Value::Array(figure) => figures.push((path.to_string(), figure.first().and_then(Value::as_f64))),
        // JSON has no NaN and no infinity; they are serialised as null.
        figure => figures.push((path.to_string(), figure.as_f64())),
    }
}
