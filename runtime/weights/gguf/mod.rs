//! GGUF: the files of llama.cpp and bitnet.cpp, read as the Hugging Face checkpoint they were made of.
//!
//! | module | does |
//! |---|---|
//! | `container` | the header, shards, where tensors lie |
//! | `reader` | a header's bytes |
//! | [`types`] | what a block of each type holds |
//! | `names` | names of tensors |
//! | `documents` | metadata as `config.json` |
//! | `keys` | metadata that no `config.json` of these models says |
//! | `tokenizer` | the vocabulary as `tokenizer.json` and `tokenizer_config.json` |
//!
//! [`checkpoint()`] gives a [`Checkpoint`] whose tensors have Hugging Face's names and shapes and lie in the mapped file as they are: an
//! element is decoded when it is read, so that no tensor is ever in memory twice.
//!
//! Conventions that differ from Hugging Face's:
//! - a ternary matrix brings its scale along, which multiplies the product;
//! - a matrix that was ternary may be stored as floats, 0 or one number with either sign;
//! - a bias is added to the product after its scale, and is never scaled itself;
//! - rows of q and k of architecture `llama` are in another order: row `2i + t` of a head is Hugging Face's row `t * dim/2 + i`, so that
//!   ggml rotates neighbours. The other architectures rotate halves, as Hugging Face does, and have its order.

mod container;
mod documents;
mod keys;
mod names;
mod reader;
mod tokenizer;
pub mod types;

use std::path::Path;

pub use container::{Gguf, is_gguf};
pub use documents::Described;
pub use tokenizer::Vocabulary;
pub use types::Blocks;

use super::WeightError;
use super::checkpoint::{Checkpoint, Entry};
use super::floats::Dtype;
use documents::Architecture;

/// Opens a GGUF file as a checkpoint.
///
/// # Errors
/// See [`Gguf::open`]; an architecture that is not read, a tensor that its models do not have.
pub fn checkpoint(path: &Path) -> Result<Checkpoint, WeightError> {
    let gguf = Gguf::open(path)?;
    let architecture = Architecture::of(&gguf)?;
    let head = documents::head_dim(&gguf, architecture)?;
    let mut tensors = Vec::new();
    let mut notes = Vec::new();
    for tensor in &gguf.tensors {
        if tensor.name == documents::ROPE_FREQS {
            continue;
        }
        let (file, name) = (&gguf.files[tensor.file], &tensor.name);
        let wrong = |why: String| WeightError::Content { tensor: name.clone(), path: file.path.clone(), why };
        let known = names::hugging_face(name);
        let known = known.ok_or_else(|| {
            wrong(format!("no model of architecture `{}` read here has such a tensor", architecture.name()))
        })?;
        let rotated = architecture == Architecture::Llama && names::is_rotated(name);
        let rows = tensor.shape.first().copied().unwrap_or(0);
        if rotated && !(head % 2 == 0 && rows.is_multiple_of(head)) {
            return Err(wrong(format!("shape {:?} is no whole heads of {head}, an even number", tensor.shape)));
        }
        if let Dtype::Blocks(blocks) = tensor.dtype
            && !blocks.is_ternary()
        {
            notes.push(format!("{name} is {blocks:?}: dequantised to f32 as it is read"));
        }
        let entry = Entry {
            file: tensor.file,
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
            start: tensor.bytes.start,
            end: tensor.bytes.end,
            pairs: rotated.then_some(head),
        };
        tensors.push((known, entry));
    }
    if gguf.tensors.iter().any(|tensor| tensor.dtype == Dtype::Blocks(Blocks::I2_S)) {
        notes.push(
            "I2_S is read in blocks of 128, as converters and x86 write it; on ARM, llama-quantize writes blocks of 64"
                .into(),
        );
    }
    Checkpoint::of_gguf(path, gguf.files, tensors, notes)
}

#[cfg(test)]
mod tests;
