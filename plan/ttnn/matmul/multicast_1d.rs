//! `MatmulMultiCoreReuseMultiCast1DProgramConfig` with `mcast_in0`: decode with an interleaved weight, columns over cores.
//!
//! The result is interleaved, or width-sharded over the first `ceil(Nt / per_core_N)` cores of the program's grid, row by row.

use super::Problem;
use super::blocks::{Cut, operand_bytes, require_cut};
use crate::ttnn::constraint::{constraints, values};
use crate::ttnn::{Answer, Checks};
use crate::{Cores, Memory, MemoryConfig, Strategy, TILE};

constraints! { "matmul.multicast_1d", "matmul_device_operation.cpp";
    ONE_TILE_ROW: "The activations have one row of tiles, and per_core_M is 1."
        because "decode has at most 32 users; buffers of more rows were not studied"
        => "{rows} rows of tiles in blocks of {per_core_m}", "at most 32 rows and per_core_M = 1";
    CORES: "The grid of the program config has a core for each block of columns."
        => "Number of blocks exceeds number of cores: {blocks} blocks > {cores} cores", "per_core_N at least {least}";
    B_INTERLEAVED: "The weight is interleaved."
        => "a 1D matmul with a weight in {memory}", "an interleaved weight";
    A_WIDTH_SHARDED: "Sharded activations are width-sharded in L1."
        => "input_tensor_a must be width sharded. Provided tensor memory layout: {memory}",
           "width-sharded or interleaved activations";
    BLOCKS_IN_SHARD: "in0_block_w divides the column tiles of a shard of the activations."
        => "shard_shape[1] ({width}) / in0_tile width must be divisible by in0_block_w ({in0_block_w})",
           "a divisor of {tiles}";
    EVEN_ACTIVATIONS: "The activations are in shards of equal width."
        because "a narrower last shard was not studied"
        => "{k} column tiles in shards of {tiles}", "shards of equal width";
    GRID_HOLDS_ACTIVATIONS: "The grid of the program config holds the cores of the activations."
        because "TT-NN asks for it in some of these calls only"
        => "Tensor shard spec grid {cores} must be within config grid {grid}", "compute_with_storage_grid_size {extent}";
}

/// One row of tiles, sharded or interleaved, by an interleaved weight.
pub(super) fn check(p: &Problem<'_>, cut: &Cut, mut checks: Checks) -> Answer {
    require_cut(p, cut, &mut checks)?;
    let (grid, (per_core_m, per_core_n)) = (cut.grid, cut.per_core);
    checks.require(&ONE_TILE_ROW, p.m == 1 && per_core_m == 1, values![rows = p.m, per_core_m]);
    let (blocks, cores) = (p.n.div_ceil(per_core_n), grid.0.saturating_mul(grid.1));
    checks.require(&CORES, blocks <= cores, values![blocks, cores, least = p.n.div_ceil(cores.max(1))]);
    checks.require(&B_INTERLEAVED, !p.b.memory.is_sharded(), values![memory = p.b.memory]);
    require_sharded_rows(p, cut, &mut checks);
    checks.settle()?;
    let bytes = operand_bytes(p, cut) + p.output_bytes(u64::from(per_core_n), p.k / cut.in0_block_w);
    if p.args.memory.is_sharded() {
        let memory = MemoryConfig::width(Cores::row_major(blocks, grid), [TILE, per_core_n * TILE]);
        return p.finish(memory, bytes - u64::from(per_core_n) * p.args.dtype.tile_bytes(), checks);
    }
    p.finish(p.args.memory.clone(), bytes, checks)
}

/// Activations in shards of one row of tiles, each a whole number of K-blocks, within the program's grid.
fn require_sharded_rows(p: &Problem<'_>, cut: &Cut, checks: &mut Checks) {
    let MemoryConfig::Sharded { memory, strategy, cores, shard: [_, width] } = &p.a.memory else {
        return;
    };
    checks.require(
        &A_WIDTH_SHARDED,
        *memory == Memory::L1 && *strategy == Strategy::Width,
        values![memory = p.a.memory],
    );
    let (tiles, in0_block_w) = (width / TILE, cut.in0_block_w);
    checks.require(&BLOCKS_IN_SHARD, tiles.is_multiple_of(in0_block_w), values![width, in0_block_w, tiles]);
    checks.require(&EVEN_ACTIVATIONS, p.k.is_multiple_of(tiles.max(1)), values![k = p.k, tiles]);
    checks.require(
        &GRID_HOLDS_ACTIVATIONS,
        cores.fits(cut.grid),
        values![cores, grid = cut.grid, extent = cores.extent()],
    );
}

#[cfg(test)]
mod tests {
    use crate::op::Matmul;
    use crate::program::{ComputeKernel, Fidelity, MatmulProgram};
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, bytes, n150, refusal, row};
    use crate::{Cores, DType, MemoryConfig, TensorSpec};

    fn compute(fp32_dest_acc: bool, packer_l1_acc: bool) -> ComputeKernel {
        ComputeKernel { fidelity: Fidelity::HiFi4, fp32_dest_acc, packer_l1_acc }
    }

    fn one(
        in0_block_w: u32,
        out_subblock_w: u32,
        per_core_n: u32,
        memory: MemoryConfig,
        compute: ComputeKernel,
    ) -> Matmul {
        let program = MatmulProgram::Multicast1D {
            grid: (8, 8),
            in0_block_w,
            out_subblock: (1, out_subblock_w),
            per_core_m: 1,
            per_core_n,
            activation: None,
        };
        Matmul { a: any(), b: any(), program, compute, dtype: DType::Bf16, memory }
    }

    #[test]
    fn bytes_of_1d() {
        let card = n150();
        let sharded = |cores, tiles: u32| MemoryConfig::width(Cores::row_major(cores, (8, 8)), [32, tiles * 32]);
        let weight = |k, n, dtype| TensorSpec::tile([1, 1, k, n], dtype, MemoryConfig::DRAM);
        let (x, w) = (row(&card, 32, 1024, 1, 32), weight(1024, 2688, DType::Bfp8));
        assert_eq!(bytes(one(2, 2, 2, sharded(42, 2), compute(true, true)), &[&x, &w], &card), 25_088);
        let (x, w) = (row(&card, 32, 2048, 2, 32), weight(2048, 8192, DType::Bfp4));
        assert_eq!(bytes(one(32, 8, 16, MemoryConfig::L1, compute(false, false)), &[&x, &w], &card), 753_664);
        let (x, w) = (row(&card, 32, 2560, 2, 40), weight(2560, 14336, DType::Bfp8));
        assert_eq!(bytes(one(2, 7, 28, sharded(16, 28), compute(false, false)), &[&x, &w], &card), 130_048);
    }

    #[test]
    fn refusals_of_1d() {
        let card = n150();
        let x = row(&card, 32, 2560, 8, 10);
        let said = |args: Matmul, w: &TensorSpec| refusal(check(&args.into(), &[&x, w], &card));
        let w = TensorSpec::tile([1, 1, 2560, 2560], DType::Bfp8, MemoryConfig::DRAM);
        let plain = compute(false, true);
        assert!(said(one(4, 1, 2, MemoryConfig::L1, plain), &w).contains("must be divisible by in0_block_w (4)"));
        assert!(said(one(10, 1, 1, MemoryConfig::L1, plain), &w).contains("80 blocks > 64 cores"));
        assert!(said(one(10, 3, 2, MemoryConfig::L1, plain), &w).contains("must be divisible by out_subblock"));
        let banks = TensorSpec { memory: MemoryConfig::dram_width(12, [2560, 224]), ..w };
        assert!(said(one(10, 2, 2, MemoryConfig::L1, plain), &banks).contains("1D matmul with a weight in"));
    }
}
