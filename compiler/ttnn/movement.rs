//! Candidates of calls that move or look up data.

use bitnetc_plan::op::{Concat, Embedding, PlusOne, SliceAt, ToMemoryConfig, Typecast, View};
use bitnetc_plan::ttnn::Violation;
use bitnetc_plan::{Layout, MemoryConfig, Ref, TILE};

use super::{Context, Drafting, Ways, placements};
use crate::schedule::Call;

/// Looks up rows of the embedding table. TT-NN writes them directly to some placements; the others are reached through interleaved L1.
pub fn embedding(call: &Call, cx: &Context<'_>, ways: &mut Ways) {
    let Some(output) = call.outputs.first() else { return };
    let mut homes = placements::features(&cx.spec(*output, MemoryConfig::DRAM), None, &cx.target.card);
    homes.push(MemoryConfig::L1);
    for memory in homes {
        let direct = ways.candidates.len();
        ways.consider(
            cx,
            call,
            vec![],
            || format!("to {memory}"),
            |d| {
                let name = d.output_name(0);
                rows_to(d, call, cx, &memory, name)
            },
        );
        if ways.candidates.len() == direct && memory.is_sharded() {
            ways.consider(
                cx,
                call,
                vec![],
                || format!("to L1, then to {memory}"),
                |d| {
                    let interleaved = format!("{}.interleaved", call.name);
                    rows_to(d, call, cx, &MemoryConfig::L1, interleaved.clone())?;
                    let spread = ToMemoryConfig { input: Ref::Value(interleaved), memory: memory.clone() };
                    d.named_step(format!("{}.spread", call.name), spread, vec![d.output_name(0)])
                },
            );
        }
    }
}

/// Looks the rows up and views them in four dimensions: TT-NN returns three, and every later call works on four.
fn rows_to(
    d: &mut Drafting<'_>,
    call: &Call,
    cx: &Context<'_>,
    memory: &MemoryConfig,
    name: String,
) -> Result<(), Vec<Violation>> {
    let shape = call.outputs.first().map(|id| cx.schedule.values[*id].shape.clone()).unwrap_or_default();
    let rows = format!("{}.rows", call.name);
    let (indices, table) = (d.input(0), d.input(1));
    let lookup = Embedding { indices, table, layout: Layout::Tile, memory: memory.clone() };
    d.named_step(call.name.clone(), lookup, vec![rows.clone()])?;
    d.named_step(format!("{}.view", call.name), View { input: Ref::Value(rows), shape }, vec![name])
}

/// Converts a tensor to another data type, in DRAM.
pub fn typecast(call: &Call, cx: &Context<'_>, ways: &mut Ways) {
    let Some(output) = call.outputs.first() else { return };
    let dtype = cx.schedule.values[*output].dtype;
    ways.consider(
        cx,
        call,
        vec![MemoryConfig::DRAM],
        || format!("to {dtype} in DRAM"),
        |d| d.step(Typecast { input: d.input(0), dtype, memory: MemoryConfig::DRAM }),
    );
}

/// Sets values side by side as columns.
pub fn join(call: &Call, cx: &Context<'_>, ways: &mut Ways) {
    let count = call.inputs.len();
    let homes = if cx.decode() { vec![MemoryConfig::L1, MemoryConfig::DRAM] } else { vec![MemoryConfig::DRAM] };
    for memory in homes {
        ways.consider(
            cx,
            call,
            vec![memory.clone(); count],
            || format!("in {memory}"),
            |d| {
                let inputs = (0..count).map(|at| d.input(at)).collect();
                d.step(Concat { inputs, memory: memory.clone() })
            },
        );
    }
}

/// Slices out the tile of rows that holds the prompt's last token.
pub fn last_tile(call: &Call, cx: &Context<'_>, ways: &mut Ways) {
    let (Some(input), Some(output)) = (call.values().next(), call.outputs.first()) else { return };
    let parts = cx.schedule.values[input].shape[2] / TILE;
    for memory in placements::features(&cx.spec(*output, MemoryConfig::DRAM), None, &cx.target.card) {
        ways.consider(
            cx,
            call,
            vec![MemoryConfig::DRAM],
            || format!("to {memory}"),
            |d| {
                let (input, starts, ends) = (d.input(0), d.input(1), d.input(2));
                d.step(SliceAt { input, starts, ends, parts, memory: memory.clone() })
            },
        );
    }
}

/// Adds one to every number of a buffer.
pub fn plus_one(call: &Call, cx: &Context<'_>, skip_negative: bool, ways: &mut Ways) {
    ways.consider(cx, call, vec![], || "in place".into(), |d| d.step(PlusOne { buffer: d.input(0), skip_negative }));
}
