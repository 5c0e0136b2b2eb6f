//! The TT-NN device of `bitnetc run`: every call of a session on a mock card; and, where a simulator is at hand, the kernels' own text and
//! their bits in every step.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitnetc"));
    command.arg("run").args(args).env("NO_COLOR", "1").env("COLUMNS", "200").output().unwrap()
}

/// All ternary weights in two bits.
const TWO_BITS: [&str; 5] = ["qkv=bfp2", "o=bfp2", "gate=bfp2", "up=bfp2", "down=bfp2"];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The library of a Wormhole simulator that tests may use; without one a line says so.
fn simulator() -> Option<String> {
    let library = std::env::var("BITNETC_SIMULATOR").ok();
    if library.is_none() {
        eprintln!("not tried: BITNETC_SIMULATOR names no Wormhole simulator library");
    }
    library
}

/// A prefill of each user and decode steps of all, with weights uploaded and inputs written: TT-NN takes every call. A mock computes
/// nothing, so the text means nothing; its length says that every step was made.
#[test]
fn a_mock_card_takes_a_whole_session() {
    for (target, batch, policy) in [("n150", "1", "balanced"), ("p150", "32", "exact")] {
        let prompts = ["--prompt", "ROMEO:", "--prompt", "JULIET: O"];
        let prompts = if batch == "1" { &prompts[..2] } else { &prompts[..] };
        let mut args = vec!["--device", "ttnn", "--mock", "--target", target, "--batch", batch, "--policy", policy];
        args.extend(prompts);
        args.extend(["-n", "3", "--ignore-eos"]);
        let out = run(&args);
        let said = text(&out.stderr);
        assert!(out.status.success(), "{target}: {said}");
        let written = format!("{} written", 3 * prompts.len() / 2);
        assert!(said.contains(&written), "{target}: {said}");
    }
}

/// Plans with two-bit weights: TT-NN takes the kernels' calls, and their buffers and addresses are the plan's; and the host writes the text
/// that it writes with bfp4, whose sums are rounded no less often.
#[test]
fn two_bits_a_weight_are_accepted_and_computed() {
    let folder = tempfile::tempdir().unwrap();
    let set: Vec<&str> = TWO_BITS.iter().flat_map(|set| ["--set", set]).collect();
    for target in ["n150", "p150"] {
        let plan = folder.path().join(format!("{target}.ron"));
        let plan = plan.to_str().unwrap();
        common::stdout(
            &[&["plan", "tiny-shakespeare", "--target", target, "--prefill", "none", "-o", plan], &set[..]].concat(),
        );
        let said = common::stdout(&["check", plan, "--ttnn"]);
        assert!(said.contains("accepted") && !said.contains("differ"), "{said}");
        let packed = folder.path().join("weights.bin");
        common::stdout(&["pack", plan, "--weights", "graphs/tiny-shakespeare", "-o", packed.to_str().unwrap()]);
        let run = |source: &str| {
            let args =
                [plan, "--weights", source, "--tokenizer", "graphs/tiny-shakespeare", "--prompt", "ROMEO:", "-n", "4"];
            common::stdout(&[&["run"], &args[..], &["--ignore-eos", "--quiet"]].concat())
        };
        assert_eq!(run(packed.to_str().unwrap()), run("graphs/tiny-shakespeare"));
    }
}

#[test]
fn bench_measures_the_host_on_a_mock_and_says_what_a_trace_takes() {
    let args = ["--device", "ttnn", "--mock", "--queues", "2", "--steps", "4", "--runs", "1"];
    let said = common::stdout(&[&["bench"], &args[..]].concat());
    assert!(said.contains("kB of trace, planned for "), "{said}");
    let told: serde_json::Value =
        serde_json::from_str(&common::stdout(&[&["bench", "--json"], &args[..]].concat())).unwrap();
    let [taken, planned] = ["bytes", "planned_bytes"].map(|field| told["trace"][field].as_u64().unwrap());
    assert!(0 < taken && taken <= planned, "{told}");
    assert!(said.contains("the mock n150") && said.contains("prefill 128: ") && said.contains("decode 1: "), "{said}");
    let error = common::refused(&[&["bench", "--by-call"], &args[..]].concat(), 1);
    assert!(error.contains("--by-call is for the host device"), "{error}");
}

#[test]
fn what_cannot_be_opened_is_told_before_anything_is_loaded() {
    let library = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(library.path(), "no library").unwrap();
    let library = library.path().to_str().unwrap();
    for (args, words) in [
        (&["--mock"][..], ["--mock is for the TT-NN device", "--device ttnn"]),
        (&["--queues", "2"], ["--queues is for the TT-NN device", "--device ttnn"]),
        (&["--simulator", library], ["--simulator is for the TT-NN device", "--device ttnn"]),
        (&["--device", "ttnn", "--simulator", library], ["it is no shared library", "libttsim"]),
        (&["--device", "ttnn", "--simulator", "/not/there.so"], ["/not/there.so", "No such file"]),
        (&["--device", "ttnn", "--mock", "--python", "/not/there"], ["/not/there", "--python"]),
    ] {
        let out = run(args);
        assert_eq!(out.status.code(), Some(1), "{args:?}");
        let said = text(&out.stderr);
        assert!(words.iter().all(|w| said.contains(w)), "{args:?}: {said}");
        assert!(out.stdout.is_empty(), "{args:?}");
    }
}

/// Tenstorrent's kernels on its simulator, decode traced: the tokens that they chose when this was first tried with a program that TT-NN
/// ran by itself. Takes minutes, most of them for compiling kernels.
#[test]
fn the_simulator_writes_what_the_kernels_write() {
    let Some(library) = simulator() else { return };
    let library = &library[..];
    let prompt = "ROMEO:\nO our";
    let args = ["--device", "ttnn", "--simulator", library, "--prompt", prompt, "-n", "7", "--ignore-eos", "--quiet"];
    let out = run(&args);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let said = text(&out.stdout);
    assert!(said.contains("O our griefs are full"), "{said}");
}

/// The small model with two-bit weights in every layer: its text is that of bfp4, and the kernels of each projection have the right bits.
/// Takes minutes.
#[test]
fn the_simulator_writes_the_same_with_two_bits_a_weight() {
    let Some(library) = std::env::var_os("BITNETC_SIMULATOR") else {
        eprintln!("not tried: BITNETC_SIMULATOR names no Wormhole simulator library");
        return;
    };
    let library = library.to_str().unwrap();
    let said = common::stdout(&["ttnn", "selftest", "--simulator", library, "--shapes", "2"]);
    assert!(said.contains("640x960, 640x640 have the right bits"), "{said}");
    let mut args = vec!["--device", "ttnn", "--simulator", library, "--prompt", "ROMEO:\nO our", "-n", "7"];
    args.extend(["--ignore-eos", "--quiet"]);
    args.extend(TWO_BITS.iter().flat_map(|set| ["--set", set]));
    let out = run(&args);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let said = text(&out.stdout);
    assert!(said.contains("O our griefs are full"), "{said}");
}

/// Every step of the small model on the host, from the kernels' operands, has the kernels' bits. Takes minutes.
#[test]
fn the_host_has_the_bits_of_the_kernels() {
    let Some(library) = simulator() else { return };
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.ron");
    let (plan, library) = (plan.to_str().unwrap(), &library[..]);
    let bitnetc = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_bitnetc")).args(args).env("NO_COLOR", "1").output().unwrap();
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    bitnetc(&["plan", "tiny-shakespeare", "--prefill", "64", "-o", plan]);
    let said = bitnetc(&["check", plan, "--numerics", "--simulator", library, "--layers", "1"]);
    assert!(
        said.contains("prefill 64: 64 tokens, 1 layer\n") && said.contains("decode: position 255, 1 layer\n"),
        "{said}"
    );
    assert!(said.contains(" elements have the kernels' bits") && said.contains("\nall "), "{said}");
}

/// Whole texts of every policy, of one user and of 32, traced, are those of the host with the kernels' numerics. Takes many minutes.
#[test]
fn the_simulator_takes_the_tokens_that_the_host_takes() {
    let Some(library) = simulator() else { return };
    for policy in ["balanced", "exact", "fast"] {
        for batch in ["1", "32"] {
            let prompts = ["--prompt", "ROMEO:\nO our", "--prompt", "JULIET:\n"];
            let prompts = if batch == "1" { &prompts[..2] } else { &prompts[..] };
            let plan = ["--policy", policy, "--batch", batch, "--prefill", "64", "--context", "128"];
            let text_of = |device: &[&str]| {
                let out = run(&[&plan, prompts, &["-n", "4", "--ignore-eos", "--quiet"], device].concat());
                assert!(out.status.success(), "{policy} {batch}: {}", text(&out.stderr));
                // The library says how long it lived.
                text(&out.stdout).lines().filter(|line| !line.ends_with("KHz)")).collect::<Vec<_>>().join("\n")
            };
            let kernels = text_of(&["--device", "ttnn", "--simulator", &library]);
            assert_eq!(kernels, text_of(&["--numerics", "exact"]), "{policy}, {batch} users");
        }
    }
}

/// Logits of the golden prompts, of which every token is given, beside those of Hugging Face. Takes minutes.
#[test]
fn the_simulator_computes_the_logits_of_hugging_face() {
    let Some(library) = simulator() else { return };
    let file = |name: &str| common::golden::directory().join(name).to_str().unwrap().to_owned();
    let (tokens, golden) = (file("golden.json"), file("golden.safetensors"));
    let base =
        ["eval", "--policy", "exact", "--prefill", "64", "--context", "128", "--tokens", &tokens, "--against", &golden];
    for phase in ["prefill", "decode"] {
        let said =
            common::stdout(&[&base[..], &["--phase", phase, "--device", "ttnn", "--simulator", &library]].concat());
        let pcc =
            said.split("PCC ").nth(1).and_then(|rest| rest.split(',').next()).and_then(|pcc| pcc.parse::<f64>().ok());
        assert!(pcc.is_some_and(|pcc| pcc >= 0.999), "{phase}: {said}");
    }
}
