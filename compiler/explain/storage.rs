//! How the weights of a projection are stored where kernels of bitnetc's own come into question.

use bitnetc_plan::allocator::bytes_per_bank;
use bitnetc_plan::op::Role;
use bitnetc_plan::{DType, Plan, Ref, Weight};

use crate::Compiled;
use crate::schedule::{Call, Kind};
use crate::ttnn::Candidate;

/// A sentence on how the weights of a call are stored that can be read in two bits; `None` for any other call.
pub fn sentence(compiled: &Compiled, call: &Call, chosen: &Candidate) -> Option<String> {
    if let Kind::Matmul { precision, two_bits, .. } = &call.kind {
        if let (DType::Bfp4, Some(why)) = (precision.weight, &compiled.declined) {
            return Some(format!("not in two bits: DRAM has no room for such weights beside those of prefill: {why}"));
        }
        if two_bits.is_none() && precision.weight != DType::Bfp2 {
            return None;
        }
    } else if !matches!(call.kind, Kind::Gated { .. }) {
        return None;
    }
    let plan = &compiled.plan;
    let uses = chosen.drafts.iter().flat_map(|draft| draft.op.uses()).filter(|used| used.role == Role::Matrix);
    let read = uses.filter_map(|used| match used.tensor {
        Ref::Weight(name) => plan.weight(name),
        Ref::Value(_) | Ref::Buffer(_) => None,
    });
    Some(read.map(|weight| of(plan, weight)).collect::<Vec<_>>().join("; "))
}

/// A weight that was chosen, and its copy if there is one.
fn of(plan: &Plan, read: &Weight) -> String {
    if read.spec.dtype != DType::Bfp2 {
        return format!("{}, which is predicted no slower here than two bits", stored(plan, read));
    }
    match plan.weights.iter().find(|weight| weight.source == read.source && weight.name != read.name) {
        Some(copy) => format!("{}, of which longer prefills read a copy: {}", stored(plan, read), stored(plan, copy)),
        None => format!("{}, without another copy", stored(plan, read)),
    }
}

/// A weight's data type, and its bytes of DRAM in all layers.
fn stored(plan: &Plan, weight: &Weight) -> String {
    let times = if weight.per_layer { u64::from(plan.model.layers) } else { 1 };
    let bytes = times * bytes_per_bank(&weight.spec, &plan.card) * u64::from(plan.card.dram.banks);
    format!("{} as {}, {:.0} MB of DRAM", weight.name, weight.spec.dtype, bytes as f64 / 1e6)
}
