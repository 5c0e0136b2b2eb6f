//! The f32 reference evaluator, on the checkpoint that a plan's weights come from.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use bitnetc_compiler::graph::eval::{Evaluator, Row, State, Ternary, WeightError, WeightSource};
use bitnetc_compiler::graph::{Encoding, Graph, PhaseKind, ScaleConvention};
use bitnetc_compiler::model::Model;
use bitnetc_plan::Plan;
use bitnetc_plan::weight::{Content, Matrix};
use bitnetc_runtime::Weights;
use bitnetc_runtime::weights::Checkpoint;
use bitnetc_runtime::weights::matrix::{self, StoredMatrix};
use miette::{IntoDiagnostic, miette};

/// A checkpoint as the reference reads it.
pub struct ReferenceWeights<'w>(&'w Checkpoint);

impl<'w> ReferenceWeights<'w> {
    /// Of a checkpoint.
    ///
    /// # Errors
    /// Weights that are packed: those are rounded to the plan's formats, which is what the reference is to judge.
    pub fn new(weights: &'w Weights) -> miette::Result<Self> {
        match weights {
            Weights::Checkpoint(checkpoint) => Ok(ReferenceWeights(checkpoint)),
            Weights::Packed(_) => {
                let help = "give the checkpoint's directory with --weights";
                Err(miette!(help = help, "the reference reads checkpoints, not packed files"))
            }
        }
    }
}

impl WeightSource for ReferenceWeights<'_> {
    fn dense(&self, name: &str) -> Result<Vec<f32>, WeightError> {
        let stored = self.0.find(name).ok_or_else(|| WeightError::Missing(name.into()))?;
        let mut values = Vec::with_capacity(stored.len());
        let read = stored.floats(0..stored.len(), |v| values.push(v));
        read.map(|()| values).map_err(|error| WeightError::Source { name: name.into(), error: error.into() })
    }

    fn ternary(&self, name: &str, shape: [usize; 2], encoding: Encoding) -> Result<Ternary, WeightError> {
        let content = match encoding {
            Encoding::Dense => Content::Dense,
            Encoding::Absmean => Content::Absmean,
            Encoding::Packed(convention) => Content::Packed { divides: convention == ScaleConvention::Divides },
        };
        let matrix = Matrix {
            tensor: name.into(),
            shape: shape.map(|d| d as u32),
            rows: None,
            content,
            rotated: 0,
            outputs: None,
            inputs: None,
        };
        let read = || -> Result<Ternary, bitnetc_runtime::WeightError> {
            let stored = StoredMatrix::open(self.0, &matrix, 0)?;
            let mut values = vec![0; shape[0] * shape[1]];
            values.chunks_mut(shape[1]).enumerate().for_each(|(row, out)| stored.ternary_row(row, out));
            Ok(Ternary { values, scale: matrix::scale(self.0, &matrix, 0)? })
        };
        read().map_err(|error| WeightError::Source { name: name.into(), error: error.into() })
    }
}

/// The f32 evaluator of a model's logical graph.
pub struct Reference<'w> {
    evaluator: Evaluator<'w>,
    graph: Graph,
    kept: RefCell<Kept>,
}

/// Logits computed once, for windows that are measured again.
#[derive(Default)]
struct Kept {
    logits: HashMap<Vec<u32>, Rc<Vec<f32>>>,
    /// Numbers there is still room for.
    room: usize,
}

impl<'w> Reference<'w> {
    /// For `model`, which `plan` was made of: with the plan's context.
    ///
    /// # Errors
    /// A model that makes no graph of that context.
    pub fn new(model: &Model, plan: &Plan, weights: &'w ReferenceWeights<'_>) -> miette::Result<Self> {
        let context = plan.options.context as usize;
        let graph = model.to_graph(PhaseKind::Prefill { tokens: plan.options.context }, context).into_diagnostic()?;
        Ok(Reference { evaluator: Evaluator::new(weights), graph, kept: RefCell::default() })
    }

    /// Keeps up to `room` logits for windows to come that are equal.
    pub fn keeping(self, room: usize) -> Self {
        self.kept.borrow_mut().room = room;
        self
    }

    /// Logits of every token, `[tokens, vocabulary]`.
    ///
    /// # Errors
    /// Any error of the evaluator.
    pub fn logits(&self, tokens: &[u32]) -> miette::Result<Rc<Vec<f32>>> {
        let mut kept = self.kept.borrow_mut();
        if let Some(logits) = kept.logits.get(tokens) {
            return Ok(Rc::clone(logits));
        }
        let rows: Vec<Row> =
            tokens.iter().enumerate().map(|(position, &token)| Row { token, user: 0, position }).collect();
        let output = self.evaluator.run(&self.graph, &mut State::new(), &rows, true).into_diagnostic()?;
        let logits = Rc::new(output.logits);
        if let Some(room) = kept.room.checked_sub(logits.len()) {
            kept.room = room;
            kept.logits.insert(tokens.to_vec(), Rc::clone(&logits));
        }
        Ok(logits)
    }
}
