//! Shared by the multicast matmuls: blocks of activations and of the weight are multicast to a grid of cores.
//!
//! Both operands are double-buffered when K has more than one block. The result is collected in a buffer of one output block, or in its
//! shards; partial sums of another format than the result's have a buffer of their own.

use super::Problem;
use crate::DType;
use crate::ttnn::constraint::{constraints, values};
use crate::ttnn::{Checks, Violation};

constraints! { "matmul.blocks", "matmul_device_operation.cpp";
    POSITIVE: "Every size of the program config is at least 1."
        => "in0_block_w, out_subblock, out_block, per_core or grid is 0, which is not valid", "every size at least 1";
    GRID_ON_CARD: "The grid of the program config is on the card."
        => "compute_with_storage_grid_size {grid} is larger than the card's grid {card}", "at most {card}";
    WHOLE_BLOCKS: "in0_block_w divides the tiles of the inner dimension."
        => "Kt ({k}) must be divisible by in0_block_w ({in0_block_w})", "a divisor of {k}";
    BLOCKS_DIVIDE: "The output block divides what a core computes."
        => "per_core {per_core} must be divisible by out_block {block}", "divisors of {per_core}";
    SUBBLOCKS_DIVIDE: "The output subblock divides the output block."
        => "out_block {block} must be divisible by out_subblock {subblock}", "divisors of {block}";
    SUBBLOCK_FITS: "The output subblock fits the destination register: 8 tiles, or 4 with fp32 accumulation."
        => "out_subblock_w {width} times out_subblock_h {height} needs to be at most {registers} to fit in hardware",
           "a smaller subblock";
    A_TYPE: "The activations are bf16, bfp8 or f32."
        => "Unsupported data format bfloat4_b of the activations", "bf16, bfp8 or f32";
}

/// How a core's output is cut, in tiles.
pub(super) struct Cut {
    /// Columns and rows of the program's grid.
    pub grid: (u32, u32),
    /// Tiles of the inner dimension in a block.
    pub in0_block_w: u32,
    /// Rows and columns of an output subblock.
    pub subblock: (u32, u32),
    /// Rows and columns of an output block.
    pub block: (u32, u32),
    /// Rows and columns of a core.
    pub per_core: (u32, u32),
}

/// The demands on a cut, whatever is multicast.
pub(super) fn require_cut(p: &Problem<'_>, cut: &Cut, checks: &mut Checks) -> Result<(), Vec<Violation>> {
    let Cut { grid, in0_block_w, subblock, block, per_core } = *cut;
    let sizes = [in0_block_w, subblock.0, subblock.1, block.0, block.1, per_core.0, per_core.1, grid.0, grid.1];
    checks.require(&POSITIVE, sizes.iter().all(|&s| s > 0), values![]);
    checks.settle()?;
    let card = p.card.grid;
    checks.require(&GRID_ON_CARD, grid.0 <= card.0 && grid.1 <= card.1, values![grid, card]);
    checks.require(&WHOLE_BLOCKS, p.k.is_multiple_of(in0_block_w), values![k = p.k, in0_block_w]);
    checks.require(&BLOCKS_DIVIDE, per_core.0 % block.0 == 0 && per_core.1 % block.1 == 0, values![per_core, block]);
    checks.require(&SUBBLOCKS_DIVIDE, block.0 % subblock.0 == 0 && block.1 % subblock.1 == 0, values![block, subblock]);
    let registers: u32 = if p.args.compute.fp32_dest_acc { 4 } else { 8 };
    checks.require(
        &SUBBLOCK_FITS,
        subblock.0.saturating_mul(subblock.1) <= registers,
        values![width = subblock.1, height = subblock.0, registers],
    );
    checks.require(&A_TYPE, p.a.dtype != DType::Bfp4, values![]);
    checks.settle()
}

/// Bytes of the buffers for blocks of both operands.
pub(super) fn operand_bytes(p: &Problem<'_>, cut: &Cut) -> u64 {
    let buffers = if p.k / cut.in0_block_w > 1 { 2 } else { 1 };
    let depth = u64::from(cut.in0_block_w);
    let (rows, columns) = (u64::from(cut.block.0), u64::from(cut.block.1));
    buffers * depth * (rows * p.a.dtype.tile_bytes() + columns * p.b.dtype.tile_bytes())
}
