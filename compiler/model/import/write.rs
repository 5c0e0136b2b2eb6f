//! Writing a model file from a config.

use super::quantizer::Storage;
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
    if let Some(ternary) = &settings.ternary {
        writeln!(out, "    quantization: {},", ternary.storage.text())?;
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

const LAYER: &str = "model.layers.{layer}.";

fn norm(out: &mut String, from: &str, to: &str, weight: &str, shape: &str, eps: f64) -> std::fmt::Result {
    let weight = format!("{LAYER}{weight}.weight");
    writeln!(
        out,
        "            RmsNorm(from: {from:?}, to: {to:?}, weight: {weight:?}, shape: [{shape:?}], eps: {eps:?}),"
    )
}

/// A projection with what belongs to it: a norm of its input before, a bias after.
struct Projection<'a> {
    /// Its path in a layer.
    module: &'a str,
    /// Its tensor, as the model file says it.
    weight: &'a str,
    /// `[out, in]`.
    shape: [&'a str; 2],
    role: &'a str,
    bias: bool,
}

impl Projection<'_> {
    fn write(&self, out: &mut String, settings: &Settings, from: &str, to: &str) -> std::fmt::Result {
        let Projection { module, weight, shape: [rows, columns], role, bias } = self;
        let ternary = settings.ternary.as_ref().filter(|ternary| !ternary.dense.contains(module));
        let mut input = from.to_string();
        if let Some(eps) = ternary.and_then(|ternary| ternary.input_norm) {
            input = format!("{to}_normed");
            norm(out, from, &input, &format!("{module}.rms_norm"), columns, eps)?;
        }
        let linear = if ternary.is_some() { "BitLinear" } else { "Linear" };
        let product = if *bias { format!("{to}_product") } else { to.to_string() };
        writeln!(
            out,
            "            {linear}(from: {input:?}, to: {product:?}, weight: {weight}, shape: [{rows:?}, {columns:?}], role: {role}),"
        )?;
        if *bias {
            // autobitlinear multiplies what it stores, the bias included, by the scale.
            let scaled = ternary.is_some_and(|ternary| ternary.storage == Storage::Multiplies);
            let scaled = if scaled { format!(", scaled_by: {weight}") } else { String::new() };
            let bias = format!("{LAYER}{module}.bias");
            writeln!(
                out,
                "            Bias(from: {product:?}, to: {to:?}, weight: {bias:?}, shape: [{rows:?}]{scaled}),"
            )?;
        }
        Ok(())
    }
}

fn decoder(out: &mut String, settings: &Settings) -> std::fmt::Result {
    let (eps, biases) = (settings.eps, settings.biases);
    let (q, kv) = ("heads*head_dim", "kv_heads*head_dim");
    let whole = |module: &str| format!("\"{LAYER}{module}.weight\"");
    let modules = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"];
    let stored: [String; 5] = if settings.architecture == Architecture::Phi3 {
        let slice =
            |module: &str, start: &str, end: &str| format!("Slice(\"{LAYER}{module}.weight\", {start}, {end:?})");
        [
            slice("self_attn.qkv_proj", "0", q),
            slice("self_attn.qkv_proj", &format!("{q:?}"), &format!("{q} + {kv}")),
            slice("self_attn.qkv_proj", &format!("\"{q} + {kv}\""), &format!("{q} + 2*{kv}")),
            slice("mlp.gate_up_proj", "0", "ffn"),
            slice("mlp.gate_up_proj", "\"ffn\"", "2*ffn"),
        ]
    } else {
        modules.map(whole)
    };
    let [o, down] = ["self_attn.o_proj", "mlp.down_proj"].map(|module| (module, whole(module)));
    let projection = |at: usize, rows, role, bias| Projection {
        module: modules[at],
        weight: &stored[at],
        shape: [rows, "hidden"],
        role,
        bias,
    };

    writeln!(
        out,
        "        Repeat(name: \"decoder\", times: \"layers\", from: \"embedded\", carry: \"x\", to: \"decoded\", ops: ["
    )?;
    norm(out, "x", "attn_norm", "input_layernorm", "hidden", eps)?;
    for (at, (to, rows)) in [("q", q), ("k", kv), ("v", kv)].into_iter().enumerate() {
        projection(at, rows, "Qkv", biases.qkv).write(out, settings, "attn_norm", to)?;
    }
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
        norm(out, "merged", "attn_sub_norm", attn, q, eps)?;
        before_o = "attn_sub_norm";
    }
    Projection { module: o.0, weight: &o.1, shape: ["hidden", q], role: "O", bias: biases.o }
        .write(out, settings, before_o, "o")?;
    writeln!(out, "            Add(from: [\"x\", \"o\"], to: \"attn_out\"),")?;
    norm(out, "attn_out", "ffn_norm", "post_attention_layernorm", "hidden", eps)?;
    projection(3, "ffn", "Gate", biases.mlp).write(out, settings, "ffn_norm", "gate")?;
    projection(4, "ffn", "Up", biases.mlp).write(out, settings, "ffn_norm", "up")?;
    writeln!(
        out,
        "            {}(from: \"gate\", to: \"gate_act\"),\n            Mul(from: [\"gate_act\", \"up\"], to: \"product\"),",
        settings.activation
    )?;
    let mut before_down = "product";
    if let Some((_, ffn)) = settings.architecture.sub_norms() {
        norm(out, "product", "ffn_sub_norm", ffn, "ffn", eps)?;
        before_down = "ffn_sub_norm";
    }
    Projection { module: down.0, weight: &down.1, shape: ["hidden", "ffn"], role: "Down", bias: biases.mlp }.write(
        out,
        settings,
        before_down,
        "down",
    )?;
    writeln!(out, "            Add(from: [\"attn_out\", \"down\"], to: \"decoded\"),\n        ]),")
}

fn rope(out: &mut String, settings: &Settings) -> std::fmt::Result {
    let mut heads = ["q_heads", "k_heads"];
    if settings.architecture.head_norms() {
        let normed = ["q_normed_heads", "k_normed_heads"];
        for ((from, to), module) in heads.into_iter().zip(normed).zip(["self_attn.q_norm", "self_attn.k_norm"]) {
            norm(out, from, to, module, "head_dim", settings.eps)?;
        }
        heads = normed;
    }
    let dim = match settings.rotary.dim(settings.head_dim) {
        dim if dim == settings.head_dim => "\"head_dim\"".to_string(),
        dim => dim.to_string(),
    };
    let scaling = match &settings.rotary.scaling {
        RopeScaling::Linear { factor } => format!(", scaling: Linear(factor: {factor:?})"),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => format!(
            ", scaling: Llama3(factor: {factor:?}, low_freq_factor: {low_freq_factor:?}, high_freq_factor: {high_freq_factor:?}, original_context: {original_context})"
        ),
        RopeScaling::LongRope { short, long, original_context, attention_factor } => format!(
            ", scaling: LongRope(\n                short: {short:?},\n                long: {long:?},\n                original_context: {original_context}, attention_factor: {attention_factor:?})"
        ),
        RopeScaling::Yarn { factor, beta_fast, beta_slow, original_context, attention_factor, truncate } => format!(
            ", scaling: Yarn(factor: {factor:?}, beta_fast: {beta_fast:?}, beta_slow: {beta_slow:?}, original_context: {original_context}, attention_factor: {attention_factor:?}, truncate: {truncate})"
        ),
        RopeScaling::None => String::new(),
    };
    writeln!(
        out,
        "            Rope(from: {heads:?}, to: [\"q_rotated\", \"k_rotated\"], theta: {:?}, dim: {dim}{scaling}),",
        settings.rotary.theta
    )
}
