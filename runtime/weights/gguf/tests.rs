//! The reader against a file that the `gguf` package of Python wrote, and against damaged ones.

use super::*;
use crate::weights::floats;

#[path = "../../../tests/common/gguf.rs"]
#[allow(dead_code, reason = "the whole program's tests use the rest")]
mod writer;

const QUANTS: &[u8] = include_bytes!("testdata/quants.gguf");
const COLUMNS: usize = 512;

fn written(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn tensor<'a>(gguf: &'a Gguf, name: &str) -> (Dtype, &'a [u8]) {
    let tensor = gguf.tensors.iter().find(|tensor| tensor.name == name).unwrap();
    (tensor.dtype, &gguf.files[tensor.file].map[tensor.bytes.clone()])
}

fn values(gguf: &Gguf, name: &str) -> Vec<f32> {
    let (dtype, data) = tensor(gguf, name);
    let mut values = Vec::new();
    match dtype {
        Dtype::Blocks(blocks) if blocks.is_ternary() => {
            let scale = blocks.scale(data).unwrap();
            values.extend((0..4 * COLUMNS).map(|i| scale * f32::from(blocks.ternary(data, i))));
        }
        _ => floats::each(dtype, data, |v| values.push(v)),
    }
    values
}

/// As in `testdata/quants.py`.
fn hashed(count: u64, salt: u64) -> Vec<u8> {
    let byte = |at: u64| ((((at + salt * 1_000_003) * 2_654_435_761) & 0xffff_ffff) >> 13) as u8;
    (0..count).map(byte).collect()
}

#[test]
fn every_type_is_read_as_the_package_reads_it() {
    let (_dir, path) = written(QUANTS);
    let gguf = Gguf::open(&path).unwrap();
    for name in ["TQ1_0", "TQ2_0", "Q8_0", "Q4_0", "Q4_K", "Q6_K", "F16", "BF16", "I2_S"] {
        let (got, want) = (values(&gguf, name), values(&gguf, &format!("{name}.f32")));
        assert_eq!(got.len(), want.len());
        // Products of two scales are rounded once or twice.
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= f32::EPSILON * b.abs();
        assert!(got.iter().zip(&want).all(close), "{name}: {:?} {:?}", &got[..8], &want[..8]);
        assert!(name == "Q4_K" || got == want, "{name}");
        assert!(want.iter().any(|v| *v > 0.0) && want.iter().any(|v| *v < 0.0), "{name}");
    }
}

#[test]
fn the_tests_writer_writes_the_packages_bytes() {
    let (_dir, path) = written(QUANTS);
    let gguf = Gguf::open(&path).unwrap();
    let mut ternary: Vec<i8> = hashed(4 * COLUMNS as u64, 1).iter().map(|b| (b % 3) as i8 - 1).collect();
    ternary[..256].fill(0);
    let floats: Vec<f32> = hashed(4 * COLUMNS as u64, 2).iter().map(|b| (f32::from(*b) - 128.0) / 64.0).collect();
    for (name, kind) in [("I2_S", writer::I2_S), ("TQ1_0", writer::TQ1_0), ("TQ2_0", writer::TQ2_0)] {
        assert_eq!(writer::ternary(kind, &ternary, 0.8125), tensor(&gguf, name).1, "{name}");
    }
    for (name, kind) in [("Q8_0", writer::Q8_0), ("Q4_0", writer::Q4_0), ("F16", writer::F16), ("BF16", writer::BF16)] {
        assert_eq!(writer::floats(kind, &floats), tensor(&gguf, name).1, "{name}");
    }
}

#[test]
fn permuted_rows_are_found_where_the_converter_put_them() {
    let (_dir, path) = written(QUANTS);
    let gguf = Gguf::open(&path).unwrap();
    let stored = values(&gguf, "permuted");
    for row in 0..16 {
        assert_eq!(stored[super::super::checkpoint::paired(row, 8) * 32], row as f32);
    }
}

#[test]
fn metadata_is_read_with_its_types() {
    let (_dir, path) = written(QUANTS);
    let gguf = Gguf::open(&path).unwrap();
    assert_eq!(gguf.text("general.architecture").unwrap(), Some("llama"));
    assert_eq!(gguf.texts("tokenizer.ggml.tokens").unwrap().unwrap(), ["a", "b"]);
    assert_eq!(gguf.float("llama.rope.freq_base").unwrap(), Some(10_000.0));
    assert_eq!(gguf.number("absent").unwrap(), None);
    let error = gguf.number("general.architecture").unwrap_err().to_string();
    assert!(error.contains("`general.architecture`") && error.contains("no count"), "{error}");
}

/// Everything that reads a file.
fn read_all(path: &Path) {
    if let Ok(gguf) = Gguf::open(path) {
        let _ = (Described::of(&gguf), Vocabulary::of(&gguf));
    }
    let _ = checkpoint(path);
}

/// A model without layers, all metadata that is read, and tensors.
fn small() -> writer::Writer {
    let mut file = writer::Writer::default();
    file.text("general.architecture", "llama").count("llama.block_count", 1).count("llama.embedding_length", 32);
    file.count("llama.context_length", 64).count("llama.feed_forward_length", 32);
    file.count("llama.attention.head_count", 2).float("llama.attention.layer_norm_rms_epsilon", 1e-5);
    file.text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", &["<unk>", "<s>", "</s>", "▁", "a", "▁a"]);
    file.floats("tokenizer.ggml.scores", &[0.0, 0.0, 0.0, -1.0, -2.0, -3.0])
        .integers("tokenizer.ggml.token_type", &[2, 3, 3, 1, 1, 1]);
    for (name, rows) in [("token_embd", 6), ("blk.0.attn_q", 32), ("blk.0.attn_k", 32)] {
        let values: Vec<f32> = (0..32 * rows).map(|i| (i % 7) as f32).collect();
        file.tensor(&format!("{name}.weight"), &[rows, 32], writer::Q8_0, writer::floats(writer::Q8_0, &values));
    }
    file
}

#[test]
fn a_file_cut_anywhere_is_one_error() {
    let bytes = small().bytes();
    let (_dir, path) = written(&bytes);
    assert!(checkpoint(&path).is_ok());
    for length in (0..bytes.len()).step_by(7) {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let error = checkpoint(&path).unwrap_err();
        let known =
            matches!(error, WeightError::Truncated { .. } | WeightError::Malformed { .. } | WeightError::Io { .. });
        assert!(known && error.to_string().contains("model.gguf"), "{length}: {error}");
    }
}

#[test]
fn a_damaged_header_is_an_error_or_another_model_but_no_panic() {
    let bytes = small().bytes();
    let header = bytes.len() - (6 + 32 + 32) * 34;
    let (_dir, path) = written(&bytes);
    for (at, value) in hashed(2 * header as u64, 9).into_iter().enumerate() {
        let mut damaged = bytes.clone();
        damaged[at % header] = if at % 3 == 0 { 0xff } else { value };
        std::fs::write(&path, &damaged).unwrap();
        read_all(&path);
    }
}

#[test]
fn what_is_not_read_is_named() {
    let refused = |change: &dyn Fn(&mut writer::Writer)| {
        let mut file = small();
        change(&mut file);
        let (_dir, path) = written(&file.bytes());
        checkpoint(&path).unwrap_err().to_string()
    };
    type Change<'a> = &'a dyn Fn(&mut writer::Writer);
    let cases: [(Change<'_>, &[&str]); 6] = [
        (&|f| f.tensors[0].2 = 10, &["`token_embd.weight`", "Q2_K", "Q8_0"]),
        (&|f| f.tensors[1].2 = 38, &["`blk.0.attn_q.weight`", "TL1", "I2_S"]),
        (&|f| f.tensors[0].0 = "blk.0.attn_sinks.weight".into(), &["`blk.0.attn_sinks.weight`", "`llama`"]),
        (&|f| f.tensors[0].1 = vec![6, 31], &["`token_embd.weight`", "31", "blocks of 32"]),
        (&|f| f.tensors[1].1 = vec![8, 4, 32], &["`blk.0.attn_q.weight`", "heads"]),
        (&|f| *f = std::mem::take(f).text("general.architecture", "mamba").clone(), &["twice"]),
    ];
    for (change, parts) in cases {
        let error = refused(change);
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    let (_dir, path) = written(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n");
    assert!(checkpoint(&path).unwrap_err().to_string().contains("git lfs pull"));
    let (_dir, path) = written(&[b"GGUF", &1u32.to_le_bytes()[..], &[0; 64]].concat());
    assert!(checkpoint(&path).unwrap_err().to_string().contains("version 1"));
    let (_dir, path) = written(&[b"GGUF", &3u32.to_be_bytes()[..], &[0; 64]].concat());
    assert!(checkpoint(&path).unwrap_err().to_string().contains("big-endian"));
}

/// Metadata that would change the function, each with a value that does and one that does not.
#[test]
fn metadata_that_changes_the_model_is_refused_by_its_name() {
    let described = |change: &dyn Fn(&mut writer::Writer)| {
        let mut file = small();
        change(&mut file);
        let (_dir, path) = written(&file.bytes());
        Gguf::open(&path).and_then(|gguf| Described::of(&gguf))
    };
    assert_eq!(described(&|_| {}).unwrap().notes, [""; 0]);
    for (key, other, same) in [
        ("expert_count", 8.0, 0.0),
        ("attention.sliding_window", 8.0, 64.0),
        ("logit_scale", 0.5, 1.0),
        ("attention.scale", 0.5, 0.0),
        ("residual_scale", 0.5, 1.0),
        ("embedding_scale", 12.0, 1.0),
        ("final_logit_softcapping", 5.0, 0.0),
        ("rope.scaling.attn_factor", 1.5, 1.0),
    ] {
        let key = format!("llama.{key}");
        let error = described(&|f| {
            f.float(&key, other);
        })
        .unwrap_err()
        .to_string();
        assert!(error.contains(&format!("`{key}` of its metadata is {other}")), "{error}");
        assert_eq!(
            described(&|f| {
                f.float(&key, same);
            })
            .unwrap()
            .notes,
            [""; 0],
            "{key}"
        );
    }
    type Change<'a> = &'a dyn Fn(&mut writer::Writer);
    let cases: [(Change<'_>, &str); 6] = [
        (
            &|f| {
                f.flag("llama.attention.causal", false);
            },
            "`llama.attention.causal` of its metadata is false",
        ),
        (
            &|f| {
                f.count("llama.pooling_type", 3);
            },
            "an embedding model",
        ),
        (
            &|f| {
                f.count("llama.attention.value_length", 8);
            },
            "value_length` of its metadata is 8; its tensors",
        ),
        (
            &|f| {
                f.count("llama.vocab_size", 7);
            },
            "`llama.vocab_size` of its metadata is 7; its tensors",
        ),
        (
            &|f| {
                f.text("general.type", "adapter");
            },
            "`general.type` of its metadata is `adapter`",
        ),
        (
            &|f| {
                f.text("llama.logit_scale", "1");
            },
            "`llama.logit_scale` of its metadata is no number",
        ),
    ];
    for (change, says) in cases {
        let error = described(change).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let notes = described(&|f| {
        f.count("llama.something_new", 1);
    })
    .unwrap()
    .notes;
    assert!(notes.len() == 1 && notes[0].contains("`llama.something_new` of its metadata is not read"), "{notes:?}");
}

#[test]
fn a_vocabulary_that_contradicts_itself_is_refused() {
    let refused = |change: &dyn Fn(&mut writer::Writer)| {
        let mut file = writer::Writer::default();
        file.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "gpt-2");
        file.texts("tokenizer.ggml.tokens", &["a", "b", "ab"]).texts("tokenizer.ggml.merges", &["a b"]);
        change(&mut file);
        let (_dir, path) = written(&file.bytes());
        Gguf::open(&path).and_then(|gguf| Vocabulary::of(&gguf)).map_or_else(|e| e.to_string(), |_| String::new())
    };
    assert_eq!(refused(&|_| {}), "");
    type Change<'a> = &'a dyn Fn(&mut writer::Writer);
    let cases: [(Change<'_>, &str); 3] = [
        (
            &|f| {
                f.integers("tokenizer.ggml.token_type", &[1, 1]);
            },
            "3 tokens and the types of 2",
        ),
        (
            &|f| {
                f.flag("tokenizer.ggml.add_bos_token", true);
            },
            "there is no tokenizer.ggml.bos_token_id",
        ),
        (
            &|f| {
                f.flag("tokenizer.ggml.add_bos_token", true).count("tokenizer.ggml.bos_token_id", 9);
            },
            "tokenizer.ggml.bos_token_id is 9 of 3 tokens",
        ),
    ];
    for (change, says) in cases {
        let error = refused(change);
        assert!(error.contains(says), "{says}: {error}");
    }
}

#[test]
fn shards_are_joined_from_any_of_them() {
    let whole = small();
    let dir = tempfile::tempdir().unwrap();
    let path = |at: usize| dir.path().join(format!("m-{at:05}-of-00002.gguf"));
    for (at, tensors) in whole.tensors.chunks(2).enumerate() {
        let mut shard = if at == 0 { whole.clone() } else { writer::Writer::default() };
        shard.tensors = tensors.to_vec();
        shard.short("split.no", at as u16).short("split.count", 2).count("split.tensors.count", 3);
        std::fs::write(path(at + 1), shard.bytes()).unwrap();
    }
    for at in [1, 2] {
        let joined = checkpoint(&path(at)).unwrap();
        assert!(joined.find("model.layers.0.self_attn.k_proj.weight").is_some());
        assert!(joined.find("model.embed_tokens.weight").is_some());
    }
    std::fs::rename(path(2), dir.path().join("elsewhere.gguf")).unwrap();
    let error = checkpoint(&path(1)).unwrap_err().to_string();
    assert!(error.contains("m-00002-of-00002.gguf"), "{error}");
    let error = checkpoint(&dir.path().join("elsewhere.gguf")).unwrap_err().to_string();
    assert!(error.contains("model-00001-of-00002.gguf"), "{error}");
}
