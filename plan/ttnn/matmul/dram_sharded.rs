//! `MatmulMultiCoreReuseMultiCastDRAMShardedProgramConfig`: decode's matmul.
//!
//! Every DRAM bank holds some columns of the weight; `readers` worker cores beside it compute them. The activations, one row of tiles,
//! are multicast block by block; the result is sent to the first `ceil(Nt / per_core_N)` cores of the grid, row by row, whatever shard
//! spec was asked for.

use super::Problem;
use crate::ttnn::constraint::{constraints, values};
use crate::ttnn::{Answer, Checks};
use crate::{Cores, DType, Memory, MemoryConfig, Strategy, TILE};

constraints! { "matmul.dram_sharded", "matmul_device_operation.cpp";
    A_WIDTH_SHARDED: "The activations are width-sharded in L1."
        => "Input A memory layout must be WIDTH_SHARDED, got: {memory}", "width-sharded activations in L1";
    ONE_TILE_ROW: "The activations have one row of tiles, and per_core_M is 1."
        => "currently only support in0 tensor height of tile height: M ({m}), per_core_M ({per_core_m})",
           "at most 32 rows and per_core_M = 1";
    EVEN_ACTIVATIONS: "The column tiles of the activations are spread evenly over their cores."
        => "in DRAM sharded Matmul we don't have support for un-even sharding currently. K: {k}, per_core_K: {width}.",
           "{k} column tiles spread evenly over the cores";
    A_TYPE: "The activations are bf16, bfp8 or f32."
        because "activations of four bits were not studied"
        => "Unsupported data format bfloat4_b of the activations", "bf16, bfp8 or f32";
    B_WIDTH_SHARDED: "The weight is width-sharded in DRAM."
        => "Input B memory layout must be WIDTH_SHARDED, got: {memory}",
           "a weight width-sharded over the {banks} DRAM banks in shards [{rows}, {columns}]";
    B_OVER_BANKS: "The weight is spread over all DRAM banks in the narrowest shards."
        because "other shards of a weight in the banks were not studied"
        => "a weight in {memory}", "a weight width-sharded over the {banks} DRAM banks in shards [{rows}, {columns}]";
    READERS: "There are one to three readers of a bank on Blackhole, one on Wormhole."
        => "num_workers_per_dram_bank must be in [1, {most}], got {readers}", "1 on Wormhole, 1 to 3 on Blackhole";
    READERS_DIVIDE: "The readers of a bank divide its column tiles."
        => "DRAM-sharded matmul weight shard width {tiles} tiles per bank must be divisible by workers_per_bank {readers}",
           "a divisor of {tiles}";
    FREE_CORES: "Where banks have several readers, there are cores without activations for all of them."
        => "No free DRAM reader core: {a_cores} cores hold activations, {wanted} are to read",
           "activations on at most {most} cores";
    POSITIVE: "in0_block_w and per_core_N are at least 1."
        => "in0_block_w {in0_block_w}, per_core_N {per_core_n}", "both at least 1";
    WHOLE_BLOCKS: "in0_block_w divides the tiles of the inner dimension."
        => "K ({k}) must be divisible by in0_block_w ({in0_block_w})", "a divisor of {k}";
    BLOCKS_AND_SHARDS: "Of in0_block_w and the column tiles of a shard of the activations, one divides the other."
        => "shard_shape[1] / in0_tile.get_width() ({shard}) and in0_block_w ({in0_block_w}) must divide one another",
           "a divisor or a multiple of {shard}";
    CORES: "The card has a core for each shard of the result." in "work_split.cpp"
        => "Target number of cores {cores} is greater than total number of available cores {available}",
           "per_core_N at least {least}";
    NO_IDLE_READER: "Every reader of the last bank with data has a part of the result."
        because "which readers TT-NN leaves without a part was found by trying on the mock card, not read in its source"
        => "Worker has no storage area assigned: a reader of the last bank with data has only padding, and per_core_N is {per_core_n}",
           "per_core_N at most {per_reader}, or fewer readers";
}

/// Sizes of the program config.
#[derive(Clone, Copy)]
pub(super) struct Readers {
    /// Tiles of the inner dimension in a block.
    pub in0_block_w: u32,
    /// Row tiles of a core.
    pub per_core_m: u32,
    /// Column tiles of a shard of the result.
    pub per_core_n: u32,
    /// Worker cores that read one bank.
    pub readers: u32,
}

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

/// One row of tiles, width-sharded, by a weight in the banks.
pub(super) fn check(p: &Problem<'_>, program: Readers, mut checks: Checks) -> Answer {
    let Readers { in0_block_w, per_core_m, per_core_n, readers } = program;
    let (a_cores, shard) = require_activations(p, per_core_m, &mut checks);
    let tiles_per_bank = require_weight(p, &mut checks);
    require_readers(p, readers, tiles_per_bank, a_cores, &mut checks);
    checks.require(&POSITIVE, per_core_n > 0 && in0_block_w > 0, values![in0_block_w, per_core_n]);
    checks.settle()?;
    let (cores, available) = (p.n.div_ceil(per_core_n), p.card.cores());
    checks.require(&WHOLE_BLOCKS, p.k.is_multiple_of(in0_block_w), values![k = p.k, in0_block_w]);
    let divide = shard % in0_block_w == 0 || in0_block_w % shard == 0;
    checks.require(&BLOCKS_AND_SHARDS, divide, values![shard, in0_block_w]);
    checks.require(&CORES, cores <= available, values![cores, available, least = p.n.div_ceil(available)]);
    let per_reader = tiles_per_bank / readers;
    let idle = has_idle_reader(p.n, tiles_per_bank, per_reader);
    checks.require(&NO_IDLE_READER, !idle || per_core_n <= per_reader, values![per_core_n, per_reader]);
    checks.settle()?;
    let memory = MemoryConfig::width(Cores::row_major(cores, p.card.grid), [TILE, per_core_n * TILE]);
    p.finish(memory, bytes(p, in0_block_w, shard, per_reader), checks)
}

/// Bytes of circular buffers: K-blocks of both operands and the result of one reader.
fn bytes(p: &Problem<'_>, in0_block_w: u32, shard: u32, columns: u32) -> u64 {
    let blocks = p.k / in0_block_w;
    let (in0_buffers, in1_buffers) = if blocks > 1 { (2, 3) } else { (1, 1) };
    let dest = if p.args.compute.fp32_dest_acc { 4 } else { 8 };
    let bytes = in0_buffers * u64::from(in0_block_w) * p.a.dtype.tile_bytes()
        + in1_buffers * u64::from(in0_block_w * columns) * p.b.dtype.tile_bytes()
        + p.output_bytes(u64::from(padded_columns(columns, dest)), blocks);
    // A block that spans several shards is gathered before it is multicast.
    bytes + if in0_block_w > shard { u64::from(in0_block_w) * p.a.dtype.tile_bytes() } else { 0 }
}

/// Cores of the activations and column tiles of one of their shards.
fn require_activations(p: &Problem<'_>, per_core_m: u32, checks: &mut Checks) -> (u32, u32) {
    let MemoryConfig::Sharded { memory: Memory::L1, strategy: Strategy::Width, cores, shard } = &p.a.memory else {
        checks.require(&A_WIDTH_SHARDED, false, values![memory = p.a.memory]);
        return (1, 1);
    };
    checks.require(&ONE_TILE_ROW, p.m == per_core_m && p.m == 1, values![m = p.m, per_core_m]);
    let width = (shard[1] / TILE).max(1);
    let even = p.k.is_multiple_of(width) && p.k / width == cores.len();
    checks.require(&EVEN_ACTIVATIONS, even, values![k = p.k, width]);
    checks.require(&A_TYPE, p.a.dtype != DType::Bfp4, values![]);
    (cores.len(), width)
}

/// Column tiles of one bank's shard.
fn require_weight(p: &Problem<'_>, checks: &mut Checks) -> u32 {
    let banks = p.card.dram.banks;
    let tiles = p.n.div_ceil(banks);
    let (rows, columns) = (p.k * TILE, tiles * TILE);
    let sharded = matches!(p.b.memory, MemoryConfig::Sharded { memory: Memory::Dram, strategy: Strategy::Width, .. });
    checks.require(&B_WIDTH_SHARDED, sharded, values![memory = p.b.memory, banks, rows, columns]);
    checks.require(
        &B_OVER_BANKS,
        !sharded || p.weight_over_all_banks(),
        values![memory = p.b.memory, banks, rows, columns],
    );
    tiles
}

/// Whether the last bank with any data leaves one of its readers with padding alone. TT-NN then assigns that reader no part of the result
/// unless shards are no wider than what one reader computes (found on the mock; banks without any data do not count).
const fn has_idle_reader(tiles: u32, tiles_per_bank: u32, per_reader: u32) -> bool {
    let rest = tiles % tiles_per_bank;
    rest != 0 && rest + per_reader <= tiles_per_bank
}

fn require_readers(p: &Problem<'_>, readers: u32, tiles: u32, a_cores: u32, checks: &mut Checks) {
    let (most, banks) = (p.card.dram.readers_per_bank, p.card.dram.banks);
    let in_range = checks.require(&READERS, (1..=most).contains(&readers), values![most, readers]);
    if !in_range || readers == 1 {
        return;
    }
    // The tiles of a bank are known only of a weight over all banks; any other weight is refused by itself.
    let divide = !p.weight_over_all_banks() || tiles.is_multiple_of(readers);
    checks.require(&READERS_DIVIDE, divide, values![tiles, readers]);
    let wanted = banks * readers;
    checks.require(
        &FREE_CORES,
        a_cores + wanted <= p.card.cores(),
        values![a_cores, wanted, most = p.card.cores().saturating_sub(wanted)],
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
