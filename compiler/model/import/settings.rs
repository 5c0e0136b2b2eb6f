//! Everything a config says that a model file depends on, with the defaults of its class in transformers, or all that is refused.
//!
//! A field that transformers reads for the class and whose value would change the function is either taken or refused by its name.
//! `tests/checkpoints/config_fields.tsv` lists fields and values with what transformers 4.57 and 5 do.

use super::config::{Config, Reader, shown};
use super::quantizer::{self, Ternary};
use super::rotary::{self, Rotary};
use super::{Checkpoint, Unsupported};

/// A class of Hugging Face.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Architecture {
    /// transformers' `BitNetForCausalLM`.
    BitNet,
    /// `BitnetForCausalLM`, the code that comes with 1bitLLM's checkpoints.
    OneBit,
    /// `LlamaForCausalLM`.
    Llama,
    /// `Phi3ForCausalLM`.
    Phi3,
    /// `Qwen2ForCausalLM`.
    Qwen2,
    /// `Qwen3ForCausalLM`.
    Qwen3,
}

/// The projections that have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Biases {
    /// Those of queries, keys and values.
    pub qkv: bool,
    /// Attention's output projection.
    pub o: bool,
    /// Those of the MLP.
    pub mlp: bool,
}

/// The fields of a config, with the defaults of its class.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub architecture: Architecture,
    pub vocab: usize,
    pub hidden: usize,
    pub ffn: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub context: usize,
    pub eps: f64,
    /// The activation's operation in a model file.
    pub activation: &'static str,
    /// LM head and embedding are one tensor.
    pub tied: bool,
    pub biases: Biases,
    pub rotary: Rotary,
    /// The ternary projections; none when all are dense.
    pub ternary: Option<Ternary>,
}

const CLASSES: &str =
    "BitNetForCausalLM, BitnetForCausalLM, LlamaForCausalLM, Phi3ForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM";

/// The defaults of a class.
struct Defaults {
    vocab: usize,
    hidden: usize,
    ffn: usize,
    layers: usize,
    heads: usize,
    /// As many as query heads when absent.
    kv_heads: Option<usize>,
    context: usize,
    eps: f64,
    activation: &'static str,
}

impl Architecture {
    /// The class's name.
    fn class(self) -> &'static str {
        match self {
            Architecture::BitNet => "BitNetForCausalLM",
            Architecture::OneBit => "BitnetForCausalLM",
            Architecture::Llama => "LlamaForCausalLM",
            Architecture::Phi3 => "Phi3ForCausalLM",
            Architecture::Qwen2 => "Qwen2ForCausalLM",
            Architecture::Qwen3 => "Qwen3ForCausalLM",
        }
    }

    /// The rotary base when a config names none.
    pub(super) fn theta(self) -> f64 {
        match self {
            Architecture::BitNet => 500_000.0,
            Architecture::OneBit | Architecture::Llama | Architecture::Phi3 => 10_000.0,
            Architecture::Qwen2 | Architecture::Qwen3 => 10_000.0,
        }
    }

    /// Names of the norms before O and before down, if there are any.
    pub(super) fn sub_norms(self) -> Option<(&'static str, &'static str)> {
        match self {
            Architecture::BitNet => Some(("self_attn.attn_sub_norm", "mlp.ffn_sub_norm")),
            Architecture::OneBit => Some(("self_attn.inner_attn_ln", "mlp.ffn_layernorm")),
            Architecture::Llama | Architecture::Phi3 | Architecture::Qwen2 | Architecture::Qwen3 => None,
        }
    }

    /// Whether query and key heads are normed before they rotate.
    pub(super) fn head_norms(self) -> bool {
        match self {
            Architecture::Qwen3 => true,
            Architecture::BitNet | Architecture::OneBit | Architecture::Llama => false,
            Architecture::Phi3 | Architecture::Qwen2 => false,
        }
    }

    fn defaults(self) -> Defaults {
        let llama = Defaults {
            vocab: 32_000,
            hidden: 4096,
            ffn: 11_008,
            layers: 32,
            heads: 32,
            kv_heads: None,
            context: 2048,
            eps: 1e-6,
            activation: "silu",
        };
        match self {
            Architecture::BitNet => Defaults {
                vocab: 128_256,
                hidden: 2560,
                ffn: 6912,
                layers: 30,
                heads: 20,
                kv_heads: Some(5),
                context: 2048,
                eps: 1e-5,
                activation: "relu2",
            },
            Architecture::OneBit | Architecture::Llama => llama,
            Architecture::Phi3 => {
                Defaults { vocab: 32_064, hidden: 3072, ffn: 8192, context: 4096, eps: 1e-5, ..llama }
            }
            Architecture::Qwen2 | Architecture::Qwen3 => {
                Defaults { vocab: 151_936, ffn: 22_016, kv_heads: Some(32), context: 32_768, ..llama }
            }
        }
    }

    /// The class that a config asks for. `AutoModelForCausalLM` goes by `model_type`, people and other programs by `architectures`.
    fn read(reader: &mut Reader<'_>) -> Option<Architecture> {
        use Architecture::{BitNet, Llama, OneBit, Phi3, Qwen2, Qwen3};
        let kind = reader.text("model_type");
        let first = reader.get("architectures").map(|value| value.get(0).unwrap_or(value));
        let Some(first) = first.filter(|first| first.as_array().is_none_or(|list| !list.is_empty())) else {
            let by_type = [("bitnet", BitNet), ("llama", Llama), ("phi3", Phi3), ("qwen2", Qwen2), ("qwen3", Qwen3)];
            let found = by_type.iter().find(|(name, _)| kind == Some(name));
            if found.is_none() {
                let found = kind.map_or("absent".into(), |kind| format!("absent and `model_type` is `{kind}`"));
                reader.refuse("architectures", found, CLASSES);
            }
            return found.map(|(_, architecture)| *architecture);
        };
        let class = first.as_str().unwrap_or_default();
        let Some(architecture) = [BitNet, OneBit, Llama, Phi3, Qwen2, Qwen3].into_iter().find(|a| a.class() == class)
        else {
            reader.refuse("architectures", shown(first), CLASSES);
            return None;
        };
        let types: &[&str] = match architecture {
            BitNet => &["bitnet"],
            OneBit => &["llama", "bitnet"],
            Llama => &["llama"],
            Phi3 => &["phi3"],
            Qwen2 => &["qwen2"],
            Qwen3 => &["qwen3"],
        };
        if let Some(kind) = kind.filter(|kind| !types.contains(kind)) {
            let found = format!("`{kind}` beside `architectures` `{class}`");
            reader.refuse("model_type", found, format!("`{}`, which is the type of that class", types[0]));
        }
        Some(architecture)
    }
}

impl Settings {
    /// Reads a config; the headers of its checkpoint, when there is one, tell how weights are stored.
    pub(super) fn read(config: &Config, checkpoint: Option<&Checkpoint>) -> Result<Settings, Vec<Unsupported>> {
        let mut reader = config.reader();
        let Some(architecture) = Architecture::read(&mut reader) else { return Err(reader.refused) };
        let absent = architecture.defaults();
        let [vocab, hidden, ffn, layers, heads, context] = [
            ("vocab_size", absent.vocab),
            ("hidden_size", absent.hidden),
            ("intermediate_size", absent.ffn),
            ("num_hidden_layers", absent.layers),
            ("num_attention_heads", absent.heads),
            ("max_position_embeddings", absent.context),
        ]
        .map(|(field, absent)| reader.count(field, absent));
        // A null means as many as query heads in every class, an absent field what the class says.
        let kv_heads = match reader.optional_count("num_key_value_heads") {
            Some(kv_heads) => kv_heads,
            None if reader.names("num_key_value_heads") => heads,
            None => absent.kv_heads.unwrap_or(heads),
        };
        let settings = Settings {
            architecture,
            vocab,
            hidden,
            ffn,
            layers,
            heads,
            kv_heads,
            head_dim: head_dim(&mut reader, architecture, hidden, heads),
            context,
            eps: reader.number("rms_norm_eps", absent.eps),
            activation: activation(&mut reader, absent.activation),
            tied: reader.flag("tie_word_embeddings"),
            biases: biases(&mut reader, architecture),
            rotary: rotary::read(&mut reader, architecture, context),
            ternary: quantizer::read(&mut reader, architecture, checkpoint),
        };
        windows(&mut reader, &settings);
        others(&mut reader);
        if reader.refused.is_empty() { Ok(settings) } else { Err(reader.refused) }
    }
}

fn head_dim(reader: &mut Reader<'_>, architecture: Architecture, hidden: usize, heads: usize) -> usize {
    if architecture == Architecture::Qwen3 {
        return reader.count("head_dim", 128);
    }
    let Some(head_dim) = reader.optional_count("head_dim") else {
        let both_read = !["hidden_size", "num_attention_heads"].iter().any(|field| reader.has_refused(field));
        if both_read && !hidden.is_multiple_of(heads) {
            let found = format!("{heads} for hidden_size {hidden}");
            reader.refuse("num_attention_heads", found, "a divisor of hidden_size, or head_dim");
        }
        return (hidden / heads).max(1);
    };
    head_dim
}

fn activation(reader: &mut Reader<'_>, absent: &'static str) -> &'static str {
    let named = if reader.names("hidden_act") { reader.needed_text("hidden_act") } else { Some(absent) };
    match named.unwrap_or(absent) {
        "silu" | "swish" => "Silu",
        "relu2" => "Relu2",
        "relu" => "Relu",
        other => {
            reader.refuse("hidden_act", format!("`{other}`"), "silu, relu2, relu");
            "Silu"
        }
    }
}

/// Biases, of the projections for which the class has them.
fn biases(reader: &mut Reader<'_>, architecture: Architecture) -> Biases {
    match architecture {
        Architecture::Llama => {
            let (attention, mlp) = (reader.flag("attention_bias"), reader.flag("mlp_bias"));
            Biases { qkv: attention, o: attention, mlp }
        }
        Architecture::BitNet | Architecture::OneBit | Architecture::Qwen3 => {
            let attention = reader.flag("attention_bias");
            Biases { qkv: attention, o: attention, mlp: false }
        }
        Architecture::Qwen2 => Biases { qkv: true, o: false, mlp: false },
        Architecture::Phi3 => Biases::default(),
    }
}

/// Attention that does not see the whole context. Phi-3 masks by its window; Qwen's classes do from a layer on, if `use_sliding_window` says
/// so. For every other class the cache of `generate` keeps no more than a window's positions, whatever `use_sliding_window` says.
fn windows(reader: &mut Reader<'_>, settings: &Settings) {
    let context = settings.context;
    let refuse = |reader: &mut Reader<'_>, field: &str, window: Option<usize>| {
        // A window as long as the context leaves nothing out.
        if let Some(window) = window.filter(|window| *window < context) {
            reader.refuse(field, window, "none: attention sees the whole context");
        }
    };
    match settings.architecture {
        Architecture::Qwen2 | Architecture::Qwen3 => {
            let (slides, first) = (reader.flag("use_sliding_window"), first_window(reader));
            let absent = (!reader.names("sliding_window")).then_some(4096);
            let window = reader.optional_count("sliding_window").or(absent);
            if let Some(window) = window.filter(|window| slides && first < settings.layers && *window < context) {
                let found = format!("{window}, from layer {first} on (`max_window_layers`)");
                reader.refuse("sliding_window", found, "none: attention sees the whole context");
            }
        }
        Architecture::BitNet | Architecture::OneBit | Architecture::Llama | Architecture::Phi3 => {
            let window = reader.optional_count("sliding_window");
            refuse(reader, "sliding_window", window);
        }
    }
    let chunk = reader.optional_count("attention_chunk_size");
    refuse(reader, "attention_chunk_size", chunk);
    if let Some(types) = reader.get("layer_types") {
        let full = |list: &Vec<serde_json::Value>| list.iter().all(|kind| kind == "full_attention");
        if !types.as_array().is_some_and(|list| full(list) && list.len() == settings.layers) {
            reader.refuse("layer_types", shown(types), "full_attention, once for every layer");
        }
    }
}

/// The first layer with a window in Qwen's classes; 0 is one too.
fn first_window(reader: &mut Reader<'_>) -> usize {
    match reader.get("max_window_layers") {
        None => 28,
        Some(value) if value.as_u64() == Some(0) => 0,
        Some(_) => reader.count("max_window_layers", 28),
    }
}

/// Fields of any class that replace what the rest of the config says.
fn others(reader: &mut Reader<'_>) {
    let fields = [
        ("text_config", "the text model's fields at the top"),
        ("per_layer_config", "one configuration for every layer"),
        ("pruned_heads", "every head in every layer"),
        ("compression_config", "quantization_config with quant_method bitnet"),
        ("kv_sharing_modes", "keys and values of every layer's own"),
    ];
    for (field, supported) in fields {
        let empty = |value: &serde_json::Value| value.as_object().is_some_and(|object| object.is_empty());
        if let Some(value) = reader.get(field).filter(|value| !empty(value)) {
            reader.refuse(field, shown(value), supported);
        }
    }
    if reader.flag("is_encoder_decoder") {
        reader.refuse("is_encoder_decoder", "true", "false");
    }
    // transformers 5 lets every token see those after it.
    if reader.names("is_causal") && !reader.flag("is_causal") {
        reader.refuse("is_causal", "false", "true: a token sees those before it");
    }
}
