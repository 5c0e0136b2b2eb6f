//! How the weight of a projection is stored where kernels of bitnetc's own come into question.

use bitnetc_plan::allocator::bytes_per_bank;
use bitnetc_plan::op::Role;
use bitnetc_plan::{DType, Plan, Ref, Weight};

use crate::Compiled;
use crate::schedule::{Call, Kind};
use crate::ttnn::Candidate;

/// A sentence about the weight of a projection that can be read in two bits; `None` of any other call.
pub fn sentence(compiled: &Compiled, call: &Call, chosen: &Candidate) -> Option<String> {
    let Kind::Matmul { precision, two_bits, .. } = &call.kind else { return None };
    if let (true, Some(why)) = (precision.weight == DType::Bfp4, &compiled.declined) {
        return Some(format!("not in two bits: DRAM has no room for such weights beside those of prefill: {why}"));
    }
    if two_bits.is_none() && precision.weight != DType::Bfp2 {
        return None;
    }
    let plan = &compiled.plan;
    let read = chosen.drafts.iter().find_map(|draft| match draft.op.operand(Role::Matrix) {
        Some(Ref::Weight(name)) => plan.weight(name),
        Some(Ref::Value(_) | Ref::Buffer(_)) | None => None,
    })?;
    if read.spec.dtype != DType::Bfp2 {
        return Some(format!("{}, which is predicted no slower here than two bits", stored(plan, read)));
    }
    let copy = plan.weights.iter().find(|weight| weight.source == read.source && weight.name != read.name);
    Some(match copy {
        Some(copy) => {
            format!("{}; prefill of more than 32 tokens reads a copy: {}", stored(plan, read), stored(plan, copy))
        }
        None => format!("{}; no phase reads another copy", stored(plan, read)),
    })
}

/// A weight's data type, and its bytes of DRAM in all layers.
fn stored(plan: &Plan, weight: &Weight) -> String {
    let times = if weight.per_layer { u64::from(plan.model.layers) } else { 1 };
    let bytes = times * bytes_per_bank(&weight.spec, &plan.card) * u64::from(plan.card.dram.banks);
    format!("{} as {}, {:.0} MB of DRAM", weight.name, weight.spec.dtype, bytes as f64 / 1e6)
}
