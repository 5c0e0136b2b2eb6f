//! `rotary_embedding_llama` with `is_decode_mode=False`: heads of a prompt.

use super::constraint::{constraints, values};
use super::rotary_pairs::{ANGLES_ALIKE, TILE_BYTES, require_bf16_tiles, require_head_dim};
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::Rotary;
use crate::ttnn::checks::operands;
use crate::{Card, DType, TILE, TensorSpec};

constraints! { "rotary", "rotary_embedding_llama_device_operation.cpp", also [rotary_pairs, placement];
    INTERLEAVED: "The input, cos and sin are interleaved."
        => "{name} tensor must be interleaved in prefill mode", "L1 or DRAM interleaved";
    TRANS_INTERLEAVED: "The transformation matrix is interleaved."
        because "no plan shards the matrix of a prefill"
        => "Trans mat tensor in {memory}", "L1 or DRAM interleaved";
    RESULT_INTERLEAVED: "The result is interleaved, as the input is."
        => "Input tensor and output tensor must have same memory layout", "L1 or DRAM interleaved";
    SHAPE: "The input is [1, H, S, head_dim]."
        because "a phase fills one user's prompt"
        => "input shape {shape}", "[1, H, S, head_dim]";
    ANGLES_WIDTH: "cos and sin are [1, .., .., head_dim]."
        => "Cos dims must match input dims: cos.shape = {shape}, head_dim = {head_dim}",
           "[1, 1, {rows} or more, {head_dim}]";
    ANGLES_ROWS: "cos and sin have one plane for all heads, with at least the input's rows."
        because "TT-NN rotates only as many rows as cos has, and says nothing"
        => "{rows} rows turned by the angles of {shape}", "[1, 1, {rows} or more, {head_dim}]";
    TRANS_SHAPE: "The transformation matrix is one tile."
        => "Transformation matrix must have 3rd dim equal to TILE_HEIGHT, 4rd to TILE_WIDTH", "[1, 1, 32, 32]";
}

/// `[1,H,S,D]` -> the same, interleaved; of cos and sin the first `S` rows are used.
pub(super) fn check(args: &Rotary, given: &[&TensorSpec], card: &Card) -> Answer {
    let [input, cos, sin, trans] = operands(given)?;
    let mut checks = Checks::new();
    for (name, tensor) in [("Input", input), ("Cos", cos), ("Sin", sin)] {
        require_bf16_tiles(name, tensor, &mut checks);
        checks.require(&INTERLEAVED, !tensor.memory.is_sharded(), values![name]);
    }
    require_bf16_tiles("Trans mat", trans, &mut checks);
    checks.require(&TRANS_INTERLEAVED, !trans.memory.is_sharded(), values![memory = trans.memory]);
    checks.require(&RESULT_INTERLEAVED, !args.memory.is_sharded(), values![]);
    checks.require(
        &SHAPE,
        matches!(*input.shape.as_slice(), [1, 1..=u32::MAX, 1..=u32::MAX, 1..=u32::MAX]),
        values![shape = input.shape],
    );
    checks.settle()?;
    let (rows, head_dim) = (input.rows(), input.columns());
    require_head_dim(head_dim, args.compute, &mut checks);
    checks.require(&ANGLES_ALIKE, cos.shape == sin.shape, values![shape = cos.shape]);
    checks.require(
        &ANGLES_WIDTH,
        matches!(*cos.shape.as_slice(), [1, _, _, columns] if columns == head_dim),
        values![shape = cos.shape, head_dim, rows],
    );
    checks.require(
        &ANGLES_ROWS,
        matches!(*cos.shape.as_slice(), [_, 1, length, _] if length >= rows),
        values![rows, shape = cos.shape, head_dim],
    );
    checks.require(&TRANS_SHAPE, *trans.shape == [1, 1, TILE, TILE], values![]);
    let output = TensorSpec::tile(input.shape.clone(), DType::Bf16, args.memory.clone());
    require_placement(&output, card, &mut checks);
    checks.finish(|| Outcome {
        outputs: vec![output],
        circular_buffers: bytes(input, card),
        programs: 1,
        ..Outcome::default()
    })
}

/// Rows of head tiles that a core may have of all heads together and still keep the angles of its rows; with more of them, or where each
/// head could have angles of its own, it reads the angles again for each head.
const KEPT_ROWS: u64 = 8;

/// All circular buffers: input, cos and sin, two rows of head tiles for each row that is kept; two of the output, three products, a
/// scratchpad row, and the transformation matrix. The rows of a prompt are spread over all cores of the card, each of which takes all heads.
fn bytes(input: &TensorSpec, card: &Card) -> u64 {
    let heads = u64::from(input.shape[1]);
    let rows_per_core = u64::from(input.rows().div_ceil(TILE).div_ceil(card.cores()));
    // With a single head the one plane of angles counts as that head's own.
    let keeps = heads > 1 && rows_per_core.saturating_mul(heads) <= KEPT_ROWS;
    let rows = if keeps { rows_per_core } else { 1 };
    ((6 * rows + 6) * u64::from(input.columns() / TILE) + 1) * TILE_BYTES
}

#[cfg(test)]
mod tests;
