//! Shared by the rotary embeddings of adjacent pairs: `rotary_embedding_llama_fused_qk` and `rotary_embedding_llama`.
//!
//! `y = x * cos + (x @ trans) * sin`; `trans` is one 32x32 tile that swaps the columns of each pair and negates one. In decode every core
//! reads its own shards of cos, sin and trans, and TT-NN checks only their shapes. So the rules also ask that these lie on the cores of the
//! rotated tensors, in the order of the users.

use super::Checks;
use super::assign::same_order;
use super::constraint::{constraints, values};
use super::users::{height_shards, user_cores};
use crate::program::ComputeKernel;
use crate::{CoreRange, Cores, DType, Layout, Memory, Strategy, TILE, TensorSpec};

constraints! { "rotary_pairs", "rotary_embedding_llama_device_operation.cpp";
    TYPE: "All operands are bf16."
        => "{name} tensor must be bfloat16", "bf16 instead of {dtype}";
    TILED: "All operands are tiled."
        => "{name} tensor must be tilized", "TILE layout";
    PRECISE_HEAD: "With fp32 accumulation, head_dim is at most 128."
        => "If head_dim is > 128, fp32_dest_acc_en must be False", "fp32_dest_acc off for head_dim {head_dim}";
    MOST_COLUMNS: "head_dim is at most 256."
        => "Head dim must be less than 256", "head_dim {head_dim} is too large";
    HEAD_TILES: "head_dim is a multiple of 32."
        => "Head dim must be a multiple of TILE_WIDTH", "head_dim {head_dim} padded to {padded}";
    ANGLES_ALIKE: "cos and sin have one shape."
        => "Cos and Sin dims must match", "sin of shape {shape}";
}

/// In decode.
pub(super) mod decode {
    use super::*;

    constraints! { "rotary_pairs", "rotary_embedding_llama_device_operation.cpp";
        ONE_TOKEN: "In decode, a rotated tensor is [1, B, heads, head_dim]."
            => "decode takes one token: {shape}", "[1, B, heads, head_dim]";
        SHARDED: "In decode, a rotated tensor is height-sharded in L1."
            => "inputs for RoPE must be HEIGHT_SHARDED; it is {memory}", "height shards in L1, one user per core";
        USER_PER_CORE: "In decode, a core holds one user of a rotated tensor."
            because "a core reads one row of angles, and would turn all its users by it"
            => "{memory} is not one user per core", "L1 HS[heads in whole tiles,{columns}] on {users} cores";
        ANGLES_SHAPE: "In decode, cos and sin have a row of angles for each user of each rotated tensor."
            => "{name} {shape} must have the same batch size as the input ({users} rows of heads)",
               "[1, {users}, 1 to 32, {head_dim}]";
        ANGLES_PLACE: "In decode, cos and sin lie on the cores of the rotated tensors, in their order."
            because "each core reads its own shard, and TT-NN does not compare the cores"
            => "{name} on {memory} does not lie on the cores it is read from",
               "L1 HS[32,{head_dim}] on the cores of the rotated tensors, in their order";
        TRANS_SHARD: "In decode, the transformation matrix is height-sharded in L1, a tile to a core."
            => "Transformation matrix must be sharded to single tile of shape (32, 32)", "L1 HS[32,32]";
        TRANS_SHAPE: "In decode, the transformation matrix is a column of tiles, one for each of its cores."
            => "Transformation matrix {shape} must have 1st & 2nd dim equal to 1 and a tile per core",
               "[1, 1, {rows}, 32]";
        TRANS_PLACE: "In decode, the transformation matrix lies on every core of the rotated tensors."
            because "each core reads its own tile, and TT-NN does not compare the cores"
            => "Transformation matrix is repeated for Q and K must be sharded over core grid of Q and K",
               "the matrix on every core of the rotated tensors";
    }
}

use decode::{ANGLES_PLACE, ANGLES_SHAPE, SHARDED, TRANS_PLACE, TRANS_SHAPE, TRANS_SHARD, USER_PER_CORE};

/// Bytes of a tile: all operands are bf16.
pub(super) const TILE_BYTES: u64 = DType::Bf16.tile_bytes();

/// Decode buffers three rows of products; everything else is read and written in place.
pub(super) fn decode_bytes(head_dim: u32) -> u64 {
    3 * u64::from(head_dim / TILE) * TILE_BYTES
}

pub(super) fn require_bf16_tiles(name: &str, tensor: &TensorSpec, checks: &mut Checks) {
    checks.require(&TYPE, tensor.dtype == DType::Bf16, values![name, dtype = tensor.dtype]);
    checks.require(&TILED, tensor.layout == Layout::Tile, values![name]);
}

/// The cores of a rotated tensor of decode, one for each user.
pub(super) fn rotated_cores<'a>(tensor: &'a TensorSpec, checks: &mut Checks) -> Option<&'a Cores> {
    let (memory, strategy) = (tensor.memory.memory(), tensor.memory.strategy());
    let sharded = memory == Memory::L1 && strategy == Some(Strategy::Height);
    if !checks.require(&SHARDED, sharded, values![memory = tensor.memory]) {
        return None;
    }
    user_cores(tensor, &USER_PER_CORE, checks)
}

pub(super) fn require_head_dim(head_dim: u32, compute: ComputeKernel, checks: &mut Checks) {
    checks.require(&PRECISE_HEAD, head_dim <= 128 || !compute.fp32_dest_acc, values![head_dim]);
    checks.require(&MOST_COLUMNS, head_dim <= 256, values![head_dim]);
    checks.require(
        &HEAD_TILES,
        head_dim.is_multiple_of(TILE),
        values![head_dim, padded = head_dim.next_multiple_of(TILE)],
    );
}

/// cos and sin of `users` rows of heads, on the cores that `on` lists.
pub(super) fn require_angles<I: Iterator<Item = (u32, u32)>>(
    cos: &TensorSpec,
    sin: &TensorSpec,
    users: u32,
    head_dim: u32,
    on: impl Fn() -> I,
    checks: &mut Checks,
) {
    checks.require(&ANGLES_ALIKE, cos.shape == sin.shape, values![shape = cos.shape]);
    for (name, tensor) in [("cos", cos), ("sin", sin)] {
        checks.require(
            &ANGLES_SHAPE,
            matches!(*tensor.shape.as_slice(), [1, n, 1..=TILE, d] if n == users && d == head_dim),
            values![name, shape = tensor.shape, users, head_dim],
        );
        checks.require(
            &ANGLES_PLACE,
            height_shards(tensor, [TILE, head_dim]).is_some_and(|cores| same_order(cores.iter(), on())),
            values![name, memory = tensor.memory, head_dim],
        );
    }
}

/// The transformation matrix on all the cores that `on` lists.
pub(super) fn require_trans_shards<I: Iterator<Item = (u32, u32)>>(
    trans: &TensorSpec,
    on: impl Fn() -> I,
    checks: &mut Checks,
) {
    let cores = height_shards(trans, [TILE, TILE]);
    checks.require(&TRANS_SHARD, cores.is_some(), values![]);
    let Some(cores) = cores else { return };
    let rows = cores.len().saturating_mul(TILE);
    checks.require(
        &TRANS_SHAPE,
        matches!(*trans.shape.as_slice(), [1, 1, n, TILE] if n == rows),
        values![shape = trans.shape, rows],
    );
    checks.require(&TRANS_PLACE, on().all(|core| cores.0.iter().any(|range| holds(range, core))), values![]);
}

fn holds(range: &CoreRange, core: (u32, u32)) -> bool {
    (range.start.0..=range.end.0).contains(&core.0) && (range.start.1..=range.end.1).contains(&core.1)
}
