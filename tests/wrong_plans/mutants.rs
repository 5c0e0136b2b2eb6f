//! Structural changes of a plan, drawn at random: what a compiler or an editor could get wrong and TT-NN would take.

use bitnetc_plan::op::{Binary, BinaryKind};
use bitnetc_plan::program::FusedActivation;
use bitnetc_plan::weight::Content;
use bitnetc_plan::{MatmulProgram, Op, Phase, Plan, Ref, Scalar, Step, TensorSpec, Unary, walk};
use rand::Rng as _;
use rand::seq::{IndexedMutRandom as _, IndexedRandom as _};
use rand_chacha::ChaCha8Rng;

use crate::weights::{matrices, order_of_weight, rotary, rows_of_weight, tensor};

/// The kinds of changes.
pub const KINDS: [&str; 16] = [
    "another value of its spec",
    "another weight of its spec",
    "operands exchanged",
    "two operands of two steps exchanged",
    "an activation of a matmul",
    "a function of an operand",
    "sum and product",
    "a constant",
    "a scale",
    "the tensor of a weight",
    "the rows of a weight",
    "the order of a weight",
    "a rotary table",
    "a step left out",
    "a step again",
    "order and names",
];

/// Changes `plan` in the way of `KINDS[kind]`; `None` where there is nothing of the kind at the place drawn.
pub fn change(plan: &mut Plan, kind: usize, rng: &mut ChaCha8Rng) -> Option<()> {
    match kind {
        0 => another_value(plan, rng),
        1 => another_weight(plan, rng),
        2 => exchanged(plan, rng),
        3 => exchanged_between(plan, rng),
        4 => activation(plan, rng),
        5 => function(plan, rng),
        6 => sum_or_product(plan, rng),
        7 => constant(plan, rng),
        8 => scale(plan, rng),
        9 => tensor(plan, rng),
        10 => rows_of_weight(plan, rng),
        11 => order_of_weight(plan, rng),
        12 => rotary(plan, rng),
        13 => left_out(plan, rng),
        14 => again(plan, rng),
        _ => renamed_and_reordered(plan, rng),
    }
}

/// Gives every tensor the address and every step the footprint it has after the change.
pub fn settle(plan: &mut Plan) -> bool {
    walk::settle(plan).is_ok()
}

fn section<'p>(plan: &'p mut Plan, rng: &mut ChaCha8Rng) -> &'p mut Vec<Step> {
    let phase = plan.phases.choose_mut(rng).unwrap();
    match rng.random_range(0..8) {
        0 => &mut phase.prologue,
        1 | 2 => &mut phase.epilogue,
        _ => &mut phase.layer,
    }
}

fn spec_of(plan: &Plan, phase: usize, operand: &Ref) -> Option<TensorSpec> {
    match operand {
        Ref::Value(name) => {
            plan.phases[phase].steps().flat_map(|s| &s.outputs).find(|v| v.name == *name).map(|v| v.spec.clone())
        }
        Ref::Weight(name) => plan.weight(name).map(|w| w.spec.clone()),
        Ref::Buffer(name) => plan.buffer(name).map(|b| b.spec.clone()),
    }
}

fn steps_mut(phase: &mut Phase) -> Vec<&mut Step> {
    phase.prologue.iter_mut().chain(&mut phase.layer).chain(&mut phase.epilogue).collect()
}

/// A phase, a step of it, and one of its operands.
fn operand(plan: &Plan, rng: &mut ChaCha8Rng, wanted: impl Fn(&Ref) -> bool) -> Option<(usize, usize, usize, Ref)> {
    let phase = rng.random_range(0..plan.phases.len());
    let mut places = Vec::new();
    for (at, step) in plan.phases[phase].steps().enumerate().filter(|(_, s)| !matches!(s.op, Op::Deallocate(_))) {
        let operands = step.op.operands().into_iter().enumerate().filter(|(_, r)| wanted(r));
        places.extend(operands.map(|(operand, r)| (phase, at, operand, r.clone())));
    }
    places.choose(rng).cloned()
}

fn set(plan: &mut Plan, (phase, step, operand): (usize, usize, usize), to: Ref) {
    *steps_mut(&mut plan.phases[phase])[step].op.operands_mut()[operand] = to;
}

fn another_value(plan: &mut Plan, rng: &mut ChaCha8Rng) -> Option<()> {
    let (phase, step, operand, of) = operand(plan, rng, |r| matches!(r, Ref::Value(_)))?;
    let spec = spec_of(plan, phase, &of)?;
    let made = plan.phases[phase].steps().take(step).flat_map(|s| &s.outputs);
    let alike: Vec<Ref> =
        made.filter(|v| v.spec == spec).map(|v| Ref::Value(v.name.clone())).filter(|r| *r != of).collect();
    let to = alike.choose(rng)?.clone();
    set(plan, (phase, step, operand), to.clone());
    prolong(plan, phase, step, &to);
    Some(())
}

/// Frees a value no sooner than after a step that is to use it.
fn prolong(plan: &mut Plan, phase: usize, step: usize, value: &Ref) {
    let phase = &mut plan.phases[phase];
    let (first, second) = (phase.prologue.len(), phase.prologue.len() + phase.layer.len());
    for (begin, steps) in [(0, &mut phase.prologue), (first, &mut phase.layer), (second, &mut phase.epilogue)] {
        let frees = |s: &Step| matches!(&s.op, Op::Deallocate(free) if free.input == *value);
        let Some(at) = steps.iter().position(frees) else { continue };
        if begin + at < step && step < begin + steps.len() {
            let free = steps.remove(at);
            steps.insert(step - begin, free);
        }
    }
}

fn another_weight(plan: &mut Plan, rng: &mut ChaCha8Rng) -> Option<()> {
    let (phase, step, operand, of) = operand(plan, rng, |r| matches!(r, Ref::Weight(_)))?;
    let spec = spec_of(plan, phase, &of)?;
    let alike = plan.weights.iter().filter(|w| w.spec == spec && w.name != of.name());
    let to = alike.map(|w| w.name.clone()).collect::<Vec<_>>().choose(rng)?.clone();
    set(plan, (phase, step, operand), Ref::Weight(to));
    Some(())
}

fn exchanged(plan: &mut Plan, rng: &mut ChaCha8Rng) -> Option<()> {
    let step = section(plan, rng).choose_mut(rng)?;
    let mut operands = step.op.operands_mut();
    let (a, b) = (rng.random_range(0..operands.len()), rng.random_range(0..operands.len()));
    let (low, high) = (a.min(b), a.max(b));
    if low == high {
        return None;
    }
    let (left, right) = operands.split_at_mut(high);
    std::mem::swap(left[low], right[0]);
    Some(())
}

fn exchanged_between(plan: &mut Plan, rng: &mut ChaCha8Rng) -> Option<()> {
    let value = |r: &Ref| matches!(r, Ref::Value(_) | Ref::Weight(_));
    let (phase, step, at, of) = operand(plan, rng, value)?;
    let (other_phase, other_step, other_at, other) = operand(plan, rng, value)?;
    if phase != other_phase || of == other || spec_of(plan, phase, &of) != spec_of(plan, phase, &other) {
        return None;
    }
    set(plan, (phase, step, at), other);
    set(plan, (phase, other_step, other_at), of);
    Some(())
}

fn activation(plan: &mut Plan, rng: &mut ChaCha8Rng) -> Option<()> {
    let steps = section(plan, rng).iter_mut();
    let mut matmuls: Vec<_> =
        steps.filter_map(|s| if let Op::Matmul(m) = &mut s.op { Some(m) } else { None }).collect();
    let (MatmulProgram::DramSharded { activation, .. }
    | MatmulProgram::Multicast1D { activation, .. }
    | MatmulProgram::Multicast2D { activation, .. }) = &mut matmuls.choose_mut(rng)?.program;
    let before = *activation;
    *activation = *[None, Some(FusedActivation::Relu), Some(FusedActivation::Silu)].choose(rng)?;
    (*activation != before).then_some(())
}

fn binary<'p>(plan: &'p mut Plan, rng: &mut ChaCha8Rng) -> Option<&'p mut Binary> {
    let steps = section(plan, rng).iter_mut();
    let mut binaries: Vec<_> =
        steps.filter_map(|s| if let Op::Binary(b) = &mut s.op { Some(b) } else { None }).collect();
    (!binaries.is_empty()).then(|| binaries.swap_remove(rng.random_range(0..binaries.len())))
}

fn function(plan: &mut Plan, rng: &mut ChaCha8Rng) -> Option<()> {
    let args = binary(plan, rng)?;
    let chain = match rng.random_range(0..3) {
        0 => &mut args.a_activations,
        1 => &mut args.b_activations,
        _ => &mut args.activations,
    };
    let number = || Scalar::constant(1.5);
    let new = [
        Unary::Relu,
        Unary::Square,
        Unary::Silu,
        Unary::Recip,
        Unary::MulScalar(number()),
        Unary::MaxScalar(number()),
        Unary::Round,
        Unary::Clamp(-2.0, 2.0),
        Unary::Abs,
    ];
    let new = new.choose(rng)?.clone();
    let at = rng.random_range(0..=chain.len());
    match rng.random_range(0..4) {
        0 => chain.insert(at, new),
        1 if at < chain.len() => drop(chain.remove(at)),
        2 if at < chain.len() => chain[at] = new,
        3 if at + 1 < chain.len() => chain.swap(at, at + 1),
        _ => return None,
    }
    Some(())
}

fn sum_or_product(plan: &mut Plan, rng: &mut ChaCha8Rng) -> Option<()> {
    let args = binary(plan, rng)?;
    args.kind = match args.kind {
        BinaryKind::Add => BinaryKind::Mul,
        BinaryKind::Mul => BinaryKind::Add,
    };
    Some(())
}

fn scalar<'p>(plan: &'p mut Plan, rng: &mut ChaCha8Rng) -> Option<&'p mut Scalar> {
    let mut scalars: Vec<_> = section(plan, rng).iter_mut().flat_map(|s| s.op.scalars_mut()).collect();
    (!scalars.is_empty()).then(|| scalars.swap_remove(rng.random_range(0..scalars.len())))
}

fn constant(plan: &mut Plan, rng: &mut ChaCha8Rng) -> Option<()> {
    let factor = *[0.5, 2.0, 1.01, 100.0, -1.0].choose(rng)?;
    if rng.random_bool(0.3) {
        let args = binary(plan, rng)?;
        let clamp = args
            .activations
            .iter_mut()
            .find_map(|f| if let Unary::Clamp(low, high) = f { Some((low, high)) } else { None });
        let (low, high) = clamp?;
        *(if rng.random() { low } else { high }) *= 0.5;
        return Some(());
    }
    scalar(plan, rng)?.value *= factor;
    Some(())
}

fn scale(plan: &mut Plan, rng: &mut ChaCha8Rng) -> Option<()> {
    let tensors: Vec<String> =
        matrices(plan).into_iter().filter(|m| m.content != Content::Dense).map(|m| m.tensor.clone()).collect();
    let scalar = scalar(plan, rng)?;
    let tensor = tensors.choose(rng)?.clone();
    match rng.random_range(0..3) {
        0 => scalar.scales.push((tensor, *[-2, -1, 1, 2].choose(rng)?)),
        1 => drop(scalar.scales.pop()?),
        _ => {
            let (own, power) = scalar.scales.choose_mut(rng)?;
            if rng.random() { *own = tensor } else { *power = -*power }
        }
    }
    Some(())
}

/// A step that gives back one tensor like one it is given, so that its readers can read that.
fn left_out(plan: &mut Plan, rng: &mut ChaCha8Rng) -> Option<()> {
    let phase = rng.random_range(0..plan.phases.len());
    let steps: Vec<Step> = plan.phases[phase].steps().cloned().collect();
    let at = rng.random_range(0..steps.len());
    let step = &steps[at];
    if matches!(step.op, Op::Deallocate(_)) {
        return None;
    }
    let mut stands_for = Vec::new();
    for output in &step.outputs {
        let alike = |r: &&Ref| matches!(r, Ref::Value(_)) && spec_of(plan, phase, r).as_ref() == Some(&output.spec);
        let input = step.op.operands().into_iter().find(alike)?.clone();
        stands_for.push((output.name.clone(), input));
    }
    let phase = &mut plan.phases[phase];
    for section in [&mut phase.prologue, &mut phase.layer, &mut phase.epilogue] {
        section.retain(|s| s.name != step.name);
        for (output, input) in &stands_for {
            // The input lives until the output would have been freed.
            section.retain(|s| !matches!(&s.op, Op::Deallocate(free) if free.input == *input));
            for operand in section.iter_mut().flat_map(|s| s.op.operands_mut()) {
                if *operand == Ref::Value(output.clone()) {
                    *operand = input.clone();
                }
            }
        }
    }
    Some(())
}

fn again(plan: &mut Plan, rng: &mut ChaCha8Rng) -> Option<()> {
    let steps = section(plan, rng);
    let in_place: Vec<usize> = (0..steps.len())
        .filter(|&i| steps[i].outputs.is_empty() && !matches!(steps[i].op, Op::Deallocate(_)))
        .collect();
    let at = *in_place.choose(rng)?;
    let mut step = steps[at].clone();
    step.name.push_str(".again");
    steps.insert(at + 1, step);
    Some(())
}

/// Changes that change nothing: other names, and neighbours in another order where that is legal.
fn renamed_and_reordered(plan: &mut Plan, rng: &mut ChaCha8Rng) -> Option<()> {
    if rng.random() {
        let steps = section(plan, rng);
        let at = rng.random_range(0..steps.len().checked_sub(1)?);
        steps.swap(at, at + 1);
        return Some(());
    }
    let phase = plan.phases.choose_mut(rng)?;
    let names: Vec<String> = phase.steps().flat_map(|s| &s.outputs).map(|v| v.name.clone()).collect();
    let name = names.choose(rng)?.clone();
    let new = format!("{name}.renamed");
    for step in steps_mut(phase) {
        for output in step.outputs.iter_mut().filter(|v| v.name == name) {
            output.name.clone_from(&new);
        }
        for operand in step.op.operands_mut() {
            if *operand == Ref::Value(name.clone()) {
                *operand = Ref::Value(new.clone());
            }
        }
    }
    for result in phase.results.iter_mut().filter(|r| **r == name) {
        result.clone_from(&new);
    }
    Some(())
}
