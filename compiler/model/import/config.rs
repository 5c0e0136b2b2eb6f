//! The fields of a Hugging Face `config.json` that a graph depends on.

use super::Unsupported;
use crate::graph::RopeScaling;
use serde::Deserialize;

/// A `config.json`; other fields are ignored.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Class names; the first decides.
    #[serde(default)]
    pub architectures: Vec<String>,
    /// Tokens.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// KV heads; as many as query heads when absent.
    pub num_key_value_heads: Option<usize>,
    /// Numbers per head; hidden_size / num_attention_heads when absent.
    pub head_dim: Option<usize>,
    /// Activation of the gate.
    pub hidden_act: String,
    /// Context.
    pub max_position_embeddings: usize,
    /// Phi-3's original context.
    pub original_max_position_embeddings: Option<usize>,
    /// Epsilon of every norm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: Option<f64>,
    /// Long-context rule, older spelling.
    pub rope_scaling: Option<Rotary>,
    /// Long-context rule and base, newer spelling.
    pub rope_parameters: Option<Rotary>,
    /// Tokens back that attention sees; all when absent.
    pub sliding_window: Option<usize>,
    /// Whether the window is used; it is when absent.
    pub use_sliding_window: Option<bool>,
    /// Share of each head that rotates.
    pub partial_rotary_factor: Option<f64>,
    /// LM head and embedding are one tensor.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Biases in attention.
    #[serde(default)]
    pub attention_bias: bool,
    /// Biases in the MLP.
    #[serde(default)]
    pub mlp_bias: bool,
    /// 1bitLLM: bits of a weight.
    pub weight_bits: Option<u32>,
    /// 1bitLLM: bits of an activation.
    pub input_bits: Option<u32>,
    /// Hugging Face's quantiser.
    pub quantization_config: Option<Quantizer>,
}

/// `rope_scaling` or `rope_parameters`.
#[derive(Debug, Clone, Deserialize)]
pub struct Rotary {
    /// The rule.
    #[serde(alias = "type")]
    pub rope_type: Option<String>,
    /// Base of the frequencies.
    pub rope_theta: Option<f64>,
    /// Stretch.
    pub factor: Option<f64>,
    /// Llama 3.
    pub low_freq_factor: Option<f64>,
    /// Llama 3.
    pub high_freq_factor: Option<f64>,
    /// Context of the original training.
    pub original_max_position_embeddings: Option<usize>,
    /// LongRoPE's divisors for short contexts.
    pub short_factor: Option<Vec<f64>>,
    /// LongRoPE's divisors for long contexts.
    pub long_factor: Option<Vec<f64>>,
    /// LongRoPE's factor of cosines and sines.
    pub attention_factor: Option<f64>,
}

/// `quantization_config`.
#[derive(Debug, Clone, Deserialize)]
pub struct Quantizer {
    /// `bitnet` is the one understood.
    pub quant_method: String,
    /// `bitlinear` (the default) or `autobitlinear`.
    pub linear_class: Option<String>,
    /// `offline` (the default) or `online`.
    pub quantization_mode: Option<String>,
    /// Modules left dense.
    pub modules_to_not_convert: Option<Vec<String>>,
    /// A norm inside every projection.
    #[serde(default)]
    pub use_rms_norm: bool,
}

impl Config {
    /// Reads a config's text.
    ///
    /// # Errors
    /// When it is not JSON or lacks a dimension.
    pub fn parse(text: &str) -> Result<Config, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The rotary base.
    pub(super) fn theta(&self) -> f64 {
        self.rope_theta.or_else(|| self.rope_parameters.as_ref().and_then(|r| r.rope_theta)).unwrap_or(10000.0)
    }

    /// The long-context rule.
    pub(super) fn scaling(&self) -> Result<RopeScaling, Unsupported> {
        let Some(rotary) = self.rope_scaling.as_ref().or(self.rope_parameters.as_ref()) else {
            return Ok(RopeScaling::None);
        };
        let kind = rotary.rope_type.as_deref().unwrap_or("default");
        let original = rotary.original_max_position_embeddings.or(self.original_max_position_embeddings);
        let missing = || Unsupported {
            field: "rope_scaling",
            found: format!("a rule `{kind}` that lacks a number"),
            supported: "default, linear, llama3, longrope with all their numbers",
        };
        match kind {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear { factor: rotary.factor.ok_or_else(missing)? }),
            "llama3" => Ok(RopeScaling::Llama3 {
                factor: rotary.factor.ok_or_else(missing)?,
                low_freq_factor: rotary.low_freq_factor.ok_or_else(missing)?,
                high_freq_factor: rotary.high_freq_factor.ok_or_else(missing)?,
                original_context: original.ok_or_else(missing)?,
            }),
            "longrope" | "su" => {
                let original_context = original.ok_or_else(missing)?;
                // Hugging Face's default when the config names no attention factor.
                let stretch = self.max_position_embeddings as f64 / original_context as f64;
                let default =
                    if stretch <= 1.0 { 1.0 } else { (1.0 + stretch.ln() / (original_context as f64).ln()).sqrt() };
                Ok(RopeScaling::LongRope {
                    short: rotary.short_factor.clone().ok_or_else(missing)?,
                    long: rotary.long_factor.clone().ok_or_else(missing)?,
                    original_context,
                    attention_factor: rotary.attention_factor.unwrap_or(default),
                })
            }
            other => Err(Unsupported {
                field: "rope_scaling",
                found: format!("`{other}`"),
                supported: "default, linear, llama3, longrope",
            }),
        }
    }
}
