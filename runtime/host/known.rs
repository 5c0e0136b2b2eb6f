//! Which of a plan's steps are known to have the kernels' bits with exact numerics.

use std::collections::BTreeMap;

use bitnetc_numerics::kernels::{self, Compute, Known};
use bitnetc_plan::op::{Binary, BinaryKind};
use bitnetc_plan::program::FusedActivation;
use bitnetc_plan::{ComputeKernel, DType, Op, Plan, Ref, Step, TensorSpec, Unary};

/// Calls of `plan` whose bits were not compared with the kernels', each with the reason, as a clause. Empty when exact numerics are
/// bit-identical to the kernels throughout.
pub fn uncompared(plan: &Plan) -> BTreeMap<&'static str, &'static str> {
    let steps = plan.phases.iter().flat_map(|phase| phase.steps());
    steps.filter_map(|step| Some((step.op.call(), uncompared_step(step, plan)?))).collect()
}

/// The reason, as a clause, for which a step's bits are not known to be the kernels'; `None` where they are.
pub fn uncompared_step(step: &Step, plan: &Plan) -> Option<&'static str> {
    match known(&step.op, step.outputs.first().map(|out| &out.spec), plan) {
        Known::Exact => None,
        Known::Unknown(reason) => Some(reason),
    }
}

fn known(op: &Op, out: Option<&TensorSpec>, plan: &Plan) -> Known {
    let how = |compute: ComputeKernel| Compute {
        arch: plan.card.arch,
        fidelity: compute.fidelity,
        fp32_dest: compute.fp32_dest_acc,
    };
    let dim = out.map_or(0, |spec| spec.columns() as usize);
    match op {
        Op::RmsNorm(op) => kernels::rms_norm_known(how(op.compute)),
        Op::Rotary(op) => kernels::rotary_known(how(op.compute)),
        Op::RotaryFused(op) => kernels::rotary_known(how(op.compute)),
        Op::RotaryDecode(op) => kernels::rotary_known(how(op.compute)),
        Op::Sdpa(op) => kernels::sdpa_prefill_known(dim, how(op.compute)),
        Op::SdpaDecode(op) => kernels::sdpa_decode_known(dim, op.program.k_chunk as usize),
        Op::Binary(op) => binary(op),
        Op::Matmul(op) => match op.program.activation() {
            Some(FusedActivation::Silu) => Known::Unknown("silu fused into a matmul was not compared"),
            Some(FusedActivation::Relu) | None if op.dtype.is_block() => {
                Known::Unknown("results of matmuls in a block format were not compared")
            }
            Some(FusedActivation::Relu) | None if !op.compute.packer_l1_acc => {
                Known::Unknown("matmuls without L1 accumulation were not compared")
            }
            Some(FusedActivation::Relu) | None => Known::Exact,
        },
        Op::TopK(_) => Known::Unknown("the kernels leave equal logits in no certain order"),
        Op::Sampling(_) => Known::Unknown("the random numbers of a card are its own"),
        Op::TernaryLinear(_)
        | Op::TernaryGated(_)
        | Op::QuantizeRows(_)
        | Op::AddRows(_)
        | Op::Embedding(_)
        | Op::CreateHeadsDecode(_)
        | Op::CreateHeads(_)
        | Op::CacheUpdate(_)
        | Op::CacheUpdateOne(_)
        | Op::CacheFill(_)
        | Op::ConcatHeadsDecode(_)
        | Op::ConcatHeads(_)
        | Op::ToMemoryConfig(_)
        | Op::ToLayout(_)
        | Op::Typecast(_)
        | Op::View(_)
        | Op::Transpose(_)
        | Op::Slice(_)
        | Op::SliceAt(_)
        | Op::Concat(_)
        | Op::Abs(_)
        | Op::RowMax(_)
        | Op::ArgMax(_)
        | Op::BestColumn(_)
        | Op::Reshape(_)
        | Op::GatherRows(_)
        | Op::AddIntegers(_)
        | Op::TimesInteger(_)
        | Op::CopyInto(_)
        | Op::ManualSeed(_)
        | Op::PlusOne(_)
        | Op::Deallocate(_) => Known::Exact,
    }
}

fn binary(op: &Binary) -> Known {
    match (op.kind, op.dtype) {
        _ if matches!(op.b, Ref::Weight(_)) => Known::Unknown("sums with a bias were not compared"),
        _ if op.a_activations.iter().chain(&op.activations).any(|f| matches!(f, Unary::Power(_))) => {
            Known::Unknown("powers were compared where they are of row maxima")
        }
        // A bf16 number added to itself has no bit to lose.
        (BinaryKind::Add, DType::F32) if op.a != op.b => Known::Unknown("sums in f32 were not compared"),
        (BinaryKind::Add | BinaryKind::Mul, _) => Known::Exact,
    }
}
