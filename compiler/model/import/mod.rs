//! Import from Hugging Face: a `config.json`, and the headers of the safetensors beside it, become a model file.
//!
//! | architecture | projections | MLP | sub-norms |
//! |---|---|---|---|
//! | `BitNetForCausalLM` | ternary | relu2 | `attn_sub_norm`, `ffn_sub_norm` |
//! | `BitnetForCausalLM` (1bitLLM) | ternary, float master weights | silu | `inner_attn_ln`, `ffn_layernorm` |
//! | `LlamaForCausalLM` | ternary with `quant_method: bitnet`, else dense | silu | none |
//! | `Phi3ForCausalLM` | dense, stored fused | silu | none |
//!
//! Ternary weights are stored in one of three ways. The checkpoint's own tensors decide between packed and float; without a checkpoint
//! `quantization_mode` does (`online` means float master weights). `linear_class` says what a packed `weight_scale` does: with
//! `autobitlinear` it multiplies the product, with `bitlinear` (the default) it divides it.

mod checkpoint;
mod config;
mod write;

pub use checkpoint::Checkpoint;
pub use config::Config;

use super::{Model, ModelErrors};
use std::path::{Path, PathBuf};

/// Why a model cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file that cannot be read.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// JSON that cannot be understood.
    #[error("{path}: {error}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        error: serde_json::Error,
    },
    /// A safetensors file that is cut short or not one, or an index of files elsewhere.
    #[error("{path}: {what}")]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
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
    /// Dimensions that make no model.
    #[error("config.json describes no valid model")]
    Model(#[source] Box<ModelErrors>),
}

/// A setting that the compiler has no operation for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {found}; supported: {supported}")]
pub struct Unsupported {
    /// The field.
    pub field: &'static str,
    /// Its value.
    pub found: String,
    /// What would work.
    pub supported: &'static str,
}

/// An imported model.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The file's text.
    pub ron: String,
    /// What it says.
    pub model: Model,
}

/// Imports the model in a directory: `config.json`, and the headers of the checkpoint beside it when there is one.
///
/// # Errors
/// When a file cannot be read, or the config asks for what the compiler has no operation for.
pub fn directory(path: &Path) -> Result<Imported, ImportError> {
    let file = path.join("config.json");
    let text = bitnetc_plan::input::text(&file).map_err(|error| ImportError::Io { path: file.clone(), error })?;
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
    let ron = write::model(config, name, source, checkpoint)?;
    let model = Model::parse(name, &ron).map_err(|errors| ImportError::Model(Box::new(errors)))?;
    if let Some(checkpoint) = checkpoint {
        for weight in model.statements.iter().flat_map(|s| s.op.weights()) {
            let tensor = crate::graph::resolve(&weight.name, 0);
            if !checkpoint.has(&tensor) {
                return Err(ImportError::Missing { tensor });
            }
        }
    }
    Ok(Imported { ron, model })
}

#[cfg(test)]
mod tests;
