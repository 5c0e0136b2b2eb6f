//! Asks TT-NN a question on a mock card. A call is executed twice: without dispatch, which reports the sizes of all buffers, then for real,
//! which checks memory and gives addresses.

use bitnetc_plan::{Cost, Footprint, Op, Step, TensorSpec, Value};

use super::{Facts, Question};
use crate::call::Scope;
use crate::error::TtnnError;
use crate::graph::{Graph, Node, RunMode};
use crate::lower::{self, Plain};
use crate::open_card::OpenCard;
use crate::python::Object;
use crate::spec;

/// TT-NN's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// Accepted, with this effect.
    Accepted(Facts),
    /// Refused, in these words.
    Refused(String),
}

/// The answer.
pub(super) fn ask(device: &OpenCard, question: &Question) -> Result<Reply, TtnnError> {
    match question {
        Question::Place(spec) => {
            let allocated = device.capture(RunMode::Normal, || device.allocate(spec))?;
            reply(allocated.result.map(|tensor| vec![tensor]), 0, &allocated.graph)
        }
        Question::Call { op, operands } => call(device, op, operands),
    }
}

fn call(device: &OpenCard, op: &Op, operands: &[TensorSpec]) -> Result<Reply, TtnnError> {
    let mut scope = Scope::default();
    for (reference, spec) in op.operands().into_iter().zip(operands) {
        scope.set(lower::key(reference), device.allocate(spec)?);
    }
    let statement = lower::lower(&step(op, operands), &Plain);
    let (call, interpreter) = (&statement.call, device.interpreter());
    let sized = device.capture(RunMode::NoDispatch, || call.execute(interpreter, &scope).map(drop))?;
    let real = device.capture(RunMode::Normal, || call.execute(interpreter, &scope))?;
    // A program kept from an earlier question would leave checks out of a later one.
    device.object().call_method("clear_program_cache", &[], &[])?;
    let outputs = match real.result {
        // Some return what they wrote, or a tensor that nobody reads.
        Ok(_) if op.results() == 0 => Ok(Vec::new()),
        Ok(result) if result.is_sequence()? => Ok(result.items()?),
        Ok(result) => Ok(vec![result]),
        Err(error) => Err(error),
    };
    reply(outputs, sized.graph.busiest_core(), &real.graph)
}

/// A call as a step; of its outputs only a slice's size is looked at, of which the dimension that is not cut is its operand's.
fn step(op: &Op, operands: &[TensorSpec]) -> Step {
    let outputs =
        operands.first().map(|spec| Value { name: "result".into(), spec: spec.clone(), padding: None, address: None });
    Step {
        name: "asked".into(),
        op: op.clone(),
        outputs: outputs.into_iter().collect(),
        l1: Footprint::default(),
        cost: Cost::default(),
        note: String::new(),
    }
}

fn reply(result: Result<Vec<Object>, TtnnError>, circular_buffers: u64, graph: &Graph) -> Result<Reply, TtnnError> {
    let outputs = match result {
        Ok(outputs) => outputs,
        Err(TtnnError::Python(error)) => return Ok(Reply::Refused(error.to_string())),
        Err(error) => return Err(error),
    };
    let outputs = outputs.iter().map(spec::of_tensor).collect::<Result<_, _>>()?;
    let programs = graph.nodes.iter().filter(|node| matches!(node, Node::ProgramExecution)).count();
    Ok(Reply::Accepted(Facts {
        outputs,
        addresses: graph.allocations().map(|a| a.address).collect(),
        circular_buffers,
        programs: u32::try_from(programs).unwrap_or(u32::MAX),
    }))
}
