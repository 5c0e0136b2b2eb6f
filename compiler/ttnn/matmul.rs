//! Projections: DRAM-sharded for one tile of rows, 2D multicast for more.
//!
//! Both read the same DRAM-sharded weight. The 1D multicast matmul wants its weight interleaved, which prefill could not share, so it is
//! no candidate; its rule and its cost serve comparison.

use bitnetc_plan::op::Matmul;
use bitnetc_plan::program::FusedActivation;
use bitnetc_plan::{ComputeKernel, Cores, DType, MatmulProgram, MemoryConfig, TILE};

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
    let Some([_, width]) = memory.shard() else { return };
    let card = &cx.target.card;
    for per_core_n in divisors(columns) {
        let out_cores = columns / per_core_n;
        if out_cores > card.cores() {
            break;
        }
        let out = MemoryConfig::width(Cores::row_major(out_cores, card.grid), [TILE, per_core_n * TILE]);
        for readers in 1..=card.dram.readers_per_bank {
            // The longest legal block is never slower than a shorter one: fewer blocks pay the same per tile.
            let mut found = false;
            for in0_block_w in divisors(width / TILE) {
                if found {
                    break;
                }
                let before = ways.candidates.len();
                let what = || {
                    format!(
                        "DRAM-sharded from {memory} to {out_cores} cores, in0_block_w {in0_block_w}, {readers} readers per bank"
                    )
                };
                ways.consider(cx, call, vec![memory.clone()], what, |d| {
                    let program = MatmulProgram::DramSharded {
                        in0_block_w,
                        per_core_m: 1,
                        per_core_n,
                        activation: ask.activation,
                        readers,
                    };
                    let (a, b) = (d.input(0), d.input(1));
                    d.step(Matmul {
                        a,
                        b,
                        program,
                        compute: compute(ask.precision),
                        dtype: ask.dtype,
                        memory: out.clone(),
                    })
                });
                found = ways.candidates.len() > before && ways.candidates[before].peak <= card.l1_bytes() / 2;
            }
        }
    }
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
