//! The record that TT-NN keeps of calls it runs: allocations with addresses, circular buffers, the device programs chosen.
//!
//! There are two modes, because neither reports everything:
//! - [`RunMode::Normal`] allocates for real and runs every check: out of memory, circular buffers that run into tensors. It reports legacy
//!   circular buffers with their addresses, and no dataflow buffers.
//! - [`RunMode::NoDispatch`] allocates nothing (every address is 0, memory never runs out) and reports the sizes of circular buffers,
//!   dataflow buffers and scratchpads.

use std::collections::HashMap;

use bitnetc_plan::Cores;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::error::TtnnError;
use crate::python::Interpreter;
use crate::spec;

/// How a captured call is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunMode {
    /// As without capture.
    Normal,
    /// Checked and sized, but neither allocated nor dispatched.
    NoDispatch,
}

impl RunMode {
    const fn name(self) -> &'static str {
        match self {
            RunMode::Normal => "NORMAL",
            RunMode::NoDispatch => "NO_DISPATCH",
        }
    }
}

/// The memory a buffer was allocated in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BufferKind {
    /// Worker cores' L1.
    L1,
    /// DRAM banks.
    Dram,
    /// Anything else TT-NN has (`L1_SMALL`, `TRACE`, `SYSTEM_MEMORY`).
    Other,
}

/// One allocation of a tensor's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// Where.
    pub kind: BufferKind,
    /// Same on every core or bank; 0 without dispatch.
    pub address: u64,
    /// Bytes on the fullest core or bank: what the lock-step allocator takes from every one.
    pub bytes_per_bank: u64,
}

/// One circular or dataflow buffer, or scratchpad, of a device program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramBuffer {
    /// First byte on each core; 0 without dispatch.
    pub address: u64,
    /// Bytes per core.
    pub size: u64,
    /// The cores that have it; `None` when TT-NN's text cannot be read.
    pub cores: Option<Cores>,
    /// True when it lies in a tensor's buffer and takes no memory of its own.
    pub borrowed: bool,
}

/// One recorded event, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A function of TT-NN starts: a Python-level op, a device operation, or an internal helper.
    FunctionStart {
        /// `ttnn.rms_norm`, `LayerNormDeviceOperation`, ...
        name: String,
        /// For a device operation the chosen factory: `ttnn::prim::LayerNormShardedProgramFactory`.
        factory: Option<String>,
    },
    /// Memory is taken.
    BufferAllocate(Allocation),
    /// A legacy circular buffer.
    CircularBuffer(ProgramBuffer),
    /// A dataflow buffer. Reported without dispatch only.
    DataflowBuffer(ProgramBuffer),
    /// A scratchpad. Reported without dispatch only.
    Scratchpad(ProgramBuffer),
    /// A program is enqueued.
    ProgramExecution,
    /// Any other event, by its name.
    Other(String),
}

/// The record of a capture.
#[derive(Debug, Clone)]
pub struct Graph {
    /// Events in order.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// Device operations that ran: their names, in order.
    pub fn device_operations(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().filter_map(|node| match node {
            Node::FunctionStart { name, factory } => factory.as_ref().map(|_| name.as_str()),
            Node::BufferAllocate(_) | Node::CircularBuffer(_) | Node::DataflowBuffer(_) | Node::Scratchpad(_) => None,
            Node::ProgramExecution | Node::Other(_) => None,
        })
    }

    /// The buffers that were allocated in L1 and DRAM, in order.
    pub fn allocations(&self) -> impl Iterator<Item = &Allocation> {
        self.nodes.iter().filter_map(|node| match node {
            Node::BufferAllocate(buffer) => matches!(buffer.kind, BufferKind::L1 | BufferKind::Dram).then_some(buffer),
            Node::FunctionStart { .. } | Node::CircularBuffer(_) | Node::DataflowBuffer(_) => None,
            Node::Scratchpad(_) | Node::ProgramExecution | Node::Other(_) => None,
        })
    }

    /// Bytes of circular, dataflow and scratchpad buffers on the core that has most, over the programs of a call: they share no memory
    /// with tensors, and a program's end frees them.
    pub fn busiest_core(&self) -> u64 {
        let mut cores: HashMap<(u32, u32), u64> = HashMap::new();
        let (mut everywhere, mut most) = (0, 0);
        for node in &self.nodes {
            match node {
                Node::CircularBuffer(buffer) | Node::DataflowBuffer(buffer) | Node::Scratchpad(buffer) => {
                    // A borrowed buffer lies in a tensor's memory.
                    if buffer.borrowed {
                        continue;
                    }
                    match &buffer.cores {
                        Some(set) => set.iter().for_each(|core| *cores.entry(core).or_default() += buffer.size),
                        None => everywhere += buffer.size,
                    }
                    most = most.max(everywhere + cores.values().copied().max().unwrap_or(0));
                }
                Node::Other(name) if name == "circular_buffer_deallocate_all" => {
                    cores.clear();
                    everywhere = 0;
                }
                Node::FunctionStart { .. } | Node::BufferAllocate(_) | Node::ProgramExecution | Node::Other(_) => {}
            }
        }
        most
    }
}

/// Starts a capture.
pub(crate) fn begin(interpreter: &Interpreter, mode: RunMode) -> Result<(), TtnnError> {
    let graph = interpreter.ttnn().attribute("graph")?;
    let mode = graph.attribute("RunMode")?.attribute(mode.name())?;
    graph.call_method("begin_graph_capture", &[mode.into()], &[])?;
    Ok(())
}

/// Ends a capture and reads its record.
pub(crate) fn end(interpreter: &Interpreter) -> Result<Graph, TtnnError> {
    let module = interpreter.ttnn().attribute("graph")?;
    let record = module.call_method("end_graph_capture", &[], &[])?;
    Ok(Graph { nodes: parse(&interpreter.to_json(&record)?)? })
}

#[derive(Deserialize)]
struct RawNode {
    node_type: String,
    #[serde(default)]
    params: Option<serde_json::Map<String, Json>>,
}

impl RawNode {
    fn param(&self, name: &str) -> Option<&Json> {
        self.params.as_ref()?.get(name)
    }

    fn text(&self, name: &str) -> String {
        self.param(name).and_then(Json::as_str).unwrap_or_default().to_owned()
    }

    /// TT-NN writes numbers as numbers or as text, by no rule that shows.
    fn number(&self, name: &str) -> u64 {
        match self.param(name) {
            Some(Json::String(text)) => text.parse().unwrap_or(0),
            Some(value) => value.as_u64().unwrap_or(0),
            None => 0,
        }
    }

    fn allocation(&self) -> Allocation {
        let kind = match self.text("type").as_str() {
            "L1" => BufferKind::L1,
            "DRAM" => BufferKind::Dram,
            _ => BufferKind::Other,
        };
        Allocation { kind, address: self.number("address"), bytes_per_bank: self.number("max_size_per_bank") }
    }

    fn program_buffer(&self, borrowed: &str) -> ProgramBuffer {
        ProgramBuffer {
            address: self.number("address"),
            size: self.number("size"),
            cores: spec::cores(&self.text("core_range_set")),
            borrowed: self.number(borrowed) != 0,
        }
    }

    fn into_node(self) -> Node {
        match self.node_type.as_str() {
            "function_start" => Node::FunctionStart {
                name: self.text("name"),
                factory: self.param("program_factory_type").and_then(Json::as_str).map(str::to_owned),
            },
            "buffer_allocate" => Node::BufferAllocate(self.allocation()),
            "circular_buffer_allocate" => Node::CircularBuffer(self.program_buffer("globally_allocated")),
            "dataflow_buffer_allocate" => Node::DataflowBuffer(self.program_buffer("borrows_memory")),
            "scratchpad_allocate" => Node::Scratchpad(self.program_buffer("borrows_memory")),
            "program_execution" => Node::ProgramExecution,
            _ => Node::Other(self.node_type),
        }
    }
}

fn parse(json: &str) -> Result<Vec<Node>, TtnnError> {
    let raw: Vec<RawNode> = serde_json::from_str(json)
        .map_err(|error| TtnnError::Unexpected { what: "a captured graph".into(), answer: error.to_string() })?;
    Ok(raw.into_iter().map(RawNode::into_node).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_with_numbers_as_numbers_or_text() {
        let json = r#"[
          {"node_type":"capture_start","params":null,"arguments":[],"connections":[1],"counter":0},
          {"node_type":"function_start","params":{"name":"AddDeviceOperation","program_cache_hit":true,"program_factory_type":"F"},"arguments":["a"]},
          {"node_type":"buffer_allocate","params":{"address":1458176,"type":"L1","max_size_per_bank":20480,"page_size":2048,"size":163840}},
          {"node_type":"circular_buffer_allocate","params":{"address":105824,"core_range_set":"{[0-0 - 7-3]}","globally_allocated":"0","size":8192}},
          {"node_type":"circular_buffer_allocate","params":{"address":1400000,"core_range_set":"{[0-0 - 7-3]}","globally_allocated":"1","size":64}},
          {"node_type":"dataflow_buffer_allocate","params":{"address":0,"core_range_set":"{[0-0 - 1-7]}","borrows_memory":"1","size":"20480"}},
          {"node_type":"function_end","params":{"name":"AddDeviceOperation"},"duration_ns":7}
        ]"#;
        let graph = Graph { nodes: parse(json).unwrap() };
        assert_eq!(graph.device_operations().collect::<Vec<_>>(), ["AddDeviceOperation"]);
        // The second lies in a tensor, the third in another one.
        assert_eq!(graph.busiest_core(), 8192);
        assert_eq!(graph.nodes[0], Node::Other("capture_start".into()));
        let Node::BufferAllocate(buffer) = &graph.nodes[2] else { panic!("{:?}", graph.nodes[2]) };
        assert_eq!((buffer.kind, buffer.address, buffer.bytes_per_bank), (BufferKind::L1, 1_458_176, 20_480));
        let Node::DataflowBuffer(buffer) = &graph.nodes[5] else { panic!("{:?}", graph.nodes[5]) };
        assert_eq!((buffer.size, buffer.borrowed), (20_480, true));
        assert_eq!(buffer.cores, Some(Cores::rectangle(0, 0, 2, 8)));
        assert_eq!(graph.nodes[6], Node::Other("function_end".into()));
    }

    #[test]
    fn a_record_that_is_none_is_an_error() {
        assert!(matches!(parse("{}"), Err(TtnnError::Unexpected { .. })));
    }
}
