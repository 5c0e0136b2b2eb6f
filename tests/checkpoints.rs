//! Checkpoints as people have them: read rightly, or refused by name. The inputs are described in `tests/checkpoints/README.md`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::path::{Path, PathBuf};

use bitnetc_compiler::graph::eval::{Evaluator, Row, State, Ternary, WeightError, WeightSource};
use bitnetc_compiler::graph::{Encoding, PhaseKind, ScaleConvention};
use bitnetc_compiler::model::import;
use bitnetc_plan::weight::{Content, Matrix};
use bitnetc_runtime::weights::Checkpoint;
use bitnetc_runtime::weights::matrix::{StoredMatrix, scale};
use common::golden::{argmax, correlation};
use common::{refused, stdout};
use safetensors::SafeTensors;

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The tensors `logits.N` of a file.
fn logits(file: &Path) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let values = |n: usize| {
        let tensor = tensors.tensor(&format!("logits.{n}")).ok()?;
        Some(tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
    };
    (0..).map_while(values).collect()
}

/// The checkpoint as the runtime reads it.
struct Stored(Checkpoint);

impl WeightSource for Stored {
    fn dense(&self, name: &str) -> Result<Vec<f32>, WeightError> {
        let stored = self.0.find(name).ok_or_else(|| WeightError::Missing(name.into()))?;
        let mut values = Vec::new();
        stored.floats(0..stored.len(), |v| values.push(v)).unwrap();
        Ok(values)
    }

    fn ternary(&self, name: &str, shape: [usize; 2], encoding: Encoding) -> Result<Ternary, WeightError> {
        let content = match encoding {
            Encoding::Dense => Content::Dense,
            Encoding::Absmean => Content::Absmean,
            Encoding::Packed(convention) => Content::Packed { divides: convention == ScaleConvention::Divides },
        };
        let shape_ = shape.map(|d| d as u32);
        let rows = None;
        let matrix =
            Matrix { tensor: name.into(), shape: shape_, rows, content, rotated: 0, outputs: None, inputs: None };
        let stored = StoredMatrix::open(&self.0, &matrix, 0).unwrap();
        let mut values = vec![0; shape[0] * shape[1]];
        values.chunks_mut(shape[1]).enumerate().for_each(|(row, out)| stored.ternary_row(row, out));
        Ok(Ternary { values, scale: scale(&self.0, &matrix, 0).unwrap() })
    }
}

/// The phases in which the host device computes a list's logits: a prompt at once, and a token at a time.
const PHASES: [&str; 2] = ["prefill", "decode"];

/// Compares the f32 reference, and the host device under `policies` in both phases, with transformers' logits of a folder. At least
/// `share` of the likeliest tokens are the same.
fn agrees(folder: &Path, policies: &[&str], share: f64) {
    let golden = logits(&folder.join("golden.safetensors"));
    let lists: Vec<Vec<u32>> = serde_json::from_slice(&std::fs::read(folder.join("tokens.json")).unwrap()).unwrap();
    assert!(!golden.is_empty() && golden.len() == lists.len());
    let name = folder.file_name().unwrap().display();

    let model = import::directory(folder).unwrap().model;
    let graph = model.to_graph(PhaseKind::Prefill { tokens: model.context as u32 }, model.context).unwrap();
    let stored = Stored(Checkpoint::open(folder).unwrap());
    let evaluator = Evaluator::new(&stored);
    let mut least = 1.0_f64;
    for (tokens, golden) in lists.iter().zip(&golden) {
        let row = |(position, &token): (usize, &u32)| Row { token, user: 0, position };
        let rows: Vec<Row> = tokens.iter().enumerate().map(row).collect();
        let output = evaluator.run(&graph, &mut State::new(), &rows, true).unwrap();
        let pcc = correlation(&output.logits, golden);
        assert!(pcc > 0.99999, "{name}: the reference's correlation is {pcc}");
        least = least.min(pcc);
    }

    let out = tempfile::tempdir().unwrap();
    let [ron, tensors] = ["model.ron", "logits.safetensors"].map(|name| out.path().join(name));
    stdout(&["import", text(folder), "-o", text(&ron)]);
    print!("{name}: reference {least:.6}");
    let tokens = folder.join("tokens.json");
    for (policy, phase) in policies.iter().flat_map(|policy| PHASES.map(|phase| (policy, phase))) {
        // A list whose rotary factors change on the way has no decode.
        if phase == "decode" && name.to_string().contains("longrope") {
            continue;
        }
        let eval = ["eval", text(&ron), "--weights", text(folder), "--tokens", text(&tokens)];
        stdout(&[&eval[..], &["--policy", policy, "--phase", phase, "--logits", text(&tensors)]].concat());
        let host = logits(&tensors);
        assert_eq!(host.len(), golden.len());
        let worst = host.iter().zip(&golden).map(|(host, golden)| correlation(host, golden)).fold(1.0, f64::min);
        let rows = || host.iter().zip(&golden).flat_map(|(a, b)| a.chunks_exact(64).zip(b.chunks_exact(64)));
        let (same, all) = (rows().filter(|(a, b)| argmax(a) == argmax(b)).count(), rows().count());
        print!("; {policy} {phase} {worst:.6}, top-1 {same} of {all}");
        assert!(worst > 0.999, "{name}: the host device's correlation is {worst} in {phase}, {policy}");
        assert!(same as f64 >= share * all as f64, "{name}: {same} of {all} tokens in {phase}, {policy}");
    }
    println!();
}

#[test]
fn what_transformers_reads_is_read_alike() {
    for name in [
        "offline-unpacked-weights",
        "rope-type-and-type",
        "rope-parameters-type-and-type",
        "bitnet-default-theta",
        "bitnet-no-quantization-config",
        "no-architectures",
    ] {
        agrees(&case(name), &["exact"], 0.9);
    }
}

/// The folders that `tests/checkpoints/kinds.py` makes.
const KINDS: [&str; 16] = [
    "llama-biases",
    "llama-dense-biases",
    "llama-input-norms",
    "llama-longrope",
    "llama-yarn",
    "bitnet-attention-bias",
    "bitnet-dense-beside",
    "bitnet-dense-queries",
    "qwen2-online",
    "qwen2-bitlinear",
    "qwen2-dense-yarn",
    "qwen3-bitlinear",
    "qwen3-autobitlinear-tied",
    "qwen3-dense",
    "phi3-partial",
    "phi3-partial-longrope",
];

#[test]
fn every_kind_of_model_is_read_alike() {
    for name in KINDS {
        // The logits of a random model lie close to each other: a correlation of 0.9994 changes a tenth of the likeliest tokens.
        agrees(&case(name), &["exact", "balanced"], 0.85);
    }
}

/// A model whose longer sequences turn by other factors: what a plan cannot compute is refused, or ends.
#[test]
fn longrope_goes_by_the_length_of_a_sequence() {
    let folder = case("llama-longrope");
    let out = tempfile::tempdir().unwrap();
    let [ron, plan] = ["model.ron", "plan.ron"].map(|name| out.path().join(name));
    stdout(&["import", text(&folder), "-o", text(&ron)]);
    let said = stdout(&["plan", text(&ron)]);
    assert!(said.contains("up to 32 tokens rotate by the short factors"), "{said}");
    assert!(said.contains("prefill 32") && said.contains("prefill 64"), "{said}");
    // Within the short context there is nothing to choose.
    assert!(!stdout(&["plan", text(&ron), "--context", "32", "--block", "32"]).contains("short factors"));
    let tokens = folder.join("tokens.json");
    let eval = ["eval", text(&plan), "--weights", text(&folder), "--tokens", text(&tokens)];
    stdout(&["plan", text(&ron), "--prefill", "64", "-o", text(&plan)]);
    let error = refused(&eval, 1);
    assert!(error.contains("21 tokens") && error.contains("of up to 32, which turn as so few do, holds 0"), "{error}");
    let error = refused(&[&eval[..], &["--phase", "decode"]].concat(), 1);
    assert!(error.contains("window 0 has 48 tokens, more than 32") && error.contains("--phase prefill"), "{error}");
}

/// A copy of a case that may be changed.
fn copy(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(case(name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

/// Replaces text of a copy's config, which must be there.
fn edit(folder: &Path, from: &str, to: &str) {
    let path = folder.join("config.json");
    let config = std::fs::read_to_string(&path).unwrap();
    assert!(config.contains(from), "{from}");
    std::fs::write(path, config.replace(from, to)).unwrap();
}

/// A tensor by its name, type, shape and bytes.
type Tensor = (String, safetensors::Dtype, Vec<usize>, Vec<u8>);

fn tensors(folder: &Path) -> Vec<Tensor> {
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        (name, view.dtype(), view.shape().to_vec(), view.data().to_vec())
    };
    tensors.tensors().into_iter().map(tensor).collect()
}

fn write(file: &Path, tensors: &[Tensor]) {
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            (name.as_str(), safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        })
        .collect();
    safetensors::serialize_to_file(views, None, file).unwrap();
}

/// Rewrites a bf16 tensor as f32 or f16.
fn widened(tensor: &Tensor, dtype: safetensors::Dtype) -> Tensor {
    let (name, from, shape, bytes) = tensor.clone();
    assert_eq!(from, safetensors::Dtype::BF16);
    let values = bytes.chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32());
    let bytes = match dtype {
        safetensors::Dtype::F32 => values.flat_map(f32::to_le_bytes).collect(),
        _ => values.flat_map(|v| half::f16::from_f32(v).to_le_bytes()).collect(),
    };
    (name, dtype, shape, bytes)
}

/// Packs an unpacked ternary tensor, four rows to a byte.
fn packed(tensor: &Tensor) -> Tensor {
    let (name, _, shape, bytes) = tensor.clone();
    let (rows, columns) = (shape[0] / 4, shape[1]);
    let code = |at: usize| half::bf16::from_le_bytes([bytes[2 * at], bytes[2 * at + 1]]).to_f32() as i8 + 1;
    let byte = |at: usize| (0..4).map(|q| (code(at + q * rows * columns) as u8) << (2 * q)).sum();
    (name, safetensors::Dtype::U8, vec![rows, columns], (0..rows * columns).map(byte).collect())
}

#[test]
fn every_way_that_ternary_weights_are_stored_is_the_same_model() {
    let unpacked = |(name, ..): &&Tensor| name.ends_with("_proj.weight");
    let stored = tensors(&case("offline-unpacked-weights"));
    let of = |change: &dyn Fn(&Tensor) -> Tensor| -> Vec<Tensor> {
        stored.iter().map(|t| if unpacked(&t) { change(t) } else { t.clone() }).collect()
    };
    for weights in [
        of(&packed),
        of(&|tensor| widened(tensor, safetensors::Dtype::F32)),
        of(&|tensor| widened(tensor, safetensors::Dtype::F16)),
        of(&|tensor| if tensor.0.contains("mlp") { packed(tensor) } else { tensor.clone() }),
    ] {
        let folder = copy("offline-unpacked-weights");
        write(&folder.path().join("model.safetensors"), &weights);
        agrees(folder.path(), &["exact"], 0.9);
    }
    // In two files behind an index, with a table that older versions of transformers saved.
    let folder = copy("offline-unpacked-weights");
    let mut weights = of(&packed);
    weights.push(("model.layers.0.self_attn.rotary_emb.inv_freq".into(), safetensors::Dtype::F32, vec![1], vec![0; 4]));
    let (first, second) = weights.split_at(weights.len() / 2);
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let mut map = serde_json::Map::new();
    for (file, part) in [("model-00001-of-00002.safetensors", first), ("model-00002-of-00002.safetensors", second)] {
        write(&folder.path().join(file), part);
        map.extend(part.iter().map(|(name, ..)| (name.clone(), file.into())));
    }
    let index = folder.path().join("model.safetensors.index.json");
    std::fs::write(&index, serde_json::json!({"weight_map": map}).to_string()).unwrap();
    agrees(folder.path(), &["exact"], 0.9);
    std::fs::write(&index, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n").unwrap();
    assert!(refused(&["import", text(folder.path())], 1).contains("git lfs pull"));
    std::fs::remove_file(index).unwrap();
    let error = refused(&["import", text(folder.path())], 1);
    assert!(error.contains("model.safetensors.index.json, which says what each holds, is missing"), "{error}");
}

#[test]
fn weights_that_say_something_else_than_the_config_are_refused() {
    let refused_with = |from: &str, to: &str, change: &dyn Fn(&mut Vec<Tensor>), says: &[&str]| {
        let folder = copy("offline-unpacked-weights");
        if !from.is_empty() {
            edit(folder.path(), from, to);
        }
        let mut weights = tensors(folder.path());
        change(&mut weights);
        write(&folder.path().join("model.safetensors"), &weights);
        let error = refused(&["import", text(folder.path())], 1);
        assert!(says.iter().all(|says| error.contains(says)), "{says:?}: {error}");
    };
    let none = |_: &mut Vec<Tensor>| {};
    let (auto, plain) = ("\"autobitlinear\"", "\"bitlinear\"");
    refused_with(
        auto,
        plain,
        &none,
        &["`quantization_config.linear_class` is `bitlinear` though the weights are BF16"],
    );
    let online = ("\"offline\"", "\"online\"");
    let scale = "model.layers.0.mlp.down_proj.weight_scale";
    refused_with(online.0, online.1, &none, &[scale, "does not read"]);
    let all_packed = |weights: &mut Vec<Tensor>| {
        weights
            .iter_mut()
            .filter(|(name, ..)| name.ends_with("_proj.weight"))
            .for_each(|tensor| *tensor = packed(tensor));
    };
    refused_with(
        online.0,
        online.1,
        &all_packed,
        &["`quantization_config.quantization_mode` is `online` though the weights are U8"],
    );
    refused_with("\"quantization_config\"", "\"other\"", &none, &[scale, "does not read"]);
    refused_with("", "", &|weights| weights.retain(|(name, ..)| name != scale), &["no tensor", scale]);
    let bias = "model.layers.0.self_attn.q_proj.bias";
    let with_bias = |weights: &mut Vec<Tensor>| {
        weights.push((bias.into(), safetensors::Dtype::F32, vec![128], vec![0; 512]));
    };
    refused_with("", "", &with_bias, &[bias, "does not read"]);
    let other_type = |weights: &mut Vec<Tensor>| {
        let at = weights.iter().position(|(name, ..)| name == "model.norm.weight").unwrap();
        weights[at] = ("model.norm.weight".into(), safetensors::Dtype::F64, vec![128], vec![0; 1024]);
    };
    refused_with("", "", &other_type, &["`model.norm.weight` has type F64"]);
    refused_with(
        "\"vocab_size\": 64",
        "\"vocab_size\": 65",
        &none,
        &["`model.embed_tokens.weight` has shape [64, 128]", "[65, 128]"],
    );
    // A tied head that is stored all the same must be the table.
    let tied = ("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    refused_with(tied.0, tied.1, &none, &["`lm_head.weight`"]);
    let folder = copy("offline-unpacked-weights");
    edit(folder.path(), tied.0, tied.1);
    let mut weights = tensors(folder.path());
    let table = weights.iter().find(|(name, ..)| name == "model.embed_tokens.weight").unwrap().3.clone();
    weights.iter_mut().filter(|(name, ..)| name == "lm_head.weight").for_each(|head| head.3.clone_from(&table));
    write(&folder.path().join("model.safetensors"), &weights);
    assert!(
        stdout(&["import", text(folder.path())])
            .contains("weight: \"model.embed_tokens.weight\", shape: [\"vocab\", \"hidden\"], role: LmHead")
    );
    // The runtime says so too when nobody imports.
    let ron = folder.path().join("model.ron");
    stdout(&["import", text(folder.path()), "-o", text(&ron)]);
    with_bias(&mut weights);
    write(&folder.path().join("model.safetensors"), &weights);
    let lists = folder.path().join("tokens.json");
    let error = refused(&["eval", text(&ron), "--weights", text(folder.path()), "--tokens", text(&lists)], 1);
    assert!(error.contains(bias) && error.contains("does not read"), "{error}");
}

#[test]
fn files_that_are_no_weights_say_what_to_do() {
    let error = refused(&["import", text(&case("lfs-pointer-import"))], 1);
    assert!(error.contains("model.safetensors") && error.contains("git lfs pull"), "{error}");
    let folder = copy("bitnet-default-theta");
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    std::fs::write(folder.path().join("pytorch_model.bin"), "").unwrap();
    for command in [&["import"][..], &["run", "tiny-shakespeare", "--prompt", "x", "--weights"]] {
        let error = refused(&[command, &[text(folder.path())]].concat(), 1);
        assert!(error.contains("pytorch_model.bin: a pickle") && error.contains("save_pretrained"), "{error}");
    }
    std::fs::write(folder.path().join("config.json"), "version https://git-lfs.github.com/spec/v1\n").unwrap();
    std::fs::remove_file(folder.path().join("pytorch_model.bin")).unwrap();
    let error = refused(&["import", text(folder.path())], 1);
    assert!(error.contains("config.json") && error.contains("git lfs pull"), "{error}");
}

/// The messages that docs/checkpoints.md prints are those of the program.
#[test]
fn a_newcomer_is_told_what_the_documentation_says() {
    let documentation = include_str!("../docs/checkpoints.md");
    let (_, after) = documentation.split_once("## Refusals that a newcomer meets first").unwrap();
    let block = after.split("```").nth(1).unwrap();
    let messages: Vec<String> = block.trim().replace("\n  help:", " help:").lines().map(str::to_string).collect();
    let (unpacked, bias) = ("offline-unpacked-weights", "model.layers.0.self_attn.q_proj.bias");
    let places = ("\"rope_theta\": 500000.0\n }", "\"rope_theta\": 10000.0\n },\n \"rope_theta\": 500000.0");
    let ntk = (" }\n}", " },\n \"rope_scaling\": {\"rope_type\": \"ntk\"}\n}");
    let counting = text(&case("counting")).to_string();
    type Change<'a> = &'a dyn Fn(&Path);
    let pickled = |folder: &Path| {
        std::fs::rename(folder.join("model.safetensors"), folder.join("pytorch_model.bin")).unwrap();
    };
    let biased = |folder: &Path| {
        let mut weights = tensors(folder);
        weights.push((bias.into(), safetensors::Dtype::F32, vec![128], vec![0; 512]));
        write(&folder.join("model.safetensors"), &weights);
    };
    let small = |folder: &Path| {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("graphs/tiny-shakespeare");
        for name in ["config.json", "model.safetensors"] {
            std::fs::copy(own.join(name), folder.join(name)).unwrap();
        }
        edit(folder, "500000.0", "10000.0");
    };
    let run = ["run", "tiny-shakespeare", "--prompt", "x"];
    let mistakes: [(&str, Change<'_>, &[&str]); 9] = [
        (unpacked, &|folder| edit(folder, "\"autobitlinear\"", "\"bitlinear\""), &["import", "folder"]),
        ("bitnet-default-theta", &|folder| edit(folder, ntk.0, ntk.1), &["import", "folder"]),
        ("rope-parameters-type-and-type", &|folder| edit(folder, places.0, places.1), &["import", "folder"]),
        (unpacked, &biased, &["import", "folder"]),
        ("lfs-pointer-import", &|_| {}, &["import", "folder"]),
        (unpacked, &pickled, &["import", "folder"]),
        (unpacked, &|_| {}, &["plan", "folder"]),
        (unpacked, &|_| {}, &[&run[..], &["--tokenizer", &counting]].concat()),
        (unpacked, &small, &[&run[..], &["--weights", "folder"]].concat()),
    ];
    assert_eq!(messages.len(), mistakes.len());
    for ((name, change, args), message) in mistakes.into_iter().zip(&messages) {
        let whole = copy(name);
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("folder");
        std::fs::rename(whole.keep(), &folder).unwrap();
        change(&folder);
        let mut bitnetc = std::process::Command::new(env!("CARGO_BIN_EXE_bitnetc"));
        let out = bitnetc.args(args).current_dir(parent.path()).env("NO_COLOR", "1").output().unwrap();
        // Lines are folded to the terminal's width, long words too.
        let joined = |text: &str| text.replace('│', "").split_whitespace().collect::<String>();
        let printed = joined(&String::from_utf8_lossy(&out.stderr));
        let start = joined(message.trim_end_matches("..."));
        assert!(out.status.code() == Some(1) && printed.contains(&start), "{message}\n{printed}");
    }
}

#[test]
fn an_mlp_of_any_width_is_imported() {
    let model = stdout(&["import", text(&case("ffn-5460"))]);
    assert!(model.contains("\"ffn\": 5460,") && model.contains("weights: Absmean"), "{model}");
}

/// Runs the checkpoint that counts, with a tokenizer_config.json and more arguments; gives stdout and stderr.
fn count(config: &str, more: &[&str]) -> (String, String) {
    let folder = copy("counting");
    std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    let ron = folder.path().join("model.ron");
    stdout(&["import", text(folder.path()), "-o", text(&ron)]);
    let run = ["run", text(&ron), "--weights", text(folder.path()), "--policy", "exact"];
    let out = common::bitnetc(&[&run[..], more].concat());
    let [stdout, stderr] = [&out.stdout, &out.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(out.status.success(), "{stderr}");
    (stdout, stderr)
}

#[test]
fn a_folder_is_read_as_transformers_reads_it() {
    let (_, stderr) = count("{}", &["--prompt", "ABC", "-n", "2"]);
    assert!(stderr.starts_with("[3 tokens read"), "{stderr}");
    let added = r#"{"added_tokens_decoder": {"120": {"content": "<|im_end|>", "special": true}}}"#;
    let (_, stderr) = count(added, &["--prompt", "A<|im_end|>", "-n", "2"]);
    assert!(
        stderr.contains("[2 tokens read") && stderr.contains("warning: tokenizer_config.json gives `<|im_end|>`"),
        "{stderr}"
    );
    let dated = r#"{"chat_template": "{{ 'Today is ' + strftime_now('%Y') }}{% for m in messages %}{{ m['content'] }}{% endfor %}"}"#;
    let (stdout, stderr) = count(dated, &["--prompt", "Hi", "-n", "2"]);
    assert!(stdout == "jk\n" && stderr.starts_with("[15 tokens read"), "{stdout} {stderr}");
    let first = r#"{"bos_token": "<s>", "tokenizer_class": "LlamaTokenizerFast", "add_bos_token": true}"#;
    let (stdout, stderr) = count(first, &["--prompt", "ABC", "-n", "2"]);
    assert!(
        stdout == "ABCDE\n" && stderr.contains("warning: tokenizer_config.json has add_bos_token true"),
        "{stdout} {stderr}"
    );
    assert!(stderr.contains("[3 tokens read"), "{stderr}");
    let (_, stderr) = count(first, &["--prompt", "ABC", "-n", "2", "--quiet"]);
    assert!(stderr.is_empty(), "{stderr}");
}

#[test]
fn a_conversation_remembers() {
    let template = r#"{"chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}"}"#;
    let folder = copy("counting");
    std::fs::write(folder.path().join("tokenizer_config.json"), template).unwrap();
    let ron = folder.path().join("model.ron");
    stdout(&["import", text(folder.path()), "-o", text(&ron)]);
    let run = ["run", text(&ron), "--weights", text(folder.path()), "--policy", "exact", "-n", "3", "--chat"];
    let (stdout, stderr) = common::fed(&[&run[..], &["--system", "Z", "--prompt", "ab"]].concat(), "\nmn\n");
    // Read: Z a b, then Z a b c d e m n.
    assert_eq!(stdout, "cde\nopq\n", "{stderr}");
    assert!(stderr.contains("[11 tokens read") && stderr.contains("; 6 written in"), "{stderr}");
    std::fs::remove_file(folder.path().join("tokenizer_config.json")).unwrap();
    assert!(refused(&run, 1).contains("--chat: the checkpoint has no chat template"));
}
