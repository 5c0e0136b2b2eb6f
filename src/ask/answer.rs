//! The answer to a question: legal with this result at this price, or broken constraints.

use bitnetc_compiler::pricer::Pricer;
use bitnetc_compiler::target::Target;
use bitnetc_plan::allocator::bytes_per_bank;
use bitnetc_plan::ttnn::{Outcome, Violation, check};
use bitnetc_plan::{Cost, Footprint, Memory, Op, Ref, Step, TensorSpec, Value};
use bitnetc_ttnn::lower::{self, Plain};

use super::call::Question;

/// A legal call's effect and price.
#[derive(Debug, Clone, PartialEq)]
pub struct Legal {
    /// Results, bytes, programs.
    pub outcome: Outcome,
    /// Predicted.
    pub cost: Cost,
}

/// The rule's answer, priced when it is legal.
pub fn answer(question: &Question, target: &Target, position: u32) -> Result<Legal, Vec<Violation>> {
    let specs: Vec<&TensorSpec> = question.operands.iter().collect();
    let outcome = check(&question.op, &specs, &target.card)?;
    let cost = Pricer::new(target, position).legal(question.op.clone(), &specs)?;
    Ok(Legal { outcome, cost })
}

impl Legal {
    /// Bytes of L1 that the results take on the fullest core.
    pub fn result_bytes(&self, target: &Target) -> u64 {
        let in_l1 = self.outcome.outputs.iter().filter(|spec| spec.memory.memory() == Memory::L1);
        in_l1.map(|spec| bytes_per_bank(spec, &target.card)).sum()
    }
}

/// The question as it can be asked again: the call as Python, with the specs of its operands.
pub fn written(question: &Question, outputs: &[TensorSpec]) -> String {
    let value = |spec: &TensorSpec| Value { name: "result".into(), spec: spec.clone(), padding: None, address: None };
    let mut op: Op = question.op.clone();
    let mut names = Vec::new();
    for (at, (operand, spec)) in op.operands_mut().into_iter().zip(&question.operands).enumerate() {
        // The same tensor keeps one name; `#` is in no identifier.
        let marker = Ref::Value(format!("#{at}#{operand}"));
        names.push((lower::key(&marker), format!("{operand}{}", spec.to_string().replace(", ", ","))));
        *operand = marker;
    }
    let step = Step {
        name: "asked".into(),
        op,
        outputs: outputs.iter().map(value).collect(),
        l1: Footprint::default(),
        cost: Cost::default(),
        note: String::new(),
    };
    let mut text = lower::lower(&step, &Plain).call.to_string();
    // Longer keys first, so that none is part of another.
    names.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
    names.into_iter().for_each(|(key, spec)| text = text.replace(&key, &spec));
    text
}
