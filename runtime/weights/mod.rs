//! Constant tensors: from a checkpoint, or from a file packed for one plan.
//!
//! | module | does |
//! |---|---|
//! | [`checkpoint`] | opens a Hugging Face directory |
//! | [`gguf`] | opens a GGUF file as one |
//! | [`matrix`] | reads one stored matrix: packed ternary, master weights, dense |
//! | [`source`] | makes a plan's weight of stored tensors: [`columns`] of matrices, tables |
//! | [`bytes`] | rounds and tiles it as TT-NN does |
//! | [`codes`] | ternary matrices in two bits an element |
//! | [`store`] | the two places weights come from, behind one type |
//! | [`packed`] | the packed file |
//! | [`tensorbin`] | files that any program of TT-NN can load |
//! | [`synth`] | random checkpoints of a given shape |

pub mod bytes;
pub mod checkpoint;
pub mod codes;
pub mod columns;
mod error;
mod floats;
pub mod gguf;
pub mod matrix;
pub mod packed;
pub mod source;
pub mod store;
pub mod synth;
mod tables;
pub mod tensorbin;
#[cfg(test)]
pub(crate) mod testing;

pub use checkpoint::Checkpoint;
pub use columns::Columns;
pub use error::WeightError;
pub use floats::Dtype;
pub use packed::Packed;
pub use source::{Rows, Tensor};
pub use store::Weights;

/// A tensor's name in one layer: `{layer}` stands for the layer's number.
pub fn in_layer(pattern: &str, layer: u32) -> String {
    if pattern.contains("{layer}") { pattern.replace("{layer}", &layer.to_string()) } else { pattern.into() }
}
