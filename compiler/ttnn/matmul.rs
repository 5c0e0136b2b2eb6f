//! Candidates of projections: DRAM-sharded matmuls for one tile of rows, 2D multicast matmuls for more.
//!
//! Both read the same DRAM-sharded weight, so that decode and prefill share it. A 1D multicast matmul needs its weight interleaved and is
//! no candidate for that reason; its rule and its cost are used for comparisons.

use std::cmp::Reverse;

use bitnetc_plan::op::Matmul;
use bitnetc_plan::program::FusedActivation;
use bitnetc_plan::ttnn::check;
use bitnetc_plan::{ComputeKernel, Cores, DType, MatmulProgram, MemoryConfig, Ref, TILE, TensorSpec};

use super::cost::{self, Price};
use super::front::Front;
use super::{Context, Ways, placements};
use crate::policy::Precision;
use crate::schedule::Call;

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
    multicast_2d(call, cx, &ask, &input_spec, columns, ways);
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

/// The K-blocks and readers worth drafting for one pair of placements: the legal ones that no other beats in both time and circular
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
    let mut front = Front::default();
    for (in0_block_w, readers) in all {
        let op = op(in0_block_w, readers, Ref::Value(String::new()), Ref::Weight(String::new())).into();
        let Ok(outcome) = check(&op, &[input, weight], card) else { continue };
        let price = Price::of(&cost::cost(&op, &[input, weight], &outcome, cx));
        front.offer(price, outcome.circular_buffers, (in0_block_w, readers));
    }
    front.into_choices().collect()
}

/// The ways of a 2D matmul: the legal ones that no other beats in both time and circular buffers.
///
/// A core with fewer rows and columns multiplies less and buffers less. So grids are tried from the largest on, and a grid whose best way
/// is no faster than the leanest way of a larger grid is left out.
fn multicast_2d(call: &Call, cx: &Context<'_>, ask: &Ask, input: &TensorSpec, columns: u32, ways: &mut Ways) {
    let Some(weight) = call.inputs.get(1).and_then(|w| cx.schedule.fixed_spec(w)) else { return };
    let (rows, inner) = (input.tile_rows() as u32, input.tile_columns() as u32);
    let most = if ask.precision.fp32_dest_acc { 4 } else { 8 };
    let (a, b) = (Ref::Value(String::new()), Ref::Weight(String::new()));
    let op = |program, a, b| Matmul {
        a,
        b,
        program,
        compute: compute(ask.precision),
        dtype: ask.dtype,
        memory: MemoryConfig::DRAM,
    };
    let mut front: Front<MatmulProgram> = Front::default();
    for (grid, per_core) in grids(rows, columns, cx.target.card.grid) {
        let whole = program_2d(grid, per_core, inner, per_core.0, most, ask.activation);
        let least = Price::of(&cost::unchecked(&op(whole, a.clone(), b.clone()).into(), &[input, weight], cx));
        if front.leanest().is_some_and(|leanest| leanest <= least) && !cx.everything {
            continue;
        }
        for in0_block_w in divisors(inner) {
            for out_block_h in divisors(per_core.0) {
                let program = program_2d(grid, per_core, in0_block_w, out_block_h, most, ask.activation);
                if cx.everything {
                    front.keep(program);
                    continue;
                }
                let op = op(program.clone(), a.clone(), b.clone()).into();
                let Ok(outcome) = check(&op, &[input, weight], &cx.target.card) else { continue };
                let price = Price::of(&cost::cost(&op, &[input, weight], &outcome, cx));
                front.offer(price, outcome.circular_buffers, program);
            }
        }
    }
    for program in front.into_choices() {
        let what = || match &program {
            MatmulProgram::Multicast2D { grid: (x, y), in0_block_w, out_block, .. } => {
                format!("2D on {x}x{y}, in0_block_w {in0_block_w}, output block of {} tile rows", out_block.0)
            }
            MatmulProgram::DramSharded { .. } | MatmulProgram::Multicast1D { .. } => String::new(),
        };
        ways.consider(cx, call, vec![MemoryConfig::DRAM], what, |d| {
            let (a, b) = (d.input(0), d.input(1));
            d.step(op(program.clone(), a, b))
        });
    }
}

/// All different divisions of rows and columns of tiles over a card's cores, most cores first, each with the cores that have work and the
/// tiles of one core.
fn grids(rows: u32, columns: u32, card: (u32, u32)) -> Vec<((u32, u32), (u32, u32))> {
    let cuts = |tiles: u32, most: u32| {
        let mut each: Vec<u32> = (1..=most.min(tiles)).rev().map(|cores| tiles.div_ceil(cores)).collect();
        each.dedup();
        each.into_iter().map(move |each| (tiles.div_ceil(each), each))
    };
    let mut grids: Vec<_> =
        cuts(rows, card.1).flat_map(|(y, m)| cuts(columns, card.0).map(move |(x, n)| ((x, y), (m, n)))).collect();
    grids.sort_by_key(|(_, (m, n))| u64::from(*m) * u64::from(*n));
    grids
}

fn program_2d(
    grid: (u32, u32),
    (per_core_m, per_core_n): (u32, u32),
    in0_block_w: u32,
    out_block_h: u32,
    most: u32,
    activation: Option<FusedActivation>,
) -> MatmulProgram {
    MatmulProgram::Multicast2D {
        grid,
        in0_block_w,
        out_subblock: subblock(out_block_h, per_core_n, most),
        out_block: (out_block_h, per_core_n),
        per_core_m,
        per_core_n,
        activation,
    }
}

/// The subblock that fills most of the `most` tiles of the destination register, and the squarest of several. A subblock reads one row and
/// one column of tiles for each step of K, so a square one reads least. The cost model makes no difference between them.
fn subblock(rows: u32, columns: u32, most: u32) -> (u32, u32) {
    let all = divisors(columns).flat_map(|w| divisors(rows).map(move |h| (h, w)));
    all.filter(|(h, w)| h * w <= most).max_by_key(|(h, w)| (h * w, Reverse(h + w))).unwrap_or((1, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_cut_once_each_and_the_largest_comes_first() {
        let all = grids(64, 80, (11, 10));
        assert_eq!(all[0], ((10, 10), (7, 8)), "80 columns on 11 cores leave one without work");
        assert!(all.contains(&((8, 10), (7, 10))) && all.contains(&((1, 1), (64, 80))));
        for ((x, y), (m, n)) in &all {
            assert!(x * n >= 80 && (x - 1) * n < 80 && y * m >= 64 && (y - 1) * m < 64, "every core has work");
        }
        assert_eq!(grids(1, 3, (8, 8)), [((3, 1), (1, 1)), ((2, 1), (1, 2)), ((1, 1), (1, 3))]);
    }

    #[test]
    fn subblocks_fill_the_destination() {
        assert_eq!(subblock(4, 10, 8), (4, 2));
        assert_eq!(subblock(7, 27, 8), (7, 1));
        assert_eq!(subblock(1, 10, 4), (1, 2));
        assert_eq!(subblock(1, 11, 8), (1, 1));
    }
}
