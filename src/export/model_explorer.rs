//! A phase as a graph of Google's Model Explorer: the JSON of its `GraphCollection`, as `model_explorer.graph_builder` declares it.

use bitnetc_plan::walk::Walk;
use bitnetc_plan::{Phase, Plan, Section, TensorSpec};
use bitnetc_ttnn::lower::{Plain, lower};
use miette::IntoDiagnostic as _;
use serde::Serialize;

use super::graph::{self, Content, Node};
use super::{argument, predicted};
use crate::render::units::{bytes, time};

#[derive(Serialize)]
struct Collection {
    label: String,
    graphs: Vec<Graph>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Graph {
    id: String,
    nodes: Vec<GraphNode>,
    group_node_attributes: std::collections::BTreeMap<String, std::collections::BTreeMap<&'static str, String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GraphNode {
    id: String,
    label: String,
    namespace: String,
    attrs: Vec<KeyValue>,
    incoming_edges: Vec<IncomingEdge>,
    outputs_metadata: Vec<Metadata>,
    inputs_metadata: Vec<Metadata>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IncomingEdge {
    source_node_id: String,
    source_node_output_id: String,
    target_node_input_id: String,
}

#[derive(Serialize)]
struct Metadata {
    id: String,
    attrs: Vec<KeyValue>,
}

#[derive(Serialize)]
struct KeyValue {
    key: String,
    value: String,
}

fn pair(key: &str, value: impl ToString) -> KeyValue {
    KeyValue { key: key.into(), value: value.to_string() }
}

/// A collection with a graph for each phase.
///
/// # Errors
/// None that is known: every type here has a form in JSON.
pub fn text(plan: &Plan, phases: &[(&Phase, &Walk)]) -> miette::Result<String> {
    let graphs = phases.iter().map(|(phase, walk)| one(plan, phase, walk)).collect();
    let label = format!("{} on {}", plan.model.name, plan.card.name);
    serde_json::to_string_pretty(&Collection { label, graphs }).map(|text| text + "\n").into_diagnostic()
}

fn one(plan: &Plan, phase: &Phase, walk: &Walk) -> Graph {
    let nodes = graph::of(plan, phase);
    let nodes = nodes.iter().map(|node| graph_node(plan, &nodes, node, walk)).collect();
    let section_us = |section| phase.section(section).iter().map(|step| step.cost.us).sum::<f64>();
    let group = |section| {
        let attributes = [("predicted", time(section_us(section)))];
        (graph::title(section, plan.model.layers), attributes.into())
    };
    // The group without a name is the graph itself.
    let whole = [("times", predicted(plan, phase)), ("predicted", time(phase.cost.device_us))];
    let groups = Section::ALL.map(group).into_iter().chain([(String::new(), whole.into())]);
    Graph { id: phase.kind.to_string(), nodes, group_node_attributes: groups.collect() }
}

fn graph_node(plan: &Plan, nodes: &[Node], node: &Node, walk: &Walk) -> GraphNode {
    let section = graph::title(node.section, plan.model.layers);
    let (namespace, attrs, outputs_metadata) = match node.content {
        Content::Step(step, at) => {
            let mut attrs = vec![pair("call", format!("ttnn.{}", step.op.call()))];
            let statement = lower(step, &Plain);
            attrs.extend(statement.call.kwargs.iter().map(|(name, value)| pair(name, argument(value))));
            if step.op.launches() {
                let programs = walk.steps.get(at).and_then(|memory| memory.outcome.as_ref()).map_or(0, |o| o.programs);
                attrs.extend([
                    pair("predicted time", time(step.cost.us)),
                    pair("bound by", format!("{:?}", step.cost.bound).to_lowercase()),
                    pair("programs", programs),
                    pair("DRAM traffic", bytes(step.cost.dram_bytes)),
                    pair("L1 circular buffers", bytes(step.l1.circular_buffers)),
                    pair("L1 high-water", bytes(step.l1.high_water())),
                ]);
            }
            if !step.note.is_empty() {
                attrs.push(pair("note", &step.note));
            }
            let written = step.op.written().into_iter().filter_map(|tensor| {
                let edge = node.inputs.iter().find(|edge| edge.name == tensor.name())?;
                Some((edge.name, edge.spec, None))
            });
            let made = step.outputs.iter().map(|value| (value.name.as_str(), &value.spec, value.address));
            (section, attrs, tensors(written.chain(made)))
        }
        Content::Weight(weight) => {
            let of = tensors([(weight.name.as_str(), &weight.spec, weight.address)].into_iter());
            (format!("{section}/weights"), Vec::new(), of)
        }
        Content::Buffer(buffer) => {
            let of = tensors([(buffer.name.as_str(), &buffer.spec, buffer.address)].into_iter());
            (format!("{section}/buffers"), vec![pair("role", format!("{:?}", buffer.role))], of)
        }
    };
    let edges = node.inputs.iter().enumerate();
    let incoming_edges = edges.clone().map(|(at, edge)| IncomingEdge {
        source_node_id: nodes[edge.from].id(),
        source_node_output_id: edge.output.to_string(),
        target_node_input_id: at.to_string(),
    });
    let input = |(at, edge): (usize, &graph::Edge)| Metadata {
        id: at.to_string(),
        attrs: vec![pair("__tensor_tag", edge.argument), pair("name", edge.name)],
    };
    GraphNode {
        id: node.id(),
        label: node.name().into(),
        namespace,
        attrs,
        incoming_edges: incoming_edges.collect(),
        outputs_metadata,
        inputs_metadata: edges.map(input).collect(),
    }
}

fn tensors<'a>(tensors: impl Iterator<Item = (&'a str, &'a TensorSpec, Option<u64>)>) -> Vec<Metadata> {
    let one = |(at, (name, spec, address)): (usize, (&str, &TensorSpec, Option<u64>))| {
        let shape: Vec<String> = spec.shape.iter().map(u32::to_string).collect();
        let mut attrs = vec![
            pair("__tensor_tag", name),
            pair("tensor_shape", format!("{}[{}]", spec.dtype, shape.join(","))),
            pair("layout", format!("{:?}", spec.layout)),
            pair("memory", &spec.memory),
        ];
        attrs.extend(address.map(|address| pair("address", address)));
        Metadata { id: at.to_string(), attrs }
    };
    tensors.enumerate().map(one).collect()
}
