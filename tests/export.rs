//! Exports, loaded by the tools that they are for: the backend of ttnn-visualizer, tt-perf-report, Graphviz's grammar, and the classes of
//! Model Explorer. `./do test` installs them into `.bitnetc/tools`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use bitnetc_plan::{Phase, Plan, format};
use common::{refused, stdout};
use serde_json::Value;

/// A plan of the small model, and a folder for its exports.
struct Exported {
    folder: tempfile::TempDir,
    plan: Plan,
}

impl Exported {
    fn new(more: &[&str]) -> Exported {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.ron");
        stdout(&[&["plan", "tiny-shakespeare", "-o", path.to_str().unwrap()], more].concat());
        let plan = format::read_bytes(&std::fs::read(path).unwrap()).unwrap();
        Exported { folder, plan }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn export(&self, args: &[&str]) {
        stdout(&[&["export", &self.path("plan.ron")], args].concat());
    }

    /// Programs of the plan's first phase.
    fn programs(&self) -> usize {
        let text = stdout(&["inspect", &self.path("plan.ron"), "--json"]);
        let inspected: Value = serde_json::from_str(&text).unwrap();
        inspected["phases"][0]["programs"].as_u64().unwrap() as usize
    }
}

/// Calls of a phase over all layers.
fn calls(plan: &Plan, phase: &Phase) -> usize {
    phase.prologue.len() + plan.model.layers as usize * phase.layer.len() + phase.epilogue.len()
}

/// Microseconds of a phase over all layers.
fn microseconds(plan: &Plan, phase: &Phase) -> f64 {
    let of = |steps: &[bitnetc_plan::Step]| steps.iter().map(|step| step.cost.us).sum::<f64>();
    of(&phase.prologue) + f64::from(plan.model.layers) * of(&phase.layer) + of(&phase.epilogue)
}

/// What a tool found in a file; `None`, with a line that says so, where the tools are not installed.
fn found(what: &str, path: &str) -> Option<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python: PathBuf = root.join(".bitnetc/tools/bin/python");
    if !python.exists() {
        eprintln!("skipped: {} is not there; `./do test` installs it", python.display());
        return None;
    }
    let out = Command::new(python).arg(root.join("tests/export/check.py")).args([what, path]).output().unwrap();
    let [said, errors] = [out.stdout, out.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(out.status.success(), "{what}: {said}{errors}");
    Some(serde_json::from_str(said.lines().last().unwrap()).unwrap())
}

#[test]
fn the_visualizer_loads_every_call_with_its_tensors() {
    let exported = Exported::new(&["--target", "p150", "--prefill", "32"]);
    let folder = exported.path("a folder/report");
    exported.export(&["--visualizer", &folder]);
    // A second time over the first.
    exported.export(&["--visualizer", &folder]);
    let Some(found) = found("visualizer", &folder) else { return };
    let (plan, decode) = (&exported.plan, &exported.plan.phases[0]);
    assert_eq!(found["operations"], calls(plan, decode));
    assert!((found["duration_us"].as_f64().unwrap() - microseconds(plan, decode)).abs() < 0.01);
    let layers = plan.model.layers as usize;
    let per_layer = |per_layer: bool| if per_layer { layers } else { 1 };
    let constants = plan.weights.iter().map(|w| per_layer(w.per_layer)).sum::<usize>()
        + plan.buffers.iter().map(|b| per_layer(b.per_layer)).sum::<usize>();
    let made = |steps: &[bitnetc_plan::Step]| steps.iter().map(|step| step.outputs.len()).sum::<usize>();
    let values = made(&decode.prologue) + layers * made(&decode.layer) + made(&decode.epilogue);
    assert_eq!(found["tensors"], constants + values);
    assert_eq!(found["unplaced"], 0);
    assert!(found["sharded"].as_u64().unwrap() > 0);
    let freed = |steps: &[bitnetc_plan::Step]| steps.iter().filter(|step| step.op.freed().is_some()).count();
    let freed = freed(&decode.prologue) + layers * freed(&decode.layer) + freed(&decode.epilogue);
    assert_eq!(found["deallocated"], freed);
    let device = &found["device"];
    assert_eq!(
        (&device["num_compute_cores"], &device["cb_limit"]),
        (&plan.card.cores().into(), &plan.card.l1_bytes().into())
    );
    // One of the longest calls, as the page of an operation shows it.
    let busiest = &found["busiest"];
    let mut arguments = busiest["arguments"].as_array().unwrap().iter();
    let step = arguments.find(|argument| argument["name"] == "step").unwrap()["value"].as_str().unwrap();
    let longest = decode.steps().find(|s| s.name == step).unwrap();
    assert!(decode.steps().all(|s| s.cost.us <= longest.cost.us), "{step}");
    assert_eq!(busiest["name"], format!("ttnn.{}", longest.op.call()));
    let nodes = busiest["device_operations"].as_array().unwrap();
    let buffers = nodes.iter().find(|node| node["node_type"] == "circular_buffer_allocate").unwrap();
    assert_eq!(buffers["params"]["size"], longest.l1.circular_buffers);
    assert_eq!(buffers["params"]["address"], plan.card.l1.base);
    let output = &busiest["outputs"][0];
    assert_eq!(output["address"].as_u64(), longest.outputs[0].address);
    assert_eq!(busiest["inputs"].as_array().unwrap().len(), longest.op.operands().len());
    assert!(found["buffers"].as_u64().unwrap() > (constants * calls(plan, decode)) as u64);
    assert!(found["config"]["report_name"].as_str().unwrap().contains("predicted by bitnetc"), "{}", found["config"]);
    assert_eq!(found["metadata"]["durations"], "predicted");
    assert_eq!(found["errors"], serde_json::json!([]));
}

#[test]
fn tt_perf_report_reads_a_row_for_each_program() {
    let exported = Exported::new(&["--prefill", "none", "--policy", "exact"]);
    let file = exported.path("perf.csv");
    exported.export(&["--perf-csv", &file]);
    // The same predictions come back as the measurements of `calibrate`.
    let (plan, at) = (exported.path("plan.ron"), exported.plan.options.priced_at.to_string());
    let text = stdout(&["calibrate", "--profile", &file, "--plan", &plan, "--at-position", &at]);
    for step in exported.plan.phases[0].steps().filter(|step| step.op.launches()) {
        assert!(text.contains(&step.name), "{}: {text}", step.name);
    }
    assert!(text.contains(", +0.0 %\n") || text.contains(", -0.0 %\n"), "{text}");
    let Some(found) = found("perf", &file) else { return };
    let rows = found["rows"].as_array().unwrap();
    assert_eq!(rows.len(), exported.programs());
    let cell = |row: &Value, column: &str| row[column].as_str().unwrap().parse::<f64>().unwrap_or(0.0);
    let sum: f64 = rows.iter().map(|row| cell(row, "Device Time") + cell(row, "Op-to-Op Gap")).sum();
    // The gap before the first program is not counted, and times are in whole nanoseconds.
    let predicted = microseconds(&exported.plan, &exported.plan.phases[0]);
    let first = exported.plan.phases[0].prologue[0].cost.us;
    assert!(sum <= predicted + 0.1 && sum >= predicted - first, "{sum} of {predicted}");
    let said = found["said"].as_str().unwrap();
    assert!(said.contains("predicted by bitnetc") && !said.contains("Unclassified operation 'Matmul"), "{said}");
    assert!(said.contains("Worker cores: 64") && said.contains("Architecture: wormhole"), "{said}");
    let matmuls: Vec<&Value> = rows.iter().filter(|row| row["Bound Analysis"] == "full").collect();
    assert!(!matmuls.is_empty());
    for row in matmuls {
        assert!(cell(row, "DRAM %") < 100.0 && cell(row, "FLOPs %") < 100.0, "{row}");
        assert_eq!(row["DRAM Sharded"], "True");
    }
}

#[test]
fn graphs_have_the_calls_of_one_layer() {
    let exported = Exported::new(&["--prefill", "64"]);
    let [dot, explorer] = ["layer.dot", "layer.json"].map(|name| exported.path(name));
    exported.export(&["--dot", &dot, "--model-explorer", &explorer]);
    let (Some(dot), Some(explorer)) = (found("dot", &dot), found("explorer", &explorer)) else { return };
    let decode = &exported.plan.phases[0];
    let graph = &explorer["graphs"]["decode"];
    assert_eq!((&dot["nodes"], &dot["edges"]), (&graph["nodes"], &graph["edges"]));
    assert_eq!(dot["clusters"], 3);
    let edges: usize = decode.steps().filter(|s| s.op.freed().is_none()).map(|s| s.op.operands().len()).sum();
    assert_eq!(graph["edges"], edges);
    let layer = format!("layer ({} times)", exported.plan.model.layers);
    assert!(graph["namespaces"].as_array().unwrap().contains(&layer.into()), "{graph}");
}

#[test]
fn each_phase_can_be_chosen_and_refusals_leave_nothing() {
    let exported = Exported::new(&["--prefill", "32,64"]);
    let plan = exported.path("plan.ron");
    let text = stdout(&["export", &plan, "--phase", "prefill", "--perf-csv", "-"]);
    let posts: Vec<&str> = text.lines().filter(|line| line.contains(",signpost,")).collect();
    assert!(posts.len() == 2 && posts[1].contains("prefill 64. All times are predicted"), "{posts:?}");
    let said = refused(&["export", &plan, "--phase", "prefill-128", "--dot", "-"], 1);
    assert!(said.contains("it has decode, prefill-32, prefill-64"), "{said}");
    assert!(refused(&["export", &plan], 2).contains("--visualizer <DIR>"));
    for [flag, path] in [["--dot", "/dev/full"], ["--perf-csv", "/nowhere/x.csv"], ["--model-explorer", "/tmp"]] {
        assert!(refused(&["export", &plan, flag, path], 1).contains("cannot write"), "{flag}");
    }
    assert!(refused(&["export", &plan, "--visualizer", &plan], 1).contains("cannot make"));
    let broken = exported.path("broken.ron");
    std::fs::write(&broken, std::fs::read_to_string(&plan).unwrap().replacen("LoFi", "HiFi9", 1)).unwrap();
    let said = refused(&["export", &broken, "--dot", &exported.path("no.dot")], 1);
    assert!(said.contains("cannot use") && !Path::new(&exported.path("no.dot")).exists(), "{said}");
}
