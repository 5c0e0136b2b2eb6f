//! What TT-NN's graph capture would record of one call: its tensors, its device operations, their circular buffers and allocations.

use bitnetc_plan::{Card, TensorSpec};
use bitnetc_ttnn::device_ops;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::unrolled::{Call, Unrolled};
use super::super::{dtype, layout, memory, memory_layout};
use super::{Ids, buffer_type, memory_config, shape};

/// A node of a captured graph.
#[derive(Serialize)]
struct Node {
    counter: usize,
    node_type: &'static str,
    params: Value,
    connections: Vec<usize>,
    arguments: [(); 0],
    input_tensors: Vec<usize>,
    stacking_level: u32,
}

/// The nodes so far.
#[derive(Default)]
struct Graph(Vec<Node>);

impl Graph {
    fn add(&mut self, node_type: &'static str, stacking_level: u32, params: Value) -> usize {
        let counter = self.0.len();
        let (connections, input_tensors) = (Vec::new(), Vec::new());
        self.0.push(Node { counter, node_type, params, connections, arguments: [], input_tensors, stacking_level });
        counter
    }

    fn connect(&mut self, from: usize, to: usize) {
        self.0[from].connections.push(to);
    }
}

/// The captured graph of a call, as JSON.
pub fn of(card: &Card, ids: &Ids, call: &Call, unrolled: &Unrolled) -> String {
    let mut graph = Graph::default();
    let start = graph.add("capture_start", 0, json!({}));
    let name = format!("ttnn.{}", call.step.op.call());
    let function = graph.add("function_start", 1, json!({ "name": name, "inputs": call.inputs.len().to_string() }));
    graph.connect(start, function);
    let tensor = |graph: &mut Graph, at: usize| {
        let found = &unrolled.tensors[at];
        graph.add("tensor", 2, tensor_params(ids.tensor(at), found.spec, found.address))
    };
    for (_, at) in &call.inputs {
        let node = tensor(&mut graph, *at);
        graph.connect(node, function);
        graph.0[function].input_tensors.push(node);
    }
    let operands: Vec<&TensorSpec> = call.inputs.iter().map(|(_, at)| unrolled.tensors[*at].spec).collect();
    let programs = call.memory.outcome.as_ref().map_or(0, |outcome| outcome.programs);
    let names = device_ops::names(&call.step.op, &operands, programs);
    for (number, name) in names.iter().enumerate() {
        let device_op =
            graph.add("function_start", 2, json!({ "name": name, "inputs": call.inputs.len().to_string() }));
        graph.connect(function, device_op);
        if number + 1 == names.len() {
            let made = call.outputs.iter().map(|at| &unrolled.tensors[*at]);
            for made in
                made.filter(|tensor| tensor.made.is_some_and(|made| unrolled.calls[made].step.name == call.step.name))
            {
                graph.add("buffer_allocate", 3, buffer_params(card, made.spec, made.address, made.bytes));
            }
            circular_buffers(&mut graph, card, call);
        }
        let end = graph.add("function_end", 2, json!({ "name": name }));
        graph.connect(device_op, end);
    }
    let end = graph.add("function_end", 1, json!({ "name": name }));
    graph.connect(function, end);
    for at in &call.outputs {
        let node = tensor(&mut graph, *at);
        graph.connect(end, node);
    }
    let last = graph.add("capture_end", 0, json!({}));
    graph.connect(end, last);
    serde_json::to_string(&graph.0).unwrap_or_default()
}

/// One buffer that stands for all of the call's: as many bytes as the busiest core needs.
fn circular_buffers(graph: &mut Graph, card: &Card, call: &Call) {
    let size = call.step.l1.circular_buffers;
    if size > 0 {
        let cores = format!("{{[0-0 - {}-{}]}}", card.grid.0.saturating_sub(1), card.grid.1.saturating_sub(1));
        let params = json!({
            "address": card.l1.base, "size": size, "core_range_set": cores, "globally_allocated": "0", "device_id": 0
        });
        graph.add("circular_buffer_allocate", 3, params);
    }
    graph.add("circular_buffer_deallocate_all", 3, json!({ "device_id": 0 }));
}

fn tensor_params(id: usize, spec: &TensorSpec, address: u64) -> Value {
    json!({
        "tensor_id": id.to_string(),
        "shape": shape(spec),
        "dtype": format!("DataType::{}", dtype(spec.dtype)),
        "layout": format!("Layout::{}", layout(spec.layout)),
        "memory_config": memory_config(&spec.memory),
        "buffer_type": buffer_type(spec.memory.memory()),
        "address": address,
        "device_id": 0,
    })
}

fn buffer_params(card: &Card, spec: &TensorSpec, address: u64, bytes: u64) -> Value {
    let cores = spec.memory.l1_cores().map_or(card.cores(), bitnetc_plan::Cores::len);
    json!({
        "type": memory(spec.memory.memory()),
        "buffer_type": buffer_type(spec.memory.memory()),
        "layout": memory_layout(&spec.memory),
        "address": address,
        "max_size_per_bank": bytes,
        "size": bytes * u64::from(cores),
        "num_cores": cores,
        "device_id": 0,
    })
}
