//! Candidates of the head split and of joining heads. Decode shards users over cores: one core holds all heads of one user.

use bitnetc_plan::op::{ConcatHeads, ConcatHeadsDecode, CreateHeads, CreateHeadsDecode, Transpose, View};
use bitnetc_plan::{Cores, MemoryConfig, Ref, TILE};

use super::{Context, Ways, placements};
use crate::schedule::{Call, HeadCores};

/// The placement of heads in decode: users on consecutive cores, with all heads of a user in one shard.
pub fn users_on(cx: &Context<'_>, skip: u32, users: u32, heads: u32, head_dim: u32) -> MemoryConfig {
    let cores = Cores::row_major_from(skip, users, cx.target.card.grid);
    MemoryConfig::height(cores, [heads.next_multiple_of(TILE), head_dim])
}

/// Splits a fused projection into q, k and v; `counts` are the query heads, the KV heads and the elements per head.
pub fn create(call: &Call, cx: &Context<'_>, counts: [u32; 3], cores: HeadCores, ways: &mut Ways) {
    let [heads, kv_heads, head_dim] = counts;
    let Some(input) = call.values().next() else { return };
    if !cx.decode() {
        ways.consider(
            cx,
            call,
            vec![MemoryConfig::DRAM],
            || "interleaved in DRAM".into(),
            |d| d.step(CreateHeads { input: d.input(0), heads, kv_heads, memory: MemoryConfig::DRAM }),
        );
        return;
    }
    let card = &cx.target.card;
    let spec = cx.spec(input, MemoryConfig::DRAM);
    let memory = MemoryConfig::height(
        Cores::rectangle(0, 0, card.grid.0, card.grid.1),
        [heads.next_multiple_of(TILE), head_dim],
    );
    let overlap = cores == HeadCores::Shared;
    let mut placements = placements::width_shards(spec.columns(), card);
    if overlap {
        placements.extend([MemoryConfig::L1, MemoryConfig::DRAM]);
    }
    for placement in placements {
        ways.consider(
            cx,
            call,
            vec![placement.clone()],
            || format!("from {placement}"),
            |d| d.step(CreateHeadsDecode { input: d.input(0), heads, kv_heads, overlap, memory: memory.clone() }),
        );
    }
}

/// Joins more heads than there are cores, in the order in which prefill has them: heads first, then users.
fn concat_in_prefill_order(call: &Call, cx: &Context<'_>, ways: &mut Ways) {
    ways.consider(
        cx,
        call,
        vec![MemoryConfig::DRAM],
        || "transposed, interleaved in DRAM".into(),
        |d| {
            let transposed = format!("{}.transposed", call.name);
            let transpose = Transpose { input: d.input(0), dims: (1, 2), memory: MemoryConfig::DRAM };
            d.named_step(transposed.clone(), transpose, vec![transposed.clone()])?;
            d.step(ConcatHeads { input: Ref::Value(transposed), memory: MemoryConfig::DRAM })
        },
    );
}

/// Joins heads to features.
pub fn concat(call: &Call, cx: &Context<'_>, heads: u32, ways: &mut Ways) {
    let Some(input) = call.values().next() else { return };
    if !cx.decode() {
        ways.consider(
            cx,
            call,
            vec![MemoryConfig::DRAM],
            || "interleaved in DRAM".into(),
            |d| d.step(ConcatHeads { input: d.input(0), memory: MemoryConfig::DRAM }),
        );
        return;
    }
    let shape = cx.schedule.values[input].shape.clone();
    let (users, head_dim) = (shape[1], shape[3]);
    let requires = users_on(cx, 0, users, heads, head_dim);
    let card = &cx.target.card;
    if heads > card.cores() {
        concat_in_prefill_order(call, cx, ways);
        return;
    }
    for cores in placements::head_grids(heads, card) {
        ways.consider(
            cx,
            call,
            vec![requires.clone()],
            || format!("one head per core on {cores}"),
            |d| {
                let op = ConcatHeadsDecode { input: d.input(0), heads, cores: cores.clone() };
                if users == TILE {
                    return d.step(op);
                }
                // TT-NN returns a whole tile of rows; the users' rows are a view of it.
                let rows = format!("{}.tile", call.name);
                d.named_step(call.name.clone(), op, vec![rows.clone()])?;
                let view = View { input: Ref::Value(rows), shape: vec![1, 1, users, heads * head_dim] };
                d.named_step(format!("{}.users", call.name), view, vec![d.output_name(0)])
            },
        );
    }
}
