//! GGUF files of models whose Hugging Face checkpoint is at hand: both must compute the same.
//!
//! The files are written here, by a writer that `runtime/weights/gguf/tests.rs` holds to the bytes of Python's `gguf` package.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;
mod conversion;
mod perplexity;
#[path = "../common/gguf.rs"]
#[allow(dead_code, reason = "the crate of the reader uses the rest")]
mod writer;

use std::path::Path;

use bitnetc_compiler::model::{Model, import};
use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{Options, compile};
use bitnetc_plan::VerifiedPlan;
use bitnetc_runtime::host::Numerics;
use bitnetc_runtime::weights::synth;
use bitnetc_runtime::{HostDevice, LoadOptions, Session, Weights};
use common::golden::{argmax, correlation, directory, golden};
use conversion::{Conversion, vocabulary};
use safetensors::SafeTensors;
use serde_json::json;
use writer::{BF16, F16, F32, I2_S, Q4_0, Q6_K, Q8_0, TQ1_0, TQ2_0, Writer};

fn plan(model: &Model) -> VerifiedPlan {
    let mut options = Options::for_model(model);
    (options.policy, options.batch, options.prefill) = (Policy::Exact, 1, vec![64]);
    compile(model, &Target::find("n150").unwrap(), &options).unwrap().plan
}

/// Logits of token lists, one after the other.
fn logits(plan: &VerifiedPlan, weights: &Path, lists: &[Vec<u32>]) -> Vec<f32> {
    let weights = Weights::open(weights).unwrap();
    let device = HostDevice::new(plan.card.arch, Numerics::Fast);
    let mut session = Session::load(plan.clone(), &weights, device, &LoadOptions::default(), |_, _| {}).unwrap();
    let mut all = Vec::new();
    for tokens in lists {
        session.prompt_logits(0, tokens, |_, _, logits| all.extend_from_slice(logits)).unwrap();
    }
    all
}

/// Sizes of a model: hidden, MLP, heads, key/value heads.
type Sizes = [usize; 4];

/// Sizes of which every row is whole blocks of 256.
const BLOCKS_OF_256: Sizes = [256, 512, 4, 2];

/// A random checkpoint whose rows are whole blocks of 256.
fn random(dir: &Path, class: &str, quantized: bool) -> (Model, VerifiedPlan) {
    random_of(dir, class, quantized, BLOCKS_OF_256)
}

fn random_of(dir: &Path, class: &str, quantized: bool, sizes: Sizes) -> (Model, VerifiedPlan) {
    let [hidden, mlp, heads, kv_heads] = sizes;
    let mut config = json!({
        "architectures": [class], "vocab_size": 256, "hidden_size": hidden, "intermediate_size": mlp,
        "num_hidden_layers": 2, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "max_position_embeddings": 128,
        "hidden_act": if class == "LlamaForCausalLM" { "silu" } else { "relu2" },
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false,
    });
    if quantized {
        config["quantization_config"] =
            json!({"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"});
    }
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let model = import::directory(dir).unwrap().model;
    let plan = plan(&model);
    synth::write(&plan, dir, 5, |_, _| std::ops::ControlFlow::Continue(())).unwrap();
    (model, plan)
}

const LISTS: [&[u32]; 2] = [&[3, 1, 4, 1, 5, 92, 65, 35, 89, 79], &[255, 0, 17, 42]];

fn lists() -> Vec<Vec<u32>> {
    LISTS.iter().map(|list| list.to_vec()).collect()
}

fn top1(a: &[f32], b: &[f32], vocab: usize) -> f64 {
    let rows = a.chunks(vocab).zip(b.chunks(vocab));
    rows.filter(|(a, b)| argmax(a) == argmax(b)).count() as f64 / (a.len() / vocab) as f64
}

#[test]
fn the_trained_model_computes_the_same_from_each_type() {
    let checkpoint = directory();
    let plan = plan(&bitnetc_compiler::model::find("tiny-shakespeare").unwrap().model().unwrap());
    let (lists, expected): (Vec<_>, Vec<_>) = golden().into_iter().unzip();
    let from_safetensors = logits(&plan, &checkpoint, &lists);
    let dir = tempfile::tempdir().unwrap();
    // Projections, table and head; the least correlation with Hugging Face's logits and the least share of equal first choices.
    for (projections, table, pcc, equal) in [
        (I2_S, BF16, 0.9995, 0.98),
        (F16, BF16, 0.9995, 0.98),
        (BF16, F32, 0.9995, 0.98),
        (I2_S, F16, 0.9995, 0.98),
        (Q8_0, Q8_0, 0.9990, 0.97),
        (I2_S, Q4_0, 0.9900, 0.85),
    ] {
        let conversion = Conversion { checkpoint: &checkpoint, architecture: "bitnet-b1.58", projections, table };
        let got = logits(&plan, &conversion.write(dir.path(), |_| {}), &lists);
        // Nothing is rounded where bf16 is kept and the scale, a bf16, is stored as f16 or f32.
        if [BF16, F32].contains(&table) {
            assert!(got == from_safetensors, "{projections} {table}");
        }
        let golden: Vec<f32> = expected.iter().flatten().copied().collect();
        let (p, t) = (correlation(&got, &golden), top1(&got, &golden, 1024));
        println!("projections {projections:2}, table {table:2}: PCC {p:.6}, top-1 {:.2} %", 100.0 * t);
        assert!(p >= pcc && t >= equal, "{projections} {table}: {p} {t}");
    }
}

#[test]
fn ternary_blocks_compute_exactly_what_packed_weights_do() {
    let checkpoint = tempfile::tempdir().unwrap();
    let (_, plan) = random(checkpoint.path(), "BitNetForCausalLM", true);
    let expected = logits(&plan, checkpoint.path(), &lists());
    let dir = tempfile::tempdir().unwrap();
    for architecture in ["bitnet-b1.58", "bitnet-25", "bitnet"] {
        for projections in [I2_S, TQ1_0, TQ2_0] {
            let conversion = Conversion { checkpoint: checkpoint.path(), architecture, projections, table: BF16 };
            let got = logits(&plan, &conversion.write(dir.path(), |_| {}), &lists());
            assert!(got == expected, "{architecture} {projections}");
        }
    }
    let conversion =
        Conversion { checkpoint: checkpoint.path(), architecture: "bitnet-b1.58", projections: TQ2_0, table: Q6_K };
    let got = logits(&plan, &conversion.write(dir.path(), |_| {}), &lists());
    let pcc = correlation(&got, &expected);
    assert!(pcc > 0.998 && got != expected, "{pcc}");
}

#[test]
fn a_scale_beside_the_codes_multiplies_theirs() {
    let checkpoint = tempfile::tempdir().unwrap();
    let (_, plan) = random(checkpoint.path(), "BitNetForCausalLM", true);
    let expected = logits(&plan, checkpoint.path(), &lists());
    let dir = tempfile::tempdir().unwrap();
    let conversion =
        Conversion { checkpoint: checkpoint.path(), architecture: "bitnet", projections: I2_S, table: BF16 };
    let path = conversion.write(dir.path(), |file| {
        // As the first converters wrote them: codes of scale 1, and the scale as a tensor.
        let mut beside = Vec::new();
        for (name, _, kind, bytes) in &mut file.tensors {
            if *kind == I2_S {
                let at = bytes.len() - 32;
                beside.push((name.replace(".weight", ".scale"), bytes[at..at + 4].to_vec()));
                bytes[at..at + 4].copy_from_slice(&1f32.to_le_bytes());
            }
        }
        for (name, scale) in beside {
            file.tensor(&name, &[1], F32, scale);
        }
    });
    assert!(logits(&plan, &path, &lists()) == expected);
}

#[test]
fn llamas_rows_are_put_back_in_order() {
    for (quantized, kinds) in [(true, &[I2_S, TQ2_0, F16][..]), (false, &[BF16, F32][..])] {
        let checkpoint = tempfile::tempdir().unwrap();
        let (_, plan) = random(checkpoint.path(), "LlamaForCausalLM", quantized);
        let expected = logits(&plan, checkpoint.path(), &lists());
        let dir = tempfile::tempdir().unwrap();
        for &projections in kinds {
            let conversion =
                Conversion { checkpoint: checkpoint.path(), architecture: "llama", projections, table: BF16 };
            let path = conversion.write(dir.path(), |_| {});
            assert!(logits(&plan, &path, &lists()) == expected, "{quantized} {projections}");
        }
    }
}

/// Kinds of models with biases and norms of heads, whose logits transformers computed: a .gguf of them is imported and run.
#[test]
fn further_kinds_compute_what_transformers_does() {
    for (name, architecture, projections) in [
        ("llama-biases", "llama", I2_S),
        ("llama-dense-biases", "llama", F32),
        ("qwen2-bitlinear", "qwen2", I2_S),
        ("qwen3-bitlinear", "qwen3", F16),
        ("qwen3-dense", "qwen3", BF16),
    ] {
        let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints").join(name);
        let lists: Vec<Vec<u32>> =
            serde_json::from_slice(&std::fs::read(checkpoint.join("tokens.json")).unwrap()).unwrap();
        let bytes = std::fs::read(checkpoint.join("golden.safetensors")).unwrap();
        let golden = SafeTensors::deserialize(&bytes).unwrap();
        let expected: Vec<f32> = (0..lists.len())
            .flat_map(|n| golden.tensor(&format!("logits.{n}")).unwrap().data().to_vec())
            .collect::<Vec<u8>>()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let conversion = Conversion { checkpoint: &checkpoint, architecture, projections, table: BF16 };
        let path = conversion.write(dir.path(), |_| {});
        let ron = dir.path().join("model.ron");
        common::stdout(&["import", path.to_str().unwrap(), "-o", ron.to_str().unwrap()]);
        let model = Model::parse("model.ron", &std::fs::read_to_string(&ron).unwrap()).unwrap();
        let pcc = correlation(&logits(&plan(&model), &path, &lists), &expected);
        println!("{name} as {architecture}, type {projections}: PCC {pcc:.6}");
        assert!(pcc > 0.999, "{name}: {pcc}");
    }
}

/// The model file that `import` writes, without the lines that say where it is from.
fn imported(path: &Path) -> String {
    let text = common::stdout(&["import", path.to_str().unwrap()]);
    let own = |line: &&str| !(line.starts_with("    name:") || line.starts_with("    source:"));
    text.lines().filter(own).collect::<Vec<_>>().join("\n")
}

#[test]
fn metadata_describes_the_model_that_the_config_does() {
    for (class, architecture, quantized, projections) in [
        ("BitNetForCausalLM", "bitnet-b1.58", true, TQ1_0),
        ("BitNetForCausalLM", "bitnet-25", true, I2_S),
        ("LlamaForCausalLM", "llama", true, TQ2_0),
        ("LlamaForCausalLM", "llama", true, F16),
        ("LlamaForCausalLM", "llama", false, F16),
    ] {
        let checkpoint = tempfile::tempdir().unwrap();
        random(checkpoint.path(), class, quantized);
        let dir = tempfile::tempdir().unwrap();
        let conversion = Conversion { checkpoint: checkpoint.path(), architecture, projections, table: Q8_0 };
        let path = conversion.write(dir.path(), |_| {});
        assert_eq!(imported(&path), imported(checkpoint.path()), "{architecture} {projections}");
    }
    let silu = imported(
        &Conversion { checkpoint: &directory(), architecture: "bitnet", projections: I2_S, table: F16 }
            .write(tempfile::tempdir().unwrap().path(), |_| {}),
    );
    assert!(silu.contains("Silu(") && !silu.contains("Relu2("));
}

#[test]
fn long_contexts_and_tied_heads_are_in_the_model_file() {
    let checkpoint = tempfile::tempdir().unwrap();
    random(checkpoint.path(), "LlamaForCausalLM", false);
    let dir = tempfile::tempdir().unwrap();
    let conversion =
        Conversion { checkpoint: checkpoint.path(), architecture: "llama", projections: BF16, table: BF16 };
    let path = conversion.write(dir.path(), |file| {
        file.tensors.retain(|tensor| tensor.0 != "output.weight");
        let divisors: Vec<f32> = (0..32).map(|i| if i < 16 { 1.0 } else { 8.0 }).collect();
        file.tensor("rope_freqs.weight", &[32], F32, writer::floats(F32, &divisors));
    });
    let model = imported(&path);
    assert!(
        model.contains("LongRope") && model.contains("8.0") && model.matches("model.embed_tokens.weight").count() == 2,
        "{model}"
    );
    let path = conversion.write(dir.path(), |file| {
        file.text("llama.rope.scaling.type", "linear").float("llama.rope.scaling.factor", 4.0);
    });
    assert!(imported(&path).contains("Linear(factor: 4.0)"));
    let path = conversion.write(dir.path(), |file| {
        file.text("llama.rope.scaling.type", "yarn");
    });
    let error = common::refused(&["import", path.to_str().unwrap()], 1);
    assert!(error.contains("llama.rope.scaling.type") && error.contains("yarn"), "{error}");
}

#[test]
fn commands_take_a_gguf_wherever_they_take_a_checkpoint() {
    let (checkpoint, dir) = (directory(), tempfile::tempdir().unwrap());
    let conversion =
        Conversion { checkpoint: &checkpoint, architecture: "bitnet-b1.58", projections: I2_S, table: BF16 };
    let path = conversion.write(dir.path(), vocabulary);
    let (gguf, folder) = (path.to_str().unwrap(), checkpoint.to_str().unwrap());
    let text = dir.path().join("text.txt");
    std::fs::write(&text, "ROMEO:\nO, speak again, bright angel! naïve — “quoted” ☃\n").unwrap();
    let text = text.to_str().unwrap();
    let both = |args: &dyn Fn(&str) -> Vec<String>| {
        [gguf, folder].map(|weights| common::stdout(&args(weights).iter().map(String::as_str).collect::<Vec<_>>()))
    };
    let words = |line: &str| line.split(' ').map(str::to_string).collect::<Vec<_>>();
    let [a, b] = both(&|weights| words(&format!("run tiny-shakespeare --prompt ROMEO: -n 24 --weights {weights}")));
    assert_eq!(a, b);
    let [a, b] = both(&|weights| words(&format!("eval tiny-shakespeare --text {text} --weights {weights}")));
    assert_eq!(a, b);
    let packed = |weights: &str, name: &str| {
        let out = dir.path().join(name);
        common::stdout(&["pack", "tiny-shakespeare", "--weights", weights, "-o", out.to_str().unwrap()]);
        std::fs::read(out).unwrap()
    };
    assert!(packed(gguf, "a.packed") == packed(folder, "b.packed"));
    let out = common::bitnetc(&["run", "tiny-shakespeare", "--weights", gguf, "-n", "1", "--prompt", "A"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("note: I2_S"));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = directory();
    let conversion =
        |projections| Conversion { checkpoint: &checkpoint, architecture: "bitnet-b1.58", projections, table: Q4_0 };
    // Four bits are too few for -1, 0 and 1 of one size: ggml's Q4_0 has no 8 beside its -8.
    let path = conversion(Q4_0).write(dir.path(), vocabulary);
    let run = |path: &Path| common::refused(&["run", "tiny-shakespeare", "--weights", path.to_str().unwrap()], 1);
    let error = run(&path);
    assert!(error.contains("not ternary") && error.contains("_proj.weight"), "{error}");
    let other = tempfile::tempdir().unwrap();
    random(other.path(), "BitNetForCausalLM", true);
    let path = Conversion { checkpoint: other.path(), architecture: "bitnet-b1.58", projections: I2_S, table: BF16 }
        .write(dir.path(), |_| {});
    let error = run(&path);
    assert!(error.contains("num_hidden_layers 2") && error.contains("has 4"), "{error}");
    let path = conversion(I2_S).write(dir.path(), |_| {});
    let error = run(&path);
    assert!(error.contains("no tokenizer") && error.contains("--tokenizer"), "{error}");
    let error = common::refused(&["plan", path.to_str().unwrap()], 1);
    assert!(error.contains("bitnetc import"), "{error}");
    let path = conversion(I2_S).write(dir.path(), |file| {
        file.tensor("blk.0.attn_q.bias", &[640], F32, vec![0; 2560]);
    });
    let error = common::refused(&["import", path.to_str().unwrap()], 1);
    assert!(error.contains("`blk.0.attn_q.bias`"), "{error}");
    let path =
        conversion(I2_S).write(dir.path(), |file| file.tensors.retain(|tensor| tensor.0 != "blk.3.ffn_up.weight"));
    let error = common::refused(&["import", path.to_str().unwrap()], 1);
    assert!(error.contains("model.layers.3.mlp.up_proj.weight"), "{error}");
    let path = dir.path().join("other.gguf");
    std::fs::write(&path, Writer::default().text("general.architecture", "mamba").bytes()).unwrap();
    let error = common::refused(&["import", path.to_str().unwrap()], 1);
    assert!(error.contains("`mamba`") && error.contains("bitnet-b1.58"), "{error}");
}
