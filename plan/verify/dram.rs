//! Invariant `DramCapacity` at the end of a bank: tensors end below the commands of traces and the kernels of programs.
//!
//! TT-NN lays both from the top of every bank downwards: the kernels of a program when it runs first, the commands of a trace when its
//! capture ends. The commands must not reach below any tensor that is alive during the capture. How many bytes they take is known of the
//! programs only as a bound, which the [release](crate::TtnnRelease) gives.

use crate::defect::Defects;
use crate::units::bytes;
use crate::walk::{Context, Walk};
use crate::{Invariant, PhaseKind, Place, Plan, TtnnRelease};

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
    /// The traces of all traced phases, from above: the release's [bytes of a program](crate::release::Chip::decode_trace_bytes) for each.
    pub traces: u64,
    /// The kernels of all programs, from above: they lie at the end of the bank, as the traces do.
    pub kernels: u64,
}

impl DramUse {
    /// All of it.
    pub const fn total(&self) -> u64 {
        let tensors = self.weights.saturating_add(self.buffers).saturating_add(self.values);
        tensors.saturating_add(self.traces).saturating_add(self.kernels)
    }
}

/// The use of DRAM; a defect when tensors meet what lies at the end of the banks.
pub fn check(plan: &Plan, walks: &[Walk], defects: &mut Defects) -> DramUse {
    let context = Context::from(plan);
    let (weights, buffers) = (context.weights_in_dram(), context.buffers_in_dram());
    let end = walks.iter().map(|w| w.dram_end).max().unwrap_or(plan.card.dram.base);
    let values = end.saturating_sub(plan.card.dram.base).saturating_sub(weights).saturating_sub(buffers);
    let (traces, kernels) = programs(plan, walks);
    let dram = DramUse { weights, buffers, values, traces, kernels };
    let told = defects.0.iter().any(|d| d.invariant == Invariant::DramCapacity);
    if dram.total() > plan.card.dram.bank_bytes && !told {
        let what = format!(
            "{} of every DRAM bank ({} of weights, {} of buffers, {} of values, {} of traces, {} of kernels); {} has {}, {} too little",
            bytes(dram.total()),
            bytes(weights),
            bytes(buffers),
            bytes(values),
            bytes(traces),
            bytes(kernels),
            plan.card.name,
            bytes(plan.card.dram.bank_bytes),
            bytes(dram.total() - plan.card.dram.bank_bytes)
        );
        defects.push(Invariant::DramCapacity, Place::Plan, what, "a smaller batch or context, or narrower weights");
    }
    dram
}

/// Most bytes of every bank that traces take, and kernels.
fn programs(plan: &Plan, walks: &[Walk]) -> (u64, u64) {
    // Of a release that is not known the plan has been refused already.
    let Ok(release) = TtnnRelease::find(&plan.release) else { return (0, 0) };
    let (chip, banks) = (release.chip(plan.card.arch), u64::from(plan.card.dram.banks.max(1)));
    let (mut traced, mut kernels) = (0_u64, 0_u64);
    for (phase, walk) in plan.phases.iter().zip(walks) {
        if phase.trace.is_some() {
            let each = match phase.kind {
                PhaseKind::Decode { .. } => chip.decode_trace_bytes,
                PhaseKind::Prefill { .. } => chip.prefill_trace_bytes,
            };
            traced = traced.saturating_add(walk.programs(plan.model.layers).saturating_mul(each));
        }
        let launched: u64 = walk.steps.iter().filter_map(|m| m.outcome.as_ref()).map(|o| u64::from(o.programs)).sum();
        kernels += launched * release.kernel_bytes.div_ceil(PAGE).div_ceil(banks) * PAGE;
    }
    (traced.div_ceil(banks), kernels)
}
