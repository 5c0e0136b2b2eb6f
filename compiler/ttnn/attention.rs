//! Candidates of the rotary embedding, the KV cache writes and attention.

use std::collections::HashMap;

use bitnetc_plan::op::{
    CacheFill, CacheUpdate, CacheUpdateOne, Embedding, Rotary, RotaryDecode, RotaryFused, Sdpa, SdpaDecode,
    ToMemoryConfig, Transpose, View,
};
use bitnetc_plan::program::SdpaProgram;
use bitnetc_plan::{ComputeKernel, Cores, Fidelity, Layout, MemoryConfig, Ref, Scalar, TILE};

use super::{Context, Ways, heads};
use crate::policy::Precision;
use crate::schedule::Call;

/// Rotations are products with cosines and sines. They run at full fidelity, as their error would add to every score. TT-NN accepts fp32
/// sums only up to a head width of 128.
fn rotary_compute(head_dim: u32) -> ComputeKernel {
    ComputeKernel { fidelity: Fidelity::HiFi4, fp32_dest_acc: head_dim <= 128, packer_l1_acc: false }
}

/// The parameters of an attention call.
pub struct Ask<'a> {
    /// Multiplies the scores.
    pub scale: &'a Scalar,
    /// Fidelity and accumulation.
    pub precision: Precision,
    /// Tokens the cache holds.
    pub context: u32,
    /// Tokens of a cache block.
    pub block: u32,
}

/// Rows of a rotary table: in decode those of the users on the cores of q and k, in prefill those of the chunk in DRAM.
pub fn rotary_rows(call: &Call, cx: &Context<'_>, ways: &mut Ways) {
    let Some(output) = call.outputs.first() else { return };
    let shape = cx.schedule.values[*output].shape.clone();
    if !cx.decode() {
        ways.consider(
            cx,
            call,
            vec![],
            || "looked up in DRAM".into(),
            |d| {
                let (lookup, view) = (format!("{}.lookup", call.name), d.output_name(0));
                let (indices, table) = (d.input(0), d.input(1));
                let embedding = Embedding { indices, table, layout: Layout::Tile, memory: MemoryConfig::DRAM };
                d.named_step(lookup.clone(), embedding, vec![lookup.clone()])?;
                d.named_step(call.name.clone(), View { input: Ref::Value(lookup), shape }, vec![view])
            },
        );
        return;
    }
    let (rows, head_dim) = (shape[1], shape[3]);
    let memory = MemoryConfig::height(Cores::row_major(rows, cx.target.card.grid), [TILE, head_dim]);
    ways.consider(
        cx,
        call,
        vec![],
        || "looked up, then one row per core".into(),
        |d| {
            let step = |suffix: &str| format!("{}.{suffix}", call.name);
            let lookup =
                Embedding { indices: d.input(0), table: d.input(1), layout: Layout::Tile, memory: MemoryConfig::L1 };
            d.named_step(step("lookup"), lookup, vec![step("lookup")])?;
            let view = View { input: Ref::Value(step("lookup")), shape: vec![1, 1, rows, head_dim] };
            d.named_step(step("view"), view, vec![step("view")])?;
            let transpose = Transpose { input: Ref::Value(step("view")), dims: (1, 2), memory: MemoryConfig::L1 };
            d.named_step(step("transpose"), transpose, vec![step("transpose")])?;
            let spread = ToMemoryConfig { input: Ref::Value(step("transpose")), memory: memory.clone() };
            d.named_step(call.name.clone(), spread, vec![d.output_name(0)])
        },
    );
}

/// Decode: q and k at once.
pub fn rotary_fused(call: &Call, cx: &Context<'_>, ways: &mut Ways) {
    let values: Vec<_> = call.values().map(|id| cx.schedule.values[id].shape.clone()).collect();
    let [q, k, cos, _] = values.as_slice() else { return };
    let (users, head_dim) = (q[1], q[3]);
    let rows = MemoryConfig::height(Cores::row_major(cos[1], cx.target.card.grid), [TILE, head_dim]);
    let requires = vec![
        heads::users_on(cx, 0, users, q[2], head_dim),
        heads::users_on(cx, users, users, k[2], head_dim),
        rows.clone(),
        rows,
    ];
    ways.consider(
        cx,
        call,
        requires,
        || "q and k at once on disjoint cores".into(),
        |d| {
            d.step(RotaryFused {
                q: d.input(0),
                k: d.input(1),
                cos: d.input(2),
                sin: d.input(3),
                trans: d.input(4),
                compute: rotary_compute(head_dim),
            })
        },
    );
}

/// q or k alone.
pub fn rotary(call: &Call, cx: &Context<'_>, ways: &mut Ways) {
    let Some(input) = call.values().next() else { return };
    let shape = &cx.schedule.values[input].shape;
    let compute = rotary_compute(shape[3]);
    if cx.decode() {
        let (users, heads, head_dim) = (shape[1], shape[2], shape[3]);
        let rows = heads::users_on(cx, 0, users, TILE, head_dim);
        ways.consider(
            cx,
            call,
            vec![heads::users_on(cx, 0, users, heads, head_dim), rows.clone(), rows],
            || "one user per core".into(),
            |d| {
                let (input, cos, sin, trans) = (d.input(0), d.input(1), d.input(2), d.input(3));
                d.step(RotaryDecode { input, cos, sin, trans, compute })
            },
        );
        return;
    }
    ways.consider(
        cx,
        call,
        vec![MemoryConfig::DRAM; 3],
        || "interleaved in DRAM".into(),
        |d| {
            let (input, cos, sin, trans) = (d.input(0), d.input(1), d.input(2), d.input(3));
            d.step(Rotary { input, cos, sin, trans, compute, memory: MemoryConfig::DRAM })
        },
    );
}

/// Decode: one row per user into both caches.
pub fn cache_update(call: &Call, cx: &Context<'_>, ways: &mut Ways) {
    let Some(k) = call.values().next() else { return };
    let shape = &cx.schedule.values[k].shape;
    let (users, kv_heads, head_dim) = (shape[1], shape[2], shape[3]);
    let requires =
        vec![heads::users_on(cx, users, users, kv_heads, head_dim), heads::users_on(cx, 0, users, kv_heads, head_dim)];
    ways.consider(
        cx,
        call,
        requires,
        || "k and v at once on disjoint cores".into(),
        |d| {
            let (k_cache, k, v_cache, v) = (d.input(0), d.input(1), d.input(2), d.input(3));
            d.step(CacheUpdate { k_cache, k, v_cache, v, positions: d.input(4), page_table: d.input(5) })
        },
    );
}

/// Decode: one row per user into one cache.
pub fn cache_update_one(call: &Call, cx: &Context<'_>, ways: &mut Ways) {
    let Some(rows) = call.values().next() else { return };
    let shape = &cx.schedule.values[rows].shape;
    ways.consider(
        cx,
        call,
        vec![heads::users_on(cx, 0, shape[1], shape[2], shape[3])],
        || "one user per core".into(),
        |d| {
            let (cache, input, positions, page_table) = (d.input(0), d.input(1), d.input(2), d.input(3));
            d.step(CacheUpdateOne { cache, input, positions, page_table })
        },
    );
}

/// Prefill: a chunk's rows into one cache.
pub fn cache_fill(call: &Call, cx: &Context<'_>, ways: &mut Ways) {
    ways.consider(
        cx,
        call,
        vec![MemoryConfig::DRAM],
        || "from DRAM".into(),
        |d| d.step(CacheFill { cache: d.input(0), input: d.input(1), pages: d.input(2) }),
    );
}

/// Attention over the cache, of one token per user (decode) or of a chunk of a prompt (prefill).
pub fn attention(call: &Call, cx: &Context<'_>, ask: &Ask<'_>, ways: &mut Ways) {
    let Some(q) = call.values().next() else { return };
    let shape = cx.schedule.values[q].shape.clone();
    if cx.decode() { decode(call, cx, ask, &shape, ways) } else { prefill(call, cx, ask, shape[2], ways) }
}

fn compute(precision: Precision) -> ComputeKernel {
    ComputeKernel { fidelity: precision.fidelity, fp32_dest_acc: precision.fp32_dest_acc, packer_l1_acc: false }
}

/// Lengths of chunks of queries or keys, longest first, so that of two that take the same time the longer is chosen.
const CHUNKS: [u32; 5] = [512, 256, 128, 64, 32];

/// Grids as wide as the one the users' cores are laid out on.
fn grids(cx: &Context<'_>) -> impl Iterator<Item = (u32, u32)> {
    let (width, height) = cx.target.card.grid;
    (1..=height).map(move |h| (width, h))
}

/// A decode step serves all positions up to the context. So of the ways to attend, those are left out that take more than this many percent
/// of the shortest time at the last position, however short their time is at the position that is priced.
const LATE_PERCENT: u64 = 110;

fn decode(call: &Call, cx: &Context<'_>, ask: &Ask<'_>, shape: &[u32], ways: &mut Ways) {
    let mut late = Ways::default();
    decode_at(call, &Context { position: ask.context - 1, ..*cx }, ask, shape, &mut late);
    decode_at(call, cx, ask, shape, ways);
    let times: HashMap<&str, u64> = late.candidates.iter().map(|c| (c.what.as_str(), c.price.ns)).collect();
    let Some(least) = times.values().min() else { return };
    ways.candidates.retain(|c| times.get(c.what.as_str()).is_some_and(|ns| 100 * ns <= LATE_PERCENT * least));
}

fn decode_at(call: &Call, cx: &Context<'_>, ask: &Ask<'_>, shape: &[u32], ways: &mut Ways) {
    let (users, heads, head_dim) = (shape[1], shape[2], shape[3]);
    let requires = vec![heads::users_on(cx, 0, users, heads, head_dim)];
    for k_chunk in CHUNKS.into_iter().filter(|c| ask.context.is_multiple_of(*c)) {
        for grid in grids(cx) {
            let program = SdpaProgram { grid, q_chunk: 0, k_chunk };
            let shards = heads::users_on(cx, 0, users, heads, head_dim);
            for memory in [MemoryConfig::L1, MemoryConfig::DRAM, shards] {
                let what = || format!("{}x{} cores, chunks of {k_chunk}, result in {memory}", grid.0, grid.1);
                ways.consider(cx, call, requires.clone(), what, |d| {
                    d.step(SdpaDecode {
                        q: d.input(0),
                        k_cache: d.input(1),
                        v_cache: d.input(2),
                        positions: d.input(4),
                        page_table: d.input(3),
                        scale: ask.scale.clone(),
                        program,
                        compute: compute(ask.precision),
                        memory: memory.clone(),
                    })
                });
            }
        }
    }
}

fn prefill(call: &Call, cx: &Context<'_>, ask: &Ask<'_>, tokens: u32, ways: &mut Ways) {
    let grid = cx.target.card.grid;
    let chunks = || CHUNKS.into_iter().filter(|c| tokens.is_multiple_of(*c));
    for (q_chunk, k_chunk) in chunks().flat_map(|q| chunks().map(move |k| (q, k))) {
        let program = SdpaProgram { grid, q_chunk, k_chunk };
        ways.consider(
            cx,
            call,
            vec![MemoryConfig::DRAM],
            || format!("chunks of {q_chunk} queries and {k_chunk} keys"),
            |d| {
                d.step(Sdpa {
                    q: d.input(0),
                    k_cache: d.input(1),
                    v_cache: d.input(2),
                    pages: d.input(3),
                    start: d.input(4),
                    scale: ask.scale.clone(),
                    program,
                    compute: compute(ask.precision),
                    memory: MemoryConfig::DRAM,
                })
            },
        );
    }
}
