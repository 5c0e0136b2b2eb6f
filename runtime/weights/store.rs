//! Where a plan's weights come from: a checkpoint directory, a GGUF file or a file packed for the plan.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use bitnetc_plan::weight::{Content, Matrix, Source};
use bitnetc_plan::{Plan, Weight};

use super::{Checkpoint, Packed, Tensor, WeightError, gguf, in_layer, matrix, source};

/// An opened source of weights.
#[derive(Debug)]
pub enum Weights {
    /// A Hugging Face directory, or a GGUF file.
    Checkpoint(Checkpoint),
    /// A file made by `bitnetc pack`.
    Packed(Packed),
}

/// The scale of each ternary tensor, by its name in its layer.
pub type Scales = BTreeMap<String, f64>;

impl Weights {
    /// Opens a directory or a GGUF file as a checkpoint, another file as a packed one.
    ///
    /// # Errors
    /// See [`Checkpoint::open`] and [`Packed::open`].
    pub fn open(path: &Path) -> Result<Self, WeightError> {
        if path.is_file() && !gguf::is_gguf(path) {
            Packed::open(path).map(Weights::Packed)
        } else {
            Checkpoint::open(path).map(Weights::Checkpoint)
        }
    }

    /// What a person should know of how the weights are read.
    pub fn notes(&self) -> &[String] {
        match self {
            Weights::Packed(_) => &[],
            Weights::Checkpoint(checkpoint) => checkpoint.notes(),
        }
    }

    /// Checks that everything `plan` needs is there, of the right shape and data type. Reads no elements.
    ///
    /// # Errors
    /// The first thing wrong.
    pub fn check(&self, plan: &Plan) -> Result<(), WeightError> {
        match self {
            Weights::Packed(packed) => packed.check(plan),
            Weights::Checkpoint(checkpoint) => {
                each(plan).try_for_each(|(weight, layer)| source::check(checkpoint, weight, layer))
            }
        }
    }

    /// The scales of all ternary tensors of `plan`. Reads master weights whole where a checkpoint has them.
    ///
    /// # Errors
    /// A missing or senseless scale.
    pub fn scales(&self, plan: &Plan) -> Result<Scales, WeightError> {
        let checkpoint = match self {
            Weights::Packed(packed) => return Ok(packed.scales().clone()),
            Weights::Checkpoint(checkpoint) => checkpoint,
        };
        let mut scales = Scales::new();
        for (weight, layer) in each(plan) {
            for matrix in matrices(weight).iter().filter(|m| m.content != Content::Dense) {
                let name = in_layer(&matrix.tensor, layer);
                if let Entry::Vacant(entry) = scales.entry(name) {
                    entry.insert(matrix::scale(checkpoint, matrix, layer)?);
                }
            }
        }
        Ok(scales)
    }

    /// The numbers of a weight.
    ///
    /// # Errors
    /// Whatever is wrong with its tensors.
    pub fn tensor(&self, weight: &Weight, layer: u32) -> Result<Tensor<'_>, WeightError> {
        match self {
            Weights::Checkpoint(checkpoint) => source::open(checkpoint, weight, layer),
            Weights::Packed(packed) => packed.tensor(weight, layer),
        }
    }

    /// Lets the system take back the memory of what was read; it is read again when it is needed.
    pub fn release(&self) {
        match self {
            Weights::Checkpoint(checkpoint) => checkpoint.release(),
            Weights::Packed(packed) => packed.release(),
        }
    }

    /// A weight's bytes as TT-NN lays them out.
    ///
    /// # Errors
    /// Whatever is wrong with its tensors.
    pub fn bytes(&self, weight: &Weight, layer: u32) -> Result<Cow<'_, [u8]>, WeightError> {
        match self {
            Weights::Checkpoint(checkpoint) => source::open(checkpoint, weight, layer)?.bytes(weight).map(Cow::Owned),
            Weights::Packed(packed) => packed.bytes(weight, layer).map(Cow::Borrowed),
        }
    }
}

/// The checkpoint matrices of a weight.
pub fn matrices(weight: &Weight) -> &[Matrix] {
    match &weight.source {
        Source::Columns(matrices) => matrices,
        Source::Rows(matrix) => std::slice::from_ref(matrix),
        _ => &[],
    }
}

/// Every weight in every layer it has.
pub fn each(plan: &Plan) -> impl Iterator<Item = (&Weight, u32)> {
    plan.weights.iter().flat_map(|weight| {
        let layers = if weight.per_layer { plan.model.layers } else { 1 };
        (0..layers).map(move |layer| (weight, layer))
    })
}
