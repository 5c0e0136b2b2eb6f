//! Files that nobody would write: every parser takes them as they come, refuses what is wrong with an error, and never panics.
//!
//! Seeds are real files of each kind; they are changed at random and parsed in this process.
//! What the command line does with such files, pipes among them, is tried with the program itself.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/gguf.rs"]
#[allow(dead_code, reason = "the tests of GGUF use the rest")]
mod writer;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bitnetc_compiler::excerpt::Excerpt;
use bitnetc_compiler::model::{Model, find, import};
use bitnetc_compiler::policy::Override;
use bitnetc_compiler::target::Target;
use bitnetc_compiler::{Options, compile};
use bitnetc_lab::rows::Rows;
use bitnetc_plan::{TtnnRelease, VerifiedPlan, format};
use bitnetc_runtime::Weights;
use bitnetc_runtime::weights::gguf::{Described, Gguf, Vocabulary};
use bitnetc_runtime::weights::{packed, synth};
use hostile::{in_folder, tried};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn seed(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(ROOT).join(path)).unwrap()
}

fn small_plan() -> VerifiedPlan {
    let model = find("tiny-shakespeare").unwrap().model().unwrap();
    let mut options = Options::for_model(&model);
    (options.context, options.prefill) = (64, vec![32]);
    compile(&model, &Target::find("n150").unwrap(), &options).unwrap().plan
}

#[test]
fn models() {
    let seeds =
        [seed("graphs/tiny-shakespeare.ron"), seed("graphs/bitnet-b1.58-2b-4t.ron"), seed("graphs/llama-3.1-8b.ron")];
    tried("model", &seeds, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Err(errors) = Model::parse("m.ron", text) {
            assert!(!errors.listing().is_empty());
            assert!(!format!("{:?}", miette::Report::new(errors)).is_empty());
        }
    });
}

#[test]
fn plans() {
    let plan = small_plan();
    let seeds = [format::to_ron(&plan).unwrap().into_bytes(), format::to_binary(&plan).unwrap()];
    tried("plan", &seeds, |bytes| {
        // A plan that reads is verified, and one that is sound is one by every other part.
        if let Ok(plan) = format::read_bytes(bytes) {
            let _ = VerifiedPlan::new(plan);
        }
    });
}

#[test]
fn targets() {
    let seeds = ["n150", "p150"].map(|name| seed(&format!("targets/{name}.ron")));
    tried("target", &seeds, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let _ = Target::parse(text, "t.ron", TtnnRelease::latest());
    });
}

#[test]
fn measurements() {
    tried("rows", &[seed("compiler/lab/measured.ron")], |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        match Rows::parse("rows.ron", text) {
            Ok(rows) => rows.steps.iter().for_each(|row| drop(row.overrides())),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}

#[test]
fn precisions() {
    let seeds = ["down=bfp8/HiFi2", "decode:lm_head=bfp4/LoFi/fp32", "o=bf16", "gate=/HiFi4"];
    tried("overrides", &seeds.map(|seed| seed.as_bytes().to_vec()), |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Ok(precision) = text.parse::<Override>() {
            assert_eq!(precision.to_string().parse::<Override>().as_ref(), Ok(&precision));
        }
    });
}

/// A model without layers, all metadata that is read, and tensors of several types.
#[test]
fn ggufs() {
    let mut file = writer::Writer::default();
    file.text("general.architecture", "llama").count("llama.block_count", 1).count("llama.embedding_length", 256);
    file.count("llama.context_length", 64).count("llama.feed_forward_length", 256);
    file.count("llama.attention.head_count", 2).float("llama.attention.layer_norm_rms_epsilon", 1e-5);
    file.text("tokenizer.ggml.model", "llama").texts("tokenizer.ggml.tokens", &["<unk>", "<s>", "</s>", "a"]);
    file.floats("tokenizer.ggml.scores", &[0.0, 0.0, -1.0, -2.0]).integers("tokenizer.ggml.token_type", &[2, 3, 3, 1]);
    let values: Vec<i8> = (0..256 * 2).map(|i| (i % 3) as i8 - 1).collect();
    for (name, kind) in [
        ("token_embd", writer::F16),
        ("blk.0.attn_q", writer::I2_S),
        ("blk.0.attn_k", writer::TQ1_0),
        ("blk.0.ffn_up", writer::TQ2_0),
        ("blk.0.ffn_down", writer::Q6_K),
    ] {
        file.tensor(&format!("{name}.weight"), &[2, 256], kind, writer::ternary(kind, &values, 0.5));
    }
    let plan = small_plan();
    in_folder("gguf", "m.gguf", &[file.bytes()], |folder| {
        let path = folder.join("m.gguf");
        if let Ok(weights) = Weights::open(&path) {
            let _ = weights.check(&plan);
        }
        if let Ok(file) = Gguf::open(&path) {
            let _ = (Described::of(&file), Vocabulary::of(&file));
        }
    });
}

#[test]
fn configs() {
    tried("config", &[seed("graphs/tiny-shakespeare/config.json")], |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Ok(config) = import::Config::parse(text) {
            let _ = import::import(&config, "m", "config.json of m", None);
        }
    });
}

#[test]
fn weights() {
    let plan = small_plan();
    let small = br#"{"a":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[4,6]}}  "#;
    let tensors = [&(small.len() as u64).to_le_bytes()[..], small, &[0; 6]].concat();
    in_folder("safetensors", "model.safetensors", &[tensors], |folder| {
        if let Ok(weights) = Weights::open(folder) {
            let _ = weights.check(&plan);
        }
        let _ = import::Checkpoint::read(folder);
    });
    let (folder, made) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let go = |_, _| std::ops::ControlFlow::Continue(());
    synth::write(&plan, folder.path(), 1, go).unwrap();
    let path = made.path().join("packed");
    let go = |_, _| std::ops::ControlFlow::Continue(());
    packed::write(&plan, &Weights::open(folder.path()).unwrap(), &path, go).unwrap();
    let whole = std::fs::read(&path).unwrap();
    // The header and the index, with the tensors between them left out.
    let start = u64::from_le_bytes(whole[16..24].try_into().unwrap()) as usize;
    let mut short = whole[..64].to_vec();
    short[16..24].copy_from_slice(&64_u64.to_le_bytes());
    short.extend(&whole[start..]);
    let changed = made.path().join("changed");
    tried("packed", &[short], |bytes| {
        let mut bytes = bytes.to_vec();
        if let Some(index) = bytes.get(64..).map(crc32) {
            bytes[12..16].copy_from_slice(&index.to_le_bytes());
        }
        std::fs::write(&changed, &bytes).unwrap();
        if let Ok(weights) = Weights::open(&changed) {
            let _ = weights.check(&plan);
        }
    });
}

/// CRC-32, so that a changed index is not refused for its checksum alone.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (!(crc & 1)).wrapping_add(1)))
    })
}

#[test]
fn a_decoder_that_the_library_panics_on_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut tokenizer: serde_json::Value =
        serde_json::from_slice(&seed("graphs/tiny-shakespeare/tokenizer.json")).unwrap();
    tokenizer["decoder"].take();
    // A key of the decoder that is no text, which the library unwraps.
    let whole = tokenizer.to_string().replacen("\"decoder\":null", "\"decoder\":{1:2}", 1);
    std::fs::write(folder.path().join("tokenizer.json"), whole).unwrap();
    let told = common::refused(&["run", "--tokenizer", folder.path().to_str().unwrap(), "--prompt", "x"], 1);
    assert!(told.contains("tokenizer.json cannot be used"), "{told}");
}

#[test]
fn a_mistake_in_a_very_long_call_is_shown() {
    let call = format!("{}typecast(", "x".repeat(100_000));
    let told = common::refused(&["ask", &call], 2);
    assert!(told.len() < 20_000, "{} bytes", told.len());
    assert_eq!(Excerpt::new("a", "b").name(), "a");
}

/// Runs `bitnetc` with bytes on stdin; its exit code and stderr.
fn fed(args: &[&str], bytes: &[u8]) -> (Option<i32>, String) {
    use std::io::Write as _;
    let mut child = Command::new(env!("CARGO_BIN_EXE_bitnetc"))
        .args(args)
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that has read enough closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn plans_models_and_targets_come_through_pipes() {
    let plan = format::to_ron(&small_plan()).unwrap();
    let run = ["--prompt", "ROMEO:", "-n", "1"];
    let model = seed("graphs/tiny-shakespeare.ron");
    for (name, bytes) in
        [("-", plan.as_bytes()), ("/dev/stdin", plan.as_bytes()), ("-", &model), ("/dev/stdin", &model)]
    {
        let (code, told) = fed(&[&["run", name][..], &run].concat(), bytes);
        assert_eq!(code, Some(0), "{name}: {told}");
    }
    let (code, told) = fed(&["plan", "-", "--context", "64", "--prefill", "none"], &model);
    assert_eq!(code, Some(0), "{told}");
    let target = seed("targets/p150.ron");
    let (code, told) = fed(&["compare", "tiny-shakespeare", "--target", "/dev/stdin", "--context", "64"], &target);
    assert_ne!(code, None, "{told}");
    assert!(!told.contains("target file"), "{told}");
    let (code, told) = fed(&["run", "-", "--prompt", "x"], b"");
    assert!(code == Some(1) && told.contains("empty file"), "{told}");
}

#[test]
fn a_mark_of_byte_order_is_no_part_of_a_text() {
    let marked = |bytes: &[u8]| [b"\xef\xbb\xbf", bytes].concat();
    let small = ["--context", "64", "--prefill", "none"];
    let plan = format::to_ron(&small_plan()).unwrap();
    for (args, bytes) in [
        (&["plan", "-"][..], seed("graphs/tiny-shakespeare.ron")),
        (&["plan", "tiny-shakespeare", "--target", "-"], seed("targets/p150.ron")),
    ] {
        let (code, told) = fed(&[args, &small].concat(), &marked(&bytes));
        assert_eq!(code, Some(0), "{args:?}: {told}");
    }
    let (code, told) = fed(&["check", "-"], &marked(plan.as_bytes()));
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn what_an_error_quotes_is_short_and_harmless() {
    let name = "a".repeat(3_000_000);
    let codes = "Model(name: \"\u{1b}[31m\0\", \u{1b}[2J";
    for bytes in [name.as_bytes(), codes.as_bytes()] {
        for args in [&["plan", "-"][..], &["check", "-"], &["plan", "tiny-shakespeare", "--target", "-"]] {
            let start = Instant::now();
            let (code, told) = fed(args, bytes);
            assert_eq!(code, Some(1), "{args:?}: {} bytes", told.len());
            assert!(told.len() < 20_000 && start.elapsed() < Duration::from_secs(20), "{args:?}: {}", told.len());
            assert!(told.chars().all(|c| c == '\n' || !c.is_control()), "{args:?}: {told}");
        }
    }
}

#[test]
fn an_error_that_cannot_be_told_is_no_panic() {
    let script = "exec \"$0\" check /dev/null 2>/dev/full";
    let ended = Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_bitnetc")]).status().unwrap();
    assert_eq!(ended.code(), Some(1));
}

#[test]
fn a_named_pipe_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe: PathBuf = folder.path().join("pipe.ron");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let plan = format::to_ron(&small_plan()).unwrap();
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::write(pipe, plan).unwrap()
    });
    let output = common::bitnetc(&["run", pipe.to_str().unwrap(), "--prompt", "ROMEO:", "-n", "1"]);
    writer.join().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_never_ends_is_refused_with_the_cap() {
    for args in [
        &["plan", "/dev/zero"][..],
        &["run", "/dev/zero", "--prompt", "x"],
        &["check", "/dev/zero"],
        &["plan", "tiny-shakespeare", "--target", "/dev/zero"],
        &["run", "--prompt-file", "/dev/zero"],
        &["calibrate", "--rows", "/dev/zero"],
    ] {
        let told = common::refused(args, 1);
        assert!(told.contains("67.1 MB"), "{args:?}: {told}");
    }
}

/// A limit on the length of files stands for a full disk: the system refuses a write in the same way.
#[test]
fn a_checkpoint_that_finds_no_room_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" synth tiny-shakespeare -o \"$1\"";
    let made = folder.path().join("some/where");
    let output = Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_bitnetc")]).arg(&made).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).replace('│', " ");
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("MB are needed"), "{told}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// The process is ended by its id, once it has begun to write.
#[test]
fn a_long_write_ends_with_ctrl_c_or_death_and_leaves_nothing() {
    for (signal, code) in [("-INT", Some(130)), ("-KILL", None)] {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("random");
        let mut child = Command::new(env!("CARGO_BIN_EXE_bitnetc"))
            .args(["synth", "bitnet-large", "--prefill", "none", "-o", made.to_str().unwrap()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !made.exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let sent = Instant::now();
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), code);
        assert!(sent.elapsed() < Duration::from_secs(5), "{:?}", sent.elapsed());
        let left = std::fs::read_dir(&made).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{signal}");
    }
}
