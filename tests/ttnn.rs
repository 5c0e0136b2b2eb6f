//! Plans against the real TT-NN on mock cards. `bitnetc ttnn setup` makes what these tests need.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "common/widths.rs"]
mod widths;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};

use bitnetc_plan::walk::settle;
use bitnetc_plan::{Memory, PhaseKind, Plan, Ref, Value, format};

fn bitnetc(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bitnetc")).args(args).env("NO_COLOR", "1").output().unwrap()
}

fn done(args: &[&str]) -> String {
    let out = bitnetc(args);
    assert!(
        out.status.success(),
        "{args:?}: {}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

/// Every shipped model on every target, batch, policy and context in rotation: a part of the whole matrix.
#[test]
fn ttnn_accepts_the_shipped_models_and_agrees_to_the_byte() {
    done(&["matrix", "--quick"]);
}

/// A target given by its file is a row like any other.
#[test]
fn the_matrix_takes_the_file_of_a_target() {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets/p150.ron");
    let target = target.to_str().unwrap();
    let table = done(&["matrix", "--quick", "--model", "tiny-shakespeare", "--target", target, "--target", "n150"]);
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|l| l.split_whitespace().collect()).collect();
    let row = |of: &str| rows.iter().find(|r| r[1] == of).unwrap_or_else(|| panic!("no {of} in {table}"));
    assert_eq!(row(target)[2..4], ["1", "0"]);
    assert_eq!(row("n150")[2..4], ["1", "0"]);
}

#[test]
fn every_policy_of_2b_4t_holds_at_full_batch() {
    let folder = tempfile::tempdir().unwrap();
    for policy in ["balanced", "exact", "fast"] {
        let plan = folder.path().join(format!("{policy}.plan"));
        let plan = plan.to_str().unwrap();
        done(&["plan", "bitnet-2b-4t", "--policy", policy, "--batch", "32", "-o", plan]);
        let table = done(&["check", plan, "--ttnn"]);
        assert!(table.contains("prefill 2048"), "{table}");
    }
}

/// Biases, norms of heads and of inputs, projections that are joined, and partial rotation with the angles of two lengths.
#[test]
fn ttnn_accepts_the_further_kinds_of_models() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: String| folder.path().join(name).to_str().unwrap().to_string();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints");
    for name in ["llama-biases", "llama-input-norms", "qwen3-autobitlinear-tied", "phi3-partial-longrope"] {
        let model = path(format!("{name}.ron"));
        done(&["import", cases.join(name).to_str().unwrap(), "-o", &model]);
        for (target, policy, batch) in [("n150", "exact", "8"), ("p150", "balanced", "1"), ("p150", "exact", "32")] {
            let plan = path(format!("{name}-{target}-{policy}.plan"));
            done(&["plan", &model, "--target", target, "--policy", policy, "--batch", batch, "-o", &plan]);
            let table = done(&["check", &plan, "--ttnn"]);
            assert!(table.contains("prefill"), "{table}");
        }
    }
}

/// Hidden, ffn and head sizes that are no whole tiles.
#[test]
fn padded_models_hold_on_both_cards() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let wide = widths::Widths { hidden: 1000, ffn: 2050, heads: 10, head_dim: 100, ..widths::PADDED };
    for (name, widths) in [("narrow", widths::PADDED), ("wide", wide)] {
        std::fs::write(path("model.ron"), widths.text(true)).unwrap();
        for (target, policy, batch) in [("n150", "exact", "3"), ("p150", "balanced", "32")] {
            let plan = path(&format!("{name}-{target}.plan"));
            let of = ["--target", target, "--policy", policy, "--batch", batch, "--prefill", "64"];
            done(&[&["plan", &path("model.ron"), "-o", &plan], &of[..]].concat());
            let table = done(&["check", &plan, "--ttnn"]);
            assert!(table.contains("prefill 64"), "{table}");
        }
    }
}

#[test]
fn a_plan_that_ttnn_would_place_elsewhere_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("moved.ron");
    done(&["plan", "tiny-shakespeare", "-o", path.to_str().unwrap()]);
    let mut plan = format::read(&path).unwrap();
    // A card whose L1 ends lower, and everything placed for it: sound by itself, but not what TT-NN does on an n150.
    plan.card.l1.end -= 4096;
    settle(&mut plan).unwrap();
    std::fs::write(&path, format::encode(&path, &plan).unwrap()).unwrap();
    done(&["check", path.to_str().unwrap()]);
    let out = bitnetc(&["check", path.to_str().unwrap(), "--ttnn"]);
    let (text, error) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.status.code(), Some(1));
    assert!(error.contains("TT-NN disagrees with"), "{error}");
    let planned = plan.phases[0].steps().find_map(|s| s.outputs.iter().find_map(|v| v.address)).unwrap();
    let difference = format!("address planned {planned}, TT-NN {}", planned + 4096);
    assert!(text.contains(&difference), "{difference} is missing in {text}");
}

/// Free DRAM in pieces that are too small is no room: what is refused is what TT-NN refuses, and what is said to fit does.
#[test]
fn a_plan_that_fits_dram_in_sum_only_is_refused_with_what_fits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.plan");
    let plan = path.to_str().unwrap();
    let compile = |prefill: &str| {
        let four_bits = ["--set", "gate=bfp4", "--set", "up=bfp4"];
        let asked = ["plan", "llama-3.1-8b", "--context", "32768", "--prefill", prefill, "-o", plan];
        bitnetc(&[&asked[..], &four_bits].concat())
    };
    let out = compile("32768");
    let error = String::from_utf8_lossy(&out.stderr).replace("\n  │", "");
    assert_eq!(out.status.code(), Some(1));
    assert!(!path.exists());
    for part in ["step `product`: no room in DRAM", "78.3 MB of each bank asked", "prefill 30720 fits"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(compile("30720").status.success());
    done(&["check", plan, "--ttnn"]);
}

/// More heads than a tile has rows: decode keeps those of a user in several tiles. Where there are more heads than cores, they are joined in
/// the order of prefill.
#[test]
fn ttnn_takes_more_than_32_heads() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (model, plan) = (path("model.ron"), path("plan.plan"));
    let graph = Path::new(env!("CARGO_MANIFEST_DIR")).join("graphs/bitnet-b1.58-2b-4t.ron");
    let shipped = std::fs::read_to_string(graph).unwrap();
    for ([heads, kv_heads, head_dim], target, policy, batch) in [
        ([40, 10, 128], "n150", "balanced", "32"),
        ([40, 10, 128], "p100", "exact", "1"),
        ([48, 12, 128], "p150", "fast", "8"),
        ([64, 8, 64], "p150", "balanced", "32"),
        ([71, 1, 64], "n150", "exact", "7"),
    ] {
        let mut text = shipped.clone();
        for (name, value) in
            [("heads", heads), ("kv_heads", kv_heads), ("head_dim", head_dim), ("layers", 2), ("vocab", 32_768)]
        {
            let at = text.find(&format!("\"{name}\": ")).unwrap() + name.len() + 4;
            let end = at + text[at..].find(',').unwrap();
            text.replace_range(at..end, &value.to_string());
        }
        std::fs::write(&model, text).unwrap();
        let options = ["--target", target, "--policy", policy, "--batch", batch, "--prefill", "128"];
        done(&[&["plan", &model, "-o", &plan], &options[..]].concat());
        done(&["check", &plan, "--ttnn"]);
    }
}

/// A card file that promises more L1 than the card has: verify believes it, TT-NN does not.
#[test]
fn a_call_that_ttnn_refuses_is_told_in_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (plan, target) = (path("plan.ron"), path("n150.ron"));
    let card = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("targets/n150.ron")).unwrap();
    let larger = card.replacen("dram: (", "l1: (base: 105824, end: 2499136, alignment: 16), dram: (", 1);
    assert_ne!(card, larger);
    std::fs::write(&target, larger).unwrap();
    done(&["plan", "bitnet-2b-4t", "--batch", "32", "--target", &target, "-o", &plan]);
    let out = bitnetc(&["check", &plan, "--ttnn"]);
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(1));
    let refusals: Vec<&str> = text.lines().filter(|l| l.contains(": refused: ")).collect();
    assert!(refusals.iter().any(|l| l.contains("beyond max L1 size of 1499136 B")), "{text}");
    assert!(refusals.iter().all(|l| l.contains(" step `") && l.contains("TT_THROW")), "{refusals:?}");
    assert!(!text.contains("backtrace") && !text.contains("---"), "{text}");
}

/// A card of one's own: the mock is made of its figures, whatever its name. A grid that no harvesting leaves has none.
#[test]
fn the_mock_of_any_card_file_is_made_of_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (plan, target) = (path("plan.ron"), path("mine.ron"));
    for (base, from, to) in [("n150", "(8, 8)", "(8, 7)"), ("p150", "(11, 10)", "(12, 10)")] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("targets/{base}.ron"));
        let card = std::fs::read_to_string(file).unwrap();
        let mine = card.replace(&format!("name: \"{base}\""), "name: \"mine\"");
        std::fs::write(&target, mine.replace(&format!("grid: {from}"), &format!("grid: {to}"))).unwrap();
        done(&["plan", "tiny-shakespeare", "--batch", "5", "--target", &target, "-o", &plan]);
        done(&["check", &plan, "--ttnn"]);
        std::fs::write(&target, mine.replace(&format!("grid: {from}"), "grid: (8, 6)")).unwrap();
        done(&["plan", "tiny-shakespeare", "--target", &target, "-o", &plan]);
        let out = bitnetc(&["check", &plan, "--ttnn"]);
        assert_eq!(out.status.code(), Some(1));
        let error = String::from_utf8_lossy(&out.stderr).replace("\n  │", "");
        assert!(
            error.contains("chip has 8x6 cores") && error.contains(&to.replace(['(', ')'], "").replace(", ", "x")),
            "{error}"
        );
    }
}

/// The values of one run through a phase, as the emitted program names them: phase, step, value.
fn expected(plan: &Plan) -> HashMap<[String; 3], &Value> {
    let name = |kind| match kind {
        PhaseKind::Decode { .. } => "decode".to_string(),
        PhaseKind::Prefill { tokens } => format!("prefill_{tokens}"),
    };
    let steps = plan.phases.iter().flat_map(|p| p.steps().map(move |s| (name(p.kind), s)));
    steps.flat_map(|(p, s)| s.outputs.iter().map(move |v| ([p.clone(), s.name.clone(), v.name.clone()], v))).collect()
}

/// Holds the lines of an emitted program against its plan: every value of decode and of one prefill, each in every layer, with its shape and
/// where it lies.
fn compare(out: &str, plan: &Plan) {
    let expected = expected(plan);
    let mut seen: HashMap<[String; 3], u32> = HashMap::new();
    for line in out.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let key = ["phase", "step", "output"].map(|key| line[key].as_str().unwrap().to_string());
        let value = expected.get(&key).unwrap_or_else(|| panic!("the plan has no {key:?}"));
        assert_eq!(line["shape"], serde_json::to_value(&value.spec.shape).unwrap(), "{line}");
        let found = bitnetc_ttnn::spec::memory_config(line["memory_config"].as_str().unwrap()).unwrap();
        assert_eq!(found, value.spec.memory, "{line}");
        // The program prefills before it captures decode, whose results a plan's prefill finds in DRAM.
        let elsewhere = line["phase"] != "decode" && value.spec.memory.memory() == Memory::Dram;
        assert!(elsewhere || value.address == line["address"].as_u64(), "{value:?}: {line}");
        *seen.entry(key).or_default() += 1;
    }
    for phase in &plan.phases[..2] {
        for (times, steps) in [(1, &phase.prologue), (plan.model.layers, &phase.layer), (1, &phase.epilogue)] {
            for (step, value) in steps.iter().flat_map(|s| s.outputs.iter().map(move |v| (&s.name, &v.name))) {
                let found: u32 = seen.iter().filter(|(k, _)| k[1] == *step && k[2] == *value).map(|(_, n)| n).sum();
                assert!(found >= times, "{step} {value}: {found} of {times} in {}", phase.kind);
            }
        }
    }
}

#[test]
fn the_emitted_program_runs_and_says_what_the_plan_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (plan, program, weights) = (path("plan.ron"), path("program.py"), path("weights.bin"));
    done(&["plan", "tiny-shakespeare", "--batch", "2", "-o", &plan]);
    done(&["emit", &plan, "--python", "-o", &program]);
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("graphs/tiny-shakespeare");
    done(&["pack", &plan, "--weights", checkpoint.to_str().unwrap(), "-o", &weights]);
    let out = done(&["ttnn", "python", "--target", "n150", &program, "--packed", &weights, "--json"]);
    compare(&out, &format::read(plan.as_ref()).unwrap());

    // The same weights as files of TT-NN's, which it loads by itself.
    let folder_of_weights = path("weights");
    done(&["pack", &plan, "--weights", checkpoint.to_str().unwrap(), "--tensorbin", &folder_of_weights]);
    let out = done(&["ttnn", "python", "--target", "n150", &program, "--tensorbin", &folder_of_weights, "--json"]);
    compare(&out, &format::read(plan.as_ref()).unwrap());
    let table = path("weights/embedded.table.tensorbin");
    let bytes = std::fs::read(&table).unwrap();
    std::fs::write(&table, &bytes[..bytes.len() - 64]).unwrap();
    let out = bitnetc(&["ttnn", "python", "--target", "n150", &program, "--tensorbin", &folder_of_weights]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("weight embedded.table of layer 0 is damaged"));

    // Reading logits and sampling them, with a prompt for each user; and a card of another kind.
    let sampled = ["--prompt", "1,2", "--prompt", "3", "--temperature", "1", "--steps", "2"];
    let texts = done(&[&["ttnn", "python", &program, "--packed", &weights], &sampled[..]].concat());
    assert_eq!(texts.lines().map(|line| line.split(':').next().unwrap()).collect::<Vec<_>>(), ["user 0", "user 1"]);
    let out = bitnetc(&["ttnn", "python", "--target", "p150", &program, "--packed", &weights]);
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(error.contains("the plan is for chip WORMHOLE_B0, but this is BLACKHOLE"), "{error}");

    // Weights packed for another plan of the same model, and weights cut short.
    let (other, wrong) = (path("other.ron"), path("wrong.bin"));
    done(&["plan", "tiny-shakespeare", "--set", "down=bfp8/HiFi2", "--proofs", "none", "-o", &other]);
    done(&["pack", &other, "--weights", checkpoint.to_str().unwrap(), "-o", &wrong]);
    let refusal = |weights: &str| {
        let out = bitnetc(&["ttnn", "python", &program, "--packed", weights]);
        assert_eq!(out.status.code(), Some(1));
        String::from_utf8(out.stderr).unwrap()
    };
    assert!(refusal(&wrong).contains("made for another plan"));
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&wrong, &bytes[..bytes.len() - 100]).unwrap();
    assert!(refusal(&wrong).contains("cut short or damaged"));
    assert!(refusal(&path("absent.bin")).contains("No such file"));
}

/// Renames what a plan names: every `nth` of its kind gets the `nth` of `names`.
fn rename(plan: &mut Plan, names: &[&str]) {
    let renamed = |list: Vec<String>| -> HashMap<String, String> {
        list.into_iter().zip(names).map(|(old, new)| (old, (*new).to_string())).collect()
    };
    let new = |map: &HashMap<String, String>, name: &mut String| {
        if let Some(new) = map.get(name) {
            name.clone_from(new);
        }
    };
    // Weights and buffers share a name space.
    let persistent = renamed(plan.weights.iter().map(|w| w.name.clone()).collect());
    plan.weights.iter_mut().for_each(|w| new(&persistent, &mut w.name));
    let buffers: HashMap<String, String> =
        plan.buffers.iter().map(|b| (b.name.clone(), format!("{}\"'\\\n\"\"\"", b.name))).collect();
    plan.buffers.iter_mut().for_each(|b| new(&buffers, &mut b.name));
    for phase in &mut plan.phases {
        let values = renamed(phase.steps().flat_map(|s| s.outputs.iter().map(|v| v.name.clone())).collect());
        let steps = renamed(phase.steps().map(|s| s.name.clone()).collect());
        for step in phase.prologue.iter_mut().chain(&mut phase.layer).chain(&mut phase.epilogue) {
            new(&steps, &mut step.name);
            step.note = "a note\nprint('injected')\r\nprint('injected')".into();
            step.outputs.iter_mut().for_each(|v| new(&values, &mut v.name));
            for operand in step.op.operands_mut() {
                match operand {
                    Ref::Value(name) => new(&values, name),
                    Ref::Weight(name) => new(&persistent, name),
                    Ref::Buffer(name) => new(&buffers, name),
                }
            }
        }
        phase.results.iter_mut().for_each(|name| new(&values, name));
        if let Some(trace) = &mut phase.trace {
            trace.inputs.iter_mut().chain(&mut trace.feedback).for_each(|name| new(&buffers, name));
        }
    }
}

/// Names are text: whatever they say, the program makes the plan's calls and no other. The head is ternary, so that a scale of the whole model
/// takes part.
#[test]
fn names_of_any_kind_make_a_program_that_does_the_same() {
    const NAMES: [&str; 16] = [
        "layer",
        "ttnn",
        "np",
        "in",
        "a.b",
        "a_b",
        "show",
        "w_x",
        "x",
        "range",
        "é ☃",
        "0",
        "\"\"\"\nprint('injected')\n\"\"\"",
        "\\",
        "#{}%",
        "float",
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (plan, program) = (path("plan.ron"), path("program.py"));
    done(&["plan", "tiny-shakespeare", "--batch", "2", "-o", &plan]);

    let mut changed = format::read(plan.as_ref()).unwrap();
    changed.model.name = "t\"\"\"\nprint('injected')\n\"\"\"".into();
    rename(&mut changed, &NAMES);
    std::fs::write(&plan, format::encode(plan.as_ref(), &changed).unwrap()).unwrap();

    done(&["check", &plan, "--ttnn"]);
    done(&["emit", &plan, "--python", "-o", &program]);
    // A line that is no JSON, such as a print of somebody's, is told by the comparison.
    compare(&done(&["ttnn", "python", &program, "--random-weights", "--json"]), &changed);
}
