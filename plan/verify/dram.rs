//! Invariant `DramCapacity` at the end of a bank: tensors end below the commands of traces and the kernels of programs.
//!
//! TT-NN lays both from the top of every bank downwards: the kernels of a program when it runs first, the commands of a trace when its
//! capture ends. The commands must not reach below any tensor that is alive during the capture. How many bytes they take is known of the
//! programs only as a bound, which the [release](crate::TtnnRelease) gives.

use crate::defect::Defects;
use crate::op::Kept;
use crate::walk::{Context, Walk};
use crate::{Invariant, Op, Phase, PhaseKind, Place, Plan, Section, TILE, TtnnRelease};

/// Bytes of a page of kernels.
const PAGE: u64 = 2048;

/// Bytes of every DRAM bank.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DramUse {
    /// Weights of all layers.
    pub weights: u64,
    /// Persistent buffers of all layers.
    pub buffers: u64,
    /// From the end of the buffers to the end of the highest value of any moment.
    pub values: u64,
    /// Commands of captured traces and kernels of all programs, at most: they lie at the end of the bank.
    pub programs: u64,
}

impl DramUse {
    /// All of it.
    pub const fn total(&self) -> u64 {
        let tensors = self.weights.saturating_add(self.buffers).saturating_add(self.values);
        tensors.saturating_add(self.programs)
    }
}

/// The use of DRAM; a defect when tensors meet what lies at the end of the banks.
pub fn check(plan: &Plan, walks: &[Walk], defects: &mut Defects) -> DramUse {
    let context = Context::from(plan);
    let (weights, buffers) = (context.weights_in_dram(), context.buffers_in_dram());
    let end = walks.iter().map(|w| w.dram_end).max().unwrap_or(plan.card.dram.base);
    let values = end.saturating_sub(plan.card.dram.base).saturating_sub(weights).saturating_sub(buffers);
    let dram = DramUse { weights, buffers, values, programs: programs(plan, walks) };
    let told = defects.0.iter().any(|d| d.invariant == Invariant::DramCapacity);
    if dram.total() > plan.card.dram.bank_bytes && !told {
        let what = format!(
            "{} bytes of every DRAM bank ({weights} weights, {buffers} buffers, {values} values, {} commands and kernels), {} has {}",
            dram.total(),
            dram.programs,
            plan.card.name,
            plan.card.dram.bank_bytes
        );
        defects.push(Invariant::DramCapacity, Place::Plan, what, "a smaller batch or context, or narrower weights");
    }
    dram
}

/// Most bytes of every bank that commands and kernels take.
fn programs(plan: &Plan, walks: &[Walk]) -> u64 {
    let Ok(release) = TtnnRelease::find(&plan.release) else { return 0 };
    let banks = u64::from(plan.card.dram.banks.max(1));
    let per_bank = |bytes: u64| bytes.div_ceil(PAGE).div_ceil(banks).saturating_mul(PAGE);
    let (mut commands, mut kernels) = (0, 0);
    for (phase, walk) in plan.phases.iter().zip(walks) {
        let layers = u64::from(plan.model.layers);
        for (step, memory) in phase.steps().zip(&walk.steps) {
            let launched = memory.outcome.as_ref().map_or(0, |o| u64::from(o.programs));
            let times = if memory.section == Section::Layer { layers } else { 1 };
            commands += if phase.trace.is_some() { launched * times * release.trace_bytes } else { 0 };
            kernels += launched * variants(&step.op, phase) * per_bank(release.kernel_bytes);
        }
    }
    per_bank(commands).saturating_add(kernels)
}

/// How many programs a call becomes over all its arguments: a slice of the last tile is another program for every tile.
fn variants(op: &Op, phase: &Phase) -> u64 {
    if let (Op::Slice(slice), PhaseKind::Prefill { tokens }) = (op, phase.kind)
        && slice.kept == Kept::LastTokenTile
    {
        return u64::from(tokens / TILE);
    }
    1
}
