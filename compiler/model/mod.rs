//! The declarative model: the contents of a file in `graphs/`.
//!
//! A model file is written in RON. It names dimensions, says how weights are quantised, and describes a graph of three blocks.
//!
//! ```ron
//! Model(
//!     name: "bitnet-b1.58-2b-4t",
//!     source: "where the numbers come from",
//!     dims: { "hidden": 2560, "layers": 30, .. },
//!     quantization: (weights: Packed(Multiplies), activations: Int8PerToken),
//!     precision: { "gate": "bfp4/LoFi", "decode:o": "/HiFi4/fp32" },   // optional, as `--set` takes them
//!     graph: [
//!         Once(name: "embed", ops: [ Tokens(to: "ids"), Embedding(from: "ids", to: "embedded", ..) ]),
//!         Repeat(name: "decoder", times: "layers", from: "embedded", carry: "x", to: "y", ops: [ .. ]),
//!         Once(name: "head", ops: [ .. ]),
//!     ],
//! )
//! ```
//!
//! - A dimension is a whole number or text: sums of products of numbers and named dimensions.
//! - A value has a name of letters, digits and `_` that is unique in the file. It must be defined before it is used, and it must be used.
//!   In the repeated block `carry` is the residual stream at the start of a layer (`from` in the first layer) and `to` is its value at the
//!   end; only `to` is visible after the block.
//! - `BitLinear` is a ternary projection stored and quantised as `quantization` says, `Linear` a dense one; both name their tensor, its
//!   `[out, in]` shape and their role (Qkv, O, Gate, Up, Down, LmHead). `weight: Slice(name, start, end)` binds rows of a tensor.
//! - `Bias` adds a vector to every row. With `scaled_by: "tensor"` the vector is multiplied by the scale of that ternary projection first, as
//!   Hugging Face's `autobitlinear` does with stored scales.
//! - `weights` is `Packed(Multiplies)`, `Packed(Divides)` (by what `weight_scale` does to the product) or `Absmean` (ternarised when
//!   loaded); `activations` is `Int8PerToken` or `None`. A model without `BitLinear` has no `quantization`.
//! - The last block ends in the one `Argmax`; `LastToken` acts in prefill only.
//! - The operations as a whole must be a decoder that can be scheduled: a residual stream that the layer's additions write in place,
//!   projections that only the head split reads, activation functions that only products read. [`Graph::misfits`] lists the conditions.
//!
//! All mistakes of a file are reported together, each with its place ([`ModelErrors`]). A parsed [`Model`] gives the graph of any phase.

mod building;
mod decoder;
mod error;
pub mod import;
mod ops;
mod read;
mod reader;
mod rope;
mod shipped;
mod syntax;
mod values;

pub use error::{ErrorKind, ModelError, ModelErrors};
pub use shipped::{Shipped, find, shipped, told};

use crate::graph::{self, ActivationQuant, Encoding, Graph, Operation, PhaseKind, Role, Section, TypeError, Value};
use crate::passes::activations::drop_quantisation;
use crate::policy::{Override, Policy};
use bitnetc_plan::function::{Function, Unclear};
use indexmap::IndexMap;
use std::collections::HashMap;

/// The storage of a model's ternary weights, and the quantisation of the activations that they multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantization {
    /// Storage of the ternary weights; [`Encoding::Dense`] in a model without any.
    pub weights: Encoding,
    /// Quantisation of their inputs.
    pub activations: ActivationQuant,
}

/// One operation of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The name of its node in the graph: that of its output, or that of its kind when it has several outputs.
    pub name: String,
    /// The section in which it runs.
    pub section: Section,
    /// Its role in the model.
    pub role: Role,
    /// Its operation, before any pass.
    pub op: Operation,
    /// Names of the values it reads.
    pub inputs: Vec<String>,
    /// Names of the values it defines.
    pub outputs: Vec<String>,
}

/// A checked model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Where its numbers come from.
    pub source: String,
    /// Named dimensions, in the file's order.
    pub dims: IndexMap<String, usize>,
    /// How ternary weights are stored.
    pub quantization: Quantization,
    /// Precision overrides, as the command line's `--set` takes them.
    pub precision: Vec<Override>,
    /// Layers of the repeated block.
    pub layers: usize,
    /// Positions the KV caches hold at most.
    pub context: usize,
    /// All operations in order; the carry is one of them.
    pub statements: Vec<Statement>,
    /// The residual stream at the end of a layer.
    carried: String,
}

/// Why a model has no graph for a phase.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PhaseError {
    /// The cache would hold more positions than the model was made for, or none.
    #[error("context {asked}: the model's context is 1 to {most}")]
    Context {
        /// Asked for.
        asked: usize,
        /// The model's.
        most: usize,
    },
    /// A phase without rows, or a prompt longer than the cache.
    #[error("{phase}: a phase takes at least 1 row, and a prompt at most the context of {context}")]
    Rows {
        /// Asked for.
        phase: PhaseKind,
        /// Positions of the cache.
        context: usize,
    },
    /// An operation that has no place in a decoder.
    #[error(transparent)]
    Function(#[from] Unclear),
    /// An operation that does not fit in this phase.
    #[error("`{node}`: {error}")]
    Type {
        /// The operation.
        node: String,
        /// The input that it refuses.
        error: TypeError,
    },
}

impl Model {
    /// Reads the text of a model file; error messages call the file `name`.
    ///
    /// ```
    /// use bitnetc_compiler::model::{Model, find};
    ///
    /// let shipped = find("tiny-shakespeare").unwrap();
    /// let model = Model::parse(shipped.path, shipped.text)?;
    /// assert_eq!(model.layers, model.dims["layers"]);
    ///
    /// let misspelt = shipped.text.replace("dims:", "dimensions:");
    /// let mistakes = Model::parse("misspelt.ron", &misspelt).unwrap_err();
    /// assert!(mistakes.listing().starts_with("misspelt.ron:"));
    /// # Ok::<(), bitnetc_compiler::model::ModelErrors>(())
    /// ```
    ///
    /// # Errors
    /// All mistakes of the file.
    pub fn parse(name: &str, text: &str) -> Result<Model, ModelErrors> {
        read::model(text).map_err(|errors| ModelErrors::new(name, text, errors))
    }

    /// The graph of one phase with caches of `context` positions.
    ///
    /// # Errors
    /// When the phase has no rows, the phase does not fit the context, or the context does not fit the model.
    pub fn to_graph(&self, phase: PhaseKind, context: usize) -> Result<Graph, PhaseError> {
        if context == 0 || context > self.context {
            return Err(PhaseError::Context { asked: context, most: self.context });
        }
        let too_long = matches!(phase, PhaseKind::Prefill { tokens } if tokens as usize > context);
        if phase.rows() == 0 || too_long {
            return Err(PhaseError::Rows { phase, context });
        }
        let mut graph = Graph::new(&self.name, phase, self.layers, context);
        let mut values: HashMap<&str, Value> = HashMap::new();
        let lost = |name: &str| PhaseError::Type {
            node: name.to_string(),
            error: TypeError {
                input: None,
                what: "undefined value".into(),
                found: name.to_string(),
                expected: "a value defined before".into(),
            },
        };
        for statement in &self.statements {
            let inputs: Vec<_> = statement
                .inputs
                .iter()
                .map(|n| values.get(n.as_str()).copied().ok_or_else(|| lost(n)))
                .collect::<Result<_, _>>()?;
            if let (Operation::LastToken, PhaseKind::Decode { .. }, [input], [output]) =
                (&statement.op, phase, &inputs[..], &statement.outputs[..])
            {
                values.insert(output, *input);
                graph.reserve(&statement.name);
                continue;
            }
            let op = match &statement.op {
                Operation::CacheUpdate { .. } => Operation::CacheUpdate { context },
                op => op.clone(),
            };
            let node = graph
                .add(&statement.name, statement.section, statement.role, op, &inputs)
                .map_err(|error| PhaseError::Type { node: statement.name.clone(), error })?;
            for (output, name) in statement.outputs.iter().enumerate() {
                values.insert(name, Value { node, output });
            }
            if let Operation::Argmax = statement.op {
                graph.set_result(node.into());
            }
        }
        graph.set_carried(*values.get(self.carried.as_str()).ok_or_else(|| lost(&self.carried))?);
        Ok(graph)
    }

    /// The function of the model with caches of `context` positions, which its frequencies may depend on, under `policy`: without the
    /// rounding of activations where the policy leaves it out.
    ///
    /// # Errors
    /// When the context does not fit the model.
    pub fn function(&self, context: usize, policy: Policy) -> Result<Function, PhaseError> {
        let mut graph = self.to_graph(PhaseKind::Prefill { tokens: 1 }, context)?;
        if !policy.int8_activations() {
            drop_quantisation(&mut graph);
        }
        Ok(graph::function(&graph)?)
    }

    /// SHA-256 of the model's function, in hex. Two files that describe one model, in other words or another order, have one digest.
    ///
    /// # Errors
    /// As [`Model::function`].
    pub fn digest(&self) -> Result<String, PhaseError> {
        Ok(self.function(self.context, Policy::Exact)?.digest(self.layers as u32))
    }

    /// The longest sequence that turns by the short factors of a `LongRope`; none in a model of other rotary embeddings.
    pub fn short_sequence(&self) -> Option<usize> {
        let rope = |statement: &Statement| {
            if let Operation::Rope(rope) = &statement.op { rope.short_sequence() } else { None }
        };
        self.statements.iter().find_map(rope)
    }

    /// Numbers in the checkpoint: every weight once per layer, a shared one once. Scales of ternary weights are not counted.
    pub fn parameters(&self) -> u128 {
        let mut seen = std::collections::HashSet::new();
        let weights = self.statements.iter().flat_map(|s| s.op.weights().into_iter().map(move |w| (s.section, w)));
        weights
            .filter(|(_, w)| seen.insert((&w.name, w.rows)))
            .map(|(section, w)| {
                let times = if section == Section::Layer { self.layers as u128 } else { 1 };
                times * w.shape.iter().map(|&d| d as u128).product::<u128>()
            })
            .sum()
    }
}
