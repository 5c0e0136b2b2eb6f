//! Steps dropped, doubled, exchanged, or given another value.

use bitnetc_plan::{Invariant, Op, Ref, Step};
use proptest::prelude::*;

use crate::spot::{applicable, caught, caught_as, spot};

fn uses(step: &Step, value: &str) -> bool {
    step.op.operands().into_iter().any(|r| *r == Ref::Value(value.to_owned()))
}

/// `later` needs what `earlier` made or wrote, or frees what it used.
fn depends(later: &Step, earlier: &Step) -> bool {
    let written = earlier.op.written().into_iter().any(|w| later.op.operands().contains(&w));
    let overwrites = later.op.written().into_iter().any(|w| earlier.op.operands().contains(&w));
    let frees = matches!(&later.op, Op::Deallocate(d) if uses(earlier, d.input.name()));
    earlier.outputs.iter().any(|v| uses(later, &v.name)) || written || overwrites || frees
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_freed_value_used_is_caught(spot in spot()) {
        let mut plan = spot.plan();
        let steps = spot.steps(&mut plan);
        let free = applicable(spot.choose(steps, |s| matches!(s.op, Op::Deallocate(_))))?;
        let Op::Deallocate(args) = &steps[free].op else { unreachable!() };
        let name = args.input.name().to_owned();
        let user = applicable((0..free).rev().find(|&i| uses(&steps[i], &name)))?;
        let step = steps.remove(free);
        steps.insert(user, step);
        caught_as(&plan, Invariant::Alive)?;
    }

    #[test]
    fn another_operand_is_caught_when_it_is_freed_or_not_yet_made(spot in spot()) {
        let mut plan = spot.plan();
        let steps = spot.steps(&mut plan);
        let user = applicable(spot.choose(steps, |s| s.op.operands().iter().any(|r| matches!(r, Ref::Value(_)))))?;
        let gone = steps[..user].iter().filter_map(|s| match &s.op {
            Op::Deallocate(args) => Some(args.input.name().to_owned()),
            _ => None,
        });
        let unborn = steps[user..].iter().flat_map(|s| s.outputs.iter().map(|v| v.name.clone()));
        let names: Vec<String> = gone.chain(unborn).collect();
        prop_assume!(!names.is_empty());
        let name = spot.other.get(&names).clone();
        for operand in steps[user].op.operands_mut() {
            if matches!(operand, Ref::Value(_)) {
                *operand = Ref::Value(name.clone());
                break;
            }
        }
        caught(&plan)?;
    }

    #[test]
    fn a_dropped_step_is_caught(spot in spot()) {
        let mut plan = spot.plan();
        let steps = spot.steps(&mut plan);
        prop_assume!(!steps.is_empty());
        let dropped = steps.remove(spot.at.index(steps.len()));
        if let Err(e) = caught(&plan) {
            panic!("{e}: {dropped:#?}");
        }
    }

    #[test]
    fn a_step_done_twice_is_caught(spot in spot()) {
        let mut plan = spot.plan();
        let steps = spot.steps(&mut plan);
        prop_assume!(!steps.is_empty());
        let at = spot.at.index(steps.len());
        steps.insert(at, steps[at].clone());
        caught_as(&plan, Invariant::Names)?;
    }

    #[test]
    fn two_dependent_steps_swapped_are_caught(spot in spot()) {
        let mut plan = spot.plan();
        let steps = spot.steps(&mut plan);
        let pairs: Vec<(usize, usize)> = (0..steps.len())
            .flat_map(|i| (i + 1..steps.len()).map(move |j| (i, j)))
            .filter(|&(i, j)| depends(&steps[j], &steps[i]))
            .collect();
        prop_assume!(!pairs.is_empty());
        let (i, j) = *spot.at.get(&pairs);
        steps.swap(i, j);
        let names = (steps[j].name.clone(), steps[i].name.clone());
        if let Err(e) = caught(&plan) {
            panic!("{e}: {names:?} swapped");
        }
    }
}
