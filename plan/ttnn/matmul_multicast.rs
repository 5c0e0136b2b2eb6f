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
    checks.narrow(
        p.m == 1 && per_core_m == 1,
        format_args!("{} rows of tiles in blocks of {per_core_m}", p.m),
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
        (shard[1] / TILE).is_multiple_of(cut.in0_block_w),
        format_args!(
            "shard_shape[1] ({}) / in0_tile width must be divisible by in0_block_w ({})",
            shard[1], cut.in0_block_w
        ),
        format_args!("a divisor of {}", shard[1] / TILE),
    );
    checks.narrow(
        p.k.is_multiple_of((shard[1] / TILE).max(1)),
        format_args!("{} column tiles in shards of {}", p.k, shard[1] / TILE),
        format_args!("shards of equal width"),
    );
    checks.narrow(
        cores.fits(cut.grid),
        format_args!("Tensor shard spec grid {cores} must be within config grid {:?}", cut.grid),
        format_args!("compute_with_storage_grid_size {:?}", cores.extent()),
    );
}

/// Rows over grid rows, columns over grid columns: everything interleaved, the weight also as a DRAM-sharded matmul takes it.
///
/// Stricter than TT-NN:
/// - interleaved activations and results only;
/// - a core's columns of a DRAM-sharded weight are at least those of a bank, and one block wide. TT-NN 0.81.1 takes less and computes
///   something else: the walk over the banks (`matmul_multicore_reuse_mcast_2d_program_factory.cpp`) gives each core the rest of the bank
///   it stands in, however few columns the core has, and the reader knows no second block of columns. Seen on a P150, where grids wider
///   than its 8 banks return garbage;
/// - no core has more rows than there are: it would write past the result.
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
    checks.narrow(
        per_core_m <= p.m,
        format_args!("per_core_M ({per_core_m}) exceeds the {} row tiles", p.m),
        format_args!("per_core_M at most {}", p.m),
    );
    if p.b.memory.is_sharded() {
        let bank = p.n.div_ceil(p.card.dram.banks);
        checks.narrow(
            per_core_n >= bank && out_block.1 == per_core_n,
            format_args!(
                "{per_core_n} columns per core, {} per block, of a weight with {bank} column tiles per bank",
                out_block.1
            ),
            format_args!("per_core_N at least {bank}, in one block: a core reads whole banks' columns"),
        );
    }
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
        p.k.is_multiple_of(*in0_block_w),
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

    fn two(
        gy: u32,
        in0_block_w: u32,
        out_subblock: (u32, u32),
        out_block: (u32, u32),
        per_core: (u32, u32),
        compute: ComputeKernel,
    ) -> Matmul {
        let (per_core_m, per_core_n) = per_core;
        let program = MatmulProgram::Multicast2D {
            grid: (8, gy),
            in0_block_w,
            out_subblock,
            out_block,
            per_core_m,
            per_core_n,
            activation: None,
        };
        Matmul { a: any(), b: any(), program, compute, dtype: DType::Bf16, memory: MemoryConfig::DRAM }
    }

    fn dram(rows: u32, columns: u32, dtype: DType) -> TensorSpec {
        TensorSpec::tile([1, 1, rows, columns], dtype, MemoryConfig::DRAM)
    }

    #[test]
    fn bytes_of_2d() {
        let card = n150();
        let args = two(8, 1, (1, 1), (4, 11), (4, 11), compute(true, true));
        assert_eq!(bytes(args, &[&dram(1024, 1024, DType::Bf16), &dram(1024, 2688, DType::Bfp8)], &card), 310_656);
        let args = two(2, 2, (1, 5), (1, 10), (4, 10), compute(false, false));
        let weight = TensorSpec::tile([1, 1, 4096, 2560], DType::Bf16, MemoryConfig::dram_width(12, [4096, 224]));
        assert_eq!(bytes(args, &[&dram(256, 4096, DType::Bf16), &weight], &card), 110_592);
        let args = two(8, 1, (1, 3), (1, 90), (1, 90), compute(true, false));
        let weight = TensorSpec::tile([1, 1, 4096, 23040], DType::Bf16, MemoryConfig::dram_width(12, [4096, 1920]));
        assert_eq!(bytes(args, &[&dram(256, 4096, DType::Bf16), &weight], &card), 925_696);
    }

    #[test]
    fn refusals_of_2d() {
        let card = n150();
        let (x, w) = (dram(1024, 2560, DType::Bf16), dram(2560, 2560, DType::Bfp8));
        let said = |args: Matmul| refusal(check(&args.into(), &[&x, &w], &card));
        let plain = compute(false, true);
        assert!(
            said(two(8, 3, (1, 5), (4, 10), (4, 10), plain)).contains("Kt (80) must be divisible by in0_block_w (3)")
        );
        assert!(
            said(two(8, 8, (1, 5), (4, 10), (3, 10), plain))
                .contains("per_core (3, 10) must be divisible by out_block")
        );
        assert!(said(two(8, 8, (2, 5), (4, 10), (4, 10), plain)).contains("needs to be at most 8"));
        assert!(said(two(8, 8, (1, 5), (4, 10), (4, 10), compute(true, true))).contains("needs to be at most 4"));
        assert!(said(two(4, 8, (1, 5), (4, 10), (4, 10), plain)).contains("Num output blocks along y (8)"));
        assert!(said(two(8, 8, (1, 5), (4, 5), (4, 5), plain)).contains("Num output blocks along x (16)"));
        let large = two(8, 80, (1, 5), (4, 10), (4, 10), plain);
        assert!(said(large).contains("beyond max L1 size of 1499136 B"));
    }

    /// On seven banks 8 columns of cores have 10 tiles of 80, a bank 12: TT-NN would hand each core a whole bank.
    #[test]
    fn a_core_takes_no_less_than_a_bank() {
        let mut card = n150();
        card.dram.banks = 7;
        let x = dram(1024, 2560, DType::Bf16);
        let w = TensorSpec::tile([1, 1, 2560, 2560], DType::Bfp8, MemoryConfig::dram_width(7, [2560, 384]));
        let said = |block, columns| {
            check(&two(8, 8, (1, 2), (4, block), (4, columns), compute(false, true)).into(), &[&x, &w], &card)
        };
        assert!(said(12, 12).is_ok());
        assert!(refusal(said(10, 10)).contains("with 12 column tiles per bank"));
        assert!(refusal(said(6, 12)).contains("12 columns per core, 6 per block"));
        let interleaved = TensorSpec { memory: MemoryConfig::DRAM, ..w.clone() };
        let args = two(8, 8, (1, 2), (4, 10), (4, 10), compute(false, true));
        assert!(check(&args.into(), &[&x, &interleaved], &card).is_ok());
    }
}
