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

/// The ternary projections of a model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ternary {
    pub storage: Storage,
    /// Projections that are dense all the same, as paths in a layer.
    pub dense: Vec<&'static str>,
    /// The epsilon of the norm that each ternary projection applies to its input before rounding it.
    pub input_norm: Option<f64>,
}

/// Reads the ternary projections; none when all are dense.
pub(super) fn read(
    reader: &mut Reader<'_>,
    architecture: Architecture,
    checkpoint: Option<&Checkpoint>,
) -> Option<Ternary> {
    let stored_as = |module: &str| checkpoint.and_then(|c| c.dtype(&format!("model.layers.0.{module}.weight")));
    let quantizer = reader.object("quantization_config");
    if reader.has_refused("quantization_config") {
        return None;
    }
    if let Some(mut quantizer) = quantizer {
        let dense = dense_modules(&mut quantizer);
        let first = PROJECTIONS.into_iter().find(|module| !dense.contains(module));
        let storage = quantized(&mut quantizer, first.and_then(stored_as));
        let input_norm = quantizer.flag("use_rms_norm").then(|| quantizer.number("rms_norm_eps", 1e-6));
        if architecture == Architecture::Phi3 {
            quantizer.refuse("quant_method", "`bitnet` for a class that stores q, k and v as one tensor", "none");
        }
        reader.take(quantizer);
        return first.and(storage).map(|storage| Ternary { storage, dense, input_norm });
    }
    let stored = stored_as(PROJECTIONS[0]);
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
    Some(Ternary { storage: Storage::Absmean, dense: Vec::new(), input_norm: None })
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
    // transformers goes by these before it looks at the method.
    for field in ["load_in_8bit", "load_in_4bit"] {
        if quantizer.flag(field) {
            quantizer.refuse(field, "true", "false: that is bitsandbytes, whatever `quant_method` says");
        }
    }
    let class = quantizer.needed_text("linear_class").unwrap_or("bitlinear");
    let mode = quantizer.needed_text("quantization_mode").unwrap_or("offline");
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

/// The projections that `modules_to_not_convert` leaves dense. The LM head has to be among what it names, as it is when nothing is said.
///
/// 4.57 leaves out modules whose path contains a name, 5 those whose path begins or ends with one, which is read as a pattern.
fn dense_modules(quantizer: &mut Reader<'_>) -> Vec<&'static str> {
    const FIELD: &str = "modules_to_not_convert";
    let Some(value) = quantizer.get(FIELD) else { return Vec::new() };
    let list: Option<Vec<&str>> = value.as_array().and_then(|list| list.iter().map(|m| m.as_str()).collect());
    let Some(list) = list else {
        quantizer.refuse(FIELD, super::config::shown(value), "a list of names");
        return Vec::new();
    };
    if !list.iter().any(|name| !name.is_empty() && "lm_head".ends_with(name)) {
        quantizer.refuse(FIELD, format!("{list:?}"), "[\"lm_head\", ..]: the head is dense");
    }
    let mut dense = Vec::new();
    for name in list {
        let paths = PROJECTIONS.map(|module| (module, format!("model.layers.0.{module}")));
        let of_a_layer = name.split('.').any(|part| part.parse::<usize>().is_ok());
        let touched = |(_, path): &(_, String)| path.contains(&in_first(name));
        if of_a_layer && paths.iter().any(touched) {
            let supported = "modules of every layer: a plan has one layer, which it repeats";
            quantizer.refuse(FIELD, format!("`{name}` among others"), supported);
            continue;
        }
        let plain = name.chars().all(|c| c.is_alphanumeric() || "._".contains(c));
        for (module, path) in &paths {
            let (older, newer) = (path.contains(name), begins(path, name) || path.ends_with(name));
            if !plain || older != newer {
                let supported = "whole modules by name, such as `o_proj`: transformers' versions agree on no other";
                quantizer.refuse(FIELD, format!("`{name}` among others"), supported);
                break;
            }
            if older && !dense.contains(module) {
                dense.push(*module);
            }
        }
    }
    dense
}

/// Whether a path begins with a name that ends where a part of the path does.
fn begins(path: &str, name: &str) -> bool {
    let rest = path.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || name.ends_with('.'))
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
