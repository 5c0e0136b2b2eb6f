//! A GGUF file's metadata as the `config.json` of a Hugging Face folder.
//!
//! | architecture | class | MLP | sub-norms | projections |
//! |---|---|---|---|---|
//! | `bitnet-b1.58`, `bitnet-25` (bitnet.cpp) | `BitNetForCausalLM` | relu2 | yes | ternary |
//! | `bitnet` (llama.cpp and bitnet.cpp) | `BitNetForCausalLM` | silu | yes | ternary |
//! | `llama` | `LlamaForCausalLM` | silu | no | ternary if those of the first layer are, else dense |
//! | `qwen2` | `Qwen2ForCausalLM` | silu | no | the same, with biases of q, k and v |
//! | `qwen3` | `Qwen3ForCausalLM` | silu | no | the same; query and key heads are normed |
//!
//! The activation is no part of the metadata: it is what llama.cpp and bitnet.cpp compute for the architecture. Without `output.weight` the
//! head is the embedding table.

use serde_json::{Map, Value, json};

use super::container::{Gguf, Tensor};
use super::{keys, tokenizer};
use crate::weights::WeightError;
use crate::weights::floats::{self, Dtype};

/// Divisors of the rotary frequencies, of which llama.cpp makes a tensor.
pub(super) const ROPE_FREQS: &str = "rope_freqs.weight";
/// The tensor that tells whether a model of architecture `llama`, `qwen2` or `qwen3` is ternary.
const FIRST: &str = "blk.0.attn_q.weight";

/// An architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Architecture {
    BitNet,
    BitNet25,
    BitNetB158,
    Llama,
    Qwen2,
    Qwen3,
}

impl Architecture {
    const ALL: [Architecture; 6] = [
        Architecture::BitNet,
        Architecture::BitNet25,
        Architecture::BitNetB158,
        Architecture::Llama,
        Architecture::Qwen2,
        Architecture::Qwen3,
    ];

    /// As `general.architecture` names it.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::BitNet => "bitnet",
            Architecture::BitNet25 => "bitnet-25",
            Architecture::BitNetB158 => "bitnet-b1.58",
            Architecture::Llama => "llama",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
        }
    }

    /// The architecture of a file.
    pub fn of(gguf: &Gguf) -> Result<Self, WeightError> {
        let named = gguf.text("general.architecture")?;
        let found = Architecture::ALL.into_iter().find(|a| named == Some(a.name()));
        found.ok_or_else(|| {
            let named = named.map_or("absent".to_string(), |name| format!("`{name}`"));
            let all = Architecture::ALL.map(Architecture::name).join(", ");
            gguf.malformed(format!("general.architecture is {named}; read are {all}"))
        })
    }
}

/// What a Hugging Face folder would say of the model.
#[derive(Debug, Clone)]
pub struct Described {
    /// `general.name`, if there is one.
    pub name: Option<String>,
    /// `config.json`.
    pub config: Value,
    /// What a person should know of it.
    pub notes: Vec<String>,
}

impl Described {
    /// Reads the metadata of a file.
    ///
    /// # Errors
    /// Metadata that is missing or of the wrong type; an architecture or a rule that is not read.
    pub fn of(gguf: &Gguf) -> Result<Described, WeightError> {
        let architecture = Architecture::of(gguf)?;
        let mut notes = Vec::new();
        if architecture == Architecture::BitNet {
            notes.push(
                "architecture `bitnet` has silu in its MLP, as llama.cpp computes it; if the model was trained with relu2, as \
                 BitNet b1.58 2B-4T was, replace Silu by Relu2 in the model file"
                    .into(),
            );
        }
        let config = config(gguf, architecture)?;
        notes.extend(keys::check(gguf, architecture, &config)?);
        let name = gguf.text("general.name")?.map(str::to_string);
        Ok(Described { name, config, notes })
    }
}

pub(super) fn key(architecture: Architecture, key: &str) -> String {
    format!("{}.{key}", architecture.name())
}

fn needed(gguf: &Gguf, key: &str) -> Result<u64, WeightError> {
    match gguf.number(key)? {
        Some(0) => Err(gguf.malformed(format!("`{key}` of its metadata is 0"))),
        Some(number) => Ok(number),
        None => Err(gguf.malformed(format!("its metadata lacks `{key}`"))),
    }
}

/// Numbers per head.
pub(super) fn head_dim(gguf: &Gguf, architecture: Architecture) -> Result<usize, WeightError> {
    let own = gguf.number(&key(architecture, "attention.key_length"))?.filter(|&own| own > 0);
    let heads = needed(gguf, &key(architecture, "attention.head_count"))?;
    let even = needed(gguf, &key(architecture, "embedding_length"))? / heads;
    let dim = usize::try_from(own.unwrap_or(even)).ok().filter(|&dim| dim > 0);
    dim.ok_or_else(|| gguf.malformed("its heads have no size".into()))
}

fn config(gguf: &Gguf, architecture: Architecture) -> Result<Value, WeightError> {
    let of = |name: &str| key(architecture, name);
    let heads = needed(gguf, &of("attention.head_count"))?;
    let head = head_dim(gguf, architecture)? as u64;
    let (hidden, context) = (needed(gguf, &of("embedding_length"))?, needed(gguf, &of("context_length"))?);
    let eps = gguf.float(&of("attention.layer_norm_rms_epsilon"))?;
    let eps = eps.ok_or_else(|| gguf.malformed("its metadata lacks the epsilon of the norms".into()))?;
    let (class, act) = match architecture {
        Architecture::BitNet => ("BitNetForCausalLM", "silu"),
        Architecture::BitNet25 | Architecture::BitNetB158 => ("BitNetForCausalLM", "relu2"),
        Architecture::Llama => ("LlamaForCausalLM", "silu"),
        Architecture::Qwen2 => ("Qwen2ForCausalLM", "silu"),
        Architecture::Qwen3 => ("Qwen3ForCausalLM", "silu"),
    };
    let table = find(gguf, "token_embd.weight")?;
    let mut config = json!({
        "architectures": [class],
        "vocab_size": table.shape.first().copied().unwrap_or(0),
        "hidden_size": hidden,
        "intermediate_size": needed(gguf, &of("feed_forward_length"))?,
        "num_hidden_layers": needed(gguf, &of("block_count"))?,
        "num_attention_heads": heads,
        "num_key_value_heads": gguf.number(&of("attention.head_count_kv"))?.unwrap_or(heads),
        "hidden_act": act,
        "max_position_embeddings": context,
        "rms_norm_eps": eps,
        "rope_theta": gguf.float(&of("rope.freq_base"))?.unwrap_or(10_000.0),
        "tie_word_embeddings": find(gguf, "output.weight").is_err(),
        "eos_token_id": tokenizer::stop_tokens(gguf)?,
    });
    let mut add = Map::new();
    let has = |tensor: &str| gguf.tensors.iter().any(|t| t.name == tensor);
    for (field, tensor) in [("attention_bias", "blk.0.attn_output.bias"), ("mlp_bias", "blk.0.ffn_down.bias")] {
        if has(tensor) {
            add.insert(field.into(), true.into());
        }
    }
    if head * heads != hidden || architecture == Architecture::Qwen3 {
        add.insert("head_dim".into(), head.into());
    }
    let rotated = gguf.number(&of("rope.dimension_count"))?.unwrap_or(head);
    if rotated != head {
        add.insert("partial_rotary_factor".into(), (rotated as f64 / head as f64).into());
    }
    if let Some(rule) = rope_scaling(gguf, architecture, context, rotated)? {
        add.insert("rope_scaling".into(), rule);
    }
    if is_ternary(gguf, architecture)? {
        // Offline, the scale of a matrix would multiply its bias too, as transformers has it.
        let biased = gguf.tensors.iter().any(|tensor| tensor.name.ends_with(".bias"));
        let quantizer = json!({
            "quant_method": "bitnet",
            "linear_class": "autobitlinear",
            "quantization_mode": if biased { "online" } else { "offline" },
            "modules_to_not_convert": ["lm_head"],
        });
        add.insert("quantization_config".into(), quantizer);
    }
    if let Some(config) = config.as_object_mut() {
        config.append(&mut add);
    }
    Ok(config)
}

fn find<'a>(gguf: &'a Gguf, name: &str) -> Result<&'a Tensor, WeightError> {
    let found = gguf.tensors.iter().find(|tensor| tensor.name == name);
    found.ok_or_else(|| WeightError::Missing { tensor: name.into(), path: gguf.path().into() })
}

/// Whether the projections are ternary.
fn is_ternary(gguf: &Gguf, architecture: Architecture) -> Result<bool, WeightError> {
    match architecture {
        Architecture::BitNet | Architecture::BitNet25 | Architecture::BitNetB158 => return Ok(true),
        Architecture::Llama | Architecture::Qwen2 | Architecture::Qwen3 => {}
    }
    let tensor = find(gguf, FIRST)?;
    if let Dtype::Blocks(blocks) = tensor.dtype
        && blocks.is_ternary()
    {
        return Ok(true);
    }
    let (mut unit, mut one) = (0f32, true);
    floats::each(tensor.dtype, &gguf.files[tensor.file].map[tensor.bytes.clone()], |w| match w.abs() {
        0.0 => {}
        size if unit == 0.0 => unit = size,
        size => one &= size == unit,
    });
    Ok(one && unit > 0.0)
}

fn rope_scaling(
    gguf: &Gguf,
    architecture: Architecture,
    context: u64,
    rotated: u64,
) -> Result<Option<Value>, WeightError> {
    let of = |name: &str| key(architecture, name);
    let kind = gguf.text(&of("rope.scaling.type"))?;
    let older = gguf.float(&of("rope.scale_linear"))?;
    let factor = gguf.float(&of("rope.scaling.factor"))?.or(older).filter(|&factor| factor != 1.0 && factor != 0.0);
    let linear = match (kind, factor) {
        (Some("none"), _) | (None | Some("linear"), None) => None,
        (None | Some("linear"), Some(factor)) => Some(json!({"rope_type": "linear", "factor": factor})),
        (Some("yarn"), Some(factor)) => Some(yarn(gguf, architecture, context, factor)?),
        (Some(other), _) => {
            let read = "read are none, linear, and yarn with a factor";
            return Err(gguf.malformed(format!("`{}` is `{other}`; {read}", of("rope.scaling.type"))));
        }
    };
    let Some(divisors) = gguf.tensors.iter().find(|tensor| tensor.name == ROPE_FREQS) else { return Ok(linear) };
    let bad = |why: String| WeightError::Content { tensor: ROPE_FREQS.into(), path: gguf.path().into(), why };
    if linear.is_some() {
        return Err(bad("stands beside another stretch; one of the two is read".into()));
    }
    if divisors.dtype != Dtype::F32 || divisors.shape != [rotated as usize / 2] {
        return Err(bad(format!("is {} {:?}; it must be f32 [{}]", divisors.dtype, divisors.shape, rotated / 2)));
    }
    let mut factors = Vec::new();
    floats::each(divisors.dtype, &gguf.files[divisors.file].map[divisors.bytes.clone()], |v| factors.push(v));
    if !factors.iter().all(|v| v.is_finite() && *v > 0.0) {
        return Err(bad("holds what is no positive number".into()));
    }
    Ok(Some(json!({
        "rope_type": "longrope",
        "short_factor": factors,
        "long_factor": factors,
        "original_max_position_embeddings": context,
        "attention_factor": 1.0,
    })))
}

/// YaRN's numbers. Those that llama.cpp takes from elsewhere than transformers are refused.
fn yarn(gguf: &Gguf, architecture: Architecture, context: u64, factor: f64) -> Result<Value, WeightError> {
    let of = |name: &str| key(architecture, &format!("rope.scaling.{name}"));
    for (name, usual) in
        [("attn_factor", 1.0), ("yarn_ext_factor", 1.0), ("yarn_attn_factor", 1.0), ("yarn_log_multiplier", 0.0)]
    {
        if let Some(found) = gguf.float(&of(name))?.filter(|found| *found != usual) {
            return Err(gguf.malformed(format!("`{}` is {found}; read is {usual}", of(name))));
        }
    }
    let original = gguf.number(&of("original_context_length"))?.unwrap_or(context);
    let mut rule = json!({"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original});
    for (name, field) in [("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")] {
        if let (Some(beta), Some(rule)) = (gguf.float(&of(name))?, rule.as_object_mut()) {
            rule.insert(field.into(), beta.into());
        }
    }
    Ok(rule)
}
