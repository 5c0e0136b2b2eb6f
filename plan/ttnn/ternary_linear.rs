//! `ternary_linear`: products by two-bit weights with kernels of bitnetc's own, and what `ternary_gated` shares with it.
//!
//! `ttnn.generic_op` accepts any program; the constraints are those of the kernels in `cpp/kernels/ternary_linear`. TT-NN itself asks that the
//! circular buffers fit, and that result and operands can be placed.

use super::checks::operands;
use super::constraint::{constraints, values};
use super::{Answer, Checks, Outcome, require_placement};
use crate::kernels;
use crate::op::TernaryLinear;
use crate::program::{FusedActivation, TernaryProgram};
use crate::{Card, ComputeKernel, Cores, DType, Layout, Memory, MemoryConfig, Strategy, TILE, TensorSpec};

constraints! { "ternary_linear", "generic_op.cpp", also [placement];
    A_SHARDED: "The activations are one row of bf16 tiles in equal width shards in L1."
        because "the kernel sends a row of tiles, shard by shard"
        => "activations {a}", "[1, 1, 32, K] bf16, width-sharded evenly in L1";
    WEIGHT: "The weight is in two-bit codes."
        because "the kernel sets the unpacker to two bits"
        => "a weight in {dtype}", "bfp2";
    INNER: "The activations are as wide as the weight is high."
        because "the kernel multiplies whole columns of tiles"
        => "activations of {width} columns, a weight of {height} rows", "a weight of {width} rows";
    RESULT_SHARDED: "The result is in equal width shards in L1, on a rectangle of cores or on the first ones of the grid, row by row."
        because "a core finds its columns by its place among the cores"
        => "a result of {tiles} tiles in {memory}", "{tiles} tiles in equal width shards on a rectangle";
    RESULT_TYPE: "The result is bf16 or f32."
        because "other formats of the packer were not compared"
        => "a result in {dtype}", "bf16 or f32";
    DEST: "All columns of a core, of gate and of up, are in the destination register at once, and are at most 8."
        because "sums are kept there up to the last tile of the inner dimension; with more than 8 the results were wrong on the simulator"
        => "{columns} tiles of a core", "at most {most} tiles of a core";
    BLOCKS: "in0_block_w divides the tiles of the inner dimension, is at most 32, and makes at most 255 blocks."
        because "a block of a column is one packet of the NoC, and blocks are counted in a byte"
        => "in0_block_w {in0_block_w} of {inner} tiles", "a divisor of {inner} up to 32, with at most 255 blocks";
    READERS: "As many cores beside each DRAM bank stream weights as DRAM-sharded matmuls may have."
        because "more find no room beside the bank"
        => "{readers} readers per bank", "1 to {most}";
    NO_PARTIAL_SUMS: "packer_l1_acc is false."
        because "there are no partial sums to be added in L1"
        => "packer_l1_acc is true", "packer_l1_acc false";
    ACTIVATION: "The fused activation is RELU or none."
        because "the packer clamps; any other function needs a kernel of its own"
        => "SILU fused into a product by two-bit weights", "RELU or none";
    KERNELS: "The kernels are those of this bitnetc."
        because "a plan is priced and compared for the kernels it names"
        => "kernels {found}; this bitnetc has {own}", "plan the model again";
}

/// Column tiles of a core, of all its matrices.
const MOST_COLUMNS: u32 = 8;

/// Chunks of weights that a core which streams them holds: it reads some while it sends others.
const SLOTS: u32 = 10;

/// `[1,1,rows,K] @ [1,1,K,N] -> [1,1,rows,N]`.
pub(super) fn check(args: &TernaryLinear, given: &[&TensorSpec], card: &Card) -> Answer {
    let [a, b] = operands(given)?;
    let mut checks = Checks::new();
    checks.require(&RESULT_TYPE, matches!(args.dtype, DType::Bf16 | DType::F32), values![dtype = args.dtype]);
    checks.require(&ACTIVATION, args.program.activation != Some(FusedActivation::Silu), values![]);
    let cut = Cut { program: args.program, compute: args.compute, dtype: args.dtype, memory: &args.memory };
    products(&cut, a, [b], card, checks)
}

/// How products are cut, and what becomes of them.
pub(super) struct Cut<'a> {
    pub(super) program: TernaryProgram,
    pub(super) compute: ComputeKernel,
    pub(super) dtype: DType,
    pub(super) memory: &'a MemoryConfig,
}

/// The answer for products of activations by weights of one shape, whose columns a core computes side by side.
pub(super) fn products<const N: usize>(
    cut: &Cut<'_>,
    a: &TensorSpec,
    weights: [&TensorSpec; N],
    card: &Card,
    mut checks: Checks,
) -> Answer {
    let inner = a.columns().div_ceil(TILE);
    checks.require(&A_SHARDED, gathered(a, inner), values![a]);
    for weight in weights {
        checks.require(&WEIGHT, weight.dtype == DType::Bfp2, values![dtype = weight.dtype]);
        let (width, height) = (a.columns(), weight.rows());
        checks.require(&INNER, width == height, values![width, height]);
    }
    let width = weights.iter().map(|weight| weight.columns()).max().unwrap_or(0);
    let tiles = width.div_ceil(TILE);
    let shard = columns(cut.memory, tiles, card);
    checks.require(&RESULT_SHARDED, shard.is_some(), values![tiles, memory = cut.memory]);
    let columns = shard.unwrap_or(1).saturating_mul(N as u32);
    checks.require(&DEST, columns <= MOST_COLUMNS, values![columns, most = MOST_COLUMNS]);
    let (in0_block_w, readers) = (cut.program.in0_block_w, cut.program.readers);
    let whole = (1..=32).contains(&in0_block_w) && inner.is_multiple_of(in0_block_w) && inner / in0_block_w <= 255;
    checks.require(&BLOCKS, whole, values![in0_block_w, inner]);
    let most = card.dram.readers_per_bank;
    checks.require(&READERS, (1..=most).contains(&readers), values![readers, most]);
    checks.require(&NO_PARTIAL_SUMS, !cut.compute.packer_l1_acc, values![]);
    let (found, own) = (cut.program.kernels, kernels::TERNARY_LINEAR.fingerprint());
    checks.require(&KERNELS, found == own, values![found, own]);
    weights.iter().for_each(|weight| require_placement(weight, card, &mut checks));
    checks.settle()?;
    let mut shape = a.shape.clone();
    if let Some(last) = shape.last_mut() {
        *last = width;
    }
    let output = TensorSpec::tile(shape, cut.dtype, cut.memory.clone());
    require_placement(&output, card, &mut checks);
    // All activations and all weights of a core, and what is on its way to others. The result's buffer is its shard.
    let codes = u64::from(inner * columns + SLOTS * in0_block_w) * DType::Bfp2.tile_bytes();
    let circular_buffers = u64::from(inner) * a.dtype.tile_bytes() + codes;
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

/// Whether the kernel can send a tensor of `inner` tiles.
fn gathered(a: &TensorSpec, inner: u32) -> bool {
    a.dtype == DType::Bf16 && in_equal_shards(a, inner)
}

/// Whether a tensor of one row of so many tiles is in equal width shards in L1.
pub(super) fn in_equal_shards(a: &TensorSpec, tiles: u32) -> bool {
    let MemoryConfig::Sharded { memory: Memory::L1, strategy: Strategy::Width, cores, shard: [_, width] } = &a.memory
    else {
        return false;
    };
    a.layout == Layout::Tile
        && a.tile_rows() == 1
        && a.columns().is_multiple_of(TILE)
        && width.is_multiple_of(TILE)
        && u64::from(width / TILE) * u64::from(cores.len()) == u64::from(tiles)
}

/// Column tiles of a core, when a result of `tiles` is placed as the kernel can write it.
fn columns(memory: &MemoryConfig, tiles: u32, card: &Card) -> Option<u32> {
    let MemoryConfig::Sharded { memory: Memory::L1, strategy: Strategy::Width, cores, shard: [_, width] } = memory
    else {
        return None;
    };
    let columns = width / TILE;
    let placed = cores.as_rectangle().is_some() || *cores == Cores::row_major(cores.len(), card.grid);
    let even = width % TILE == 0 && u64::from(columns) * u64::from(cores.len()) == u64::from(tiles);
    (placed && even && columns > 0).then_some(columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::mock::{any, n150, row};
    use crate::{Fidelity, Op, ttnn};

    /// `down` of 2B-4T on 40 cores: 216 tiles of activations, and two columns of codes in blocks of 18 tiles.
    fn down(change: impl FnOnce(&mut TernaryLinear, &mut TensorSpec)) -> Answer {
        let card = n150();
        let mut args = TernaryLinear {
            a: any(),
            b: any(),
            program: TernaryProgram {
                in0_block_w: 18,
                readers: 1,
                activation: None,
                kernels: kernels::TERNARY_LINEAR.fingerprint(),
            },
            compute: ComputeKernel { fidelity: Fidelity::LoFi, fp32_dest_acc: false, packer_l1_acc: false },
            dtype: DType::Bf16,
            memory: MemoryConfig::width(Cores::row_major(40, card.grid), [32, 64]),
        };
        let mut weight = TensorSpec::tile([1, 1, 6912, 2560], DType::Bfp2, MemoryConfig::DRAM);
        change(&mut args, &mut weight);
        ttnn::check(&Op::from(args), &[&row(&card, 32, 6912, 54, 4), &weight], &card)
    }

    fn refusal(change: impl FnOnce(&mut TernaryLinear, &mut TensorSpec)) -> String {
        down(change).unwrap_err().iter().map(|v| format!("{}: {v}\n", v.id())).collect()
    }

    #[test]
    fn a_core_holds_all_activations_and_all_its_codes() {
        let outcome = down(|_, _| {}).unwrap();
        assert_eq!(outcome.circular_buffers, 216 * 2048 + (216 * 2 + 10 * 18) * 256);
        assert_eq!(outcome.outputs[0].to_string(), "[1, 1, 32, 2560] bf16 L1 WS[32,64] on 8x5");
    }

    #[test]
    fn what_the_kernel_cannot_do_is_refused() {
        let cores = |n, width| MemoryConfig::width(Cores::row_major(n, (8, 8)), [32, width]);
        assert!(down(|args, _| args.memory = cores(10, 256)).is_ok());
        assert!(refusal(|args, _| args.memory = cores(8, 320)).contains("ternary_linear.dest: 10 tiles of a core"));
        assert!(refusal(|args, _| args.memory = cores(27, 96)).contains("ternary_linear.result_sharded"));
        assert!(refusal(|args, _| args.program.in0_block_w = 16).contains("in0_block_w 16 of 216 tiles"));
        assert!(refusal(|args, _| args.program.in0_block_w = 54).contains("in0_block_w 54 of 216 tiles"));
        assert!(refusal(|args, _| args.program.readers = 2).contains("2 readers per bank"));
        assert!(refusal(|args, _| args.program.kernels ^= 1).contains("ternary_linear.kernels"));
        assert!(refusal(|args, _| args.dtype = DType::Bfp8).contains("ternary_linear.result_type"));
        assert!(refusal(|_, weight| weight.dtype = DType::Bfp4).contains("a weight in bfp4"));
        assert!(refusal(|_, weight| weight.memory = MemoryConfig::L1).contains("placement.two_bits"));
    }

    #[test]
    fn nothing_else_takes_codes() {
        let card = n150();
        let codes = TensorSpec::tile([1, 1, 2560, 2560], DType::Bfp2, MemoryConfig::DRAM);
        let moved = crate::op::ToMemoryConfig { input: any(), memory: MemoryConfig::L1 };
        let broken = ttnn::check(&Op::from(moved), &[&codes], &card).unwrap_err();
        assert_eq!(broken[0].id(), "call.two_bits");
    }
}
