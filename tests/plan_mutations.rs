//! Whatever is done to a sound plan, verify notices, and never panics.
//!
//! Two kinds of changes to plans of real models: mistakes a compiler or an editor could make (a freed value used, a shard moved, a data type
//! changed, a step dropped, two dependent steps swapped, an address or a size changed), each of which must be caught; and any change at all
//! to the plan's tree, which must be answered.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap fails the test")]

use std::sync::OnceLock;

use bitnetc_compiler::model;
use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{Options, compile};
use bitnetc_plan::{
    Buffer, CoreRange, Cores, DType, Defect, Invariant, MemoryConfig, Op, Phase, Plan, Ref, Step, TensorSpec, verify,
};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value as Json;

/// Sound plans of different shapes: both families, few and many users, all policies.
fn plans() -> &'static [Plan] {
    static PLANS: OnceLock<Vec<Plan>> = OnceLock::new();
    PLANS.get_or_init(|| {
        let cases = [
            ("bitnet-2b-4t", "n150", 32, Policy::Balanced),
            ("bitnet-2b-4t", "p150", 1, Policy::Exact),
            ("bitnet-2b-4t", "p150", 8, Policy::Fast),
            ("falcon3-1b", "n150", 8, Policy::Balanced),
        ];
        let plan = |(name, card, batch, policy)| {
            let model = model::find(name).unwrap_or_else(|| panic!("no model {name}")).model().unwrap();
            let options = Options { batch, policy, prefill: vec![128], ..Options::for_model(&model) };
            let compiled = compile(&model, &Target::find(card).unwrap(), &options);
            compiled.unwrap_or_else(|e| panic!("{name} on {card}: {e}")).plan
        };
        cases.into_iter().map(plan).collect()
    })
}

/// The prologue, layer or epilogue of a phase.
fn section(phase: &mut Phase, which: usize) -> &mut Vec<Step> {
    match which % 3 {
        0 => &mut phase.prologue,
        1 => &mut phase.layer,
        _ => &mut phase.epilogue,
    }
}

/// Where in a plan something is changed.
#[derive(Debug, Clone)]
struct Spot {
    plan: Index,
    phase: Index,
    section: usize,
    at: Index,
    other: Index,
    amount: u32,
}

fn spot() -> impl Strategy<Value = Spot> {
    let index = any::<Index>;
    // Most steps, and most of what can go wrong, are in the layer.
    let section = prop_oneof![1 => Just(0usize), 4 => Just(1), 2 => Just(2)];
    (index(), index(), section, index(), index(), 1u32..6).prop_map(|(plan, phase, section, at, other, amount)| Spot {
        plan,
        phase,
        section,
        at,
        other,
        amount,
    })
}

impl Spot {
    fn plan(&self) -> Plan {
        self.plan.get(plans()).clone()
    }

    fn steps<'p>(&self, plan: &'p mut Plan) -> &'p mut Vec<Step> {
        let phase = self.phase.index(plan.phases.len());
        section(&mut plan.phases[phase], self.section)
    }

    /// One of the steps for which `wanted` holds.
    fn choose(&self, steps: &[Step], wanted: impl Fn(&Step) -> bool) -> Option<usize> {
        let found: Vec<usize> = (0..steps.len()).filter(|&i| wanted(&steps[i])).collect();
        (!found.is_empty()).then(|| *self.at.get(&found))
    }

    /// Another spec, moved by one core or cut elsewhere.
    fn moved(&self, memory: &mut MemoryConfig) -> bool {
        let MemoryConfig::Sharded { cores: Cores(ranges), shard, .. } = memory else { return false };
        match self.amount {
            1 => ranges.iter_mut().for_each(|r| (r.start.1, r.end.1) = (r.start.1 + 1, r.end.1 + 1)),
            2 => ranges.iter_mut().for_each(|r| (r.start.0, r.end.0) = (r.start.0 + 1, r.end.0 + 1)),
            3 => shard[1] += 32,
            4 => shard[0] += 32,
            _ => {
                let last = ranges.last().map_or(0, |r| r.end.1) + 1;
                ranges.push(CoreRange { start: (0, last), end: (0, last) });
            }
        }
        true
    }

    fn other_dtype(&self, dtype: DType) -> DType {
        let all = [DType::Bf16, DType::Bfp8, DType::Bfp4, DType::F32, DType::U32, DType::I32];
        let others: Vec<DType> = all.into_iter().filter(|d| *d != dtype).collect();
        *self.other.get(&others)
    }
}

fn caught(plan: &Plan) -> Result<Vec<Defect>, TestCaseError> {
    match verify(plan) {
        Ok(_) => Err(TestCaseError::fail("verify noticed nothing")),
        Err(defects) => Ok(defects),
    }
}

fn caught_as(plan: &Plan, invariant: Invariant) -> Result<(), TestCaseError> {
    let defects = caught(plan)?;
    prop_assert!(defects.iter().any(|d| d.invariant == invariant), "{defects:#?}");
    Ok(())
}

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

#[test]
fn the_plans_are_sound_before() {
    for plan in plans() {
        if let Err(defects) = verify(plan) {
            panic!("{defects:#?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_freed_value_used_is_caught(spot in spot()) {
        let mut plan = spot.plan();
        let steps = spot.steps(&mut plan);
        let Some(free) = spot.choose(steps, |s| matches!(s.op, Op::Deallocate(_))) else { return Ok(()) };
        let Op::Deallocate(args) = &steps[free].op else { unreachable!() };
        let name = args.input.name().to_owned();
        let Some(user) = (0..free).rev().find(|&i| uses(&steps[i], &name)) else { return Ok(()) };
        let step = steps.remove(free);
        steps.insert(user, step);
        caught_as(&plan, Invariant::Alive)?;
    }

    #[test]
    fn another_operand_is_caught_when_it_is_freed_or_not_yet_made(spot in spot()) {
        let mut plan = spot.plan();
        let steps = spot.steps(&mut plan);
        let Some(user) = spot.choose(steps, |s| s.op.operands().iter().any(|r| matches!(r, Ref::Value(_)))) else {
            return Ok(());
        };
        let gone = steps[..user].iter().filter_map(|s| match &s.op {
            Op::Deallocate(args) => Some(args.input.name().to_owned()),
            _ => None,
        });
        let unborn = steps[user..].iter().flat_map(|s| s.outputs.iter().map(|v| v.name.clone()));
        let names: Vec<String> = gone.chain(unborn).collect();
        if names.is_empty() {
            return Ok(());
        }
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
    fn a_moved_shard_is_caught(spot in spot(), weight in prop::bool::weighted(0.2)) {
        let mut plan = spot.plan();
        let spec: &mut TensorSpec = if weight {
            &mut spot.at.get_mut(&mut plan.weights).spec
        } else {
            let steps = spot.steps(&mut plan);
            let sharded = |s: &Step| s.outputs.iter().any(|v| v.spec.memory.is_sharded());
            let Some(step) = spot.choose(steps, sharded) else { return Ok(()) };
            &mut spot.other.get_mut(&mut steps[step].outputs).spec
        };
        if !spot.moved(&mut spec.memory) {
            return Ok(());
        }
        caught(&plan)?;
    }

    #[test]
    fn another_data_type_is_caught(spot in spot(), what in 0..6) {
        let mut plan = spot.plan();
        let spec: &mut TensorSpec = match what {
            0 => &mut spot.at.get_mut(&mut plan.weights).spec,
            1 => &mut spot.at.get_mut(&mut plan.buffers).spec,
            _ => {
                let steps = spot.steps(&mut plan);
                let Some(step) = spot.choose(steps, |s| !s.outputs.is_empty()) else { return Ok(()) };
                &mut spot.other.get_mut(&mut steps[step].outputs).spec
            }
        };
        spec.dtype = spot.other_dtype(spec.dtype);
        caught(&plan)?;
    }

    #[test]
    fn a_dropped_step_is_caught(spot in spot()) {
        let mut plan = spot.plan();
        let steps = spot.steps(&mut plan);
        if steps.is_empty() {
            return Ok(());
        }
        let dropped = steps.remove(spot.at.index(steps.len()));
        if let Err(e) = caught(&plan) {
            panic!("{e}: {dropped:#?}");
        }
    }

    #[test]
    fn a_step_done_twice_is_caught(spot in spot()) {
        let mut plan = spot.plan();
        let steps = spot.steps(&mut plan);
        if steps.is_empty() {
            return Ok(());
        }
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
        if pairs.is_empty() {
            return Ok(());
        }
        let (i, j) = *spot.at.get(&pairs);
        steps.swap(i, j);
        let names = (steps[j].name.clone(), steps[i].name.clone());
        if let Err(e) = caught(&plan) {
            panic!("{e}: {names:?} swapped");
        }
    }

    #[test]
    fn another_address_is_caught(spot in spot(), up in any::<bool>(), gone in any::<bool>()) {
        let mut plan = spot.plan();
        let weights = plan.weights.iter_mut().map(|w| &mut w.address);
        let phases = plan.phases.iter_mut().flat_map(|p| p.prologue.iter_mut().chain(&mut p.layer).chain(&mut p.epilogue));
        let values = phases.flat_map(|s| &mut s.outputs).map(|v| &mut v.address);
        let mut addresses: Vec<&mut Option<u64>> = weights.chain(values).collect();
        let address = spot.at.get_mut(&mut addresses);
        let moved = 16 * u64::from(spot.amount);
        **address = match **address {
            Some(_) if gone => None,
            Some(a) if up => Some(a + moved),
            Some(a) => Some(a - moved),
            None => Some(1_000_000),
        };
        caught_as(&plan, Invariant::Address)?;
    }

    #[test]
    fn another_footprint_is_caught(spot in spot(), buffers in any::<bool>()) {
        let mut plan = spot.plan();
        let steps = spot.steps(&mut plan);
        if steps.is_empty() {
            return Ok(());
        }
        let l1 = &mut spot.at.get_mut(steps).l1;
        let bytes = if buffers { &mut l1.circular_buffers } else { &mut l1.tensors };
        *bytes = if bytes.is_multiple_of(2) { *bytes + u64::from(spot.amount) } else { *bytes - 1 };
        caught_as(&plan, Invariant::Footprint)?;
    }

    #[test]
    fn other_shapes_of_what_is_persistent_are_caught(spot in spot(), weight in any::<bool>()) {
        let mut plan = spot.plan();
        let spec = if weight {
            &mut spot.at.get_mut(&mut plan.weights).spec
        } else {
            &mut spot.at.get_mut(&mut plan.buffers).spec
        };
        let dimension = spot.other.get_mut(&mut spec.shape);
        *dimension += 32 * spot.amount;
        caught(&plan)?;
    }

    #[test]
    fn other_options_are_caught(spot in spot(), what in 0..6) {
        let mut plan = spot.plan();
        let (phase, buffer) = (spot.phase.index(plan.phases.len()), spot.other.index(plan.buffers.len()));
        match what {
            0 => plan.format += spot.amount,
            1 => plan.options.batch += spot.amount,
            2 => plan.options.block *= 2,
            3 => plan.phases.push(plan.phases[phase].clone()),
            4 => plan.phases[phase].results.clear(),
            _ => {
                let again: Buffer = plan.buffers[buffer].clone();
                plan.buffers.push(again);
            }
        }
        caught(&plan)?;
    }

    #[test]
    fn a_trace_that_cannot_be_replayed_is_caught(spot in spot(), what in 0..4) {
        let mut plan = spot.plan();
        let prefill = plan.phases[1..].iter().map(|p| p.kind).next();
        let trace = plan.phases[0].trace.clone();
        let Some(mut changed) = trace.clone() else { return Ok(()) };
        match what {
            0 => changed.warm_up = 0,
            1 => drop(changed.feedback.remove(spot.at.index(changed.feedback.len()))),
            2 => changed.inputs.retain(|n| changed.feedback.contains(n)),
            _ if prefill.is_some() => plan.phases[1].trace = trace,
            _ => return Ok(()),
        }
        plan.phases[0].trace = Some(changed);
        caught_as(&plan, Invariant::Trace)?;
    }
}

/// Every place of a tree, as the path to it.
fn paths(tree: &Json, path: &mut Vec<String>, found: &mut Vec<String>) {
    match tree {
        Json::Object(fields) => fields.iter().for_each(|(key, value)| {
            path.push(key.clone());
            paths(value, path, found);
            path.pop();
        }),
        Json::Array(items) => items.iter().enumerate().for_each(|(i, value)| {
            path.push(i.to_string());
            paths(value, path, found);
            path.pop();
        }),
        _ => {}
    }
    found.push(path.iter().map(|key| format!("/{key}")).collect());
}

fn trees() -> &'static [(Json, Vec<String>)] {
    static TREES: OnceLock<Vec<(Json, Vec<String>)>> = OnceLock::new();
    TREES.get_or_init(|| {
        let tree = |plan: &Plan| {
            let tree = serde_json::to_value(plan).unwrap();
            let mut found = Vec::new();
            paths(&tree, &mut Vec::new(), &mut found);
            (tree, found)
        };
        plans().iter().map(tree).collect()
    })
}

/// Something else of the same kind.
fn changed(tree: &mut Json, number: u64, swap: (Index, Index), text: &str) {
    match tree {
        Json::Number(n) if n.is_f64() => *tree = Json::from(f64::from_bits(number)),
        Json::Number(_) => *tree = Json::from(number),
        Json::Bool(b) => *b = !*b,
        Json::String(s) => *s = text.to_owned(),
        Json::Null => *tree = Json::from(number),
        Json::Array(items) if !items.is_empty() => {
            let (i, j) = (swap.0.index(items.len()), swap.1.index(items.len()));
            match number % 4 {
                0 => drop(items.remove(i)),
                1 => items.insert(i, items[j].clone()),
                2 => items.clear(),
                _ => items.swap(i, j),
            }
        }
        Json::Array(_) | Json::Object(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn any_change_is_answered(
        plan in any::<Index>(),
        places in prop::collection::vec((any::<Index>(), any::<Index>(), any::<Index>()), 1..4),
        number in prop_oneof![
            Just(0u64), Just(1), Just(31), Just(33), Just(u64::from(u32::MAX)), Just(1 << 24), Just(1 << 14), Just(255),
            Just(u64::MAX), 0u64..70_000, any::<u64>()
        ],
    ) {
        let (tree, found) = plan.get(trees());
        let mut tree = tree.clone();
        for (place, i, j) in places {
            let text = tree.pointer(i.get(found.as_slice()).as_str()).and_then(Json::as_str).unwrap_or("Bfp8").to_owned();
            if let Some(part) = tree.pointer_mut(place.get(found.as_slice()).as_str()) {
                changed(part, number, (i, j), &text);
            }
        }
        if let Ok(plan) = serde_json::from_value::<Plan>(tree) {
            // Sound or not: there is an answer, and the answer can be told.
            if let Err(defects) = verify(&plan) {
                prop_assert!(!defects.is_empty());
                prop_assert!(defects.iter().all(|d| !d.to_string().is_empty()));
            }
        }
    }
}
