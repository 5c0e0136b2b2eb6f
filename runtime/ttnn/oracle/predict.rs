//! Predicts the answer to a question from the op rules and the model of the L1 allocator.

use bitnetc_plan::l1::{Allocator, dram_bytes_per_bank};
use bitnetc_plan::ttnn::{Checks, Outcome, Violation, check, require_placement};
use bitnetc_plan::{Card, Memory, TensorSpec};

use super::{Facts, Question};

/// A prediction for a draw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Prediction {
    /// Accepted, with this effect.
    Accepted(Facts),
    /// Refused, for this reason.
    Refused(String),
    /// The rule leaves such calls out: the first of its own limits that the call breaks.
    Unclaimed(Option<Violation>),
}

/// True when the operands can be allocated, so that the question is about the call.
pub(super) fn is_askable(question: &Question, card: &Card) -> bool {
    let Question::Call { operands, .. } = question else { return true };
    let mut checks = Checks::new();
    operands.iter().for_each(|spec| require_placement(spec, card, &mut checks));
    if !checks.ok() || allocate(&mut Allocator::new(card), operands).is_none() {
        return false;
    }
    let dram = operands.iter().filter(|s| s.memory.memory() == Memory::Dram).map(|s| dram_bytes_per_bank(s, card));
    // Half the card, so that results fit too.
    dram.sum::<u64>() < card.dram.bank_bytes / 2
}

/// The prediction.
pub(super) fn predict(question: &Question, card: &Card) -> Prediction {
    match question {
        Question::Place(spec) => {
            let mut checks = Checks::new();
            require_placement(spec, card, &mut checks);
            match checks.settle() {
                Ok(()) => place(spec, card),
                Err(broken) => refusal(&broken),
            }
        }
        Question::Call { op, operands } => match check(op, &operands.iter().collect::<Vec<_>>(), card) {
            Ok(outcome) => fit(operands, outcome, card),
            Err(broken) => refusal(&broken),
        },
    }
}

fn refusal(broken: &[Violation]) -> Prediction {
    match broken.iter().find(|v| !v.is_narrower()) {
        Some(violation) => Prediction::Refused(format!("{}: {violation}", violation.id())),
        None => Prediction::Unclaimed(broken.first().cloned()),
    }
}

/// The addresses of those of `specs` that are in L1; `None` when they do not fit.
fn allocate<'a>(l1: &mut Allocator, specs: impl IntoIterator<Item = &'a TensorSpec>) -> Option<Vec<u64>> {
    let in_l1 = specs.into_iter().filter(|s| s.memory.memory() == Memory::L1);
    in_l1.map(|spec| l1.allocate(spec).ok()).collect()
}

fn place(spec: &TensorSpec, card: &Card) -> Prediction {
    if spec.memory.memory() == Memory::Dram && dram_bytes_per_bank(spec, card) > card.dram.bank_bytes {
        return Prediction::Refused("Out of Memory in DRAM".into());
    }
    match allocate(&mut Allocator::new(card), [spec]) {
        Some(addresses) => Prediction::Accepted(Facts { outputs: vec![spec.clone()], addresses, ..Facts::default() }),
        None => Prediction::Refused("Out of Memory in L1".into()),
    }
}

/// A legal call, next to its operands in L1.
fn fit(operands: &[TensorSpec], outcome: Outcome, card: &Card) -> Prediction {
    let mut l1 = Allocator::new(card);
    let early = outcome.temporaries.iter().filter(|t| t.before_output).map(|t| &t.spec);
    let late = outcome.temporaries.iter().filter(|t| !t.before_output).map(|t| &t.spec);
    // A view has its operand's buffer.
    let outputs = outcome.outputs.iter().filter(|_| outcome.programs > 0);
    let made = early.chain(outputs).chain(late);
    let Some(addresses) = allocate(&mut l1, operands).and_then(|_| allocate(&mut l1, made)) else {
        return Prediction::Refused("Out of Memory in L1, next to the operands".into());
    };
    let end = card.l1.base + outcome.circular_buffers;
    match l1.lowest() {
        Some(lowest) if outcome.circular_buffers > 0 && end > lowest => {
            Prediction::Refused(format!("circular buffers up to {end} clash with L1 buffers at {lowest}"))
        }
        Some(_) | None => Prediction::Accepted(Facts {
            outputs: outcome.outputs,
            addresses,
            circular_buffers: outcome.circular_buffers,
            programs: outcome.programs,
        }),
    }
}
