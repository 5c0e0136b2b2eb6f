//! Where a plan's weights come from: a checkpoint directory, a GGUF file or a file packed for the plan.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bitnetc_plan::weight::{Content, Matrix, Source, Vector};
use bitnetc_plan::{Plan, Weight};

use super::checkpoint::Stored;
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

    /// Notes for a person on how the weights are read.
    pub fn notes(&self) -> &[String] {
        match self {
            Weights::Packed(_) => &[],
            Weights::Checkpoint(checkpoint) => checkpoint.notes(),
        }
    }

    /// Checks that everything `plan` needs is there, of the right shape and data type, and that a checkpoint has nothing else: a tensor
    /// that the plan does not read, such as a bias, is part of another function. Reads elements of a head only that is stored though the
    /// plan's is tied.
    ///
    /// # Errors
    /// The first thing wrong.
    pub fn check(&self, plan: &Plan) -> Result<(), WeightError> {
        match self {
            Weights::Packed(packed) => packed.check(plan),
            Weights::Checkpoint(checkpoint) => {
                each(plan).try_for_each(|(weight, layer)| source::check(checkpoint, weight, layer))?;
                nothing_else(checkpoint, plan)
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
    /// An error of one of its tensors.
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
    /// An error of one of its tensors.
    pub fn bytes(&self, weight: &Weight, layer: u32) -> Result<Cow<'_, [u8]>, WeightError> {
        match self {
            Weights::Checkpoint(checkpoint) => source::open(checkpoint, weight, layer)?.bytes(weight).map(Cow::Owned),
            Weights::Packed(packed) => packed.bytes(weight, layer).map(Cow::Borrowed),
        }
    }
}

/// Checks that the plan reads every tensor of the checkpoint.
fn nothing_else(checkpoint: &Checkpoint, plan: &Plan) -> Result<(), WeightError> {
    let mut read = BTreeSet::new();
    for (weight, layer) in each(plan) {
        read.extend(vectors(weight).iter().map(|part| in_layer(&part.tensor, layer)));
        for matrix in matrices(weight) {
            let name = in_layer(&matrix.tensor, layer);
            if let Content::Packed { .. } = matrix.content {
                read.insert(format!("{name}_scale"));
            }
            read.insert(name);
        }
    }
    let mut left: Vec<&str> = checkpoint.names().filter(|name| !read.contains(*name)).collect();
    left.sort_unstable();
    let harmless = |name: &str| {
        // Tables that older versions of transformers saved, and a tied head that is stored all the same.
        let same = |head: Stored<'_>| {
            let table = checkpoint.find("model.embed_tokens.weight");
            table.is_some_and(|table| (table.dtype, table.shape, table.data) == (head.dtype, head.shape, head.data))
        };
        name.ends_with("rotary_emb.inv_freq") || (name == "lm_head.weight" && checkpoint.find(name).is_some_and(same))
    };
    match left.into_iter().find(|name| !harmless(name)) {
        Some(tensor) => Err(WeightError::Leftover { tensor: tensor.into(), path: checkpoint.dir().into() }),
        None => Ok(()),
    }
}

/// The checkpoint matrices of a weight.
pub fn matrices(weight: &Weight) -> &[Matrix] {
    match &weight.source {
        Source::Columns(matrices) => matrices,
        Source::Rows(matrix) => std::slice::from_ref(matrix),
        Source::Vectors(_) | Source::Ones { .. } | Source::RotaryTable { .. } | Source::RotaryTransform => &[],
    }
}

/// The checkpoint vectors of a weight.
pub fn vectors(weight: &Weight) -> &[Vector] {
    match &weight.source {
        Source::Vectors(parts) => parts,
        Source::Columns(_) | Source::Rows(_) | Source::Ones { .. } => &[],
        Source::RotaryTable { .. } | Source::RotaryTransform => &[],
    }
}

/// Every weight in every layer it has.
pub fn each(plan: &Plan) -> impl Iterator<Item = (&Weight, u32)> {
    plan.weights.iter().flat_map(|weight| {
        let layers = if weight.per_layer { plan.model.layers } else { 1 };
        (0..layers).map(move |layer| (weight, layer))
    })
}
