//! The names of tensors in GGUF files of the architectures read here, and what Hugging Face calls them.

/// Modules of a layer: ggml's name, Hugging Face's.
const LAYER: [(&str, &str); 13] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_sub_norm", "self_attn.attn_sub_norm"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_sub_norm", "mlp.ffn_sub_norm"),
    ("ffn_down", "mlp.down_proj"),
];

/// Hugging Face's name of a tensor: `blk.3.attn_q.weight` is `model.layers.3.self_attn.q_proj.weight`. None for a tensor that the models
/// read here do not have. The scale that converters before TQ1_0 wrote beside a matrix is its `weight_scale`.
pub(super) fn hugging_face(name: &str) -> Option<String> {
    match name {
        "token_embd.weight" => return Some("model.embed_tokens.weight".into()),
        "output_norm.weight" => return Some("model.norm.weight".into()),
        "output.weight" => return Some("lm_head.weight".into()),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let (module, kind) = rest.split_once('.')?;
    let kind = match kind {
        "weight" => "weight",
        "scale" => "weight_scale",
        "bias" => "bias",
        _ => return None,
    };
    let layer: u32 = layer.parse().ok()?;
    let (_, module) = LAYER.iter().find(|(ggml, _)| *ggml == module)?;
    Some(format!("model.layers.{layer}.{module}.{kind}"))
}

/// True for the matrices whose rows, and the biases whose elements, llama.cpp's converter reorders for architecture `llama`.
pub(super) fn is_rotated(name: &str) -> bool {
    let tensor = name.rsplit_once('.').map_or(name, |(tensor, _)| tensor);
    !name.ends_with(".scale") && (tensor.ends_with(".attn_q") || tensor.ends_with(".attn_k"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_translated_and_others_are_none() {
        for (name, want) in [
            ("output.weight", Some("lm_head.weight")),
            ("blk.12.ffn_gate.weight", Some("model.layers.12.mlp.gate_proj.weight")),
            ("blk.0.attn_output.scale", Some("model.layers.0.self_attn.o_proj.weight_scale")),
            ("blk.0.attn_q.bias", Some("model.layers.0.self_attn.q_proj.bias")),
            ("blk.3.attn_k_norm.weight", Some("model.layers.3.self_attn.k_norm.weight")),
            ("blk.0.attn_qkv.bias", None),
            ("blk.x.attn_q.weight", None),
            ("blk.0.ffn_gate_exps.weight", None),
            ("rope_freqs.weight", None),
        ] {
            assert_eq!(hugging_face(name).as_deref(), want, "{name}");
        }
    }
}
