//! Errors that TT-NN's kernels make of their own, beside the rounding of operands, results and sums.
//!
//! They were found by comparing the host's exact numerics with the kernels on Tenstorrent's simulator. Each is decided by arguments of the
//! call and not by the precision that is asked for, so that a person who reads a plan would not suspect it.

use bitnetc_plan::op::{Binary, RmsNorm};
use bitnetc_plan::ttnn::{approximate_exp, norm_error};
use bitnetc_plan::{DType, Op, TILE, Unary};

use crate::ttnn::Draft;

/// A sentence about the error of the kernel of a way's `at`th step, where it has one beside the rounding of operands, results and sums.
pub fn remark(drafts: &[Draft], at: usize) -> Option<String> {
    let draft = &drafts[at];
    let out = &draft.outputs.first()?.1;
    match &draft.op {
        Op::Sdpa(args) if args.compute.fp32_dest_acc => Some(
            "with fp32 sums TT-NN's exponentials are good to f32; with bf16 sums it takes approximate ones for prompts, good to 3 %".into(),
        ),
        Op::Sdpa(_) => Some(
            "with bf16 sums TT-NN takes approximate exponentials for prompts, good to 3 %; fp32 sums (prefill:sdpa=/HiFi4/fp32) avoid them"
                .into(),
        ),
        Op::SdpaDecode(_) if approximate_exp(out.shape.get(2).copied()?) => Some(
            "for 16 query heads or fewer TT-NN takes approximate exponentials, good to 3 %; no argument of the call avoids them".into(),
        ),
        Op::RmsNorm(args) => norm(args, out.columns()),
        Op::Binary(args) if args.activations.contains(&Unary::Round) => Some(quantisation(args, drafts)),
        Op::SdpaDecode(_)
        | Op::Embedding(_)
        | Op::Binary(_)
        | Op::Matmul(_)
        | Op::TernaryLinear(_)
        | Op::TernaryGated(_)
        | Op::QuantizeRows(_)
        | Op::AddRows(_)
        | Op::CreateHeadsDecode(_)
        | Op::CreateHeads(_)
        | Op::RotaryFused(_)
        | Op::RotaryDecode(_)
        | Op::Rotary(_)
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
        | Op::TopK(_)
        | Op::ManualSeed(_)
        | Op::Sampling(_)
        | Op::ArgMax(_)
        | Op::BestColumn(_)
        | Op::Reshape(_)
        | Op::GatherRows(_)
        | Op::AddIntegers(_)
        | Op::TimesInteger(_)
        | Op::CopyInto(_)
        | Op::PlusOne(_)
        | Op::Deallocate(_) => None,
    }
}

fn norm(args: &RmsNorm, columns: u32) -> Option<String> {
    let program = args.program?;
    let width = program.block_w * TILE;
    let cores = columns.checked_div(width)?;
    let percent = 100.0 * norm_error(width, cores);
    let by = format!("TT-NN multiplies sums of squares by 1/{width} and 1/{cores} in bf16");
    Some(match percent {
        0.0 => format!("{by}, which is exact"),
        ..0.0 => format!("{by}, which makes results {:.2} % too small", -percent),
        _ => format!("{by}, which makes results {percent:.2} % too large"),
    })
}

fn quantisation(args: &Binary, drafts: &[Draft]) -> String {
    let maxima = drafts.iter().flat_map(|draft| &draft.outputs).find(|(name, _)| name == args.b.name());
    match maxima.map(|(_, spec)| spec.dtype) {
        Some(DType::F32) => "the maximum is f32, so that TT-NN's factor is too and a row's largest number becomes 127; with a bf16 maximum \
                             the factor is truncated, and it mostly becomes 126"
            .into(),
        _ => "the maximum is bf16, so that TT-NN truncates the factor and a row's largest number mostly becomes 126".into(),
    }
}
