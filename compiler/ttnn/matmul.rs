//! Projections: DRAM-sharded for one tile of rows, 2D multicast for more.
//!
//! Both read the same DRAM-sharded weight. The 1D multicast matmul wants its weight interleaved, which prefill could not share, so it is
//! no candidate; its rule and its cost serve comparison.

use bitnetc_plan::op::Matmul;
use bitnetc_plan::program::FusedActivation;
use bitnetc_plan::ttnn::check;
use bitnetc_plan::{ComputeKernel, Cores, DType, MatmulProgram, MemoryConfig, Ref, TILE, TensorSpec};

use super::cost::{self, Price};
use super::{Context, Ways, placements};
use crate::policy::Precision;
use crate::schedule::Call;

/// Output columns of a 2D matmul are cut over 8 cores on either chip: Blackhole's wider grids gain nothing for these widths.
const GRID_COLUMNS: u32 = 8;

/// Longest K-block of a 2D matmul, in tiles: beyond it blocks no longer hide their start and only take L1.
const MAX_BLOCK_2D: u32 = 8;

/// The compute config of a precision.
pub fn compute(precision: Precision) -> ComputeKernel {
    ComputeKernel { fidelity: precision.fidelity, fp32_dest_acc: precision.fp32_dest_acc, packer_l1_acc: true }
}

/// Divisors of `n`, largest first.
pub fn divisors(n: u32) -> impl Iterator<Item = u32> {
    (1..=n).rev().filter(move |d| n.is_multiple_of(*d))
}

/// All ways of one projection.
pub fn ways(call: &Call, cx: &Context<'_>, activation: Option<FusedActivation>, precision: Precision, ways: &mut Ways) {
    let (Some(input), Some(output)) = (call.values().next(), call.outputs.first()) else { return };
    let input_spec = cx.spec(input, MemoryConfig::DRAM);
    let out = &cx.schedule.values[*output];
    let columns = out.shape.last().copied().unwrap_or(0).div_ceil(TILE);
    let ask = Ask { activation, precision, dtype: out.dtype };
    if input_spec.outer() == 1 && input_spec.rows() <= TILE {
        for memory in placements::features(&input_spec, placements::head_count(cx, input), &cx.target.card) {
            dram_sharded(call, cx, &ask, &memory, columns, ways);
        }
    }
    multicast_2d(call, cx, &ask, input_spec.tile_rows() as u32, input_spec.tile_columns() as u32, columns, ways);
}

struct Ask {
    activation: Option<FusedActivation>,
    precision: Precision,
    dtype: DType,
}

fn dram_sharded(call: &Call, cx: &Context<'_>, ask: &Ask, memory: &MemoryConfig, columns: u32, ways: &mut Ways) {
    let (Some(input), Some([_, width])) = (call.values().next(), memory.shard()) else { return };
    let Some(weight) = call.inputs.get(1).and_then(|w| cx.schedule.fixed_spec(w)) else { return };
    let card = &cx.target.card;
    let input = cx.spec(input, memory.clone());
    for per_core_n in divisors(columns) {
        let out_cores = columns / per_core_n;
        if out_cores > card.cores() {
            break;
        }
        let out = MemoryConfig::width(Cores::row_major(out_cores, card.grid), [TILE, per_core_n * TILE]);
        let op = |in0_block_w, readers, a, b| {
            let program = MatmulProgram::DramSharded {
                in0_block_w,
                per_core_m: 1,
                per_core_n,
                activation: ask.activation,
                readers,
            };
            Matmul { a, b, program, compute: compute(ask.precision), dtype: ask.dtype, memory: out.clone() }
        };
        for (in0_block_w, readers) in promising(cx, &input, weight, &op) {
            let what = || {
                let cores = input.memory.l1_cores().map_or(0, Cores::len);
                format!(
                    "DRAM-sharded, {cores} ({} tiles each) to {out_cores} cores, in0_block_w {in0_block_w}, {readers} readers per bank",
                    width / TILE
                )
            };
            ways.consider(cx, call, vec![memory.clone()], what, |d| {
                let (a, b) = (d.input(0), d.input(1));
                d.step(op(in0_block_w, readers, a, b))
            });
        }
    }
}

/// The K-blocks and readers worth drafting for one pair of placements: of the legal ones those that none beats in both time and circular
/// buffers. A K-block may be longer than an input shard.
fn promising(
    cx: &Context<'_>,
    input: &TensorSpec,
    weight: &TensorSpec,
    op: &impl Fn(u32, u32, Ref, Ref) -> Matmul,
) -> Vec<(u32, u32)> {
    let card = &cx.target.card;
    let blocks: Vec<u32> = divisors(weight.tile_rows() as u32).collect();
    let all = (1..=card.dram.readers_per_bank).flat_map(|readers| blocks.iter().map(move |block| (*block, readers)));
    if cx.everything {
        return all.collect();
    }
    let mut front: Vec<(Price, u64, (u32, u32))> = Vec::new();
    for (in0_block_w, readers) in all {
        let op = op(in0_block_w, readers, Ref::Value(String::new()), Ref::Weight(String::new())).into();
        let Ok(outcome) = check(&op, &[input, weight], card) else { continue };
        let price = Price::of(&cost::cost(&op, &[input, weight], &outcome, cx));
        let bytes = outcome.circular_buffers;
        if front.iter().any(|(p, b, _)| *p <= price && *b <= bytes) {
            continue;
        }
        front.retain(|(p, b, _)| !(price <= *p && bytes <= *b));
        front.push((price, bytes, (in0_block_w, readers)));
    }
    front.into_iter().map(|(_, _, choice)| choice).collect()
}

fn multicast_2d(call: &Call, cx: &Context<'_>, ask: &Ask, rows: u32, inner: u32, columns: u32, ways: &mut Ways) {
    let card = &cx.target.card;
    let grid = (GRID_COLUMNS.min(card.grid.0), rows.min(card.grid.1).min(8));
    let per_core_m = rows.div_ceil(grid.1);
    let per_core_n = columns.div_ceil(grid.0);
    let max_subblock = if ask.precision.fp32_dest_acc { 4 } else { 8 };
    let Some(subblock) = (1..=max_subblock.min(per_core_n)).rev().find(|w| per_core_n.is_multiple_of(*w)) else {
        return;
    };
    for in0_block_w in divisors(inner).filter(|b| *b <= MAX_BLOCK_2D) {
        for out_block_h in divisors(per_core_m) {
            let what = || {
                format!(
                    "2D on {}x{}, in0_block_w {in0_block_w}, output block of {out_block_h} tile rows",
                    grid.0, grid.1
                )
            };
            ways.consider(cx, call, vec![MemoryConfig::DRAM], what, |d| {
                let program = MatmulProgram::Multicast2D {
                    grid,
                    in0_block_w,
                    out_subblock: (1, subblock),
                    out_block: (out_block_h, per_core_n),
                    per_core_m,
                    per_core_n,
                    activation: ask.activation,
                };
                let (a, b) = (d.input(0), d.input(1));
                d.step(Matmul {
                    a,
                    b,
                    program,
                    compute: compute(ask.precision),
                    dtype: ask.dtype,
                    memory: MemoryConfig::DRAM,
                })
            });
        }
    }
}
