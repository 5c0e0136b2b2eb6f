//! `MatmulMultiCoreReuseMultiCast1DProgramConfig` (decode with interleaved weights) and `MatmulMultiCoreReuseMultiCastProgramConfig`
//! (prefill): blocks of activations and of the weight are multicast to a grid of cores.
//!
//! Both operands are double-buffered when K has more than one block. The result is collected in a buffer of one output block, or in its
//! shards; partial sums of another format than the result's have a buffer of their own.

use super::matmul::Problem;
use super::{Answer, Checks};
use crate::{Cores, DType, MatmulProgram, Memory, MemoryConfig, Strategy, TILE};

/// How a core's output is cut, in tiles.
struct Cut {
    grid: (u32, u32),
    in0_block_w: u32,
    subblock: (u32, u32),
    block: (u32, u32),
    per_core: (u32, u32),
}

/// Columns over cores: one row of tiles, sharded or interleaved; the weight interleaved; the result interleaved, or width-sharded over the
/// first `ceil(Nt / per_core_N)` cores of the program's grid, row by row.
///
/// Stricter than TT-NN: one row of tiles, `mcast_in0` only.
pub(super) fn multicast_1d(p: &Problem<'_>, mut checks: Checks) -> Answer {
    let MatmulProgram::Multicast1D { grid, in0_block_w, out_subblock, per_core_m, per_core_n, .. } = p.args.program
    else {
        return Err(Vec::new());
    };
    let per_core = (per_core_m, per_core_n);
    let cut = Cut { grid, in0_block_w, subblock: out_subblock, block: per_core, per_core };
    require_cut(p, &cut, &mut checks)?;
    checks.require(
        p.m == 1 && per_core_m == 1,
        format_args!("MatmulMultiCoreReuseMultiCast1DProgramConfig: M ({}) must equal per_core_M ({per_core_m})", p.m),
        format_args!("at most 32 rows and per_core_M = 1"),
    );
    let cores = p.n.div_ceil(per_core_n);
    checks.require(
        cores <= grid.0 * grid.1,
        format_args!("Number of blocks exceeds number of cores: {cores} blocks > {} cores", grid.0 * grid.1),
        format_args!("per_core_N at least {}", p.n.div_ceil((grid.0 * grid.1).max(1))),
    );
    checks.require(
        !p.b.memory.is_sharded(),
        format_args!("a 1D matmul with a weight in {}", p.b.memory),
        format_args!("an interleaved weight"),
    );
    require_sharded_rows(p, &cut, &mut checks);
    checks.settle()?;
    if p.args.memory.is_sharded() {
        let memory = MemoryConfig::width(Cores::row_major(cores, grid), [TILE, per_core_n * TILE]);
        let bytes = operand_bytes(p, &cut) + p.output_bytes(u64::from(per_core_n), p.k / in0_block_w)
            - u64::from(per_core_n) * p.args.dtype.tile_bytes();
        return p.finish(memory, bytes, checks);
    }
    let bytes = operand_bytes(p, &cut) + p.output_bytes(u64::from(per_core_n), p.k / in0_block_w);
    p.finish(p.args.memory.clone(), bytes, checks)
}

/// Activations in shards of one row of tiles, each a whole number of K-blocks, within the program's grid.
fn require_sharded_rows(p: &Problem<'_>, cut: &Cut, checks: &mut Checks) {
    let MemoryConfig::Sharded { memory, strategy, cores, shard } = &p.a.memory else {
        return;
    };
    checks.require(
        *memory == Memory::L1 && *strategy == Strategy::Width,
        format_args!("input_tensor_a must be width sharded. Provided tensor memory layout: {}", p.a.memory),
        format_args!("width-sharded or interleaved activations"),
    );
    checks.require(
        (shard[1] / TILE) % cut.in0_block_w == 0,
        format_args!(
            "shard_shape[1] ({}) / in0_tile width must be divisible by in0_block_w ({})",
            shard[1], cut.in0_block_w
        ),
        format_args!("a divisor of {}", shard[1] / TILE),
    );
    checks.require(
        p.k % (shard[1] / TILE).max(1) == 0,
        format_args!("{} column tiles in shards of {}", p.k, shard[1] / TILE),
        format_args!("shards of equal width"),
    );
    checks.require(
        cores.fits(cut.grid),
        format_args!("Tensor shard spec grid {cores} must be within config grid {:?}", cut.grid),
        format_args!("compute_with_storage_grid_size {:?}", cores.extent()),
    );
}

/// Rows over grid rows, columns over grid columns: everything interleaved, the weight also as a DRAM-sharded matmul takes it.
///
/// Stricter than TT-NN: interleaved activations and results only.
pub(super) fn multicast_2d(p: &Problem<'_>, mut checks: Checks) -> Answer {
    let MatmulProgram::Multicast2D { grid, in0_block_w, out_subblock, out_block, per_core_m, per_core_n, .. } =
        p.args.program
    else {
        return Err(Vec::new());
    };
    let cut = Cut { grid, in0_block_w, subblock: out_subblock, block: out_block, per_core: (per_core_m, per_core_n) };
    require_cut(p, &cut, &mut checks)?;
    let (rows, columns) = (p.m.div_ceil(per_core_m), p.n.div_ceil(per_core_n));
    checks.require(
        columns <= grid.0,
        format_args!(
            "Num output blocks along x ({columns}) must be smaller than or equal to the number of columns in compute grid ({})",
            grid.0
        ),
        format_args!("per_core_N at least {}", p.n.div_ceil(grid.0.max(1))),
    );
    checks.require(
        rows <= grid.1,
        format_args!(
            "Num output blocks along y ({rows}) must be smaller than or equal to the number of rows in compute grid ({})",
            grid.1
        ),
        format_args!("per_core_M at least {}", p.m.div_ceil(grid.1.max(1))),
    );
    checks.require(
        !p.a.memory.is_sharded() && !p.args.memory.is_sharded(),
        format_args!("a 2D matmul from {} into {}", p.a.memory, p.args.memory),
        format_args!("interleaved activations and result"),
    );
    checks.require(
        !p.b.memory.is_sharded() || p.weight_over_all_banks(),
        format_args!("a 2D matmul with a weight in {}", p.b.memory),
        format_args!("a weight interleaved, or width-sharded over all DRAM banks in the narrowest shards"),
    );
    checks.settle()?;
    let block = u64::from(out_block.0) * u64::from(out_block.1);
    let bytes = operand_bytes(p, &cut) + p.output_bytes(block, p.k / in0_block_w);
    p.finish(p.args.memory.clone(), bytes, checks)
}

fn require_cut(p: &Problem<'_>, cut: &Cut, checks: &mut Checks) -> Result<(), Vec<super::Violation>> {
    let Cut { grid, in0_block_w, subblock, block, per_core } = cut;
    let sizes = [*in0_block_w, subblock.0, subblock.1, block.0, block.1, per_core.0, per_core.1, grid.0, grid.1];
    checks.require(
        sizes.iter().all(|&s| s > 0),
        format_args!("in0_block_w, out_subblock, out_block, per_core or grid is 0, which is not valid"),
        format_args!("every size at least 1"),
    );
    checks.settle()?;
    checks.require(
        grid.0 <= p.card.grid.0 && grid.1 <= p.card.grid.1,
        format_args!("compute_with_storage_grid_size {grid:?} is larger than the card's grid {:?}", p.card.grid),
        format_args!("at most {:?}", p.card.grid),
    );
    checks.require(
        p.k % in0_block_w == 0,
        format_args!("Kt ({}) must be divisible by in0_block_w ({in0_block_w})", p.k),
        format_args!("a divisor of {}", p.k),
    );
    checks.require(
        per_core.0 % block.0 == 0 && per_core.1 % block.1 == 0,
        format_args!("per_core {per_core:?} must be divisible by out_block {block:?}"),
        format_args!("divisors of {per_core:?}"),
    );
    checks.require(
        block.0 % subblock.0 == 0 && block.1 % subblock.1 == 0,
        format_args!("out_block {block:?} must be divisible by out_subblock {subblock:?}"),
        format_args!("divisors of {block:?}"),
    );
    let registers = if p.args.compute.fp32_dest_acc { 4 } else { 8 };
    checks.require(
        subblock.0 * subblock.1 <= registers,
        format_args!(
            "out_subblock_w {} times out_subblock_h {} needs to be at most {registers} to fit in hardware",
            subblock.1, subblock.0
        ),
        format_args!("a smaller subblock"),
    );
    checks.require(
        p.a.dtype != DType::Bfp4,
        format_args!("Unsupported data format bfloat4_b of the activations"),
        format_args!("bf16, bfp8 or f32"),
    );
    checks.settle()
}

/// Bytes of the buffers for blocks of both operands.
fn operand_bytes(p: &Problem<'_>, cut: &Cut) -> u64 {
    let buffers = if p.k / cut.in0_block_w > 1 { 2 } else { 1 };
    let depth = u64::from(cut.in0_block_w);
    let (rows, columns) = (u64::from(cut.block.0), u64::from(cut.block.1));
    buffers * depth * (rows * p.a.dtype.tile_bytes() + columns * p.b.dtype.tile_bytes())
}
