//! Writing a model file from a config.

use super::{Checkpoint, Config, ImportError, Unsupported};
use crate::graph::RopeScaling;
use std::fmt::Write;

/// What an architecture looks like.
struct Family {
    /// Names of the norms before O and before down, if there are any.
    sub_norms: Option<(&'static str, &'static str)>,
    /// Text of `quantization`, for ternary projections.
    quantization: Option<&'static str>,
    /// q, k, v and gate, up are stored as one tensor each.
    fused: bool,
    activation: &'static str,
    head_dim: usize,
    kv_heads: usize,
    scaling: RopeScaling,
}

fn unsupported<T>(field: &'static str, found: impl ToString, supported: &'static str) -> Result<T, Unsupported> {
    Err(Unsupported { field, found: found.to_string(), supported })
}

pub(super) fn model(
    config: &Config,
    name: &str,
    source: &str,
    checkpoint: Option<&Checkpoint>,
) -> Result<String, ImportError> {
    let family = family(config, checkpoint)?;
    let mut out = String::new();
    // Writing to a String cannot fail; the result of every `write!` below is therefore dropped in one place.
    let written = (|| -> std::fmt::Result {
        header(&mut out, config, &family, name, source)?;
        decoder(&mut out, config, &family)
    })();
    debug_assert!(written.is_ok());
    let table = if config.tie_word_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" };
    out.push_str(&format!(
        "        Once(name: \"head\", ops: [
            LastToken(from: \"decoded\", to: \"last\"),
            RmsNorm(from: \"last\", to: \"normed\", weight: \"model.norm.weight\", shape: [\"hidden\"], eps: {:?}),
            Linear(from: \"normed\", to: \"logits\", weight: \"{table}\", shape: [\"vocab\", \"hidden\"], role: LmHead),
            Argmax(from: \"logits\", to: \"next\"),
        ]),
    ],
)
",
        config.rms_norm_eps
    ));
    Ok(out)
}

/// What the config says, or everything in it that no model file can say.
fn family(config: &Config, checkpoint: Option<&Checkpoint>) -> Result<Family, ImportError> {
    let architecture = config.architectures.first().map_or("", String::as_str);
    let mut refused = settings(config);
    let mut keep = Keep(&mut refused);
    let sub_norms = keep.or_note(sub_norms(architecture));
    let activation = keep.or_note(match config.hidden_act.as_str() {
        "silu" => Ok("Silu"),
        "relu2" => Ok("Relu2"),
        "relu" => Ok("Relu"),
        other => unsupported("hidden_act", format!("`{other}`"), "silu, relu2, relu"),
    });
    let heads = config.num_attention_heads;
    let head_dim = keep.or_note(match config.head_dim {
        Some(head_dim) => Ok(head_dim),
        None if heads > 0 && config.hidden_size.is_multiple_of(heads) => Ok(config.hidden_size / heads),
        None => {
            let found = format!("{heads} for hidden_size {}", config.hidden_size);
            unsupported("num_attention_heads", found, "a divisor of hidden_size, or head_dim")
        }
    });
    let quantization = keep.or_note(quantization(config, architecture, checkpoint));
    let scaling = keep.or_note(config.scaling());
    let family = (|| {
        Some(Family {
            sub_norms: sub_norms?,
            quantization: quantization?,
            fused: architecture == "Phi3ForCausalLM",
            activation: activation?,
            head_dim: head_dim?,
            kv_heads: config.num_key_value_heads.unwrap_or(heads),
            scaling: scaling?,
        })
    })();
    family.filter(|_| refused.is_empty()).ok_or(ImportError::Unsupported(refused))
}

/// Collects what is refused while reading goes on.
struct Keep<'r>(&'r mut Vec<Unsupported>);

impl Keep<'_> {
    fn or_note<T>(&mut self, read: Result<T, Unsupported>) -> Option<T> {
        read.map_err(|refused| self.0.push(refused)).ok()
    }
}

/// Single settings that have no operation.
fn settings(config: &Config) -> Vec<Unsupported> {
    let mut refused = Vec::new();
    let mut check = |ok: bool, field, found: String, supported| {
        if !ok {
            refused.push(Unsupported { field, found, supported });
        }
    };
    for (field, value) in [
        ("vocab_size", Some(config.vocab_size)),
        ("hidden_size", Some(config.hidden_size)),
        ("intermediate_size", Some(config.intermediate_size)),
        ("num_hidden_layers", Some(config.num_hidden_layers)),
        ("num_attention_heads", Some(config.num_attention_heads)),
        ("num_key_value_heads", config.num_key_value_heads),
        ("head_dim", config.head_dim),
        ("max_position_embeddings", Some(config.max_position_embeddings)),
    ] {
        check(value != Some(0), field, "0".into(), "numbers from 1");
    }
    for (field, present) in [("attention_bias", config.attention_bias), ("mlp_bias", config.mlp_bias)] {
        check(!present, field, "true".into(), "false: projections have no bias");
    }
    let share = config.partial_rotary_factor.unwrap_or(1.0);
    check(share == 1.0, "partial_rotary_factor", share.to_string(), "1.0");
    // A window as long as the context leaves nothing out.
    let window = config.sliding_window.filter(|_| config.use_sliding_window != Some(false));
    let window = window.filter(|window| *window < config.max_position_embeddings);
    check(
        window.is_none(),
        "sliding_window",
        window.unwrap_or(0).to_string(),
        "none: attention sees the whole context",
    );
    refused
}

/// Names of the norms before O and before down, if the architecture has any.
fn sub_norms(architecture: &str) -> Result<Option<(&'static str, &'static str)>, Unsupported> {
    const ARCHITECTURES: &str = "BitNetForCausalLM, BitnetForCausalLM, LlamaForCausalLM, Phi3ForCausalLM";
    match architecture {
        "BitNetForCausalLM" => Ok(Some(("self_attn.attn_sub_norm", "mlp.ffn_sub_norm"))),
        "BitnetForCausalLM" => Ok(Some(("self_attn.inner_attn_ln", "mlp.ffn_layernorm"))),
        "LlamaForCausalLM" | "Phi3ForCausalLM" => Ok(None),
        other => unsupported("architectures", format!("`{other}`"), ARCHITECTURES),
    }
}

fn quantization(
    config: &Config,
    architecture: &str,
    checkpoint: Option<&Checkpoint>,
) -> Result<Option<&'static str>, Unsupported> {
    const ABSMEAN: &str = "(weights: Absmean, activations: Int8PerToken)";
    let packed = checkpoint.and_then(|c| c.dtype("model.layers.0.self_attn.q_proj.weight")).map(|dtype| dtype == "U8");
    let Some(quantizer) = &config.quantization_config else {
        if architecture != "BitNetForCausalLM" && architecture != "BitnetForCausalLM" {
            return Ok(None);
        }
        if let Some(bits) = config.input_bits.filter(|&bits| bits != 8) {
            return unsupported("input_bits", bits, "8");
        }
        if let Some(bits) = config.weight_bits.filter(|&bits| bits != 1) {
            return unsupported("weight_bits", bits, "1, the ternary weights of b1.58");
        }
        return match packed {
            Some(true) => unsupported(
                "quantization_config",
                "absent though the weights are packed",
                "linear_class says what weight_scale does",
            ),
            _ => Ok(Some(ABSMEAN)),
        };
    };
    if quantizer.quant_method != "bitnet" {
        return unsupported("quantization_config.quant_method", format!("`{}`", quantizer.quant_method), "bitnet");
    }
    if quantizer.use_rms_norm {
        return unsupported("quantization_config.use_rms_norm", "true", "false");
    }
    let dense = quantizer.modules_to_not_convert.as_deref().unwrap_or_default();
    if dense.iter().any(|module| module != "lm_head") {
        return unsupported("quantization_config.modules_to_not_convert", format!("{dense:?}"), "[\"lm_head\"]");
    }
    let class = quantizer.linear_class.as_deref().unwrap_or("bitlinear");
    let mode = quantizer.quantization_mode.as_deref().unwrap_or("offline");
    if !["offline", "online"].contains(&mode) {
        return unsupported("quantization_config.quantization_mode", format!("`{mode}`"), "offline, online");
    }
    match (class, packed.unwrap_or(mode == "offline" || class == "bitlinear")) {
        ("bitlinear", true) => Ok(Some("(weights: Packed(Divides), activations: Int8PerToken)")),
        ("autobitlinear", true) => Ok(Some("(weights: Packed(Multiplies), activations: Int8PerToken)")),
        ("bitlinear" | "autobitlinear", false) => Ok(Some(ABSMEAN)),
        _ => unsupported("quantization_config.linear_class", format!("`{class}`"), "bitlinear, autobitlinear"),
    }
}

fn header(out: &mut String, config: &Config, family: &Family, name: &str, source: &str) -> std::fmt::Result {
    writeln!(out, "Model(\n    name: {name:?},\n    source: {source:?},\n    dims: {{")?;
    let dims = [
        ("vocab", config.vocab_size),
        ("hidden", config.hidden_size),
        ("ffn", config.intermediate_size),
        ("layers", config.num_hidden_layers),
        ("heads", config.num_attention_heads),
        ("kv_heads", family.kv_heads),
        ("head_dim", family.head_dim),
        ("context", config.max_position_embeddings),
    ];
    for (dim, value) in dims {
        writeln!(out, "        {dim:?}: {value},")?;
    }
    writeln!(out, "    }},")?;
    if let Some(quantization) = family.quantization {
        writeln!(out, "    quantization: {quantization},")?;
    }
    writeln!(
        out,
        "    graph: [
        Once(name: \"embed\", ops: [
            Tokens(to: \"ids\"),
            Embedding(from: \"ids\", to: \"embedded\", weight: \"model.embed_tokens.weight\", shape: [\"vocab\", \"hidden\"]),
        ]),"
    )
}

fn decoder(out: &mut String, config: &Config, family: &Family) -> std::fmt::Result {
    let layer = "model.layers.{layer}.";
    let eps = config.rms_norm_eps;
    let linear = if family.quantization.is_some() { "BitLinear" } else { "Linear" };
    let norm = |out: &mut String, from: &str, to: &str, weight: &str, shape: &str| {
        writeln!(
            out,
            "            RmsNorm(from: {from:?}, to: {to:?}, weight: \"{layer}{weight}.weight\", shape: [{shape:?}], eps: {eps:?}),"
        )
    };
    let projection = |out: &mut String, from: &str, to: &str, weight: &str, rows: &str, columns: &str, role: &str| {
        writeln!(
            out,
            "            {linear}(from: {from:?}, to: {to:?}, weight: {weight}, shape: [{rows:?}, {columns:?}], role: {role}),"
        )
    };
    let whole = |module: &str| format!("\"{layer}{module}.weight\"");
    let (q, kv) = ("heads*head_dim", "kv_heads*head_dim");
    let stored: [String; 5] = if family.fused {
        let slice =
            |module: &str, start: &str, end: &str| format!("Slice(\"{layer}{module}.weight\", {start}, {end:?})");
        [
            slice("self_attn.qkv_proj", "0", q),
            slice("self_attn.qkv_proj", &format!("{q:?}"), &format!("{q} + {kv}")),
            slice("self_attn.qkv_proj", &format!("\"{q} + {kv}\""), &format!("{q} + 2*{kv}")),
            slice("mlp.gate_up_proj", "0", "ffn"),
            slice("mlp.gate_up_proj", "\"ffn\"", "2*ffn"),
        ]
    } else {
        ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"].map(whole)
    };

    writeln!(
        out,
        "        Repeat(name: \"decoder\", times: \"layers\", from: \"embedded\", carry: \"x\", to: \"decoded\", ops: ["
    )?;
    norm(out, "x", "attn_norm", "input_layernorm", "hidden")?;
    projection(out, "attn_norm", "q", &stored[0], q, "hidden", "Qkv")?;
    projection(out, "attn_norm", "k", &stored[1], kv, "hidden", "Qkv")?;
    projection(out, "attn_norm", "v", &stored[2], kv, "hidden", "Qkv")?;
    writeln!(
        out,
        "            SplitHeads(from: [\"q\", \"k\", \"v\"], to: [\"q_heads\", \"k_heads\", \"v_heads\"], heads: \"heads\", kv_heads: \"kv_heads\", head_dim: \"head_dim\"),"
    )?;
    rope(out, config, &family.scaling)?;
    writeln!(
        out,
        "            CacheUpdate(from: [\"k_rotated\", \"v_heads\"], to: [\"k_cache\", \"v_cache\"], context: \"context\"),
            Attention(from: [\"q_rotated\", \"k_cache\", \"v_cache\"], to: \"attended\"),
            MergeHeads(from: \"attended\", to: \"merged\"),"
    )?;
    let mut before_o = "merged";
    if let Some((attn, _)) = family.sub_norms {
        norm(out, "merged", "attn_sub_norm", attn, q)?;
        before_o = "attn_sub_norm";
    }
    projection(out, before_o, "o", &whole("self_attn.o_proj"), "hidden", q, "O")?;
    writeln!(out, "            Add(from: [\"x\", \"o\"], to: \"attn_out\"),")?;
    norm(out, "attn_out", "ffn_norm", "post_attention_layernorm", "hidden")?;
    projection(out, "ffn_norm", "gate", &stored[3], "ffn", "hidden", "Gate")?;
    projection(out, "ffn_norm", "up", &stored[4], "ffn", "hidden", "Up")?;
    writeln!(
        out,
        "            {}(from: \"gate\", to: \"gate_act\"),\n            Mul(from: [\"gate_act\", \"up\"], to: \"product\"),",
        family.activation
    )?;
    let mut before_down = "product";
    if let Some((_, ffn)) = family.sub_norms {
        norm(out, "product", "ffn_sub_norm", ffn, "ffn")?;
        before_down = "ffn_sub_norm";
    }
    projection(out, before_down, "down", &whole("mlp.down_proj"), "hidden", "ffn", "Down")?;
    writeln!(out, "            Add(from: [\"attn_out\", \"down\"], to: \"decoded\"),\n        ]),")
}

fn rope(out: &mut String, config: &Config, scaling: &RopeScaling) -> std::fmt::Result {
    let scaling = match scaling {
        RopeScaling::Linear { factor } => format!(", scaling: Linear(factor: {factor:?})"),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => format!(
            ", scaling: Llama3(factor: {factor:?}, low_freq_factor: {low_freq_factor:?}, high_freq_factor: {high_freq_factor:?}, original_context: {original_context})"
        ),
        RopeScaling::LongRope { short, long, original_context, attention_factor } => format!(
            ", scaling: LongRope(\n                short: {short:?},\n                long: {long:?},\n                original_context: {original_context}, attention_factor: {attention_factor:?})"
        ),
        RopeScaling::None => String::new(),
    };
    writeln!(
        out,
        "            Rope(from: [\"q_heads\", \"k_heads\"], to: [\"q_rotated\", \"k_rotated\"], theta: {:?}, dim: \"head_dim\"{scaling}),",
        config.theta()
    )
}
