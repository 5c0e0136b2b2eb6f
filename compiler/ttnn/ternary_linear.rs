//! Candidates of projections whose weights are in two bits: products by bitnetc's own kernels, of one tile of rows.
//!
//! The cores of the result compute it, so that the number of these cores decides how fast weights are multiplied, and the number of cores
//! that hold the activations how fast they are gathered.

use std::ops::RangeInclusive;

use bitnetc_plan::op::TernaryLinear;
use bitnetc_plan::program::FusedActivation;
use bitnetc_plan::ttnn::check;
use bitnetc_plan::{ComputeKernel, Cores, DType, MemoryConfig, Ref, TILE, TensorSpec, TernaryProgram, Weight, kernels};

use super::cost::{self, Price};
use super::front::Front;
use super::matmul::divisors;
use super::{Context, Ways, placements};
use crate::policy::Precision;
use crate::schedule::Call;

/// The blocks that are tried, in tiles. Longer ones save nothing, and let the matrix unit wait for the last of them. Reads of shorter ones are
/// shorter than those by which the bandwidth of interleaved tensors was measured, so that their price would be too low.
const BLOCKS: RangeInclusive<u32> = 8..=36;

/// All ways of one projection by a weight in two bits: the one that the call reads, or `beside` it the same in two bits.
pub fn ways(
    call: &Call,
    cx: &Context<'_>,
    activation: Option<FusedActivation>,
    precision: Precision,
    beside: Option<&Weight>,
    ways: &mut Ways,
) {
    let (Some(input), Some(output)) = (call.values().next(), call.outputs.first()) else { return };
    let given = call.inputs.get(1).and_then(|w| cx.schedule.fixed_spec(w)).filter(|w| w.dtype == DType::Bfp2);
    let Some(weight) = beside.map(|weight| &weight.spec).or(given) else { return };
    let spec = cx.spec(input, MemoryConfig::DRAM);
    let (columns, dtype) = (weight.columns().div_ceil(TILE), cx.schedule.values[*output].dtype);
    let compute =
        ComputeKernel { fidelity: precision.fidelity, fp32_dest_acc: precision.fp32_dest_acc, packer_l1_acc: false };
    let card = &cx.target.card;
    for memory in placements::features(&spec, placements::head_count(cx, input), card) {
        let Some([_, width]) = memory.shard() else { continue };
        for per_core in divisors(columns).filter(|per_core| columns / per_core <= card.cores()) {
            let cores = columns / per_core;
            let out = MemoryConfig::width(Cores::row_major(cores, card.grid), [TILE, per_core * TILE]);
            let op = |(in0_block_w, buffers), a, b| {
                let kernels = kernels::TERNARY_LINEAR.fingerprint();
                let program = TernaryProgram { in0_block_w, buffers, activation, kernels };
                TernaryLinear { a, b, program, compute, dtype, memory: out.clone() }
            };
            for cut in promising(cx, &cx.spec(input, memory.clone()), weight, &op) {
                let what = || {
                    let from = memory.l1_cores().map_or(0, Cores::len);
                    format!(
                        "two bits, {from} ({} tiles each) to {cores} cores, in0_block_w {}, {} buffers",
                        width / TILE,
                        cut.0,
                        cut.1
                    )
                };
                ways.consider(cx, call, vec![memory.clone()], what, |d| {
                    let a = d.input(0);
                    let b = match beside {
                        Some(weight) => d.weight(weight.clone()),
                        None => d.input(1),
                    };
                    d.step(op(cut, a, b))
                });
            }
        }
    }
}

/// The blocks and buffers worth drafting for one pair of placements: the legal ones that no other beats in both time and circular buffers.
fn promising(
    cx: &Context<'_>,
    input: &TensorSpec,
    weight: &TensorSpec,
    op: &impl Fn((u32, u32), Ref, Ref) -> TernaryLinear,
) -> Vec<(u32, u32)> {
    let inner = weight.tile_rows() as u32;
    let mut blocks: Vec<u32> = divisors(inner).filter(|block| BLOCKS.contains(block)).collect();
    if blocks.is_empty() {
        blocks.extend(divisors(inner).find(|block| block <= BLOCKS.end()));
    }
    let cuts = blocks.into_iter().flat_map(|block| {
        let whole = inner / block;
        [2, 3, whole.div_ceil(2), whole].into_iter().filter(move |n| *n <= whole).map(move |n| (block, n))
    });
    if cx.everything {
        return cuts.collect();
    }
    let mut front = Front::default();
    for cut in cuts {
        let op = op(cut, Ref::Value(String::new()), Ref::Weight(String::new())).into();
        let Ok(outcome) = check(&op, &[input, weight], &cx.target.card) else { continue };
        let price = Price::of(&cost::cost(&op, &[input, weight], &outcome, cx));
        front.offer(price, outcome.circular_buffers, cut);
    }
    front.into_choices().collect()
}
