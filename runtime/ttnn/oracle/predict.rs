//! Predicts the answer to a question from the op rules and the model of the allocators.

use bitnetc_plan::allocator::Allocator;
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
    checks.ok() && Memories::new(card).allocate(operands).is_ok()
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

/// The memories of a card.
struct Memories {
    l1: Allocator,
    dram: Allocator,
}

impl Memories {
    fn new(card: &Card) -> Self {
        Memories { l1: Allocator::new(Memory::L1, card), dram: Allocator::new(Memory::Dram, card) }
    }

    /// The addresses of `specs` in their order; the memory that has no room for one of them.
    fn allocate<'a>(&mut self, specs: impl IntoIterator<Item = &'a TensorSpec>) -> Result<Vec<u64>, Memory> {
        let place = |spec: &TensorSpec| {
            let memory = spec.memory.memory();
            let allocator = match memory {
                Memory::L1 => &mut self.l1,
                Memory::Dram => &mut self.dram,
            };
            allocator.allocate(spec).map_err(|_| memory)
        };
        specs.into_iter().map(place).collect()
    }
}

fn out_of_memory(memory: Memory, beside: &str) -> Prediction {
    let memory = match memory {
        Memory::L1 => "L1",
        Memory::Dram => "DRAM",
    };
    Prediction::Refused(format!("Out of Memory in {memory}{beside}"))
}

fn place(spec: &TensorSpec, card: &Card) -> Prediction {
    match Memories::new(card).allocate([spec]) {
        Ok(addresses) => Prediction::Accepted(Facts { outputs: vec![spec.clone()], addresses, ..Facts::default() }),
        Err(memory) => out_of_memory(memory, ""),
    }
}

/// A legal call, next to its operands.
fn fit(operands: &[TensorSpec], outcome: Outcome, card: &Card) -> Prediction {
    let mut memories = Memories::new(card);
    let early = outcome.temporaries.iter().filter(|t| t.before_output).map(|t| &t.spec);
    let late = outcome.temporaries.iter().filter(|t| !t.before_output).map(|t| &t.spec);
    // A view has its operand's buffer.
    let outputs = outcome.outputs.iter().filter(|_| outcome.programs > 0);
    let made = early.chain(outputs).chain(late);
    let addresses = match memories.allocate(operands).and_then(|_| memories.allocate(made)) {
        Ok(addresses) => addresses,
        Err(memory) => return out_of_memory(memory, ", next to the operands"),
    };
    let end = card.l1.base + outcome.circular_buffers;
    match memories.l1.lowest() {
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
