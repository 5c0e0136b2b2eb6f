//! Tensors moved, cut elsewhere, or of another data type; addresses and sizes that are not theirs.

use bitnetc_plan::{Invariant, Step, TensorSpec};
use proptest::prelude::*;

use crate::spot::{applicable, caught, caught_as, spot};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_moved_shard_is_caught(spot in spot(), weight in prop::bool::weighted(0.2)) {
        let mut plan = spot.plan();
        let spec: &mut TensorSpec = if weight {
            &mut spot.at.get_mut(&mut plan.weights).spec
        } else {
            let steps = spot.steps(&mut plan);
            let sharded = |s: &Step| s.outputs.iter().any(|v| v.spec.memory.is_sharded());
            let step = applicable(spot.choose(steps, sharded))?;
            &mut spot.other.get_mut(&mut steps[step].outputs).spec
        };
        prop_assume!(spot.moved(&mut spec.memory));
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
                let step = applicable(spot.choose(steps, |s| !s.outputs.is_empty()))?;
                &mut spot.other.get_mut(&mut steps[step].outputs).spec
            }
        };
        spec.dtype = spot.other_dtype(spec.dtype);
        caught(&plan)?;
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
        prop_assume!(!steps.is_empty());
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
}
