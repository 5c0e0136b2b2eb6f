//! Bytes that calls read from DRAM and write to it.

use bitnetc_plan::op::{Argument, Role};
use bitnetc_plan::ttnn::Outcome;
use bitnetc_plan::{Layout, Memory, Op, TensorSpec};

use super::Attention;

/// Bytes of a tensor's data, padding included.
pub fn data_bytes(spec: &TensorSpec) -> u64 {
    match spec.layout {
        Layout::Tile => spec.tile_rows() * spec.tile_columns() * spec.dtype.tile_bytes(),
        Layout::RowMajor => {
            spec.outer() * u64::from(spec.rows()) * u64::from(spec.columns()) * spec.dtype.element_bytes().unwrap_or(2)
        }
    }
}

/// Bytes that a call reads from DRAM and writes to it: all of its results, and of each operand as much as its role has read.
pub fn dram(op: &Op, operands: &[&TensorSpec], outcome: &Outcome, position: u32) -> u64 {
    let returned: u64 = outcome.outputs.iter().map(data_bytes).sum();
    let written: u64 = outcome.outputs.iter().filter(|s| in_dram(s)).map(data_bytes).sum();
    let attended = Attention::of(op).map_or(0, |attention| attention.reads(operands, position));
    let (mut read, mut given, mut before) = (attended, operands.iter(), None);
    op.arguments(&mut |_, argument| {
        if let Argument::Operand(operand) = argument
            && let Some(&spec) = given.next()
        {
            read += match operand.role {
                Role::Table | Role::Cut => returned,
                Role::TokenRows => before.map_or(0, |cache| touched(cache, spec)),
                // As many bytes are read as are written to the cache.
                Role::PromptRows => 2 * data_bytes(spec),
                // Counted with the rows that go into them, or with what attention reads.
                Role::KeyCache | Role::ValueCache | Role::Cache => 0,
                // These are a few words for each user or row.
                Role::Indices
                | Role::Integers
                | Role::Positions
                | Role::PageTable
                | Role::ChunkPages
                | Role::ContextPages => 0,
                Role::ChunkStart | Role::Starts | Role::Ends => 0,
                Role::TopK | Role::TopP | Role::InverseTemperature | Role::Seeds | Role::Generators => 0,
                Role::Candidates | Role::CandidateTokens => whole(spec),
                Role::Tensor | Role::Moved | Role::Part | Role::Gamma | Role::Matrix | Role::Projection => whole(spec),
                Role::Cosines | Role::Sines | Role::Queries => whole(spec),
                Role::Logits | Role::NextToken | Role::Counter => whole(spec),
            };
            before = Some(spec);
        }
    });
    read + written
}

fn in_dram(spec: &TensorSpec) -> bool {
    spec.memory.memory() == Memory::Dram
}

/// All of a tensor, if it is in DRAM.
fn whole(spec: &TensorSpec) -> u64 {
    if in_dram(spec) { data_bytes(spec) } else { 0 }
}

/// One new row per user and kv head: the tiles of that row are read, changed and written back.
fn touched(cache: &TensorSpec, rows: &TensorSpec) -> u64 {
    2 * u64::from(rows.shape[1]) * u64::from(cache.shape[1]) * cache.tile_columns() * cache.dtype.tile_bytes()
}
