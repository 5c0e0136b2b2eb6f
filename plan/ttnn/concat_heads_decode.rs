//! `nlp_concat_heads_decode` with `sub_core_grids`: heads of each user side by side, one head to a core.
//!
//! TT-NN starts handing out cores of the grid at the input's first core, and always returns 32 rows.

use super::assign::{position, take};
use super::constraint::{constraints, values};
use super::users::{MOST, MOST_HEADS, head_rows, whole_tiles};
use super::{Answer, Checks, Outcome};
use crate::op::ConcatHeadsDecode;
use crate::ttnn::checks::operands;
use crate::{Card, DType, Layout, Memory, MemoryConfig, Strategy, TensorSpec};

constraints! { "concat_heads_decode", "nlp_concat_heads_decode_device_operation.cpp", also [];
    TYPE: "The input is bf16 or f32."
        => "Unsupported data format", "a bf16 input";
    TILED: "The input is tiled."
        => "Input tensor layout must be TILE but got {layout}", "a tiled input";
    SHAPE: "The input is [1, B, heads, head_dim] of at most 32 users and 128 heads, head_dim a multiple of 32."
        because "TT-NN takes another number of heads than the input has, and returns padded columns as data"
        => "shape {shape}: more than 32 users, 128 heads or another number of heads than {heads}",
           "[1, B, {heads}, head_dim] with a head_dim that is a multiple of 32";
    HEIGHT_SHARDED: "The input is height-sharded in L1."
        => "Input tensor must be sharded; its memory layout must be HEIGHT_SHARDED", "one user per core";
    SHARD: "Shards of the input hold the heads of a user: [heads in whole tiles, head_dim]."
        => "Shard spec shape {shard} must match input tensor padded shape [{rows}, {head_dim}]", "shards [{rows}, {head_dim}]";
    CORE_PER_USER: "The input lies on as many cores as there are users."
        => "Input core grid num_cores must be equal to num users", "{users} cores";
    GRID_ON_CARD: "sub_core_grids is on the card."
        because "TT-NN looks only at the cores that it takes of the grid"
        => "sub_core_grids {cores} is not within the {width}x{height} cores", "a grid of existing cores";
    CORE_PER_HEAD: "sub_core_grids has a core for each head."
        => "Subcoregrids must have at least num_heads cores", "{heads} cores";
    GRID_HOLDS_START: "sub_core_grids holds the first core of the input." in "work_split.cpp"
        => "Start core must be inside sub_core_grids", "a grid that holds the input's first core";
    CORES_FROM_START: "From the first core of the input on, sub_core_grids has a core for each head." in "work_split.cpp"
        => "Failed to assign all {heads} requested cores", "{heads} cores from the input's first core on";
}

/// `[1,B,H,D]` -> `[1,1,32,H*D]`, width-sharded.
pub(super) fn check(args: &ConcatHeadsDecode, given: &[&TensorSpec], card: &Card) -> Answer {
    let [input] = operands(given)?;
    let mut checks = Checks::new();
    let heads = args.heads;
    checks.require(&TYPE, matches!(input.dtype, DType::F32 | DType::Bf16), values![]);
    checks.require(&TILED, input.layout == Layout::Tile, values![layout = input.layout]);
    checks.require(
        &SHAPE,
        matches!(*input.shape.as_slice(), [1, 1..=MOST, 1..=MOST_HEADS, n] if whole_tiles(n))
            && input.shape[2] == heads,
        values![shape = input.shape, heads],
    );
    checks.settle()?;
    let (users, head_dim) = (input.shape[1], input.columns());
    let MemoryConfig::Sharded { memory: Memory::L1, strategy: Strategy::Height, cores, shard } = &input.memory else {
        checks.require(&HEIGHT_SHARDED, false, values![]);
        return checks.finish(Outcome::default);
    };
    let rows = head_rows(heads);
    checks.require(&SHARD, *shard == [rows, head_dim], values![shard, rows, head_dim]);
    checks.require(&CORE_PER_USER, cores.len() == users, values![users]);
    checks.require(
        &GRID_ON_CARD,
        args.cores.fits(card.grid),
        values![cores = args.cores, width = card.grid.0, height = card.grid.1],
    );
    checks.require(&CORE_PER_HEAD, args.cores.len() >= heads, values![heads]);
    checks.settle()?;
    let start = cores.iter().next().and_then(|first| position(&args.cores, first));
    checks.require(&GRID_HOLDS_START, start.is_some(), values![]);
    checks.settle()?;
    let Some(out) = start.and_then(|start| take(&args.cores, start, heads)) else {
        checks.require(&CORES_FROM_START, false, values![heads]);
        return checks.finish(Outcome::default);
    };
    checks.finish(|| {
        let memory = MemoryConfig::width(out, [MOST, head_dim]);
        let output = TensorSpec::tile([1, 1, MOST, heads * head_dim], input.dtype, memory);
        Outcome { outputs: vec![output], programs: 1, ..Outcome::default() }
    })
}

#[cfg(test)]
mod tests;
