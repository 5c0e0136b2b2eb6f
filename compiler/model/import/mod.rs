//! Import from Hugging Face: a `config.json`, and the headers of the safetensors beside it, become a model file.
//!
//! | architecture | projections | MLP | sub-norms |
//! |---|---|---|---|
//! | `BitNetForCausalLM` | ternary with `quant_method: bitnet`, else dense | relu2 | `attn_sub_norm`, `ffn_sub_norm` |
//! | `BitnetForCausalLM` (1bitLLM) | ternary, float master weights | silu | `inner_attn_ln`, `ffn_layernorm` |
//! | `LlamaForCausalLM` | ternary with `quant_method: bitnet`, else dense | silu | none |
//! | `Phi3ForCausalLM` | dense, stored fused | silu | none |
//! | `Qwen2ForCausalLM` | as Llama's, q, k and v with bias | silu | none |
//! | `Qwen3ForCausalLM` | as Llama's; query and key heads normed | silu | none |
//!
//! A `BitNetForCausalLM` without `quantization_config` is dense in transformers, and so it is here.
//!
//! A config is read once, with the defaults of its class, into `Settings`; how ternary weights are stored is decided
//! in `quantizer`, how queries and keys rotate in `rotary`. Everything refused is collected and reported by the name of its field. A
//! checkpoint beside the config must have the model's tensors and no others.

mod checkpoint;
mod config;
mod differences;
mod quantizer;
mod rotary;
mod settings;
mod write;

pub use checkpoint::Checkpoint;
pub use config::Config;
pub use differences::differences;

use super::{Model, ModelErrors};
use bitnetc_plan::folder::{self, FolderError};
use std::path::{Path, PathBuf};

/// Why a model cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file that cannot be read.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        error: std::io::Error,
    },
    /// JSON that cannot be understood.
    #[error("{path}: {error}")]
    Json {
        /// The file.
        path: PathBuf,
        /// The mistake, with its line and column.
        error: serde_json::Error,
    },
    /// Weights of another format.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A safetensors file that is cut short or not one, an index of files elsewhere, or a file that is not what its name says.
    #[error("{path}: {what}")]
    Header {
        /// The file.
        path: PathBuf,
        /// The mistake.
        what: String,
    },
    /// Settings that the compiler has no operation for, all of them.
    #[error("config.json: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Unsupported(Vec<Unsupported>),
    /// A tensor the model needs is not in the checkpoint.
    #[error("the checkpoint has no tensor `{tensor}`, which the config's architecture needs")]
    Missing {
        /// The tensor.
        tensor: String,
    },
    /// A tensor of another type or shape than the config says.
    #[error("tensor `{tensor}` has {what} {found}; the config's model needs {supported}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// Type or shape.
        what: &'static str,
        /// Its kind.
        found: String,
        /// The right one.
        supported: String,
    },
    /// A tensor of the checkpoint that the config's model does not read.
    #[error(
        "the checkpoint has a tensor `{tensor}` that the config's architecture does not read: its model computes something else"
    )]
    Leftover {
        /// The tensor.
        tensor: String,
    },
    /// Dimensions that make no model.
    #[error("config.json describes no valid model")]
    Model(#[source] Box<ModelErrors>),
}

/// A setting that the compiler has no operation for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {found}; supported: {supported}")]
pub struct Unsupported {
    /// The field.
    pub field: String,
    /// Its value.
    pub found: String,
    /// The values that work.
    pub supported: String,
}

/// An imported model.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The file's text.
    pub ron: String,
    /// Its value.
    pub model: Model,
}

/// Imports the model in a directory: `config.json`, and the headers of the checkpoint beside it when there is one.
///
/// # Errors
/// When a file cannot be read, or the config asks for what the compiler has no operation for.
pub fn directory(path: &Path) -> Result<Imported, ImportError> {
    let file = path.join("config.json");
    let text = text(&file)?;
    let config = Config::parse(&text).map_err(|error| ImportError::Json { path: file, error })?;
    let checkpoint = Checkpoint::read(path)?;
    let name = path.file_name().and_then(|n| n.to_str()).filter(|n| !n.is_empty()).unwrap_or("model");
    import(&config, name, &format!("config.json of {name}"), checkpoint.as_ref())
}

/// Imports a config, checked against a checkpoint when there is one.
///
/// # Errors
/// When the config asks for what the compiler has no operation for, or the checkpoint lacks a tensor.
pub fn import(
    config: &Config,
    name: &str,
    source: &str,
    checkpoint: Option<&Checkpoint>,
) -> Result<Imported, ImportError> {
    let settings = settings::Settings::read(config, checkpoint).map_err(ImportError::Unsupported)?;
    let ron = write::model(&settings, name, source);
    let model = Model::parse(name, &ron).map_err(|errors| ImportError::Model(Box::new(errors)))?;
    if let Some(checkpoint) = checkpoint {
        checkpoint.fits(&model)?;
    }
    Ok(Imported { ron, model })
}

/// The text of a file of the folder.
fn text(path: &Path) -> Result<String, ImportError> {
    let text = bitnetc_plan::input::text(path).map_err(|error| ImportError::Io { path: path.to_path_buf(), error })?;
    if folder::is_lfs_pointer(text.as_bytes()) {
        return Err(ImportError::Header { path: path.to_path_buf(), what: folder::LFS_ADVICE.into() });
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
