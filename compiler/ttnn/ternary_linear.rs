//! Candidates of projections whose weights are in two bits: products by bitnetc's own kernels, of one tile of rows.
//!
//! The cores of the result compute it, so that their number decides how fast weights are multiplied; where the activations are decides next to
//! nothing, as one core sends them to all others.

use std::ops::RangeInclusive;

use bitnetc_plan::op::{TernaryGated, TernaryLinear};
use bitnetc_plan::program::FusedActivation;
use bitnetc_plan::ttnn::check;
use bitnetc_plan::{
    ComputeKernel, Cores, DType, MemoryConfig, Op, Ref, TILE, TensorSpec, TernaryProgram, Weight, kernels,
};

use super::cost::{self, Price};
use super::front::Front;
use super::matmul::divisors;
use super::{Context, Ways, placements};
use crate::policy::Precision;
use crate::schedule::Call;

/// The blocks that are tried, in tiles. Longer ones are no packet of the NoC, and shorter ones are shorter reads than those by which the bandwidth
/// of banks was measured, so that their price would be too low.
const BLOCKS: RangeInclusive<u32> = 8..=32;

/// All ways of one projection by a weight in two bits: the one that the call reads, or `beside` it the same in two bits.
pub fn ways(
    call: &Call,
    cx: &Context<'_>,
    activation: Option<FusedActivation>,
    precision: Precision,
    beside: Option<&Weight>,
    ways: &mut Ways,
) {
    let Some(output) = call.outputs.first() else { return };
    let given = call.inputs.get(1).and_then(|w| cx.schedule.fixed_spec(w)).filter(|w| w.dtype == DType::Bfp2);
    let Some(weight) = beside.map(|weight| &weight.spec).or(given) else { return };
    let (compute, dtype) = (compute(precision), cx.schedule.values[*output].dtype);
    let made = |program, a, weights: &[Ref], memory| {
        let [b] = weights else { return None };
        let program = TernaryProgram { activation, ..program };
        Some(TernaryLinear { a, b: b.clone(), program, compute, dtype, memory }.into())
    };
    enumerate(call, cx, &[weight], beside.as_slice(), &made, ways);
}

/// All ways of gate, up and their product in one program.
pub fn gated(call: &Call, cx: &Context<'_>, precision: Precision, weights: [&Weight; 2], ways: &mut Ways) {
    let compute = compute(precision);
    let made = |program, a, weights: &[Ref], memory| {
        let [gate, up] = weights else { return None };
        Some(TernaryGated { a, gate: gate.clone(), up: up.clone(), program, compute, memory }.into())
    };
    enumerate(call, cx, &weights.map(|weight| &weight.spec), &weights, &made, ways);
}

fn compute(precision: Precision) -> ComputeKernel {
    ComputeKernel { fidelity: precision.fidelity, fp32_dest_acc: precision.fp32_dest_acc, packer_l1_acc: false }
}

/// The call of a program, of activations and weights, whose result goes to a placement.
type Made<'a> = dyn Fn(TernaryProgram, Ref, &[Ref], MemoryConfig) -> Option<Op> + 'a;

/// The ways of products by weights of these specs. `brought` are those that a way brings; without any the call reads its weight itself.
fn enumerate(
    call: &Call,
    cx: &Context<'_>,
    specs: &[&TensorSpec],
    brought: &[&Weight],
    made: &Made<'_>,
    ways: &mut Ways,
) {
    let (Some(input), Some(columns)) = (call.values().next(), specs.first().map(|spec| spec.columns())) else { return };
    let spec = cx.spec(input, MemoryConfig::DRAM);
    let (columns, card) = (columns.div_ceil(TILE), &cx.target.card);
    for memory in placements::features(&spec, placements::head_count(cx, input), card) {
        let Some([_, width]) = memory.shard() else { continue };
        for per_core in divisors(columns).filter(|per_core| columns / per_core <= card.cores()) {
            let cores = columns / per_core;
            let out = MemoryConfig::width(Cores::row_major(cores, card.grid), [TILE, per_core * TILE]);
            let a = cx.spec(input, memory.clone());
            let operands: Vec<&TensorSpec> = [&a].into_iter().chain(specs.iter().copied()).collect();
            let nameless = vec![Ref::Weight(String::new()); specs.len()];
            let op = |program| made(program, Ref::Value(String::new()), &nameless, out.clone());
            for program in promising(cx, &operands, &op) {
                let what = || {
                    let from = memory.l1_cores().map_or(0, Cores::len);
                    let both = if specs.len() > 1 { "gate and up in two bits" } else { "two bits" };
                    let (block, readers) = (program.in0_block_w, program.readers);
                    let each = width / TILE;
                    format!(
                        "{both}, {from} ({each} tiles each) to {cores} cores, in0_block_w {block}, {readers} readers per bank"
                    )
                };
                ways.consider(cx, call, vec![memory.clone()], what, |d| {
                    let weights: Vec<Ref> = match brought {
                        [] => vec![d.input(1)],
                        brought => brought.iter().map(|weight| d.weight((*weight).clone())).collect(),
                    };
                    match made(program, d.input(0), &weights, out.clone()) {
                        Some(op) => d.step(op),
                        None => Err(Vec::new()),
                    }
                });
            }
        }
    }
}

/// The blocks and readers worth drafting for one pair of placements: the legal ones that no other beats in both time and circular buffers.
fn promising(
    cx: &Context<'_>,
    operands: &[&TensorSpec],
    op: &impl Fn(TernaryProgram) -> Option<Op>,
) -> Vec<TernaryProgram> {
    let card = &cx.target.card;
    let inner = operands.last().map_or(1, |weight| weight.tile_rows() as u32);
    let mut blocks: Vec<u32> = divisors(inner).filter(|block| BLOCKS.contains(block)).collect();
    if blocks.is_empty() {
        blocks.extend(divisors(inner).find(|block| block <= BLOCKS.end()));
    }
    let kernels = kernels::TERNARY_LINEAR.fingerprint();
    let program = |in0_block_w, readers| TernaryProgram { in0_block_w, readers, activation: None, kernels };
    let programs = (1..=card.dram.readers_per_bank).flat_map(|n| blocks.iter().map(move |block| program(*block, n)));
    if cx.everything {
        return programs.collect();
    }
    let mut front = Front::default();
    for program in programs {
        let Some(op) = op(program) else { continue };
        let Ok(outcome) = check(&op, operands, card) else { continue };
        let price = Price::of(&cost::cost(&op, operands, &outcome, cx));
        front.offer(price, outcome.circular_buffers, program);
    }
    front.into_choices().collect()
}
