//! Plans of the small trained model, run and measured from the command line.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::golden::{directory, read};
use common::{fed, refused, stdout};
use safetensors::SafeTensors;

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn lists(folder: &Path) -> PathBuf {
    let file = folder.join("lists.json");
    std::fs::write(&file, "[[5, 6, 7, 8, 9, 10, 11, 12], [200, 100, 50], [31, 32, 33, 34, 35]]").unwrap();
    file
}

/// Correlation with the reference, as `eval` prints it.
fn pcc(report: &str) -> f64 {
    let (_, rest) = report.split_once("logits PCC ").unwrap();
    rest.split_once(',').unwrap().0.parse().unwrap()
}

#[test]
fn what_import_writes_is_planned_run_and_judged() {
    let folder = tempfile::tempdir().unwrap();
    let (model, weights, lists) = (folder.path().join("model.ron"), directory(), lists(folder.path()));
    stdout(&["import", path(&weights), "-o", path(&model)]);
    let run = |model: &str| {
        stdout(&["run", model, "--weights", path(&weights), "--prompt", "ROMEO:", "--tokens", "4", "--quiet"])
    };
    assert_eq!(run(path(&model)), run("tiny-shakespeare"));
    let report = stdout(&[
        "eval",
        path(&model),
        "--weights",
        path(&weights),
        "--tokens",
        path(&lists),
        "--against",
        "reference",
    ]);
    assert!(report.starts_with("13 tokens predicted in 3 windows") && pcc(&report) > 0.999, "{report}");
}

#[test]
fn decode_is_measured_by_itself_and_together() {
    let folder = tempfile::tempdir().unwrap();
    let lists = lists(folder.path());
    let eval = |more: &[&str]| {
        let args = ["eval", "--policy", "exact", "--tokens", path(&lists), "--against", "reference"];
        stdout(&[&args[..], more].concat())
    };
    let [prefill, decode, together] = [
        eval(&["--prefill", "32"]),
        eval(&["--prefill", "none", "--phase", "decode"]),
        eval(&["--prefill", "none", "--phase", "decode", "--batch", "2"]),
    ];
    for report in [&prefill, &decode, &together] {
        assert!(pcc(report) > 0.999, "{report}");
        assert!(report.starts_with("13 tokens predicted in 3 windows"), "{report}");
    }
}

#[test]
fn a_checkpoint_without_its_head_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = read("model.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let rest: HashMap<_, _> = tensors.tensors().into_iter().filter(|(name, _)| name != "lm_head.weight").collect();
    safetensors::serialize_to_file(rest, None, &folder.path().join("model.safetensors")).unwrap();
    std::fs::copy(directory().join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    let error = refused(&["run", "tiny-shakespeare", "--weights", path(folder.path()), "--prompt", "x"], 1);
    assert!(error.contains("`lm_head.weight` is not in"), "{error}");
}

#[test]
fn lists_that_cannot_be_predicted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lists.json");
    let error = |text: &str, more: &[&str]| {
        std::fs::write(&file, text).unwrap();
        refused(&[&["eval", "--tokens", path(&file)], more].concat(), 1)
    };
    assert!(error("[[1, 2], [3, 1024]]", &[]).contains("list 1 has token 1024; the vocabulary has 1024"));
    assert!(error("[[1], []]", &[]).contains("list 1 is empty"));
    assert!(error("{\"tokens\": [[1, \"a\"]]}", &[]).contains("line 1 column 19"));
    let long = format!("[[1], {:?}]", vec![5; 300]);
    assert!(error(&long, &[]).contains("window 1 has 300 tokens; the plan's context holds 256"));
    let long = format!("[{:?}]", vec![5; 200]);
    assert!(error(&long, &[]).contains("largest prefill phase holds 128"));
    assert!(error("[[1]]", &["--prefill", "none"]).contains("no prefill phase"));
}

#[test]
fn cheap_mistakes_are_found_before_the_weights_are_read() {
    let folder = tempfile::tempdir().unwrap();
    // A checkpoint that loads nothing: what is told of the prompt is told first.
    std::fs::write(folder.path().join("model.safetensors"), empty()).unwrap();
    std::fs::copy(directory().join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    let error = |more: &[&str]| {
        let args = ["run", "tiny-shakespeare", "--weights", path(folder.path()), "--prompt", "x"];
        refused(&[&args[..], more].concat(), 1)
    };
    assert!(error(&[]).contains("is not in"));
    assert!(error(&["--temperature=-1"]).contains("temperature is -1"));
    let file = long(folder.path());
    let long = ["run", "--weights", path(folder.path()), "--prompt-file", path(&file)];
    assert!(refused(&long, 1).contains("the plan's context is 256"));
    // Of a later round, by its own number.
    let error_ = refused(&[&long[..], &["--prompt", "x"]].concat(), 1);
    assert!(error_.contains("prompt 1") && error_.contains("the plan's context is 256"), "{error_}");
    assert!(error(&["--system", "y"]).contains("has no chat template"));
    std::fs::write(folder.path().join("config.json"), r#"{"num_hidden_layers": 5, "vocab_size": 1024}"#).unwrap();
    assert!(error(&[]).contains("num_hidden_layers 5;"));
}

fn empty() -> Vec<u8> {
    safetensors::serialize(Vec::<(String, safetensors::tensor::TensorView<'_>)>::new(), None).unwrap()
}

fn long(folder: &Path) -> PathBuf {
    let file = folder.join("long.txt");
    std::fs::write(&file, "so long a text ".repeat(200)).unwrap();
    file
}

#[test]
fn ctrl_c_leaves_no_half_of_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("random");
    let mut child = Command::new(env!("CARGO_BIN_EXE_bitnetc"))
        .args(["synth", "bitnet-large", "-o", path(&out)])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let files = || std::fs::read_dir(&out).map_or(0, Iterator::count);
    // The file has no name before it is whole; the folder is made when the writing begins.
    while !out.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("nothing was written"), "{stderr}");
    assert_eq!(files(), 0);
}

/// A plan of the small model with another norm, and the model's file.
fn edited(folder: &Path) -> [String; 2] {
    let shipped = std::fs::read_to_string(directory().with_extension("ron"));
    let [plan, model] = ["edited.plan", "edited.ron"].map(|name| folder.join(name).to_str().unwrap().to_string());
    std::fs::write(&model, shipped.unwrap().replace("eps: 1e-5", "eps: 1e-2")).unwrap();
    stdout(&["plan", &model, "--prefill", "32", "-o", &plan]);
    [plan, model]
}

/// The golden prompts are compared with Hugging Face, and fast numerics with exact ones: within what commands say of themselves.
#[test]
fn logits_are_compared_with_a_file_and_with_exact_numerics() {
    let (tokens, golden) = (directory().join("golden.json"), directory().join("golden.safetensors"));
    let eval = |more: &[&str]| stdout(&[&["eval", "--prefill", "64", "--tokens", path(&tokens)], more].concat());
    let number = |report: &str, after: &str| -> f64 {
        let (_, rest) = report.split_once(after).unwrap();
        rest.split([',', ' ']).next().unwrap().parse().unwrap()
    };
    for (policy, least, same) in [("balanced", 0.99989, 84.0), ("exact", 0.99997, 86.0)] {
        let report = eval(&["--policy", policy, "--against", path(&golden)]);
        assert!(pcc(&report) > least && number(&report, " % (") >= same && report.contains(" of 88)"), "{report}");
        let report = eval(&["--policy", policy, "--numerics", "fast", "--against", "exact"]);
        let said = number(&report, "differ from exact ones by ");
        assert!(number(&report, "rms difference ") < said + 0.005, "{report}");
        assert!(pcc(&report) > number(&report, "rms, PCC "), "{report}");
        assert!(number(&report, "top-1 ") > number(&report, "most likely token the same in "), "{report}");
    }
    assert!(eval(&["--against", "exact"]).contains("against exact numerics: every logit is equal"));
    let error = refused(&["eval", "--tokens", path(&tokens), "--against", "nothing.safetensors"], 1);
    assert!(error.contains("nothing.safetensors"), "{error}");
    let error = refused(&["eval", "--tokens", path(&tokens), "--against", path(&tokens)], 1);
    assert!(error.contains("it should be a file of `eval --logits`"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let error = refused(&["eval", "--tokens", path(&lists(folder.path())), "--against", path(&golden)], 1);
    assert!(error.contains("window 0 has 8192 logits; 19456 are given to compare with"), "{error}");
}

#[test]
fn a_plan_is_judged_by_its_own_model() {
    let folder = tempfile::tempdir().unwrap();
    let [plan, model] = edited(folder.path());
    let tokens = folder.path().join("tokens.json");
    std::fs::write(&tokens, "[[5, 6, 7, 8]]").unwrap();
    let eval = ["eval", &plan, "--tokens", tokens.to_str().unwrap(), "--against", "reference"];
    let error = refused(&eval, 1);
    assert!(error.contains("is no shipped one, or another version of it") && error.contains("--model"), "{error}");
    let error = refused(&[&eval[..], &["--model", "tiny-shakespeare"]].concat(), 1);
    assert!(error.contains("`tiny-shakespeare` is not the plan's model"), "{error}");
    let text = stdout(&[&eval[..], &["--model", &model]].concat());
    assert!(text.contains("against the f32 reference: logits PCC 0.99"), "{text}");
}

#[test]
fn choices_beside_a_plan_that_has_made_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let [plan, _] = edited(folder.path());
    let error = refused(&["run", &plan, "--prompt", "x", "--policy", "exact", "--batch", "1"], 1);
    assert!(error.contains("is a plan already: --batch, --policy would change nothing"), "{error}");
    stdout(&["run", &plan, "--prompt", "x", "--tokens", "1"]);
    let text = folder.path().join("text");
    std::fs::write(&text, "To be, or not to be").unwrap();
    let compare = ["compare", "--text", text.to_str().unwrap()];
    let error = refused(&[&compare[..], &["--policy", "balanced"]].concat(), 1);
    assert!(error.contains("the table has every policy"), "{error}");
    let error = refused(&[&compare[..], &[&plan]].concat(), 1);
    assert!(error.contains("is a plan, which has one policy"), "{error}");
    let error = refused(&["bench", &plan, "--runs", "0"], 2);
    assert!(error.contains("--runs"), "{error}");
}

#[test]
fn a_packed_file_runs_like_its_checkpoint_and_is_no_reference() {
    let folder = tempfile::tempdir().unwrap();
    let (packed, lists, beside) = (folder.path().join("weights.packed"), lists(folder.path()), directory());
    stdout(&["pack", "tiny-shakespeare", "-o", path(&packed)]);
    let run = ["run", "--prompt", "ROMEO:", "--tokens", "6", "--quiet"];
    let from_file = ["--weights", path(&packed), "--tokenizer", path(&beside)];
    assert_eq!(stdout(&[&run[..], &from_file].concat()), stdout(&run));
    let eval = ["eval", "--weights", path(&packed), "--tokens", path(&lists)];
    assert!(stdout(&eval).starts_with("13 tokens predicted"));
    let error = refused(&[&eval[..], &["--against", "reference"]].concat(), 1);
    assert!(error.contains("the reference reads checkpoints"), "{error}");
    let error = refused(&["run", "--policy", "exact", "--weights", path(&packed), "--prompt", "x"], 1);
    assert!(error.contains("tokenizer.json"), "{error}");
}

#[test]
fn prompts_come_from_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &[&str], stdin: &str| fed(&[&["run", "--tokens", "6", "--quiet"], more].concat(), stdin).0;
    let romeo = run(&["--prompt", "ROMEO:"], "");
    assert!(romeo.starts_with("ROMEO:") && romeo.len() > 9, "{romeo}");
    assert_eq!(run(&[], "ROMEO:"), romeo);
    assert_eq!(run(&[], "ROMEO:\n"), romeo);
    assert_eq!(run(&["--prompt-file", "-"], "ROMEO:"), romeo);
    let file = folder.path().join("prompts");
    std::fs::write(&file, "ROMEO:\n\nHAMLET:\n").unwrap();
    let both = run(&["--prompt-lines", path(&file)], "");
    assert_eq!(run(&["--prompt-lines", "-"], "ROMEO:\nHAMLET:\n"), both);
    // One round after the other, or at once.
    assert_eq!(run(&["--prompt", "ROMEO:", "--prompt", "HAMLET:"], ""), both);
    assert_eq!(run(&["--prompt-lines", path(&file), "--batch", "2"], ""), both);
    let first = both.split("--- HAMLET:\n").next().unwrap().strip_prefix("--- ROMEO:\n").unwrap();
    assert_eq!(romeo.strip_prefix("ROMEO:").unwrap(), first);
    std::fs::write(folder.path().join("model.safetensors"), empty()).unwrap();
    std::fs::copy(directory().join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    let other = refused(&["run", "bitnet-large", "--weights", path(folder.path()), "--prompt", "x"], 1);
    assert!(other.contains("do not belong together"), "{other}");
}

#[test]
fn a_prompt_longer_than_the_largest_bucket() {
    let prompt = "O, speak again, bright angel! for thou art as glorious to this night, being o'er my head. ".repeat(3);
    let run = |prefill: &str| {
        let args = ["run", "--policy", "exact", "--prefill", prefill, "--tokens", "5", "--prompt", &prompt];
        fed(&args, "")
    };
    // In chunks of a cache block; half a block cannot be followed by another, so there the rest is decoded.
    let ((short, report), (chunks, _), (long, _)) = (run("32"), run("64"), run("128"));
    assert_eq!((&short, &chunks), (&long, &long));
    let rates = report.strip_prefix('[').unwrap().split("; ").collect::<Vec<_>>();
    assert!(rates[0].contains(" tokens read in ") && rates[0].ends_with(" tokens/s"), "{report}");
    assert!(rates[1].starts_with("5 written in ") && rates[1].ends_with(" tokens/s"), "{report}");
}

#[test]
fn an_answer_ends_at_a_stop_text() {
    let run = |more: &[&str]| fed(&[&["run", "--prompt", "ROMEO:", "--tokens", "24"], more].concat(), "");
    let whole = run(&["--quiet"]).0;
    let stop: String = whole.chars().skip(12).take(3).collect();
    let (cut, report) = run(&["--stop", "never to be seen", "--stop", &stop]);
    let at = "ROMEO:".len() + whole["ROMEO:".len()..].find(&stop).unwrap();
    assert_eq!(cut.trim_end_matches('\n'), whole[..at].trim_end_matches('\n'));
    assert!(report.contains("ended by a stop text"), "{report}");
    assert!(refused(&["run", "--stop", ""], 1).contains("--stop is empty"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bitnetc"))
        .args(["run", "--ignore-eos", "--tokens", "100000", "--prompt", "ROMEO:"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut start = [0; 8];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut start).unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn ctrl_c_ends_a_run_within_a_second() {
    for wait in [50, 1500] {
        let child = Command::new(env!("CARGO_BIN_EXE_bitnetc"))
            .args(["run", "--ignore-eos", "--tokens", "100000", "--numerics", "exact", "--prompt", "ROMEO:"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        let asked = std::time::Instant::now();
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let ended = child.wait_with_output().unwrap();
        // The second, and what a busy machine takes.
        assert!(asked.elapsed() < Duration::from_millis(1900), "{:?}", asked.elapsed());
        assert!(ended.status.code() == Some(130) || ended.status.code().is_none(), "{:?}", ended.status);
    }
}

#[test]
fn a_checkpoint_is_not_written_over_by_a_random_one() {
    let folder = tempfile::tempdir().unwrap();
    let synth = ["synth", "tiny-shakespeare", "-o", path(folder.path())];
    stdout(&synth);
    let file = folder.path().join("model.safetensors");
    let first = std::fs::read(&file).unwrap();
    let other = [&synth[..], &["--seed", "1"]].concat();
    let error = refused(&other, 1);
    assert!(error.contains("model.safetensors is there") && error.contains("--force"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), first);
    stdout(&[&other[..], &["--force"]].concat());
    assert_ne!(std::fs::read(&file).unwrap(), first);
    // Beside weights of another kind it would be one model too many, force or no force.
    std::fs::rename(&file, folder.path().join("model.gguf")).unwrap();
    let error = refused(&[&other[..], &["--force"]].concat(), 1);
    assert!(error.contains("model.gguf is there") && !file.exists(), "{error}");
}

#[test]
fn weights_of_another_function_are_told() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["model.safetensors", "tokenizer.json", "config.json"] {
        std::fs::copy(directory().join(name), folder.path().join(name)).unwrap();
    }
    let run = ["--weights", path(folder.path()), "--prompt", "ROMEO:", "--tokens", "2"];
    let shipped = [&["run", "tiny-shakespeare"][..], &run].concat();
    stdout(&shipped);
    let config = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(config.contains(from), "{from} {config}");
        std::fs::write(folder.path().join("config.json"), config.replace(from, to)).unwrap();
        refused(&shipped, 1)
    };
    let error = changed("\"model_type\"", "\"sliding_window\": 8, \"model_type\"");
    assert!(error.contains("`sliding_window` is 8"), "{error}");
    let error = changed("\"rope_theta\": 500000", "\"rope_theta\": 20000");
    assert!(
        error.contains("of another model than `tiny-shakespeare`: rotary embedding")
            && error.contains("bitnetc import"),
        "{error}"
    );
    // A model file of one's own may differ.
    let model = folder.path().join("own.ron");
    let text = std::fs::read_to_string(directory().with_extension("ron")).unwrap();
    std::fs::write(&model, text.replace("eps: 1e-5", "eps: 2e-5")).unwrap();
    let (_, stderr) = fed(&[&["run", path(&model)][..], &run].concat(), "");
    assert!(stderr.contains("warning: the weights' folder differs") && stderr.contains("eps"), "{stderr}");
}
