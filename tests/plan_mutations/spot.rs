//! Sound plans, and where in them something is changed.

use std::sync::OnceLock;

use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{Options, compile, model};
use bitnetc_plan::{CoreRange, Cores, DType, Defect, Invariant, MemoryConfig, Phase, Plan, Step, verify};
use proptest::prelude::*;
use proptest::sample::Index;

/// Sound plans of different shapes: both families, few and many users, all policies, tokens drawn and taken.
pub fn plans() -> &'static [Plan] {
    static PLANS: OnceLock<Vec<Plan>> = OnceLock::new();
    PLANS.get_or_init(|| {
        let cases = [
            ("bitnet-2b-4t", "n150", 32, Policy::Balanced, false),
            ("bitnet-2b-4t", "p150", 1, Policy::Exact, false),
            ("bitnet-2b-4t", "p150", 8, Policy::Fast, true),
            ("falcon3-1b", "n150", 8, Policy::Balanced, false),
        ];
        let plan = |(name, card, batch, policy, sample)| {
            let model = model::find(name).unwrap_or_else(|| panic!("no model {name}")).model().unwrap();
            let options = Options { batch, policy, sample, prefill: vec![128], ..Options::for_model(&model) };
            let compiled = compile(&model, &Target::find(card).unwrap(), &options);
            compiled.unwrap_or_else(|e| panic!("{name} on {card}: {e}")).plan.into_plan()
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
pub struct Spot {
    pub plan: Index,
    pub phase: Index,
    section: usize,
    pub at: Index,
    pub other: Index,
    pub amount: u32,
}

pub fn spot() -> impl Strategy<Value = Spot> {
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
    pub fn plan(&self) -> Plan {
        self.plan.get(plans()).clone()
    }

    pub fn steps<'p>(&self, plan: &'p mut Plan) -> &'p mut Vec<Step> {
        let phase = self.phase.index(plan.phases.len());
        section(&mut plan.phases[phase], self.section)
    }

    /// One of the steps for which `wanted` holds.
    pub fn choose(&self, steps: &[Step], wanted: impl Fn(&Step) -> bool) -> Option<usize> {
        let found: Vec<usize> = (0..steps.len()).filter(|&i| wanted(&steps[i])).collect();
        (!found.is_empty()).then(|| *self.at.get(&found))
    }

    /// The spec, moved by one core or cut elsewhere.
    pub fn moved(&self, memory: &mut MemoryConfig) -> bool {
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

    pub fn other_dtype(&self, dtype: DType) -> DType {
        let all = [DType::Bf16, DType::Bfp8, DType::Bfp4, DType::F32, DType::U32, DType::I32];
        let others: Vec<DType> = all.into_iter().filter(|d| *d != dtype).collect();
        *self.other.get(&others)
    }
}

pub fn caught(plan: &Plan) -> Result<Vec<Defect>, TestCaseError> {
    match verify(plan) {
        Ok(_) => Err(TestCaseError::fail("verify noticed nothing")),
        Err(defects) => Ok(defects),
    }
}

pub fn caught_as(plan: &Plan, invariant: Invariant) -> Result<(), TestCaseError> {
    let defects = caught(plan)?;
    prop_assert!(defects.iter().any(|d| d.invariant == invariant), "{defects:#?}");
    Ok(())
}

/// The property that a change needs; a spot without it is drawn again.
pub fn applicable<T>(found: Option<T>) -> Result<T, TestCaseError> {
    found.ok_or_else(|| TestCaseError::reject("nothing of the kind at this spot"))
}
