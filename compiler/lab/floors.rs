//! A decode step beside its floor: what the weights and the cached keys and values that it reads take at the card's peak bandwidth, and by what
//! the rest of the step's time passes.

use std::collections::HashMap;

use bitnetc_compiler::model::Model;
use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::predict::Launches;
use bitnetc_compiler::pricer::Pricer;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{CompileError, Options, compile};
use bitnetc_plan::ttnn::check;
use bitnetc_plan::walk::Context;
use bitnetc_plan::{Op, Ref, Section, TensorSpec};

/// The kinds of work by which time above the floor passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Matrix products of the layers.
    Projections,
    /// Attention.
    Attention,
    /// The matrix products of the LM head.
    LmHead,
    /// Norms.
    Norms,
    /// Picking the token of the logits, and their way from tiles to rows.
    Token,
    /// Keys and values into their caches.
    CacheUpdate,
    /// Head split, rotary embedding, reshards, sums, products, lookups.
    Moves,
    /// Programs that are not dispatched yet.
    Dispatch,
}

impl Cause {
    /// All of them.
    pub const ALL: [Cause; 8] = [
        Cause::Projections,
        Cause::Attention,
        Cause::LmHead,
        Cause::Norms,
        Cause::Token,
        Cause::CacheUpdate,
        Cause::Moves,
        Cause::Dispatch,
    ];

    /// A name for tables.
    pub const fn name(self) -> &'static str {
        match self {
            Cause::Projections => "projections",
            Cause::Attention => "attention",
            Cause::LmHead => "LM head",
            Cause::Norms => "norms",
            Cause::Token => "token",
            Cause::CacheUpdate => "cache",
            Cause::Moves => "moves, sums",
            Cause::Dispatch => "dispatch",
        }
    }

    fn of(op: &Op, section: Section) -> Cause {
        let tail = section == Section::Epilogue;
        match op {
            Op::Matmul(_) | Op::TernaryLinear(_) | Op::TernaryGated(_) if tail => Cause::LmHead,
            Op::Matmul(_) | Op::TernaryLinear(_) | Op::TernaryGated(_) => Cause::Projections,
            Op::SdpaDecode(_) | Op::Sdpa(_) => Cause::Attention,
            Op::RmsNorm(_) => Cause::Norms,
            Op::CacheUpdate(_) | Op::CacheUpdateOne(_) | Op::CacheFill(_) => Cause::CacheUpdate,
            Op::ArgMax(_) | Op::TopK(_) | Op::ManualSeed(_) | Op::Sampling(_) => Cause::Token,
            Op::BestColumn(_) | Op::Reshape(_) | Op::GatherRows(_) | Op::AddIntegers(_) => Cause::Token,
            Op::TimesInteger(_) | Op::CopyInto(_) => Cause::Token,
            Op::RowMax(_) | Op::Transpose(_) if tail => Cause::Token,
            Op::ToLayout(_) | Op::Concat(_) | Op::Slice(_) if tail => Cause::Token,
            Op::ToLayout(_) | Op::Concat(_) | Op::Slice(_) | Op::SliceAt(_) => Cause::Moves,
            Op::Embedding(_) | Op::CreateHeadsDecode(_) | Op::CreateHeads(_) | Op::RotaryFused(_) => Cause::Moves,
            Op::RotaryDecode(_) | Op::Rotary(_) | Op::ConcatHeadsDecode(_) | Op::ConcatHeads(_) => Cause::Moves,
            Op::ToMemoryConfig(_) | Op::Typecast(_) | Op::View(_) | Op::Transpose(_) | Op::Binary(_) => Cause::Moves,
            Op::Abs(_) | Op::RowMax(_) | Op::PlusOne(_) | Op::Deallocate(_) => Cause::Moves,
            Op::QuantizeRows(_) | Op::AddRows(_) => Cause::Moves,
        }
    }

    /// Whether the bytes that such work reads are weights or cached keys and values.
    const fn reads_the_floor(self) -> bool {
        match self {
            Cause::Projections | Cause::Attention | Cause::LmHead => true,
            Cause::Norms | Cause::Token | Cause::CacheUpdate | Cause::Moves | Cause::Dispatch => false,
        }
    }
}

/// A predicted step and its floor.
#[derive(Debug, Clone, PartialEq)]
pub struct Floor {
    /// Policy of the plan.
    pub policy: Policy,
    /// The position of all users.
    pub position: u32,
    /// Predicted microseconds on the card.
    pub us: f64,
    /// Least and largest that the bands of the constants leave possible.
    pub band_us: (f64, f64),
    /// Microseconds of the bytes of weights and of cached keys and values at the card's peak bandwidth.
    pub floor_us: f64,
    /// Microseconds above the floor by cause, in the order of [`Cause::ALL`]. They add up to the step less its floor.
    pub above_us: [f64; Cause::ALL.len()],
}

/// The steps of a model under every policy, each at every position of `positions` that the context holds. The plans are those for the position
/// of `options`.
///
/// # Errors
/// A policy under which the card has no plan.
pub fn floors(
    model: &Model,
    target: &Target,
    options: &Options,
    positions: &[u32],
) -> Result<Vec<Floor>, CompileError> {
    let mut floors = Vec::new();
    for policy in Policy::ALL {
        let options = Options { policy, prefill: Vec::new(), ..options.clone() };
        let compiled = compile(model, target, &options)?;
        let plan = &compiled.plan;
        let Some(phase) = plan.decode() else { continue };
        let launches = Launches::of(Context::from(&**plan), phase);
        let mut specs: HashMap<Ref, &TensorSpec> = HashMap::new();
        specs.extend(plan.weights.iter().map(|w| (Ref::Weight(w.name.clone()), &w.spec)));
        specs.extend(plan.buffers.iter().map(|b| (Ref::Buffer(b.name.clone()), &b.spec)));
        specs.extend(phase.steps().flat_map(|s| &s.outputs).map(|v| (Ref::Value(v.name.clone()), &v.spec)));
        for &position in positions.iter().filter(|position| **position < options.context) {
            let (pricer, found) = (Pricer::new(target, position), launches.predict(target, position));
            let (mut floor_us, mut above_us) = (0.0, [0.0; Cause::ALL.len()]);
            for section in Section::ALL {
                let times = if section == Section::Layer { f64::from(plan.model.layers) } else { 1.0 };
                for step in phase.section(section) {
                    let operands: Option<Vec<&TensorSpec>> =
                        step.op.operands().iter().map(|operand| specs.get(*operand).copied()).collect();
                    let Some(operands) = operands else { continue };
                    let Ok(outcome) = check(&step.op, &operands, &target.card) else { continue };
                    let (cost, cause) = (pricer.answered(&step.op, &operands, &outcome), Cause::of(&step.op, section));
                    let bytes = if cause.reads_the_floor() { cost.dram_bytes } else { 0 };
                    let read_us = times * bytes as f64 / (target.cost.dram_gb_per_s * 1000.0);
                    floor_us += read_us;
                    above_us[cause as usize] += times * cost.us - read_us;
                }
            }
            above_us[Cause::Dispatch as usize] += found.waits_us;
            floors.push(Floor { policy, position, us: found.us, band_us: found.band_us, floor_us, above_us });
        }
    }
    Ok(floors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_its_floor_and_what_is_above_it() {
        let model = bitnetc_compiler::model::find("bitnet-2b-4t").unwrap().model().unwrap();
        let options = Options { batch: 32, ..Options::for_model(&model) };
        let found = floors(&model, &Target::find("n150").unwrap(), &options, &[256, 4095, 1 << 20]).unwrap();
        assert_eq!(found.len(), 2 * Policy::ALL.len());
        for floor in &found {
            let sum = floor.floor_us + floor.above_us.iter().sum::<f64>();
            assert!((sum - floor.us).abs() < 1.0, "{sum} {floor:?}");
            assert!(floor.above_us.iter().all(|us| *us >= 0.0), "{floor:?}");
            assert!(floor.band_us.0 < floor.us && floor.us < floor.band_us.1);
        }
        // More cached keys and values, and fewer bytes of them.
        assert!(found[1].floor_us > found[0].floor_us);
        let at = |policy| found.iter().find(|f| f.policy == policy).unwrap().floor_us;
        assert!(at(Policy::Fastest) < at(Policy::Fast));
    }
}
