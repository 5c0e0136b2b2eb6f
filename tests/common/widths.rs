//! Small models of any widths, as model files.

/// A small model of any widths.
#[derive(Debug, Clone)]
pub struct Widths {
    pub hidden: usize,
    pub ffn: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub vocab: usize,
    pub sub_norms: bool,
    pub silu: bool,
}

impl Widths {
    /// The model file: ternary matrices, and activations of 8 bits or as they are.
    pub fn text(&self, int8: bool) -> String {
        let Widths { hidden, ffn, heads, kv_heads, head_dim, vocab, .. } = *self;
        let norm = |from: &str, to: &str, width: &str| {
            format!(
                "RmsNorm(from: {from:?}, to: {to:?}, weight: \"l.{{layer}}.{to}\", shape: [{width:?}], eps: 1e-3),\n"
            )
        };
        let project = |from: &str, to: &str, shape: [&str; 2], role: &str| {
            format!(
                "BitLinear(from: {from:?}, to: {to:?}, weight: \"l.{{layer}}.{to}\", shape: {shape:?}, role: {role}),\n"
            )
        };
        let (attended, product) =
            if self.sub_norms { ("attn_sub_norm", "ffn_sub_norm") } else { ("merged", "product") };
        let sub_norm = |from: &str, to: &str, width: &str| {
            if self.sub_norms { norm(from, to, width) } else { String::new() }
        };
        let layer = [
            norm("x", "attn_norm", "hidden"),
            project("attn_norm", "q", ["heads*head_dim", "hidden"], "Qkv"),
            project("attn_norm", "k", ["kv_heads*head_dim", "hidden"], "Qkv"),
            project("attn_norm", "v", ["kv_heads*head_dim", "hidden"], "Qkv"),
            "SplitHeads(from: [\"q\", \"k\", \"v\"], to: [\"q_heads\", \"k_heads\", \"v_heads\"], heads: \"heads\", \
             kv_heads: \"kv_heads\", head_dim: \"head_dim\"),\n\
             Rope(from: [\"q_heads\", \"k_heads\"], to: [\"q_rotated\", \"k_rotated\"], theta: 1e4, dim: \"head_dim\"),\n\
             CacheUpdate(from: [\"k_rotated\", \"v_heads\"], to: [\"k_cache\", \"v_cache\"], context: \"context\"),\n\
             Attention(from: [\"q_rotated\", \"k_cache\", \"v_cache\"], to: \"attended\"),\n\
             MergeHeads(from: \"attended\", to: \"merged\"),\n"
                .into(),
            sub_norm("merged", "attn_sub_norm", "heads*head_dim"),
            project(attended, "o", ["hidden", "heads*head_dim"], "O"),
            "Add(from: [\"x\", \"o\"], to: \"attn_out\"),\n".into(),
            norm("attn_out", "ffn_norm", "hidden"),
            project("ffn_norm", "gate", ["ffn", "hidden"], "Gate"),
            project("ffn_norm", "up", ["ffn", "hidden"], "Up"),
            format!("{}(from: \"gate\", to: \"gate_act\"),\n", if self.silu { "Silu" } else { "Relu2" }),
            "Mul(from: [\"gate_act\", \"up\"], to: \"product\"),\n".into(),
            sub_norm("product", "ffn_sub_norm", "ffn"),
            project(product, "down", ["hidden", "ffn"], "Down"),
            "Add(from: [\"attn_out\", \"down\"], to: \"decoded\"),\n".into(),
        ]
        .concat();
        format!(
            "Model(name: \"widths\", source: \"a test\",
            dims: {{ \"vocab\": {vocab}, \"hidden\": {hidden}, \"ffn\": {ffn}, \"layers\": 2, \"heads\": {heads},
                     \"kv_heads\": {kv_heads}, \"head_dim\": {head_dim}, \"context\": 64 }},
            quantization: (weights: Absmean, activations: {}),
            graph: [
                Once(name: \"embed\", ops: [Tokens(to: \"ids\"),
                    Embedding(from: \"ids\", to: \"embedded\", weight: \"table\", shape: [\"vocab\", \"hidden\"])]),
                Repeat(name: \"decoder\", times: \"layers\", from: \"embedded\", carry: \"x\", to: \"decoded\", ops: [{layer}]),
                Once(name: \"head\", ops: [LastToken(from: \"decoded\", to: \"last\"),
                    RmsNorm(from: \"last\", to: \"normed\", weight: \"norm\", shape: [\"hidden\"], eps: 1e-5),
                    Linear(from: \"normed\", to: \"logits\", weight: \"table\", shape: [\"vocab\", \"hidden\"], role: LmHead),
                    Argmax(from: \"logits\", to: \"next\")]),
            ])",
            if int8 { "Int8PerToken" } else { "None" },
        )
    }
}

/// Heads of 80, an ffn of 210 and a hidden width of 130, none of them whole tiles.
pub const PADDED: Widths =
    Widths { hidden: 130, ffn: 210, heads: 4, kv_heads: 2, head_dim: 80, vocab: 101, sub_norms: true, silu: true };
