//! The inputs of the selection besides the graph, and its errors.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use bitnetc_plan::{Card, DType};

use crate::graph::NodeId;
use crate::passes::precision::Decision;
use crate::schedule::HeadCores;

/// The inputs of the selection besides the graph.
#[derive(Debug, Clone)]
pub struct Setting<'a> {
    /// Precision of each node.
    pub precision: &'a HashMap<NodeId, Decision>,
    /// Data type of the KV cache.
    pub cache: DType,
    /// Users of the decode phase, whose caches all phases share.
    pub batch: u32,
    /// Tokens of a KV cache block.
    pub block: u32,
    /// Tokens of the largest prefill phase, 0 when there is none.
    pub longest_prefill: u32,
    /// The card: its DRAM banks hold the matmul weights, its cores the rotary matrix.
    pub card: &'a Card,
    /// The numbers of chunks that the LM head may be cut into: one, once decode has decided, since all phases read the same weights.
    pub lm_head_chunks: RangeInclusive<u32>,
    /// The cores on which decode keeps queries and keys.
    pub heads: HeadCores,
    /// Whether decode draws tokens on the card.
    pub sample: bool,
    /// Whether projections of one tile of rows may be run by kernels of bitnetc's own.
    pub own_kernels: bool,
    /// Whether gate, up and their product are one such program, where their weights are in two bits or may be.
    pub gated: bool,
}

/// Why a graph has no schedule.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// TT-NN has no call for an operation as it stands.
    #[error("{node}: {what}; {hint}")]
    Unsupported {
        /// The operation.
        node: String,
        /// The property for which TT-NN has no call.
        what: String,
        /// The value or form that would be accepted.
        hint: String,
    },
    /// Two tensors that live as long as the plan have the same name. This is a defect of bitnetc.
    #[error("two weights or buffers are named `{name}`")]
    Clash {
        /// The name.
        name: String,
    },
}
