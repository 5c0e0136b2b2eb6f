//! `MatmulMultiCoreReuseMultiCastDRAMShardedProgramConfig`: decode's matmul.
//!
//! Every DRAM bank holds some columns of the weight; `readers` worker cores beside it compute them. The activations, one row of tiles,
//! are multicast block by block; the result is sent to the first `ceil(Nt / per_core_N)` cores of the grid, row by row, whatever shard
//! spec was asked for.

use super::matmul::Problem;
use super::{Answer, Checks};
use crate::{Cores, DType, MatmulProgram, Memory, MemoryConfig, Strategy, TILE};

/// Tiles one reader computes, padded so that its subblocks are wide: with `dest` tiles in the destination register.
fn padded_columns(tiles: u32, dest: u32) -> u32 {
    let mut width = (1..=dest.min(tiles)).rev().find(|w| tiles.is_multiple_of(*w)).unwrap_or(1);
    let mut count = tiles / width;
    for wider in width + 1..=dest {
        if tiles.div_ceil(wider) < count {
            count = tiles.div_ceil(wider);
            width = wider;
        }
    }
    width * count
}

/// Stricter than TT-NN: the weight must be spread over all banks in the narrowest shards, the activations over as many cores as there are
/// shards; and with several readers per bank, enough cores without activations must be left for all of them (TT-NN counts the first reader
/// of each bank only if it holds none).
pub(super) fn dram_sharded(p: &Problem<'_>, mut checks: Checks) -> Answer {
    let MatmulProgram::DramSharded { in0_block_w, per_core_m, per_core_n, readers, .. } = p.args.program else {
        return Err(Vec::new());
    };
    let (a_cores, a_shard) = require_activations(p, per_core_m, &mut checks);
    let tiles_per_bank = require_weight(p, &mut checks);
    require_readers(p, readers, tiles_per_bank, a_cores, &mut checks);
    checks.require(
        per_core_n > 0 && in0_block_w > 0,
        format_args!("in0_block_w {in0_block_w}, per_core_N {per_core_n}"),
        format_args!("both at least 1"),
    );
    checks.settle()?;
    checks.require(
        p.k.is_multiple_of(in0_block_w),
        format_args!("K ({}) must be divisible by in0_block_w ({in0_block_w})", p.k),
        format_args!("a divisor of {}", p.k),
    );
    checks.require(
        a_shard % in0_block_w == 0 || in0_block_w % a_shard == 0,
        format_args!(
            "shard_shape[1] / in0_tile.get_width() ({a_shard}) and in0_block_w ({in0_block_w}) must divide one another"
        ),
        format_args!("a divisor or a multiple of {a_shard}"),
    );
    checks.require(
        p.n.div_ceil(per_core_n) <= p.card.cores(),
        format_args!(
            "Target number of cores {} is greater than total number of available cores {}",
            p.n.div_ceil(per_core_n),
            p.card.cores()
        ),
        format_args!("per_core_N at least {}", p.n.div_ceil(p.card.cores())),
    );
    let per_reader = tiles_per_bank / readers;
    checks.narrow(
        !has_idle_reader(p.n, tiles_per_bank, per_reader) || per_core_n <= per_reader,
        format_args!(
            "Worker has no storage area assigned: a reader of the last bank with data has only padding, and per_core_N is {per_core_n}"
        ),
        format_args!("per_core_N at most {per_reader}, or fewer readers"),
    );
    checks.settle()?;
    let blocks = p.k / in0_block_w;
    let (in0_buffers, in1_buffers) = if blocks > 1 { (2, 3) } else { (1, 1) };
    let columns = tiles_per_bank / readers;
    let dest = if p.args.compute.fp32_dest_acc { 4 } else { 8 };
    let bytes = in0_buffers * u64::from(in0_block_w) * p.a.dtype.tile_bytes()
        + in1_buffers * u64::from(in0_block_w * columns) * p.b.dtype.tile_bytes()
        + p.output_bytes(u64::from(padded_columns(columns, dest)), blocks);
    // A block that spans several shards is gathered before it is multicast.
    let gathered = if in0_block_w > a_shard { u64::from(in0_block_w) * p.a.dtype.tile_bytes() } else { 0 };
    let cores = Cores::row_major(p.n.div_ceil(per_core_n), p.card.grid);
    p.finish(MemoryConfig::width(cores, [TILE, per_core_n * TILE]), bytes + gathered, checks)
}

/// Cores of the activations and column tiles of one of their shards.
fn require_activations(p: &Problem<'_>, per_core_m: u32, checks: &mut Checks) -> (u32, u32) {
    let MemoryConfig::Sharded { memory: Memory::L1, strategy: Strategy::Width, cores, shard } = &p.a.memory else {
        checks.require(
            false,
            format_args!("Input A memory layout must be WIDTH_SHARDED, got: {}", p.a.memory),
            format_args!("width-sharded activations in L1"),
        );
        return (1, 1);
    };
    checks.require(
        p.m == per_core_m && p.m == 1,
        format_args!("currently only support in0 tensor height of tile height: M ({}), per_core_M ({per_core_m})", p.m),
        format_args!("at most 32 rows and per_core_M = 1"),
    );
    let width = (shard[1] / TILE).max(1);
    checks.require(
        p.k.is_multiple_of(width) && p.k / width == cores.len(),
        format_args!(
            "in DRAM sharded Matmul we don't have support for un-even sharding currently. K: {}, per_core_K: {width}.",
            p.k
        ),
        format_args!("{} column tiles spread evenly over the cores", p.k),
    );
    checks.narrow(
        p.a.dtype != DType::Bfp4,
        format_args!("Unsupported data format bfloat4_b of the activations"),
        format_args!("bf16, bfp8 or f32"),
    );
    (cores.len(), width)
}

/// Column tiles of one bank's shard.
fn require_weight(p: &Problem<'_>, checks: &mut Checks) -> u32 {
    let banks = p.card.dram.banks;
    let tiles = p.n.div_ceil(banks);
    let sharded = matches!(p.b.memory, MemoryConfig::Sharded { memory: Memory::Dram, strategy: Strategy::Width, .. });
    checks.require(
        sharded,
        format_args!("Input B memory layout must be WIDTH_SHARDED, got: {}", p.b.memory),
        format_args!("a weight width-sharded over the {banks} DRAM banks in shards [{}, {}]", p.k * TILE, tiles * TILE),
    );
    checks.narrow(
        !sharded || p.weight_over_all_banks(),
        format_args!("a weight in {}", p.b.memory),
        format_args!("a weight width-sharded over the {banks} DRAM banks in shards [{}, {}]", p.k * TILE, tiles * TILE),
    );
    tiles
}

/// Whether the last bank with any data leaves one of its readers with padding alone. TT-NN then assigns that reader no part of the result
/// unless shards are no wider than what one reader computes (found on the mock; banks without any data do not count).
const fn has_idle_reader(tiles: u32, tiles_per_bank: u32, per_reader: u32) -> bool {
    let rest = tiles % tiles_per_bank;
    rest != 0 && rest + per_reader <= tiles_per_bank
}

fn require_readers(p: &Problem<'_>, readers: u32, tiles_per_bank: u32, a_cores: u32, checks: &mut Checks) {
    let (most, banks) = (p.card.dram.readers_per_bank, p.card.dram.banks);
    let in_range = checks.require(
        (1..=most).contains(&readers),
        format_args!("num_workers_per_dram_bank must be in [1, {most}], got {readers}"),
        format_args!("1 on Wormhole, 1 to 3 on Blackhole"),
    );
    if !in_range || readers == 1 {
        return;
    }
    // Of a weight elsewhere nobody knows what a bank holds; that it is elsewhere has been told.
    checks.require(
        !p.weight_over_all_banks() || tiles_per_bank.is_multiple_of(readers),
        format_args!(
            "DRAM-sharded matmul weight shard width {tiles_per_bank} tiles per bank must be divisible by workers_per_bank {readers}"
        ),
        format_args!("a divisor of {tiles_per_bank}"),
    );
    checks.require(
        a_cores + banks * readers <= p.card.cores(),
        format_args!("No free DRAM reader core: {a_cores} cores hold activations, {} are to read", banks * readers),
        format_args!("activations on at most {} cores", p.card.cores().saturating_sub(banks * readers)),
    );
}

#[cfg(test)]
mod tests {
    use super::has_idle_reader;
    use crate::op::Matmul;
    use crate::program::{ComputeKernel, Fidelity, MatmulProgram};
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, bytes, n150, p150, refusal, row};
    use crate::{Card, Cores, DType, MemoryConfig, TensorSpec};

    fn linear(in0_block_w: u32, per_core_n: u32, readers: u32, cores: u32, card: &Card) -> Matmul {
        Matmul {
            a: any(),
            b: any(),
            program: MatmulProgram::DramSharded { in0_block_w, per_core_m: 1, per_core_n, activation: None, readers },
            compute: ComputeKernel { fidelity: Fidelity::HiFi2, fp32_dest_acc: false, packer_l1_acc: true },
            dtype: DType::Bf16,
            memory: MemoryConfig::width(Cores::row_major(cores, card.grid), [32, per_core_n * 32]),
        }
    }

    fn weight(k: u32, n: u32, dtype: DType, card: &Card) -> TensorSpec {
        let banks = card.dram.banks;
        TensorSpec::tile([1, 1, k, n], dtype, MemoryConfig::dram_width(banks, [k, n.div_ceil(32 * banks) * 32]))
    }

    #[test]
    fn bytes_of_the_projections() {
        let (wh, bh) = (n150(), p150());
        let qkv = |card: &Card, readers| {
            let (x, w) = (row(card, 32, 2560, 8, 10), weight(2560, 3840, DType::Bfp8, card));
            bytes(linear(10, 4, readers, 30, card), &[&x, &w], card)
        };
        assert_eq!(qkv(&wh, 1), 387_840);
        assert_eq!(qkv(&bh, 3), 214_400);
        let (x, w) = (row(&wh, 32, 2560, 20, 4), weight(2560, 2560, DType::Bfp8, &wh));
        assert_eq!(bytes(linear(4, 10, 1, 8, &wh), &[&x, &w], &wh), 122_112);
        let (x, w) = (row(&wh, 32, 6912, 24, 9), weight(6912, 2560, DType::Bfp8, &wh));
        assert_eq!(bytes(linear(9, 10, 1, 8, &wh), &[&x, &w], &wh), 256_832);
    }

    #[test]
    fn bytes_by_format_and_accumulation() {
        let card = n150();
        let (x, w) = (row(&card, 32, 2560, 8, 10), weight(2560, 3840, DType::Bfp8, &card));
        let with = |dtype, fp32_dest_acc, packer_l1_acc| {
            let mut args = linear(10, 4, 1, 30, &card);
            args.dtype = dtype;
            args.compute = ComputeKernel { fidelity: Fidelity::LoFi, fp32_dest_acc, packer_l1_acc };
            bytes(args, &[&x, &w], &card)
        };
        assert_eq!(with(DType::Bfp8, false, true), 398_720);
        assert_eq!(with(DType::Bfp8, false, false), 378_240);
        assert_eq!(with(DType::F32, false, true), 428_800);
        assert_eq!(with(DType::F32, false, false), 408_320);
        assert_eq!(with(DType::F32, true, true), 416_512);
        assert_eq!(with(DType::Bf16, true, false), 441_088);
        assert_eq!(with(DType::Bfp8, true, true), 429_568);
    }

    #[test]
    fn the_result_lies_on_the_first_cores() {
        let card = p150();
        let (x, w) = (row(&card, 8, 2560, 8, 10), weight(2560, 3840, DType::Bfp8, &card));
        let answer = check(&linear(10, 4, 3, 30, &card).into(), &[&x, &w], &card).unwrap();
        let grid = answer.outputs[0].memory.l1_cores().unwrap();
        assert_eq!((answer.outputs[0].rows(), answer.programs), (8, 1));
        assert_eq!(grid.to_string(), "(0,0)-(10,1)+(0,2)-(7,2)");
    }

    #[test]
    fn blocks_wider_than_a_shard_are_gathered() {
        let card = n150();
        let (x, w) = (row(&card, 16, 2560, 16, 5), weight(2560, 8192, DType::Bfp4, &card));
        let mut args = linear(20, 11, 1, 24, &card);
        args.dtype = DType::F32;
        args.compute = ComputeKernel { fidelity: Fidelity::LoFi, fp32_dest_acc: true, packer_l1_acc: false };
        assert_eq!(bytes(args, &[&x, &w], &card), 981_504);
    }

    #[test]
    fn refusals() {
        let card = n150();
        let (x, w) = (row(&card, 32, 2560, 8, 10), weight(2560, 3840, DType::Bfp8, &card));
        let said =
            |args: Matmul, x: &TensorSpec, w: &TensorSpec, card: &Card| refusal(check(&args.into(), &[x, w], card));
        assert!(
            said(linear(44, 4, 1, 30, &card), &x, &w, &card).contains("K (80) must be divisible by in0_block_w (44)")
        );
        assert!(
            said(linear(4, 4, 1, 30, &card), &x, &w, &card)
                .contains("(10) and in0_block_w (4) must divide one another")
        );
        assert!(said(linear(10, 1, 1, 30, &card), &x, &w, &card).contains("Target number of cores 120"));
        assert!(said(linear(10, 4, 2, 30, &card), &x, &w, &card).contains("must be in [1, 1], got 2"));
        let plain = TensorSpec::tile([1, 1, 2560, 3840], DType::Bfp8, MemoryConfig::DRAM);
        assert!(
            said(linear(10, 4, 1, 30, &card), &x, &plain, &card)
                .contains("Input B memory layout must be WIDTH_SHARDED")
        );
        let uneven = row(&card, 32, 2560, 27, 3);
        assert!(said(linear(1, 4, 1, 30, &card), &uneven, &w, &card).contains("un-even sharding"));
        let bh = p150();
        let w = weight(2560, 2560, DType::Bfp8, &bh);
        assert!(
            said(linear(10, 4, 3, 20, &bh), &row(&bh, 32, 2560, 8, 10), &w, &bh)
                .contains("10 tiles per bank must be divisible")
        );
    }

    /// Tiles, tiles per bank and readers as TT-NN answered on the mock P150; 8 banks.
    #[test]
    fn idle_readers_are_those_of_the_last_bank_with_data() {
        for (tiles, tiles_per_bank, readers, idle) in [
            (20, 3, 3, true),
            (17, 3, 3, true),
            (21, 3, 3, false),
            (24, 3, 3, false),
            (12, 2, 2, false),
            (60, 8, 2, true),
            (60, 8, 1, false),
        ] {
            assert_eq!(has_idle_reader(tiles, tiles_per_bank, tiles_per_bank / readers), idle, "{tiles} {readers}");
        }
    }
}
