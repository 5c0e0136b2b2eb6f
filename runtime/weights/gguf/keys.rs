//! Metadata of a GGUF file that would change what its model computes, and of which no `config.json` of these models says anything.
//!
//! A key that is known to change the function is refused unless its value leaves it as it is. Any other key of the architecture that
//! nothing reads is named in a note, because what it does is not known.

use serde_json::Value;

use super::container::Gguf;
use super::documents::{Architecture, key};
use crate::weights::WeightError;

/// Keys of an architecture that `documents` reads, and such as change nothing.
const READ: [&str; 23] = [
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_used_count",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_log_multiplier",
    "tensor_data_layout",
];

/// Numbers that change the function, each with the values that do not.
const NEUTRAL: [(&str, &[f64]); 15] = [
    ("attention.alibi_bias_max", &[0.0]),
    ("attention.clamp_kqv", &[0.0]),
    ("attention.max_alibi_bias", &[0.0]),
    ("attention.scale", &[0.0]),
    ("attention.sliding_window", &[0.0]),
    ("attention.temperature_scale", &[0.0]),
    ("attn_logit_softcapping", &[0.0]),
    ("embedding_scale", &[0.0, 1.0]),
    ("expert_count", &[0.0]),
    ("expert_shared_count", &[0.0]),
    ("final_logit_softcapping", &[0.0]),
    ("leading_dense_block_count", &[0.0]),
    ("logit_scale", &[0.0, 1.0]),
    ("residual_scale", &[0.0, 1.0]),
    ("rope.scaling.attn_factor", &[0.0, 1.0]),
];

/// Checks the metadata beside what `documents` made of it; gives notes on what nothing reads.
///
/// # Errors
/// The first key that asks for another function than the config describes.
pub(super) fn check(gguf: &Gguf, architecture: Architecture, config: &Value) -> Result<Vec<String>, WeightError> {
    let of = |name: &str| key(architecture, name);
    let refuse = |name: &str, right: &str| {
        let found = gguf.shown(name).unwrap_or_default();
        Err(gguf.malformed(format!("`{name}` of its metadata is {found}; {right}")))
    };
    let kind = "general.type";
    if gguf.text(kind)?.is_some_and(|kind| kind != "model") {
        return refuse(kind, "read are whole models, whose type is `model`");
    }
    let pooling = of("pooling_type");
    if gguf.number(&pooling)?.is_some_and(|pooling| pooling != 0) {
        return refuse(
            &pooling,
            "that is an embedding model, which gives one vector for a text; bitnetc runs models that write text",
        );
    }
    for (name, right) in [("attention.causal", true), ("use_parallel_residual", false)] {
        let name = of(name);
        if gguf.flag(&name)?.is_some_and(|found| found != right) {
            return refuse(&name, &format!("it must be {right}"));
        }
    }
    let context = config["max_position_embeddings"].as_f64().unwrap_or_default();
    for (name, neutral) in NEUTRAL {
        let (name, window) = (of(name), name == "attention.sliding_window");
        let Some(found) = gguf.float(&name)? else { continue };
        // A window as long as the context leaves nothing out.
        if !(neutral.contains(&found) || (window && found >= context)) {
            let values: Vec<String> = neutral.iter().map(ToString::to_string).collect();
            return refuse(&name, &format!("a model with another than {} is not read", values.join(" or ")));
        }
    }
    let head = config["head_dim"].as_u64().or_else(|| {
        Some(config["hidden_size"].as_u64()? / config["num_attention_heads"].as_u64().filter(|&heads| heads > 0)?)
    });
    for (name, right) in [("attention.value_length", head), ("vocab_size", config["vocab_size"].as_u64())] {
        let name = of(name);
        if gguf.number(&name)?.is_some_and(|found| Some(found) != right) {
            return refuse(&name, &format!("its tensors and the rest of it say {}", right.unwrap_or_default()));
        }
    }
    let own = of("");
    let known = |name: &str| {
        READ.contains(&name)
            || NEUTRAL.iter().any(|(known, _)| *known == name)
            || ["pooling_type", "attention.causal", "use_parallel_residual", "attention.value_length", "vocab_size"]
                .contains(&name)
    };
    let unread = gguf.keys().filter(|key| key.strip_prefix(&own).is_some_and(|name| !known(name)));
    Ok(unread
        .map(|key| format!("`{key}` of its metadata is not read: if it changes the model, its text will be wrong"))
        .collect())
}
