//! A decode phase that draws its tokens.

use bitnetc_plan::op::Sampling;
use bitnetc_plan::{BufferRole, Invariant, Op, Plan, Ref, Step, verify};

use crate::spot::plans;

/// The plan that draws with `change` done to it breaks `invariant`.
#[track_caller]
fn broken(invariant: Invariant, change: impl FnOnce(&mut Plan)) {
    let mut plan = plans().iter().find(|plan| plan.options.sample).unwrap().clone();
    change(&mut plan);
    let defects = verify(&plan).map(|_| ()).unwrap_err();
    assert!(defects.iter().any(|d| d.invariant == invariant), "{defects:#?}");
}

fn position(plan: &Plan, wanted: fn(&Op) -> bool) -> usize {
    plan.phases[0].epilogue.iter().position(|step| wanted(&step.op)).unwrap()
}

/// Takes out the step that seeds random numbers.
fn take_seeds(plan: &mut Plan) -> Step {
    let at = position(plan, |op| matches!(op, Op::ManualSeed(_)));
    plan.phases[0].epilogue.remove(at)
}

/// The step that draws, to be changed.
fn draw(plan: &mut Plan) -> &mut Sampling {
    let steps = plan.phases[0].epilogue.iter_mut();
    let mut draws =
        steps.filter_map(|step: &mut Step| if let Op::Sampling(args) = &mut step.op { Some(args) } else { None });
    draws.next().unwrap()
}

fn buffer(plan: &Plan, role: BufferRole) -> Ref {
    Ref::Buffer(plan.buffer_for(role).unwrap().name.clone())
}

#[test]
fn random_numbers_are_seeded_before_a_token_is_drawn() {
    broken(Invariant::Dataflow, |plan| drop(take_seeds(plan)));
    broken(Invariant::Dataflow, |plan| {
        let step = take_seeds(plan);
        plan.phases[0].epilogue.push(step);
    });
}

#[test]
fn a_draw_reads_each_parameter_where_it_is() {
    broken(Invariant::Dataflow, |plan| {
        let other = buffer(plan, BufferRole::Generators);
        draw(plan).k = other;
    });
    broken(Invariant::Dataflow, |plan| {
        let other = buffer(plan, BufferRole::InverseTemperature);
        draw(plan).p = other;
    });
    broken(Invariant::Dataflow, |plan| {
        let other = buffer(plan, BufferRole::TopP);
        draw(plan).inverse_temperature = other;
    });
    broken(Invariant::Dataflow, |plan| {
        let other = buffer(plan, BufferRole::Seeds);
        draw(plan).output = other;
    });
    broken(Invariant::Legal, |plan| {
        let tokens = plan.buffers.iter_mut().find(|buffer| buffer.role == BufferRole::Tokens).unwrap();
        tokens.spec.shape.remove(0);
    });
    broken(Invariant::BufferRole, |plan| {
        let p = plan.buffers.iter_mut().find(|buffer| buffer.role == BufferRole::TopP).unwrap();
        p.spec.shape[0] += 1;
    });
}

#[test]
fn every_parameter_may_be_written_between_two_replays() {
    for role in
        [BufferRole::TopK, BufferRole::TopP, BufferRole::InverseTemperature, BufferRole::Seeds, BufferRole::Generators]
    {
        broken(Invariant::Trace, |plan| {
            let name = buffer(plan, role);
            plan.phases[0].trace.as_mut().unwrap().inputs.retain(|input| *input != name.name());
        });
    }
}
