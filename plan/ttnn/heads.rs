//! Heads out of the fused projection and back: `nlp_create_qkv_heads(_decode)`, `nlp_concat_heads(_decode)`.
//!
//! In decode each user sits on a core of its own: q and v of user `i` on core `i` of the grid passed, its k on core `B + i`, or on core
//! `i` too when q and k overlap.
//! `head_dim` may be any multiple of 32; a model's other head sizes (100) are padded when weights are packed.

use super::assign::{position, take};
use super::users::{MOST, whole_tiles};
use super::{Answer, Checks, Outcome, operands, require_placement};
use crate::op::{ConcatHeads, ConcatHeadsDecode, CreateHeads, CreateHeadsDecode};
use crate::{Card, DType, Layout, Memory, MemoryConfig, Strategy, TILE, TensorSpec};

/// `nlp_create_qkv_heads_decode`.
///
/// Stricter than TT-NN: the input has to be in L1, without overlap sharded (TT-NN silently puts k on q's cores otherwise); with it, width
/// shards have to be whole tiles of equal number that fill all cores (TT-NN divides the tiles by the cores and reads from there); the
/// grid starts at the first core (TT-NN counts users from there, on cores that may lie outside); the memory config has to be height-sharded with shards `[32, head_dim]`
/// (TT-NN reads only its grid); at most 32 heads (some larger counts pass, with two tiles of rows per user, which no later decode op
/// takes).
///
/// # Errors
/// Every broken constraint of `nlp_create_qkv_heads_decode.cpp` and its `device_operation.cpp`.
pub fn check_create_heads_decode(args: &CreateHeadsDecode, given: &[&TensorSpec], card: &Card) -> Answer {
    let [input] = operands(given)?;
    let mut checks = Checks::new();
    checks.require(
        matches!(input.dtype, DType::F32 | DType::Bf16),
        format_args!("Unsupported data format"),
        format_args!("a bf16 input"),
    );
    checks.require(
        input.layout == Layout::Tile,
        format_args!("Only tile layout is supported for input tensor"),
        format_args!("a tiled input"),
    );
    let all = args.heads.saturating_add(args.kv_heads.saturating_mul(2));
    checks.require(
        matches!(*input.shape.as_slice(), [1, 1, 1..=MOST, n] if whole_tiles(n)),
        format_args!("Unsupported input shape = {:?}", input.shape),
        format_args!("[1, 1, B, (heads + 2 * kv_heads) * head_dim] of 1 to 32 users"),
    );
    checks.require(
        args.heads >= args.kv_heads && args.kv_heads > 0,
        format_args!("num_q_heads={} must be greater than or equal to num_kv_heads={}", args.heads, args.kv_heads),
        format_args!("at least one and at most {} kv heads", args.heads),
    );
    checks.narrow(
        args.heads <= MOST,
        format_args!("There are {} q heads only 32 are supported", args.heads),
        format_args!("at most 32 heads"),
    );
    checks.settle()?;
    checks.require(
        input.columns().is_multiple_of(all),
        format_args!("Input shape {} must be divisible by num_heads + 2*num_kv_heads = {all}", input.columns()),
        format_args!("a projection of whole heads"),
    );
    let (users, head_dim) = (input.rows(), input.columns() / all);
    let shard = [TILE, head_dim];
    checks.require(
        head_dim.is_multiple_of(TILE),
        format_args!("Physical shard shape (32, {head_dim}) must be tile {{32, 32}} sized!"),
        format_args!("heads padded to a multiple of 32 columns"),
    );
    if args.overlap {
        require_overlapping_projection(input, &mut checks);
    } else {
        require_fused_projection(input, head_dim, &mut checks);
    }
    let MemoryConfig::Sharded { memory: Memory::L1, strategy: Strategy::Height, cores, shard: given_shard } =
        &args.memory
    else {
        checks.require(false, format_args!("Output tensor must be height sharded"), format_args!("L1 HS{shard:?}"));
        return checks.finish(Outcome::default);
    };
    checks.narrow(
        *given_shard == shard,
        format_args!("output shard {given_shard:?} is not the one TT-NN gives, {shard:?}"),
        format_args!("shards {shard:?}"),
    );
    checks.narrow(
        cores.fits(card.grid),
        format_args!("output grid {cores} is not within the {}x{} cores of {}", card.grid.0, card.grid.1, card.name),
        format_args!("a grid of existing cores"),
    );
    checks.narrow(
        cores.iter().next() == Some((0, 0)),
        format_args!(
            "output grid {cores} does not start at core (0, 0), but the kernels are given their users from there"
        ),
        format_args!("a grid from core (0, 0)"),
    );
    checks.settle()?;
    let (q_cores, k_cores) = (take(cores, 0, users), take(cores, if args.overlap { 0 } else { users }, users));
    let (Some(q_cores), Some(k_cores)) = (q_cores, k_cores) else {
        if args.overlap {
            checks.require(
                false,
                format_args!("Target number of cores {users} is greater than total available cores {}", cores.len()),
                format_args!("at least {users} cores"),
            );
        }
        checks.require(
            args.overlap,
            format_args!(
                "Input coregrid size is {}. Need cores atleast double of num_users for decode when q and k heads are \
                 not overlapping coregrid",
                cores.len()
            ),
            format_args!("at least {} cores", 2 * users),
        );
        return checks.finish(Outcome::default);
    };
    checks.finish(|| {
        let heads = |count, cores| {
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

fn require_fused_projection(input: &TensorSpec, head_dim: u32, checks: &mut Checks) {
    let MemoryConfig::Sharded { memory: Memory::L1, strategy, shard: [rows, columns], .. } = input.memory else {
        checks.narrow(
            false,
            format_args!("heads split over disjoint cores from {}", input.memory),
            format_args!("a width-sharded input in L1"),
        );
        return;
    };
    checks.require(
        strategy == Strategy::Width,
        format_args!("Current input memory layout is HEIGHT_SHARDED. It must be width sharded"),
        format_args!("a width-sharded input"),
    );
    checks.require(rows == TILE, format_args!("Shard shape must be correct"), format_args!("shards of 32 rows"));
    checks.require(
        columns > 0 && head_dim.is_multiple_of(columns),
        format_args!("We don't support partial heads in shards when q and k heads are not overlapping coregrid"),
        format_args!("shards whose width divides head_dim {head_dim}"),
    );
}

/// What `overlap_qk_coregrid=True` takes: interleaved in L1, and width shards of any width.
fn require_overlapping_projection(input: &TensorSpec, checks: &mut Checks) {
    let MemoryConfig::Sharded { memory, strategy, cores, shard: [rows, columns] } = &input.memory else {
        // Blackhole gathers rows from DRAM through a buffer of a size that was not studied.
        checks.narrow(
            input.memory.memory() == Memory::L1,
            format_args!("heads split from {}", input.memory),
            format_args!("an input in L1"),
        );
        return;
    };
    checks.require(
        *strategy == Strategy::Width && *memory == Memory::L1,
        format_args!("Current input memory layout is {}. It must be width sharded", input.memory),
        format_args!("an interleaved or width-sharded input"),
    );
    checks.require(*rows == TILE, format_args!("Shard shape must be correct"), format_args!("shards of 32 rows"));
    checks.narrow(
        whole_tiles(*columns) && u64::from(*columns) * u64::from(cores.len()) == u64::from(input.columns()),
        format_args!("{} columns in shards of {columns} on {} cores", input.columns(), cores.len()),
        format_args!("as many tiles on every core"),
    );
}

/// `nlp_create_qkv_heads`, interleaved.
///
/// Stricter than TT-NN: `head_dim` has to be a multiple of 32 (TT-NN rounds the logical shape up and reads columns of the next head), at
/// most 320 (the largest whose buffers were measured), and the input interleaved.
///
/// # Errors
/// Every broken constraint of `nlp_create_qkv_heads_device_operation.cpp`.
pub fn check_create_heads(args: &CreateHeads, given: &[&TensorSpec], card: &Card) -> Answer {
    let [input] = operands(given)?;
    let mut checks = Checks::new();
    require_movable(input, &mut checks);
    let all = args.heads.saturating_add(args.kv_heads.saturating_mul(2));
    checks.narrow(
        matches!(*input.shape.as_slice(), [1, 1, 1..=u32::MAX, 1..=u32::MAX]) && args.heads > 0 && args.kv_heads > 0,
        format_args!("Unsupported input shape {:?}", input.shape),
        format_args!("[1, 1, S, (heads + 2 * kv_heads) * head_dim]"),
    );
    require_interleaved(&args.memory, &mut checks);
    checks.settle()?;
    checks.require(
        input.columns().is_multiple_of(all),
        format_args!("Unsupported input shape"),
        format_args!("columns {} divisible by num_heads + 2*num_kv_heads = {all}", input.columns()),
    );
    let head_dim = input.columns() / all;
    checks.require(
        head_dim.is_multiple_of(TILE) && head_dim <= 320,
        format_args!("head_dim {head_dim} is not a multiple of 32 up to 320"),
        format_args!("heads padded to a multiple of 32 columns"),
    );
    checks
        .finish(|| {
            let rows = input.rows();
            let heads = |count| TensorSpec::tile([1, count, rows, head_dim], input.dtype, args.memory.clone());
            Outcome {
                outputs: vec![heads(args.heads), heads(args.kv_heads), heads(args.kv_heads)],
                circular_buffers: tiles_in_flight(head_dim / TILE) * input.dtype.tile_bytes(),
                programs: 1,
                ..Outcome::default()
            }
        })
        .and_then(|outcome| placed(outcome, card))
}

/// Tiles of the reader's buffer: heads of 4 and 8 tiles move whole, twice buffered; the others a tile at a time, four times buffered.
fn tiles_in_flight(head_tiles: u32) -> u64 {
    if matches!(head_tiles, 4 | 8) { 2 * u64::from(head_tiles) } else { 4 }
}

/// `nlp_concat_heads_decode` with `sub_core_grids`.
///
/// TT-NN starts handing out cores of the grid at the input's first core, and always returns 32 rows. Stricter than TT-NN: `heads` is the
/// input's, and `head_dim` a multiple of 32 (TT-NN would return padded columns as data).
///
/// # Errors
/// Every broken constraint of `nlp_concat_heads_decode_device_operation.cpp`.
pub fn check_concat_heads_decode(args: &ConcatHeadsDecode, given: &[&TensorSpec], card: &Card) -> Answer {
    let [input] = operands(given)?;
    let mut checks = Checks::new();
    checks.require(
        matches!(input.dtype, DType::F32 | DType::Bf16),
        format_args!("Unsupported data format"),
        format_args!("a bf16 input"),
    );
    checks.require(
        input.layout == Layout::Tile,
        format_args!("Input tensor layout must be TILE but got {:?}", input.layout),
        format_args!("a tiled input"),
    );
    checks.narrow(
        matches!(*input.shape.as_slice(), [1, 1..=MOST, 1..=MOST, n] if whole_tiles(n)) && input.shape[2] == args.heads,
        format_args!("shape {:?}: currently only support less than 32 users and 32 padded heads", input.shape),
        format_args!("[1, B, {}, head_dim] with a head_dim that is a multiple of 32", args.heads),
    );
    checks.settle()?;
    let (users, head_dim) = (input.shape[1], input.columns());
    let MemoryConfig::Sharded { memory: Memory::L1, strategy: Strategy::Height, cores, shard } = &input.memory else {
        checks.require(
            false,
            format_args!("Input tensor must be sharded; its memory layout must be HEIGHT_SHARDED"),
            format_args!("one user per core"),
        );
        return checks.finish(Outcome::default);
    };
    checks.require(
        *shard == [TILE, head_dim],
        format_args!("Shard spec shape {shard:?} must match input tensor padded shape [32, {head_dim}]"),
        format_args!("shards [32, {head_dim}]"),
    );
    checks.require(
        cores.len() == users,
        format_args!("Input core grid num_cores must be equal to num users"),
        format_args!("{users} cores"),
    );
    checks.require(
        args.cores.fits(card.grid),
        format_args!("sub_core_grids {} is not within the {}x{} cores", args.cores, card.grid.0, card.grid.1),
        format_args!("a grid of existing cores"),
    );
    checks.require(
        args.cores.len() >= args.heads,
        format_args!("Subcoregrids must have at least num_heads cores"),
        format_args!("{} cores", args.heads),
    );
    checks.settle()?;
    let start = cores.iter().next().and_then(|first| position(&args.cores, first));
    checks.require(
        start.is_some(),
        format_args!("Start core must be inside sub_core_grids"),
        format_args!("a grid that holds the input's first core"),
    );
    checks.settle()?;
    let Some(out) = start.and_then(|start| take(&args.cores, start, args.heads)) else {
        checks.require(
            false,
            format_args!("Failed to assign all {} requested cores", args.heads),
            format_args!("{} cores from the input's first core on", args.heads),
        );
        return checks.finish(Outcome::default);
    };
    checks.finish(|| Outcome {
        outputs: vec![TensorSpec::tile(
            [1, 1, MOST, args.heads * head_dim],
            input.dtype,
            MemoryConfig::width(out, [MOST, head_dim]),
        )],
        programs: 1,
        ..Outcome::default()
    })
}

/// `nlp_concat_heads`, interleaved. Two rows of tiles of all heads are buffered.
///
/// Stricter than TT-NN: `head_dim` has to be a multiple of 32, the input interleaved.
///
/// # Errors
/// Every broken constraint of `nlp_concat_heads_device_operation.cpp`.
pub fn check_concat_heads(args: &ConcatHeads, given: &[&TensorSpec], card: &Card) -> Answer {
    let [input] = operands(given)?;
    let mut checks = Checks::new();
    require_movable(input, &mut checks);
    require_interleaved(&args.memory, &mut checks);
    checks.narrow(
        matches!(*input.shape.as_slice(), [1, 1..=u32::MAX, 1..=u32::MAX, n] if whole_tiles(n)),
        format_args!("Unsupported input shape {:?}", input.shape),
        format_args!("[1, H, S, head_dim] with a head_dim that is a multiple of 32"),
    );
    checks
        .finish(|| {
            let (heads, columns) = (input.shape[1], input.columns());
            let row = u64::from(heads).saturating_mul(input.tile_columns() * input.dtype.tile_bytes());
            Outcome {
                outputs: vec![TensorSpec::tile(
                    [1, 1, input.rows(), heads.saturating_mul(columns)],
                    input.dtype,
                    args.memory.clone(),
                )],
                circular_buffers: row.saturating_mul(2),
                programs: 1,
                ..Outcome::default()
            }
        })
        .and_then(|outcome| placed(outcome, card))
}

fn require_movable(input: &TensorSpec, checks: &mut Checks) {
    checks.require(
        matches!(input.dtype, DType::F32 | DType::Bf16 | DType::Bfp8),
        format_args!("Unsupported data format"),
        format_args!("a bf16 or bfp8 input"),
    );
    checks.require(
        input.layout == Layout::Tile,
        format_args!("Input tensor layout must be TILE but got {:?}", input.layout),
        format_args!("a tiled input"),
    );
    checks.require(
        !input.memory.is_sharded(),
        format_args!("sharded input {}", input.memory),
        format_args!("an interleaved input"),
    );
}

fn require_interleaved(memory: &MemoryConfig, checks: &mut Checks) {
    checks.require(
        !memory.is_sharded(),
        format_args!("Output memory config layout must be INTERLEAVED but got {memory}"),
        format_args!("L1 or DRAM interleaved"),
    );
}

fn placed(outcome: Outcome, card: &Card) -> Answer {
    let mut checks = Checks::new();
    for output in &outcome.outputs {
        require_placement(output, card, &mut checks);
    }
    checks.finish(|| outcome)
}

#[cfg(test)]
mod tests;
