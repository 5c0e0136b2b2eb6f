//! How projections are stored and quantised: `quantization_config`, 1bitLLM's bits, and what the checkpoint's headers show.
//!
//! transformers' quantiser `bitnet` has two kinds of layer. `BitLinear` (`linear_class` `bitlinear`, the default) holds uint8 weights and
//! divides the product by `weight_scale`. `AutoBitLinear` holds float weights: with `quantization_mode` `offline`, the default, ternary
//! ones beside a `weight_scale` that multiplies the product, unpacked when it is loaded if the file has them in uint8; with `online` master
//! weights that it quantises by their mean.

use super::Checkpoint;
use super::config::Reader;
use super::settings::Architecture;

/// How ternary projections are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    /// Ternary beside a `weight_scale` that multiplies.
    Multiplies,
    /// Ternary, packed, beside a `weight_scale` that divides.
    Divides,
    /// Float master weights.
    Absmean,
}

impl Storage {
    /// The text of `quantization` in a model file.
    pub(super) fn text(self) -> &'static str {
        match self {
            Storage::Multiplies => "(weights: Packed(Multiplies), activations: Int8PerToken)",
            Storage::Divides => "(weights: Packed(Divides), activations: Int8PerToken)",
            Storage::Absmean => "(weights: Absmean, activations: Int8PerToken)",
        }
    }
}

/// Reads the storage of ternary projections; none when the projections are dense.
pub(super) fn read(
    reader: &mut Reader<'_>,
    architecture: Architecture,
    checkpoint: Option<&Checkpoint>,
) -> Option<Storage> {
    let stored = checkpoint.and_then(|c| c.dtype("model.layers.0.self_attn.q_proj.weight"));
    if let Some(mut quantizer) = reader.object("quantization_config") {
        let storage = quantized(&mut quantizer, stored);
        if architecture == Architecture::Phi3 {
            quantizer.refuse("quant_method", "`bitnet` for a class that stores q, k and v as one tensor", "none");
        }
        reader.take(quantizer);
        return storage;
    }
    if architecture != Architecture::OneBit {
        if stored == Some("U8") {
            let found = "absent though the weights are packed";
            reader.refuse("quantization_config", found, "linear_class says what weight_scale does");
        }
        return None;
    }
    for (field, right, supported) in [("input_bits", 8, "8"), ("weight_bits", 1, "1, the ternary weights of b1.58")] {
        let bits = reader.count(field, right);
        if bits != right {
            reader.refuse(field, bits, supported);
        }
    }
    Some(Storage::Absmean)
}

/// Reads `quantization_config`; `stored` is the element type of the first layer's weights.
fn quantized(quantizer: &mut Reader<'_>, stored: Option<&str>) -> Option<Storage> {
    match quantizer.text("quant_method") {
        Some("bitnet") => {}
        Some(other) => {
            quantizer.refuse("quant_method", format!("`{other}`"), "bitnet");
            return None;
        }
        None => {
            quantizer.refuse("quant_method", "absent", "bitnet");
            return None;
        }
    }
    if quantizer.flag("use_rms_norm") {
        quantizer.refuse("use_rms_norm", "true", "false");
    }
    dense_modules(quantizer);
    let class = quantizer.text("linear_class").unwrap_or("bitlinear");
    let mode = quantizer.text("quantization_mode").unwrap_or("offline");
    if !["offline", "online"].contains(&mode) {
        quantizer.refuse("quantization_mode", format!("`{mode}`"), "offline, online");
    }
    let packed = stored.map(|dtype| dtype == "U8");
    let beside = |field: &str| format!("`{field}` though the weights are {}", stored.unwrap_or("absent"));
    match (class, mode, packed) {
        // The mode says nothing about `bitlinear`, whose weights are always packed.
        ("bitlinear", _, Some(false)) => {
            let supported = "autobitlinear, or weights packed in U8";
            quantizer.refuse("linear_class", beside(class), supported);
            None
        }
        ("bitlinear", _, Some(true) | None) => Some(Storage::Divides),
        ("autobitlinear", "online", Some(true)) => {
            quantizer.refuse("quantization_mode", beside(mode), "offline, or float weights");
            None
        }
        ("autobitlinear", "online", Some(false) | None) => Some(Storage::Absmean),
        ("autobitlinear", _, _) => Some(Storage::Multiplies),
        _ => {
            quantizer.refuse("linear_class", format!("`{class}`"), "bitlinear, autobitlinear");
            None
        }
    }
}

/// Checks that the LM head alone stays dense, as it does when nothing is said.
fn dense_modules(quantizer: &mut Reader<'_>) {
    const FIELD: &str = "modules_to_not_convert";
    let Some(value) = quantizer.get(FIELD) else { return };
    let list: Option<Vec<&str>> = value.as_array().and_then(|list| list.iter().map(|m| m.as_str()).collect());
    let Some(list) = list else {
        quantizer.refuse(FIELD, super::config::shown(value), "a list of names");
        return;
    };
    // 4.57 leaves out modules whose path contains a name, 5 those whose path begins or ends with one, which is read as a pattern.
    let plain = |name: &str| name.chars().all(|c| c.is_alphanumeric() || "._".contains(c));
    let touches = |name: &&&str| {
        !plain(name) || PROJECTIONS.iter().any(|module| format!("model.layers.0.{module}").contains(&in_first(name)))
    };
    if let Some(name) = list.iter().find(touches) {
        quantizer.refuse(FIELD, format!("`{name}` among others"), "[\"lm_head\"]: every projection is ternary");
    } else if !list.iter().any(|name| !name.is_empty() && "lm_head".ends_with(name)) {
        quantizer.refuse(FIELD, format!("{list:?}"), "[\"lm_head\"]: the head is dense");
    }
}

const PROJECTIONS: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

/// The name with the number of any layer replaced by the first's.
fn in_first(name: &str) -> String {
    let part = |part: &str| if part.parse::<usize>().is_ok() { "0".to_string() } else { part.to_string() };
    name.split('.').map(part).collect::<Vec<_>>().join(".")
}
