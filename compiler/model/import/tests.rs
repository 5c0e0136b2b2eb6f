//! Configs in, models out.

use super::{Checkpoint, Config, ImportError, directory, import};
use crate::graph::{ActivationQuant, Encoding, ScaleConvention};
use crate::model::{Quantization, find};
use std::path::Path;

const LLAMA: &str = r#"{"architectures": ["LlamaForCausalLM"], "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24,
    "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": "silu", "max_position_embeddings": 8, "rms_norm_eps": 1e-5 EXTRA}"#;

fn llama(extra: &str) -> Result<super::Imported, ImportError> {
    import(&Config::parse(&LLAMA.replace("EXTRA", extra)).unwrap(), "m", "a test", None)
}

fn weights(extra: &str) -> Encoding {
    let Quantization { weights, activations } = llama(extra).unwrap().model.quantization;
    assert_eq!(activations, ActivationQuant::Int8PerToken);
    weights
}

#[test]
fn the_small_model_imports_to_the_shipped_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../graphs/tiny-shakespeare");
    let imported = directory(&path).unwrap();
    let shipped: String = find("tiny-shakespeare")
        .unwrap()
        .text
        .lines()
        .skip_while(|l| l.starts_with("//"))
        .map(|l| format!("{l}\n"))
        .collect();
    assert_eq!(imported.ron, shipped);
}

#[test]
fn each_storage_of_ternary_weights_is_told_apart() {
    let config = |fields: &str| format!(r#", "quantization_config": {{"quant_method": "bitnet" {fields}}}"#);
    assert_eq!(weights(&config("")), Encoding::Packed(ScaleConvention::Divides));
    let auto = r#", "linear_class": "autobitlinear""#;
    assert_eq!(weights(&config(auto)), Encoding::Packed(ScaleConvention::Multiplies));
    let online = format!(r#"{auto}, "quantization_mode": "online""#);
    assert_eq!(weights(&config(&online)), Encoding::Absmean);
    assert_eq!(llama("").unwrap().model.quantization.weights, Encoding::Dense);
}

#[test]
fn what_has_no_operation_is_refused_by_name() {
    let cases = [
        (
            r#", "partial_rotary_factor": 0.5"#,
            "config.json: `partial_rotary_factor` is 0.5; supported: 1.0: this class turns whole heads",
        ),
        (
            r#", "rope_scaling": {"rope_type": "ntk"}"#,
            "config.json: `rope_scaling` is `ntk`; supported: default, linear, dynamic, llama3, yarn, longrope",
        ),
        (
            r#", "quantization_config": {"quant_method": "gptq"}"#,
            "config.json: `quantization_config.quant_method` is `gptq`; supported: bitnet",
        ),
        (r#", "num_key_value_heads": 0"#, "config.json: `num_key_value_heads` is 0; supported: numbers from 1"),
        (
            r#", "sliding_window": 4, "hidden_act": "gelu""#,
            "config.json: `hidden_act` is `gelu`; supported: silu, relu2, relu\n`sliding_window` is 4; supported: none: attention sees the whole context",
        ),
    ];
    for (extra, message) in cases {
        assert_eq!(llama(extra).unwrap_err().to_string(), message);
    }
    assert!(llama(r#", "sliding_window": 8"#).is_ok());
    // transformers' cache keeps a window's positions without a look at the second field.
    assert!(llama(r#", "sliding_window": 4, "use_sliding_window": false"#).is_err());
    assert!(matches!(llama(r#", "num_key_value_heads": 3"#), Err(ImportError::Model(_))));
}

#[test]
fn a_checkpoint_that_lacks_a_tensor_or_is_cut_short_is_refused() {
    let directory_ = tempfile::tempdir().unwrap();
    let path = directory_.path();
    std::fs::write(path.join("config.json"), LLAMA.replace("EXTRA", "")).unwrap();
    let header = br#"{"model.embed_tokens.weight": {"dtype": "BF16", "shape": [32, 16], "data_offsets": [0, 1024]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    std::fs::write(path.join("model.safetensors"), [&file[..], &[0; 1024]].concat()).unwrap();
    assert!(matches!(directory(path), Err(ImportError::Missing { tensor }) if tensor.starts_with("model.layers.0.")));
    std::fs::write(path.join("model.safetensors"), [&file[..], &[0; 1000]].concat()).unwrap();
    let error = directory(path).unwrap_err().to_string();
    assert!(
        error.contains("its tensor `model.embed_tokens.weight` ends after") && error.contains("truncated"),
        "{error}"
    );
    std::fs::write(path.join("model.safetensors"), &file[..40]).unwrap();
    assert!(matches!(directory(path), Err(ImportError::Header { .. })));
    std::fs::write(path.join("config.json"), "{").unwrap();
    assert!(matches!(directory(path), Err(ImportError::Json { .. })));
}

/// A safetensors file of empty tensors of these names and types.
fn headers(tensors: &[(&str, &str)]) -> Vec<u8> {
    let entry =
        |(name, kind): &(&str, &str)| format!(r#""{name}":{{"dtype":"{kind}","shape":[0],"data_offsets":[0,0]}}"#);
    let header = format!("{{{}}}", tensors.iter().map(entry).collect::<Vec<_>>().join(","));
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
}

/// Anything else in the directory is no part of the checkpoint, as it is none for the runtime.
#[test]
fn the_checkpoint_is_what_the_runtime_reads() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("other.safetensors", &headers(&[("x", "U8")]));
    assert!(Checkpoint::read(folder.path()).unwrap().is_none());
    write("model.safetensors", &headers(&[("a", "BF16")]));
    let single = Checkpoint::read(folder.path()).unwrap().unwrap();
    assert!(single.has("a") && !single.has("x"));
    write("golden.safetensors", &headers(&[("b", "BF16")]));
    let index = r#"{"weight_map": {"b": "golden.safetensors", "x": "other.safetensors", "y": "other.safetensors"}}"#;
    write("model.safetensors.index.json", index.as_bytes());
    let error = Checkpoint::read(folder.path()).unwrap_err().to_string();
    assert!(error.contains("remove one of the two"), "{error}");
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let sharded = Checkpoint::read(folder.path()).unwrap().unwrap();
    assert!(sharded.has("b") && sharded.has("x") && !sharded.has("a"));
    write("golden.safetensors", &headers(&[("b", "BF16"), ("x", "BF16")]));
    let error = Checkpoint::read(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("other.safetensors: tensor `x` is in") && error.contains("golden.safetensors too"),
        "{error}"
    );
    write("model.safetensors.index.json", br#"{"weight_map": {"b": "../b.safetensors"}}"#);
    let error = Checkpoint::read(folder.path()).unwrap_err().to_string();
    assert!(error.contains("`../b.safetensors` is not the name of a file beside it"), "{error}");
}

/// Every row of the table of fields and values: import makes of it what its last column says, and never the same model where transformers
/// computes something else.
#[test]
fn fields_of_a_config_mean_what_they_mean_to_transformers() {
    let table = include_str!("../../../tests/checkpoints/config_fields.tsv");
    let read = |config: &serde_json::Value| import(&Config::parse(&config.to_string()).unwrap(), "m", "a test", None);
    let mut bases = std::collections::HashMap::new();
    let mut counted = 0;
    for line in table.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        if let ["base", class, config] = columns[..] {
            bases.insert(class, serde_json::from_str::<serde_json::Value>(config).unwrap());
            continue;
        }
        let [class, field, value, older, newer, becomes] = columns[..] else { panic!("{line}") };
        if class == "class" {
            continue;
        }
        let mut config = bases[class].clone();
        let base = read(&config).unwrap().ron;
        let (outer, last) = field.split_once('.').map_or((None, field), |(outer, last)| (Some(outer), last));
        let fields = match outer {
            Some(outer) => config[outer].as_object_mut().unwrap(),
            None => config.as_object_mut().unwrap(),
        };
        match value {
            "absent" => drop(fields.remove(last)),
            value => drop(fields.insert(last.into(), serde_json::from_str(value).unwrap())),
        }
        match (becomes, read(&config)) {
            ("same", Ok(imported)) => {
                assert_eq!(imported.ron, base, "{line}");
                assert!(newer != "other" && (older != "other"), "silently wrong: {line}");
            }
            // Dimensions that do not fit are told by the model file.
            ("refused", Err(ImportError::Model(_))) => assert!(field.starts_with("num_"), "{line}"),
            ("refused", Err(error)) => {
                assert!(error.to_string().contains(last), "{line}: {error}");
            }
            ("same" | "refused", result) => panic!("{line}: {:?}", result.map(|imported| imported.ron)),
            (piece, Ok(imported)) => {
                assert!(imported.ron != base && imported.ron.contains(piece), "{line}: {}", imported.ron)
            }
            (_, Err(error)) => panic!("{line}: {error}"),
        }
        counted += 1;
    }
    assert!(counted > 500, "{counted} rows");
}
