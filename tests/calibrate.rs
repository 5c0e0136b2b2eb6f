//! `bitnetc calibrate`: published rows, rows of one's own, the fit again.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::process::{Command, Output};

fn bitnetc(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bitnetc")).args(args).env("NO_COLOR", "1").output().unwrap()
}

fn stdout(args: &[&str]) -> String {
    let out = bitnetc(args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn refused(args: &[&str]) -> String {
    let out = bitnetc(args);
    assert_eq!(out.status.code(), Some(1), "{args:?}");
    String::from_utf8_lossy(&out.stderr).replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The table under a title, without its head.
fn rows<'a>(text: &'a str, title: &str) -> Vec<&'a str> {
    text.lines().skip_while(|l| *l != title).skip(2).take_while(|l| !l.contains("in the mean")).collect()
}

#[test]
fn a_card_is_judged_by_its_own_rows() {
    let text = stdout(&["calibrate"]);
    assert_eq!(rows(&text, "decode steps used in the fit").len(), 6, "{text}");
    assert_eq!(rows(&text, "decode steps used in the fit, each by the fit to all the others").len(), 6, "{text}");
    assert!(rows(&text, "decode steps not used in the fit").len() >= 14, "{text}");
    assert!(rows(&text, "times to the first token, none of them used in the fit").len() >= 4, "{text}");
    assert!(rows(&text, "calls not used for any constant").len() >= 14, "{text}");
    assert!(rows(&text, "calls that a constant was read off").len() >= 30, "{text}");
    let text = stdout(&["calibrate", "--target", "p150"]);
    assert!(!text.contains("decode steps used in the fit") && !text.contains("n150 "), "{text}");
    assert!(rows(&text, "decode steps not used in the fit").iter().all(|l| l.starts_with("p150")), "{text}");
    let error = refused(&["calibrate", "--target", "n300"]);
    assert!(error.contains("no row is of n300") && error.contains("n150, p100, p150"), "{error}");
}

#[test]
fn rows_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.ron");
    let path = path.to_str().unwrap();
    let step = "model: \"llama-3.1-8b\", tokens_per_s: 28.3";
    std::fs::write(
        path,
        format!("(steps: [({step}, target: \"n150\", position: 255), ({step}, target: \"n150\", readers: 2)])"),
    )
    .unwrap();
    let text = stdout(&["calibrate", "--rows", path]);
    let found = rows(&text, "decode steps not used in the fit");
    assert!(found[0].starts_with("n150") && found[0].contains("28.3"), "{text}");
    // A bank of Wormhole has one reader: the row stays, without a figure.
    assert!(found[1].starts_with("n150") && found[1].contains(" - "), "{text}");
    assert!(text.contains("num_workers_per_dram_bank"), "{text}");

    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/targets/p150.ron");
    std::fs::write(path, format!("(steps: [({step}, target: \"{target}\")])")).unwrap();
    let text = stdout(&["calibrate", "--rows", path]);
    assert!(rows(&text, "decode steps not used in the fit")[0].starts_with("p150"), "{text}");

    std::fs::write(path, "(steps: [(model: \"llama-3.2-1b\", target: \"n150\", tokens_per_s: -1)])").unwrap();
    let error = refused(&["calibrate", "--rows", path]);
    assert!(error.contains("tokens_per_s is -1, expected a positive number"), "{error}");
    std::fs::write(path, "(steps: [(model: \"no-such\", target: \"n150\", tokens_per_s: 1)])").unwrap();
    assert!(refused(&["calibrate", "--rows", path]).contains("no model `no-such`"));
    let error = refused(&["calibrate", "--rows", "missing.ron"]);
    assert!(error.contains("cannot read missing.ron"), "{error}");
}

#[test]
fn the_fit_again() {
    let text = stdout(&["calibrate", "--refit"]);
    for part in ["host.sampling_us", "tile_cycles", "block_us", "correlation", "left out: 6 rows"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(refused(&["calibrate", "--refit", "--target", "p150"]).contains("no row was used in a fit"));
}

#[test]
fn levers_are_not_priced_beyond_the_context() {
    let error = refused(&["levers", "bitnet-2b-4t", "--at-position", "99999999"]);
    assert!(error.contains("position is 99999999; expected 0 to 4095"), "{error}");
}

/// A run on a mock tells which program was which step; a profiler's CSV of the same run, made up here, says how long each took.
#[test]
fn a_profile_of_a_run_is_joined_to_its_plan() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let [plan, profile, csv, mine] = ["plan.ron", "run.json", "ops.csv", "mine.ron"].map(path);
    stdout(&["plan", "tiny-shakespeare", "--prefill", "32", "-o", &plan]);
    let run = ["run", &plan, "--device", "ttnn", "--mock", "--prompt", "ROMEO:", "-n", "3", "--ignore-eos"];
    stdout(&[&run[..], &["--profile", &profile]].concat());
    let taken: serde_json::Value = serde_json::from_slice(&std::fs::read(&profile).unwrap()).unwrap();
    let calls = taken["calls"].as_array().unwrap();
    assert_eq!(
        (taken["format"].as_str(), taken["records"].as_array().map(Vec::len)),
        (Some("bitnetc profile 1"), Some(0))
    );

    // A step of decode takes 20 us and one of prefill 30, whatever it is; those of two programs twice that.
    let mut text = String::from("OP CODE,OP TYPE,GLOBAL CALL COUNT,DEVICE ID,DEVICE KERNEL DURATION [ns]\n");
    for call in calls {
        let ns = if call["phase"].get("Decode").is_some() { 20_000 } else { 30_000 };
        for program in 0..call["programs"].as_u64().unwrap() {
            let count = (call["id"].as_u64().unwrap() + program) * 1024;
            text.push_str(&format!("SomeDeviceOperation,tt_dnn_device,{count},0,{ns}\n"));
        }
    }
    std::fs::write(&csv, text).unwrap();
    let both = ["calibrate", "--profile", &profile, "--profile", &csv, "--plan", &plan];
    let table = stdout(&both);
    let (decode, prefill) = table.split_once("\nprefill 32\n").unwrap();
    for (part, us) in [(decode, " 20.0 "), (prefill, " 30.0 ")] {
        let row = part.lines().find(|line| line.starts_with("qkv ")).unwrap();
        assert!(row.contains(us) && row.contains("linear"), "{row}");
        assert!(part.contains("kernels of all layers: measured"), "{part}");
    }

    let fitted = stdout(&[&both[..], &["--refit", "-o", &mine]].concat());
    assert!(fitted.contains("dram_sharded") && fitted.contains("% off in the mean before"), "{fitted}");
    stdout(&["plan", "tiny-shakespeare", "--target", &mine]);

    // Without times there is nothing to compare, and a profile is of one plan.
    let error = refused(&["calibrate", "--profile", &profile, "--plan", &plan]);
    assert!(error.contains("no time in these files"), "{error}");
    let other = path("other.ron");
    stdout(&["plan", "tiny-shakespeare", "--target", "p150", "-o", &other]);
    let error = refused(&["calibrate", "--profile", &profile, "--plan", &other]);
    assert!(error.contains("was taken of n150"), "{error}");
    std::fs::write(&csv, "a,b\n1,2\n").unwrap();
    let error = refused(&["calibrate", "--profile", &csv, "--plan", &plan]);
    assert!(error.contains("no column OP CODE"), "{error}");
}
