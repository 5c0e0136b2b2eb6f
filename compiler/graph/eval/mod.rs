//! The reference evaluator: it computes a graph in f32.
//!
//! It defines the meaning of every logical operation: passes are proved against it, and the host device is measured against it. On a graph
//! straight from a BitNet model it computes the same as Hugging Face's `BitNetForCausalLM` in float32.
//!
//! An [`Evaluator`] holds the weights, a [`State`] the caches of every user; the same state serves prefill and decode graphs. A run
//! takes any number of [`Row`]s, each with its user and position: one per user in decode, consecutive positions in prefill.

mod kernels;
mod run;
mod weights;

pub use weights::{Ternary, WeightError, WeightSource};

use super::{Graph, Section, Value, WeightRef, resolve};
use kernels::Matrix;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// One token to process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The token.
    pub token: u32,
    /// Whose cache it reads and writes.
    pub user: usize,
    /// Its position, from 0.
    pub position: usize,
}

/// The outputs of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The next token of every row.
    pub ids: Vec<u32>,
    /// Logits, `[rows, vocab]`, row-major.
    pub logits: Vec<f32>,
    /// Vocabulary.
    pub vocab: usize,
}

/// Why a graph cannot be evaluated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A weight is missing or wrong.
    #[error(transparent)]
    Weight(#[from] WeightError),
    /// A token beyond the vocabulary.
    #[error("token {token}: the vocabulary has {vocab}")]
    Token {
        /// The token.
        token: u32,
        /// The vocabulary.
        vocab: usize,
    },
    /// A position beyond the cache.
    #[error("position {position}: the cache holds {context}")]
    Position {
        /// The position.
        position: usize,
        /// Positions of the cache.
        context: usize,
    },
    /// A graph that [`Graph::check`] would refuse.
    #[error("`{0}` cannot be evaluated: the graph breaks its invariants")]
    Graph(String),
}

/// The caches of every user, filled as rows are processed.
#[derive(Debug, Clone, Default)]
pub struct State {
    caches: HashMap<(usize, usize, usize), Vec<f32>>,
}

impl State {
    /// Empty caches.
    pub fn new() -> Self {
        State::default()
    }
}

/// Numbers of one value.
#[derive(Debug, Clone)]
enum Data {
    Ids(Vec<u32>),
    Rows(Arc<Vec<f32>>),
    Integers(Arc<Vec<i16>>),
    /// The caches of this layer; which of the two is the output's number.
    Cache(usize),
}

/// A tensor's full name, and which of its rows.
type MatrixKey = (String, Option<(usize, usize)>);

/// Evaluates graphs against one set of weights.
pub struct Evaluator<'w> {
    weights: &'w dyn WeightSource,
    matrices: Mutex<HashMap<MatrixKey, (Arc<Matrix>, f64)>>,
    vectors: Mutex<HashMap<String, Arc<Vec<f32>>>>,
}

/// One run of one graph.
struct Run<'r, 'w> {
    evaluator: &'r Evaluator<'w>,
    graph: &'r Graph,
    state: &'r mut State,
    rows: &'r [Row],
    layer: usize,
    values: HashMap<Value, Data>,
    every_row: bool,
}

impl<'w> Evaluator<'w> {
    /// An evaluator that reads each weight once, when it is first needed, and keeps it.
    pub fn new(weights: &'w dyn WeightSource) -> Self {
        Evaluator { weights, matrices: Mutex::default(), vectors: Mutex::default() }
    }

    /// Processes rows; answers the next token of the last row in prefill and of every row in decode. With `every_row` the last-token
    /// slice is left out and every row is answered.
    ///
    /// # Errors
    /// When a weight is missing, a token or position out of range, or the graph unsound.
    pub fn run(&self, graph: &Graph, state: &mut State, rows: &[Row], every_row: bool) -> Result<Output, EvalError> {
        if let Some(row) = rows.iter().find(|r| r.position >= graph.context) {
            return Err(EvalError::Position { position: row.position, context: graph.context });
        }
        let mut run = Run { evaluator: self, graph, state, rows, layer: 0, values: HashMap::new(), every_row };
        run.section(Section::Prologue)?;
        for layer in 0..graph.layers {
            run.layer = layer;
            run.section(Section::Layer)?;
        }
        run.section(Section::Epilogue)?;
        run.output()
    }

    fn matrix(&self, weight: &WeightRef, layer: usize) -> Result<(Arc<Matrix>, f64), EvalError> {
        let name = resolve(&weight.name, layer);
        let key = (name, weight.rows);
        if let Some(found) = lock(&self.matrices).get(&key) {
            return Ok(found.clone());
        }
        let (&[out, width], name) = (&weight.shape[..], &key.0) else { return Err(EvalError::Graph(key.0)) };
        let size = |found: usize, expected: usize| WeightError::Size { name: name.clone(), found, expected };
        let matrix = match weight.rows {
            // Packed rows interleave four quarters of a tensor, so a model file allows rows of dense tensors only.
            None if weight.encoding.is_ternary() => {
                let Ternary { values, scale } = self.weights.ternary(name, [out, width], weight.encoding)?;
                if values.len() != out * width {
                    return Err(size(values.len(), out * width).into());
                }
                (Arc::new(Matrix::Ternary { values, out, width }), scale)
            }
            None => {
                let values = self.weights.dense(name)?;
                if values.len() != out * width {
                    return Err(size(values.len(), out * width).into());
                }
                (Arc::new(Matrix::Dense { values, out, width }), 1.0)
            }
            Some(_) if weight.encoding.is_ternary() => return Err(EvalError::Graph(key.0)),
            Some((start, end)) => {
                let values = self.weights.dense(name)?;
                let rows = values.get(start * width..end * width).filter(|rows| rows.len() == out * width);
                let values = rows.ok_or_else(|| size(values.len(), end * width))?.to_vec();
                (Arc::new(Matrix::Dense { values, out, width }), 1.0)
            }
        };
        lock(&self.matrices).insert(key, matrix.clone());
        Ok(matrix)
    }

    fn vector(&self, weight: &WeightRef, layer: usize) -> Result<Arc<Vec<f32>>, EvalError> {
        let name = resolve(&weight.name, layer);
        if let Some(found) = lock(&self.vectors).get(&name) {
            return Ok(found.clone());
        }
        let values = self.weights.dense(&name)?;
        let expected = weight.shape.first().copied().unwrap_or(0);
        if values.len() != expected {
            return Err(WeightError::Size { name, found: values.len(), expected }.into());
        }
        let values = Arc::new(values);
        lock(&self.vectors).insert(name, values.clone());
        Ok(values)
    }
}

/// A poisoned lock means another thread panicked while it held plain data, which is still whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
