//! Shared by `nlp_create_qkv_heads` and `nlp_concat_heads`: interleaved tensors, moved as they are.

use super::constraint::{constraints, values};
use super::{Answer, Checks, Outcome, require_placement};
use crate::{Card, DType, Layout, MemoryConfig, TensorSpec};

constraints! { "prefill_heads", "nlp_create_qkv_heads_device_operation.cpp, nlp_concat_heads_device_operation.cpp";
    TYPE: "The input is bf16, bfp8 or f32."
        => "Unsupported data format", "a bf16 or bfp8 input";
    TILED: "The input is tiled."
        => "Input tensor layout must be TILE but got {layout}", "a tiled input";
    INTERLEAVED: "The input is interleaved."
        => "sharded input {memory}", "an interleaved input";
    RESULT_INTERLEAVED: "The result is interleaved."
        => "Output memory config layout must be INTERLEAVED but got {memory}", "L1 or DRAM interleaved";
}

pub(super) fn require_movable(input: &TensorSpec, checks: &mut Checks) {
    checks.require(&TYPE, matches!(input.dtype, DType::F32 | DType::Bf16 | DType::Bfp8), values![]);
    checks.require(&TILED, input.layout == Layout::Tile, values![layout = input.layout]);
    checks.require(&INTERLEAVED, !input.memory.is_sharded(), values![memory = input.memory]);
}

pub(super) fn require_interleaved(memory: &MemoryConfig, checks: &mut Checks) {
    checks.require(&RESULT_INTERLEAVED, !memory.is_sharded(), values![memory]);
}

/// The outcome, if its results can be placed.
pub(super) fn placed(outcome: Outcome, card: &Card) -> Answer {
    let mut checks = Checks::new();
    for output in &outcome.outputs {
        require_placement(output, card, &mut checks);
    }
    checks.finish(|| outcome)
}
