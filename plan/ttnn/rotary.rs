//! Rotary embedding of adjacent pairs: `rotary_embedding_llama_fused_qk` (decode) and `rotary_embedding_llama` (either phase).
//!
//! `y = x * cos + (x @ trans) * sin`; `trans` is one 32x32 tile that swaps the columns of each pair and negates one.

use super::assign::same_order;
use super::users::{height_shards, require_users, user_cores};
use super::{Answer, Checks, Outcome, operands, require_placement};
use crate::op::{Rotary, RotaryDecode, RotaryFused};
use crate::program::ComputeKernel;
use crate::{Card, DType, Layout, TILE, TensorSpec};

/// Bytes of a tile: all operands are bf16.
const TILE_BYTES: u64 = DType::Bf16.tile_bytes();

/// What TT-NN says of a first dimension other than 1.
const ONE_TOKEN: &str = "decode takes one token";

/// What it says of heads that are not.
const SHARDED: &str = "inputs for RoPE must be HEIGHT_SHARDED";

/// `rotary_embedding_llama_fused_qk`.
///
/// Stricter than TT-NN, because every core reads its own shards of cos, sin and trans and TT-NN checks only their shapes: the shards of
/// cos and sin have to lie on q's cores, then k's, in the order of the users; trans has to lie on all of them.
///
/// # Errors
/// Every broken constraint of `rotary_embedding_llama_fused_qk_device_operation.cpp`.
pub fn check_rotary_fused(args: &RotaryFused, given: &[&TensorSpec], _card: &Card) -> Answer {
    let [q, k, cos, sin, trans] = operands(given)?;
    let mut checks = Checks::new();
    for (name, tensor) in [("Q input", q), ("K input", k), ("Cos", cos), ("Sin", sin), ("Trans mat", trans)] {
        require_bf16_tiles(name, tensor, &mut checks);
    }
    require_users(q, ONE_TOKEN, &mut checks);
    require_users(k, ONE_TOKEN, &mut checks);
    checks.settle()?;
    let (users, head_dim) = (q.shape[1], q.columns());
    checks.require(
        k.columns() == head_dim,
        format_args!("Q input tensor and K input tensor must have same head dimensions"),
        format_args!("k of {head_dim} columns"),
    );
    checks.require(
        k.shape[1] == users,
        format_args!("Q and K must have the equal batch size"),
        format_args!("k of {users} users"),
    );
    require_head_dim(head_dim, args.compute, &mut checks);
    let (q_cores, k_cores) = (user_cores(q, SHARDED, &mut checks), user_cores(k, SHARDED, &mut checks));
    let (Some(q_cores), Some(k_cores)) = (q_cores, k_cores) else { return checks.finish(Outcome::default) };
    checks.require(
        q_cores.is_disjoint(k_cores),
        format_args!("Q and K must not overlap"),
        format_args!("k on cores on which there is no q"),
    );
    let both = || q_cores.iter().chain(k_cores.iter());
    require_angles(cos, sin, 2 * users, head_dim, both, &mut checks);
    require_trans_shards(trans, both, &mut checks);
    checks.finish(|| Outcome {
        outputs: vec![q.clone(), k.clone()],
        circular_buffers: decode_bytes(head_dim),
        programs: 1,
        ..Outcome::default()
    })
}

/// `rotary_embedding_llama` with `is_decode_mode=True`: q or k alone.
///
/// Stricter than TT-NN as [`check_rotary_fused`] is, and for the same reason.
///
/// # Errors
/// Every broken constraint of `rotary_embedding_llama_device_operation.cpp`.
pub fn check_rotary_decode(args: &RotaryDecode, given: &[&TensorSpec], _card: &Card) -> Answer {
    let [input, cos, sin, trans] = operands(given)?;
    let mut checks = Checks::new();
    for (name, tensor) in [("Input", input), ("Cos", cos), ("Sin", sin), ("Trans mat", trans)] {
        require_bf16_tiles(name, tensor, &mut checks);
    }
    require_users(input, ONE_TOKEN, &mut checks);
    checks.settle()?;
    let (users, head_dim) = (input.shape[1], input.columns());
    require_head_dim(head_dim, args.compute, &mut checks);
    let Some(cores) = user_cores(input, SHARDED, &mut checks) else { return checks.finish(Outcome::default) };
    require_angles(cos, sin, users, head_dim, || cores.iter(), &mut checks);
    require_trans_shards(trans, || cores.iter(), &mut checks);
    checks.finish(|| Outcome {
        outputs: vec![input.clone()],
        circular_buffers: decode_bytes(head_dim),
        programs: 1,
        ..Outcome::default()
    })
}

/// `rotary_embedding_llama` with `is_decode_mode=False`.
///
/// Stricter than TT-NN, which rotates only as many rows as cos has: cos and sin need at least the input's rows (the first of theirs are
/// used), and one plane for all heads.
///
/// # Errors
/// Every broken constraint of `rotary_embedding_llama_device_operation.cpp`.
pub fn check_rotary(args: &Rotary, given: &[&TensorSpec], card: &Card) -> Answer {
    let [input, cos, sin, trans] = operands(given)?;
    let mut checks = Checks::new();
    for (name, tensor) in [("Input", input), ("Cos", cos), ("Sin", sin), ("Trans mat", trans)] {
        require_bf16_tiles(name, tensor, &mut checks);
        checks.require(
            !tensor.memory.is_sharded(),
            format_args!("{name} tensor must be interleaved in prefill mode"),
            format_args!("L1 or DRAM interleaved"),
        );
    }
    checks.require(
        !args.memory.is_sharded(),
        format_args!("Input tensor and output tensor must have same memory layout"),
        format_args!("L1 or DRAM interleaved"),
    );
    checks.narrow(
        matches!(*input.shape.as_slice(), [1, 1..=u32::MAX, 1..=u32::MAX, 1..=u32::MAX]),
        format_args!("input shape {:?}", input.shape),
        format_args!("[1, H, S, head_dim]"),
    );
    checks.settle()?;
    let (rows, head_dim) = (input.rows(), input.columns());
    require_head_dim(head_dim, args.compute, &mut checks);
    checks.require(
        cos.shape == sin.shape,
        format_args!("Cos and Sin dims must match"),
        format_args!("sin of shape {:?}", cos.shape),
    );
    checks.require(
        matches!(*cos.shape.as_slice(), [1, _, _, columns] if columns == head_dim),
        format_args!("Cos dims must match input dims: cos.shape = {:?}, head_dim = {head_dim}", cos.shape),
        format_args!("[1, 1, {rows} or more, {head_dim}]"),
    );
    checks.narrow(
        matches!(*cos.shape.as_slice(), [_, 1, length, _] if length >= rows),
        format_args!("{rows} rows turned by the angles of {:?}", cos.shape),
        format_args!("[1, 1, {rows} or more, {head_dim}]"),
    );
    checks.require(
        *trans.shape == [1, 1, TILE, TILE],
        format_args!("Transformation matrix must have 3rd dim equal to TILE_HEIGHT, 4rd to TILE_WIDTH"),
        format_args!("[1, 1, 32, 32]"),
    );
    let output = TensorSpec::tile(input.shape.clone(), DType::Bf16, args.memory.clone());
    require_placement(&output, card, &mut checks);
    checks.finish(|| Outcome {
        outputs: vec![output],
        // Eleven rows of head tiles (input, cos, sin, three products, output, some of them twice), trans, and a scratchpad row.
        circular_buffers: (12 * u64::from(head_dim / TILE) + 1) * TILE_BYTES,
        programs: 1,
        ..Outcome::default()
    })
}

/// Three rows of products; everything else is read and written in place.
fn decode_bytes(head_dim: u32) -> u64 {
    3 * u64::from(head_dim / TILE) * TILE_BYTES
}

fn require_bf16_tiles(name: &str, tensor: &TensorSpec, checks: &mut Checks) {
    checks.require(
        tensor.dtype == DType::Bf16,
        format_args!("{name} tensor must be bfloat16"),
        format_args!("bf16 instead of {}", tensor.dtype),
    );
    checks.require(
        tensor.layout == Layout::Tile,
        format_args!("{name} tensor must be tilized"),
        format_args!("TILE layout"),
    );
}

fn require_head_dim(head_dim: u32, compute: ComputeKernel, checks: &mut Checks) {
    checks.require(
        head_dim <= 128 || !compute.fp32_dest_acc,
        format_args!("If head_dim is > 128, fp32_dest_acc_en must be False"),
        format_args!("fp32_dest_acc off for head_dim {head_dim}"),
    );
    checks.require(
        head_dim <= 256,
        format_args!("Head dim must be less than 256"),
        format_args!("head_dim {head_dim} is too large"),
    );
    checks.require(
        head_dim.is_multiple_of(TILE),
        format_args!("Head dim must be a multiple of TILE_WIDTH"),
        format_args!("head_dim {head_dim} padded to {}", head_dim.next_multiple_of(TILE)),
    );
}

fn require_angles<I: Iterator<Item = (u32, u32)>>(
    cos: &TensorSpec,
    sin: &TensorSpec,
    users: u32,
    head_dim: u32,
    on: impl Fn() -> I,
    checks: &mut Checks,
) {
    checks.require(
        cos.shape == sin.shape,
        format_args!("Cos and Sin dims must match"),
        format_args!("sin of shape {:?}", cos.shape),
    );
    for (name, tensor) in [("cos", cos), ("sin", sin)] {
        checks.require(
            matches!(*tensor.shape.as_slice(), [1, n, 1..=TILE, d] if n == users && d == head_dim),
            format_args!(
                "{name} {:?} must have the same batch size as the input ({users} rows of heads)",
                tensor.shape
            ),
            format_args!("[1, {users}, 1 to 32, {head_dim}]"),
        );
        checks.narrow(
            height_shards(tensor, [TILE, head_dim]).is_some_and(|cores| same_order(cores.iter(), on())),
            format_args!("{name} on {} does not lie on the cores it is read from", tensor.memory),
            format_args!("L1 HS[32,{head_dim}] on the cores of the rotated tensors, in their order"),
        );
    }
}

fn require_trans_shards<I: Iterator<Item = (u32, u32)>>(trans: &TensorSpec, on: impl Fn() -> I, checks: &mut Checks) {
    let cores = height_shards(trans, [TILE, TILE]);
    checks.require(
        cores.is_some(),
        format_args!("Transformation matrix must be sharded to single tile of shape (32, 32)"),
        format_args!("L1 HS[32,32]"),
    );
    let Some(cores) = cores else { return };
    checks.require(
        matches!(*trans.shape.as_slice(), [1, 1, rows, TILE] if rows == cores.len().saturating_mul(TILE)),
        format_args!("Transformation matrix {:?} must have 1st & 2nd dim equal to 1 and a tile per core", trans.shape),
        format_args!("[1, 1, {}, 32]", cores.len().saturating_mul(TILE)),
    );
    checks.narrow(
        on().all(|core| cores.0.iter().any(|r| holds(r, core))),
        format_args!("Transformation matrix is repeated for Q and K must be sharded over core grid of Q and K"),
        format_args!("the matrix on every core of the rotated tensors"),
    );
}

fn holds(range: &crate::CoreRange, core: (u32, u32)) -> bool {
    (range.start.0..=range.end.0).contains(&core.0) && (range.start.1..=range.end.1).contains(&core.1)
}

#[cfg(test)]
mod tests;
