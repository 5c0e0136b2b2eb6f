//! Invariants `Address`, `Footprint`, `L1Capacity`, `Freed`, `Scalar` and `Cost`: what a phase declares equals what its walk found, and its
//! numbers can be used.

use super::weights::{LAYER, placement, ternary_tensors};
use crate::defect::Defects;
use crate::op::Argument;
use crate::units::{bytes, exact_bytes};
use crate::walk::{StepMemory, Walk};
use crate::{Footprint, Invariant, Memory, Op, Phase, PhaseCost, Place, Plan, Scalar, Section, Step, Unary};

pub fn check(plan: &Plan, phase: &Phase, walk: &Walk, defects: &mut Defects) {
    defects.0.extend(walk.defects.iter().cloned());
    for (step, memory) in phase.steps().zip(&walk.steps) {
        let place = || Place::Step(phase.kind, step.name.clone());
        for value in &step.outputs {
            placement(&value.spec, &plan.card, place(), defects);
        }
        addresses(step, memory, place(), defects);
        footprint(plan, step, memory, place(), defects);
        scalars(plan, step, memory.section, place(), defects);
        if !step.cost.us.is_finite() || step.cost.us < 0.0 {
            defects.push(Invariant::Cost, place(), format!("a predicted time of {} us", step.cost.us), "");
        }
    }
    let place = || Place::Phase(phase.kind);
    let PhaseCost { device_us, band_us, waits_us, positions, host_us, dram_bytes: _ } = &phase.cost;
    let times = [*device_us, band_us.0, band_us.1, *waits_us].into_iter().chain(*host_us);
    for time in times.chain(positions.iter().map(|(_, us)| *us)) {
        if !time.is_finite() || time < 0.0 {
            defects.push(Invariant::Cost, place(), format!("a predicted time of {time} us"), "");
        }
    }
    let values = phase.steps().flat_map(|s| &s.outputs);
    for result in values.filter(|v| phase.results.contains(&v.name) && v.spec.memory.memory() == Memory::L1) {
        let what = format!("result `{}` stays in L1, where the next run needs its room", result.name);
        defects.push(Invariant::Freed, place(), what, "results are in DRAM");
    }
}

pub fn address_text(found: Option<u64>, expected: Option<u64>) -> String {
    let text = |a: Option<u64>| a.map_or("none".to_owned(), |a| a.to_string());
    format!("address {}, the allocator gives {}", text(found), text(expected))
}

fn addresses(step: &Step, memory: &StepMemory, place: Place, defects: &mut Defects) {
    for (value, expected) in step.outputs.iter().zip(&memory.addresses) {
        if value.address != *expected {
            let what = format!("`{}`: {}", value.name, address_text(value.address, *expected));
            defects.push(Invariant::Address, place.clone(), what, "");
        }
    }
}

fn footprint(plan: &Plan, step: &Step, memory: &StepMemory, place: Place, defects: &mut Defects) {
    let Footprint { circular_buffers, tensors } = memory.footprint;
    if step.l1.circular_buffers != circular_buffers {
        let (stated, takes) = (exact_bytes(step.l1.circular_buffers), exact_bytes(circular_buffers));
        let what = format!("{stated} of circular buffers, the call takes {takes}");
        defects.push(Invariant::Footprint, place.clone(), what, "");
    }
    if step.l1.tensors != tensors {
        let what = format!("{} of tensors, the live ones take {}", exact_bytes(step.l1.tensors), exact_bytes(tensors));
        defects.push(Invariant::Footprint, place.clone(), what, "");
    }
    let room = plan.card.l1_bytes();
    if memory.footprint.high_water() > room {
        let over = memory.footprint.high_water() - room;
        let (buffers, tensors, over) = (bytes(circular_buffers), bytes(tensors), bytes(over));
        let what = format!("{buffers} of circular buffers and {tensors} of tensors exceed L1 by {over}");
        defects.push(Invariant::L1Capacity, place, what, format!("{} has {} for both", plan.card.name, bytes(room)));
    }
}

fn scalars(plan: &Plan, step: &Step, section: Section, place: Place, defects: &mut Defects) {
    let mut bad = |what: String, hint: &str| defects.push(Invariant::Scalar, place.clone(), what, hint);
    if let Some((what, hint)) = domain_problem(&step.op) {
        bad(what, hint);
    }
    for scalar in step.op.scalars() {
        if !scalar.value.is_finite() {
            bad(format!("the constant {}", scalar.value), "a finite number");
        }
        for (tensor, power) in &scalar.scales {
            if !ternary_tensors(plan).any(|t| t == tensor) {
                bad(format!("`{tensor}` has no scale"), "a ternary matrix among the plan's weights");
            }
            if tensor.contains(LAYER) && section != Section::Layer {
                bad(format!("the scale of `{tensor}` differs by layer, and this is no layer"), "");
            }
            if !(1..=8).contains(&power.unsigned_abs()) {
                bad(format!("the scale of `{tensor}` to the power of {power}"), "-8 to 8, not 0");
            }
        }
    }
}

/// The defect of a number that a call cannot use: what was found and what would be right.
type Domain = Option<(String, &'static str)>;

/// The first number with which the call would compute nothing of use.
fn domain_problem(op: &Op) -> Domain {
    let mut problem = None;
    op.arguments(&mut |name, argument| {
        let found = match argument {
            Argument::Scalar(scalar) => above_zero(name, scalar),
            Argument::Functions(functions) => functions.iter().find_map(function_problem),
            Argument::Operand(_) | Argument::Compute(_) | Argument::Memory(_) | Argument::Cores(_) => None,
            Argument::MatmulProgram(_) | Argument::TernaryProgram(_) => None,
            Argument::NormProgram(_) | Argument::SdpaProgram(_) => None,
            Argument::Count(_)
            | Argument::Shape(_)
            | Argument::Dimensions(..)
            | Argument::Range(..)
            | Argument::Choice => None,
        };
        problem = problem.take().or(found);
    });
    problem
}

fn function_problem(function: &Unary) -> Domain {
    match function {
        // The maximum keeps a divisor away from 0.
        Unary::MaxScalar(scalar) => above_zero("maximum", scalar),
        Unary::MulScalar(scalar) => (scalar.value == 0.0).then(|| ("a factor of 0".into(), "any other number")),
        Unary::Relu | Unary::Square | Unary::Silu | Unary::Recip | Unary::Round => None,
        Unary::Clamp(..) | Unary::Abs | Unary::Power(_) => None,
    }
}

fn above_zero(name: &str, scalar: &Scalar) -> Domain {
    (scalar.value <= 0.0).then(|| (format!("{name} is {}", scalar.value), "a number above 0"))
}
