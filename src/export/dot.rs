//! A phase as a graph of Graphviz.

use std::fmt::Write as _;

use bitnetc_plan::walk::Walk;
use bitnetc_plan::{Phase, Plan, Section, Step};

use super::graph::{self, Content, Node};
use super::predicted;
use crate::render::units::{bytes, time};

/// Everything in one graph: a cluster for each section of each phase.
pub fn text(plan: &Plan, phases: &[(&Phase, &Walk)]) -> String {
    let mut text = String::from("digraph plan {\n  rankdir=TB;\n  node [fontname=\"sans-serif\", fontsize=11];\n");
    text.push_str("  edge [fontname=\"sans-serif\", fontsize=9];\n");
    let titles: Vec<String> = phases.iter().map(|(phase, _)| predicted(plan, phase)).collect();
    let _ = writeln!(text, "  label={};\n  labelloc=t;", quoted(&titles.join("\n")));
    for (phase, _) in phases {
        one(&mut text, plan, phase);
    }
    text.push_str("}\n");
    text
}

fn one(text: &mut String, plan: &Plan, phase: &Phase) {
    let nodes = graph::of(plan, phase);
    let id = |node: &Node| quoted(&format!("{} {}", phase.kind, node.id()));
    for section in Section::ALL {
        let name = format!("cluster {} {section:?}", phase.kind);
        let _ = writeln!(text, "  subgraph {} {{", quoted(&name));
        let _ = writeln!(
            text,
            "    label={};",
            quoted(&format!("{}: {}", phase.kind, graph::title(section, plan.model.layers)))
        );
        for node in nodes.iter().filter(|node| node.section == section) {
            let _ = writeln!(text, "    {} [{}];", id(node), look(node));
        }
        text.push_str("  }\n");
    }
    for node in &nodes {
        for edge in &node.inputs {
            let label = quoted(&format!("{}\n{}", edge.name, edge.spec));
            let _ = writeln!(text, "  {} -> {} [label={label}];", id(&nodes[edge.from]), id(node));
        }
    }
}

fn look(node: &Node) -> String {
    let (label, style) = match node.content {
        Content::Step(step, _) => (step_label(step), "shape=box, style=rounded"),
        Content::Weight(weight) => (format!("{}\n{}", weight.name, weight.spec), "shape=note, color=gray50"),
        Content::Buffer(buffer) => (format!("{}\n{}", buffer.name, buffer.spec), "shape=cylinder, color=gray50"),
    };
    format!("label={}, {style}", quoted(&label))
}

fn step_label(step: &Step) -> String {
    let mut label = format!("{}\nttnn.{}", step.name, step.op.call());
    if step.op.launches() {
        let compute = step.op.compute().map_or_else(String::new, |compute| format!("{}, ", compute.fidelity));
        let _ = write!(label, "\n{compute}predicted {}", time(step.cost.us));
        let _ = write!(label, "\nL1 {}", bytes(step.l1.high_water()));
    }
    label
}

/// A string of DOT: quotes and backslashes are escaped, and a line's end is `\n`.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
