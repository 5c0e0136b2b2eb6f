//! What selection is told, and how it fails.

use std::collections::HashMap;

use bitnetc_plan::{Card, DType};

use crate::graph::NodeId;
use crate::passes::precision::Decision;
use crate::schedule::HeadCores;

/// What selection needs to know besides the graph.
#[derive(Debug, Clone)]
pub struct Setting<'a> {
    /// Precision of each node.
    pub precision: &'a HashMap<NodeId, Decision>,
    /// Data type of the KV cache.
    pub cache: DType,
    /// Users of the decode phase: the rows of the page table in both phases.
    pub batch: u32,
    /// Tokens of a KV cache block.
    pub block: u32,
    /// The card: its DRAM banks hold the matmul weights, its cores the rotary matrix.
    pub card: &'a Card,
    /// Chunks of the LM head, once decode has decided.
    pub lm_head_chunks: Option<u32>,
    /// Where decode keeps q and k.
    pub heads: HeadCores,
}

/// Why a graph has no schedule.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SelectError {
    /// TT-NN has no call for it.
    #[error("{node}: {what}; {hint}")]
    Unsupported {
        /// The operation.
        node: String,
        /// What cannot be had.
        what: String,
        /// What would be right.
        hint: String,
    },
    /// Two tensors that live as long as the plan have one name: a defect of bitnetc.
    #[error("two weights or buffers are named `{name}`")]
    Clash {
        /// The name.
        name: String,
    },
}
