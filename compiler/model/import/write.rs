//! Writing a model file from a config.

use super::settings::{Architecture, Settings};
use crate::graph::RopeScaling;
use std::fmt::Write;

pub(super) fn model(settings: &Settings, name: &str, source: &str) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail; the result of every `write!` below is therefore dropped in one place.
    let written = (|| -> std::fmt::Result {
        header(&mut out, settings, name, source)?;
        decoder(&mut out, settings)
    })();
    debug_assert!(written.is_ok());
    let table = if settings.tied { "model.embed_tokens.weight" } else { "lm_head.weight" };
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
        settings.eps
    ));
    out
}

fn header(out: &mut String, settings: &Settings, name: &str, source: &str) -> std::fmt::Result {
    writeln!(out, "Model(\n    name: {name:?},\n    source: {source:?},\n    dims: {{")?;
    let dims = [
        ("vocab", settings.vocab),
        ("hidden", settings.hidden),
        ("ffn", settings.ffn),
        ("layers", settings.layers),
        ("heads", settings.heads),
        ("kv_heads", settings.kv_heads),
        ("head_dim", settings.head_dim),
        ("context", settings.context),
    ];
    for (dim, value) in dims {
        writeln!(out, "        {dim:?}: {value},")?;
    }
    writeln!(out, "    }},")?;
    if let Some(storage) = settings.storage {
        writeln!(out, "    quantization: {},", storage.text())?;
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

fn decoder(out: &mut String, settings: &Settings) -> std::fmt::Result {
    let layer = "model.layers.{layer}.";
    let eps = settings.eps;
    let linear = if settings.storage.is_some() { "BitLinear" } else { "Linear" };
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
    let stored: [String; 5] = if settings.architecture == Architecture::Phi3 {
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
    rope(out, settings)?;
    writeln!(
        out,
        "            CacheUpdate(from: [\"k_rotated\", \"v_heads\"], to: [\"k_cache\", \"v_cache\"], context: \"context\"),
            Attention(from: [\"q_rotated\", \"k_cache\", \"v_cache\"], to: \"attended\"),
            MergeHeads(from: \"attended\", to: \"merged\"),"
    )?;
    let mut before_o = "merged";
    if let Some((attn, _)) = settings.architecture.sub_norms() {
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
        settings.activation
    )?;
    let mut before_down = "product";
    if let Some((_, ffn)) = settings.architecture.sub_norms() {
        norm(out, "product", "ffn_sub_norm", ffn, "ffn")?;
        before_down = "ffn_sub_norm";
    }
    projection(out, before_down, "down", &whole("mlp.down_proj"), "hidden", "ffn", "Down")?;
    writeln!(out, "            Add(from: [\"attn_out\", \"down\"], to: \"decoded\"),\n        ]),")
}

fn rope(out: &mut String, settings: &Settings) -> std::fmt::Result {
    let scaling = match &settings.rotary.scaling {
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
        settings.rotary.theta
    )
}
