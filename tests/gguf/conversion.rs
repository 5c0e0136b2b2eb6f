//! A checkpoint of Hugging Face written as a .gguf, as the converters of llama.cpp and bitnet.cpp write it.

use std::path::{Path, PathBuf};

use half::bf16;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::common::golden;
use crate::writer::{self, F32, Writer};

/// A checkpoint to be converted, and types for its matrices.
pub struct Conversion<'a> {
    pub checkpoint: &'a Path,
    pub architecture: &'a str,
    pub projections: u32,
    pub table: u32,
}

impl Conversion<'_> {
    fn file(&self) -> Writer {
        let config: Value =
            serde_json::from_slice(&std::fs::read(self.checkpoint.join("config.json")).unwrap()).unwrap();
        let number = |field: &str| config[field].as_u64().unwrap() as u32;
        let mut file = Writer::default();
        let of = |key: &str| format!("{}.{key}", self.architecture);
        file.text("general.architecture", self.architecture).text("general.name", "converted");
        for (key, field) in [
            ("context_length", "max_position_embeddings"),
            ("embedding_length", "hidden_size"),
            ("block_count", "num_hidden_layers"),
            ("feed_forward_length", "intermediate_size"),
            ("attention.head_count", "num_attention_heads"),
            ("attention.head_count_kv", "num_key_value_heads"),
            ("vocab_size", "vocab_size"),
        ] {
            file.count(&of(key), number(field));
        }
        file.float(&of("attention.layer_norm_rms_epsilon"), 1e-5);
        file.float(&of("rope.freq_base"), config["rope_theta"].as_f64().unwrap() as f32);
        let even = number("hidden_size") / number("num_attention_heads");
        let head = config["head_dim"].as_u64().map_or(even, |head| head as u32);
        file.count(&of("rope.dimension_count"), head).count(&of("attention.key_length"), head);
        let bytes = std::fs::read(self.checkpoint.join("model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let mut names: Vec<&str> = tensors.names();
        names.sort_unstable();
        for name in names.iter().filter(|name| !name.ends_with("weight_scale")) {
            let tensor = tensors.tensor(name).unwrap();
            let (shape, data) = (tensor.shape().to_vec(), tensor.data());
            let columns = *shape.last().unwrap();
            let head = (number("hidden_size") / number("num_attention_heads")) as usize;
            let permuted = self.architecture == "llama" && (name.contains("q_proj") || name.contains("k_proj"));
            let order = |rows: usize| -> Vec<usize> {
                // LlamaModel.permute: reshape to (heads, 2, head / 2) and swap the last two.
                let from = |r: usize| r - r % head + r % head % 2 * (head / 2) + r % head / 2;
                (0..rows).map(|r| if permuted { from(r) } else { r }).collect()
            };
            let ggml = ggml_name(name);
            match tensor.dtype() {
                Dtype::U8 => {
                    let rows = 4 * shape[0];
                    let value =
                        |r: usize, c: usize| (data[r % shape[0] * columns + c] >> (2 * (r / shape[0])) & 3) as i8 - 1;
                    let values: Vec<i8> = order(rows)
                        .into_iter()
                        .flat_map(|r| (0..columns).map(move |c| (r, c)))
                        .map(|(r, c)| value(r, c))
                        .collect();
                    let scale = floats(tensors.tensor(&format!("{name}_scale")).unwrap().data())[0];
                    let divides = config["quantization_config"]["linear_class"] == "bitlinear";
                    let scale = if divides { 1.0 / scale } else { scale };
                    let bytes = writer::ternary(self.projections, &values, scale);
                    file.tensor(&ggml, &[rows, columns], self.projections, bytes);
                }
                Dtype::BF16 => {
                    let values = floats(data);
                    let values: Vec<f32> = match shape.len() {
                        1 if permuted => order(shape[0]).into_iter().map(|r| values[r]).collect(),
                        1 => values,
                        _ => order(shape[0])
                            .into_iter()
                            .flat_map(|r| values[r * columns..][..columns].to_vec())
                            .collect(),
                    };
                    let kind = match (shape.len(), name.contains("layers")) {
                        (1, _) => F32,
                        (_, true) => self.projections,
                        (_, false) => self.table,
                    };
                    file.tensor(&ggml, &shape, kind, writer::floats(kind, &values));
                }
                other => panic!("{other:?}"),
            }
        }
        file
    }

    /// The file on disk, with what `more` adds.
    pub fn write(&self, dir: &Path, more: impl FnOnce(&mut Writer)) -> PathBuf {
        let mut file = self.file();
        more(&mut file);
        let path = dir.join(format!("{}-{}-{}.gguf", self.architecture, self.projections, self.table));
        std::fs::write(&path, file.bytes()).unwrap();
        path
    }
}

pub fn floats(data: &[u8]) -> Vec<f32> {
    data.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
}

fn ggml_name(name: &str) -> String {
    let modules = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers.", "blk."),
        ("input_layernorm", "attn_norm"),
        ("self_attn.attn_sub_norm", "attn_sub_norm"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.ffn_sub_norm", "ffn_sub_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    modules.iter().fold(name.to_string(), |name, (from, to)| name.replace(from, to))
}

/// Writes the vocabulary of the small model as byte-level BPE.
pub fn vocabulary(file: &mut Writer) {
    let tokenizer: Value = serde_json::from_slice(&golden::read("tokenizer.json")).unwrap();
    let mut vocabulary: Vec<(&String, u64)> = tokenizer["model"]["vocab"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(token, id)| (token, id.as_u64().unwrap()))
        .collect();
    vocabulary.sort_by_key(|(_, id)| *id);
    let tokens: Vec<&String> = vocabulary.iter().map(|(token, _)| *token).collect();
    let merges: Vec<String> = tokenizer["model"]["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|merge| match merge {
            Value::String(pair) => pair.clone(),
            pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        })
        .collect();
    let kinds: Vec<i32> = (0..tokens.len()).map(|id| if id < 2 { 3 } else { 1 }).collect();
    file.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "gpt-2");
    file.texts("tokenizer.ggml.tokens", &tokens).texts("tokenizer.ggml.merges", &merges);
    file.integers("tokenizer.ggml.token_type", &kinds);
    file.count("tokenizer.ggml.bos_token_id", 0).count("tokenizer.ggml.eos_token_id", 1);
}
