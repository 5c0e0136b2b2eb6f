//! `nlp_create_qkv_heads_decode`: heads out of the fused projection, one user to a core.
//!
//! q and v of user `i` go to core `i` of the grid passed, its k to core `B + i`, or to core `i` too when q and k overlap. `head_dim` may be
//! any multiple of 32; a model's other head sizes (100) are padded when weights are packed.

use super::assign::take;
use super::constraint::{constraints, values};
use super::users::{self, MOST, head_rows, whole_tiles};
use super::{Answer, Checks, Outcome, Violation};
use crate::op::CreateHeadsDecode;
use crate::ttnn::checks::operands;
use crate::{Card, Cores, DType, Layout, Memory, MemoryConfig, Strategy, TILE, TensorSpec};

constraints! { "create_heads_decode", "nlp_create_qkv_heads_decode_device_operation.cpp", also [];
    TYPE: "The input is bf16 or f32."
        => "Unsupported data format", "a bf16 input";
    TILED: "The input is tiled."
        => "Only tile layout is supported for input tensor", "a tiled input";
    SHAPE: "The input is [1, 1, B, columns] of 1 to 32 users, its columns whole tiles."
        => "Unsupported input shape = {shape}", "[1, 1, B, (heads + 2 * kv_heads) * head_dim] of 1 to 32 users";
    KV_HEADS: "There are at least as many q heads as kv heads, and a kv head." in "nlp_create_qkv_heads_decode.cpp"
        => "num_q_heads={heads} must be greater than or equal to num_kv_heads={kv_heads}",
           "at least one and at most {heads} kv heads";
    MOST_HEADS: "There are at most 128 q heads."
        because "the rows of more heads were not followed through the kernels"
        => "{heads} q heads", "at most 128 heads";
    MOST_KV_HEADS: "There are at most 32 kv heads."
        because "TT-NN takes more, and on the simulator its kernels then wrote wrong rows into the cache"
        => "{kv_heads} kv heads", "at most 32 kv heads";
    WHOLE_HEADS: "The columns are a whole number of heads." in "nlp_create_qkv_heads_decode.cpp"
        => "Input shape {columns} must be divisible by num_heads + 2*num_kv_heads = {all}", "a projection of whole heads";
    HEAD_TILES: "head_dim is a multiple of 32." in "tensor_layout.cpp"
        => "Physical shard shape (32, {head_dim}) must be tile {{32, 32}} sized!",
           "heads padded to a multiple of 32 columns";
    INPUT_IN_L1: "Without overlap, the input is sharded in L1."
        because "TT-NN silently puts k on q's cores otherwise"
        => "heads split over disjoint cores from {memory}", "a width-sharded input in L1";
    WIDTH_SHARDED: "Without overlap, the input is width-sharded."
        => "Current input memory layout is HEIGHT_SHARDED. It must be width sharded", "a width-sharded input";
    SHARDED_TILES: "From a sharded input, a user's q heads fill as many tiles of rows as its kv heads."
        because "TT-NN refuses others where the input lies on several ranges of cores, and on one they were not run"
        => "DFB 'v_out' of {heads} q heads is larger than the per-bank allocation of its borrowed TensorParameter 'v_out_tensor' of {kv_heads} heads",
           "an interleaved input in L1, with overlap";
    SHARD_ROWS: "Shards of the input have 32 rows."
        => "Shard shape must be correct", "shards of 32 rows";
    WHOLE_SHARDS_PER_HEAD: "Without overlap, the width of a shard divides head_dim."
        => "We don't support partial heads in shards when q and k heads are not overlapping coregrid",
           "shards whose width divides head_dim {head_dim}";
    OVERLAP_IN_L1: "With overlap, an interleaved input is in L1."
        because "Blackhole gathers rows from DRAM through a buffer of a size that was not studied"
        => "heads split from {memory}", "an input in L1";
    OVERLAP_WIDTH_SHARDED: "With overlap, a sharded input is width-sharded in L1."
        => "Current input memory layout is {memory}. It must be width sharded", "an interleaved or width-sharded input";
    OVERLAP_EVEN_SHARDS: "With overlap, all cores hold whole tiles, equally many."
        because "TT-NN divides the tiles by the cores and reads from there"
        => "{columns} columns in shards of {width} on {cores} cores", "as many tiles on every core";
    RESULT_HEIGHT_SHARDED: "The memory config is height-sharded in L1."
        => "Output tensor must be height sharded", "L1 HS{shard}";
    RESULT_SHARD: "Shards of the memory config hold the q heads of a user: [heads in whole tiles, head_dim]."
        because "TT-NN reads only the grid and gives those shards whatever is said"
        => "output shard {given} is not the one TT-NN gives, {shard}", "shards {shard}";
    GRID_ON_CARD: "The grid of the memory config is on the card."
        because "no card has such cores; TT-NN does not say what becomes of them"
        => "output grid {cores} is not within the {width}x{height} cores of {card}", "a grid of existing cores";
    GRID_FROM_ORIGIN: "The grid of the memory config starts at core (0, 0)."
        because "TT-NN counts users from there, on cores that may lie outside the grid"
        => "output grid {cores} does not start at core (0, 0), but the kernels are given their users from there",
           "a grid from core (0, 0)";
    OVERLAP_CORE_PER_USER: "With overlap, the grid has a core for each user." in "work_split.cpp"
        => "Target number of cores {users} is greater than total available cores {cores}", "at least {users} cores";
    TWO_CORES_PER_USER: "Without overlap, the grid has two cores for each user."
        => "Input coregrid size is {cores}. Need cores atleast double of num_users for decode when q and k heads are not overlapping coregrid",
           "at least {least} cores";
}

/// `[1,1,B,(H+2*Hkv)*D]` -> q `[1,B,H,D]`, k and v `[1,B,Hkv,D]`, height-sharded.
pub(super) fn check(args: &CreateHeadsDecode, given: &[&TensorSpec], card: &Card) -> Answer {
    let [input] = operands(given)?;
    let mut checks = Checks::new();
    require_projection(args, input, &mut checks);
    checks.settle()?;
    let all = args.heads.saturating_add(args.kv_heads.saturating_mul(2));
    let (users, columns) = (input.rows(), input.columns());
    checks.require(&WHOLE_HEADS, columns.is_multiple_of(all), values![columns, all]);
    let head_dim = columns / all;
    let shard = [head_rows(args.heads), head_dim];
    checks.require(&HEAD_TILES, head_dim.is_multiple_of(TILE), values![head_dim]);
    checks.require(
        &SHARDED_TILES,
        !input.memory.is_sharded() || head_rows(args.heads) == head_rows(args.kv_heads),
        values![heads = args.heads, kv_heads = args.kv_heads],
    );
    if args.overlap {
        require_overlapping_projection(input, &mut checks);
    } else {
        require_disjoint_projection(input, head_dim, &mut checks);
    }
    let cores = grid(&args.memory, shard, card, &mut checks)?;
    let (q_cores, k_cores) = (take(cores, 0, users), take(cores, if args.overlap { 0 } else { users }, users));
    let (Some(q_cores), Some(k_cores)) = (q_cores, k_cores) else {
        let count = cores.len();
        checks.require(&OVERLAP_CORE_PER_USER, !args.overlap, values![users, cores = count]);
        checks.require(&TWO_CORES_PER_USER, args.overlap, values![cores = count, least = 2 * users]);
        return checks.finish(Outcome::default);
    };
    checks.finish(|| {
        let heads = |count, cores| {
            let shard = [head_rows(count), head_dim];
            TensorSpec::tile([1, users, count, head_dim], input.dtype, MemoryConfig::height(cores, shard))
        };
        Outcome {
            outputs: vec![
                heads(args.heads, q_cores.clone()),
                heads(args.kv_heads, k_cores),
                heads(args.kv_heads, q_cores),
            ],
            programs: 1,
            ..Outcome::default()
        }
    })
}

fn require_projection(args: &CreateHeadsDecode, input: &TensorSpec, checks: &mut Checks) {
    checks.require(&TYPE, matches!(input.dtype, DType::F32 | DType::Bf16), values![]);
    checks.require(&TILED, input.layout == Layout::Tile, values![]);
    checks.require(
        &SHAPE,
        matches!(*input.shape.as_slice(), [1, 1, 1..=MOST, n] if whole_tiles(n)),
        values![shape = input.shape],
    );
    let (heads, kv_heads) = (args.heads, args.kv_heads);
    checks.require(&KV_HEADS, heads >= kv_heads && kv_heads > 0, values![heads, kv_heads]);
    checks.require(&MOST_HEADS, heads <= users::MOST_HEADS, values![heads]);
    checks.require(&MOST_KV_HEADS, kv_heads <= TILE, values![kv_heads]);
}

fn require_disjoint_projection(input: &TensorSpec, head_dim: u32, checks: &mut Checks) {
    let MemoryConfig::Sharded { memory: Memory::L1, strategy, shard: [rows, columns], .. } = input.memory else {
        checks.require(&INPUT_IN_L1, false, values![memory = input.memory]);
        return;
    };
    checks.require(&WIDTH_SHARDED, strategy == Strategy::Width, values![]);
    checks.require(&SHARD_ROWS, rows == TILE, values![]);
    checks.require(&WHOLE_SHARDS_PER_HEAD, columns > 0 && head_dim.is_multiple_of(columns), values![head_dim]);
}

/// `overlap_qk_coregrid=True` takes an interleaved input in L1, and width shards of any width.
fn require_overlapping_projection(input: &TensorSpec, checks: &mut Checks) {
    let MemoryConfig::Sharded { memory, strategy, cores, shard: [rows, width] } = &input.memory else {
        checks.require(&OVERLAP_IN_L1, input.memory.memory() == Memory::L1, values![memory = input.memory]);
        return;
    };
    checks.require(
        &OVERLAP_WIDTH_SHARDED,
        *strategy == Strategy::Width && *memory == Memory::L1,
        values![memory = input.memory],
    );
    checks.require(&SHARD_ROWS, *rows == TILE, values![]);
    let columns = input.columns();
    checks.require(
        &OVERLAP_EVEN_SHARDS,
        whole_tiles(*width) && u64::from(*width) * u64::from(cores.len()) == u64::from(columns),
        values![columns, width, cores = cores.len()],
    );
}

/// The grid from which TT-NN takes cores for users.
fn grid<'a>(
    memory: &'a MemoryConfig,
    shard: [u32; 2],
    card: &Card,
    checks: &mut Checks,
) -> Result<&'a Cores, Vec<Violation>> {
    let MemoryConfig::Sharded { memory: Memory::L1, strategy: Strategy::Height, cores, shard: given } = memory else {
        checks.require(&RESULT_HEIGHT_SHARDED, false, values![shard]);
        return Err(checks.take());
    };
    checks.require(&RESULT_SHARD, *given == shard, values![given, shard]);
    checks.require(
        &GRID_ON_CARD,
        cores.fits(card.grid),
        values![cores, width = card.grid.0, height = card.grid.1, card = card.name],
    );
    checks.require(&GRID_FROM_ORIGIN, cores.iter().next() == Some((0, 0)), values![cores]);
    checks.settle().map(|()| cores)
}

#[cfg(test)]
mod tests;
