//! `ternary_linear`: products by two-bit weights with kernels of bitnetc's own.
//!
//! `ttnn.generic_op` accepts any program; the constraints are those of the kernels in `cpp/kernels/ternary_linear`. TT-NN itself asks that the
//! circular buffers fit, and that result and operands can be placed.

use super::checks::operands;
use super::constraint::{constraints, values};
use super::{Answer, Checks, Outcome, require_placement};
use crate::kernels;
use crate::op::TernaryLinear;
use crate::program::FusedActivation;
use crate::{Card, Cores, DType, Layout, Memory, MemoryConfig, Strategy, TILE, TensorSpec};

constraints! { "ternary_linear", "generic_op.cpp", also [placement];
    A_SHARDED: "The activations are one row of bf16 tiles in equal width shards in L1."
        because "the kernel gathers a row of tiles, shard by shard"
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
    DEST: "All columns of a core are in the destination register at once."
        because "sums are kept there up to the last tile of the inner dimension"
        => "{columns} tiles of a core, the destination register holds {most}", "at most {most} tiles of a core";
    BLOCKS: "in0_block_w divides the tiles of the inner dimension, and is below 4096."
        because "the kernel reads whole blocks, and the unpacker steps over one in a register of 16 bits"
        => "in0_block_w {in0_block_w} of {inner} tiles", "a divisor of {inner} below 4096";
    BUFFERS: "The circular buffer holds one block at least and not more than there are."
        because "more would stay empty"
        => "{buffers} buffers for {blocks} blocks", "1 to {blocks}";
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

/// `[1,1,rows,K] @ [1,1,K,N] -> [1,1,rows,N]`.
pub(super) fn check(args: &TernaryLinear, given: &[&TensorSpec], card: &Card) -> Answer {
    let [a, b] = operands(given)?;
    let mut checks = Checks::new();
    let inner = a.columns().div_ceil(TILE);
    checks.require(&A_SHARDED, gathered(a, inner), values![a]);
    checks.require(&WEIGHT, b.dtype == DType::Bfp2, values![dtype = b.dtype]);
    checks.require(&INNER, a.columns() == b.rows(), values![width = a.columns(), height = b.rows()]);
    let tiles = b.columns().div_ceil(TILE);
    let columns = columns(&args.memory, tiles, card);
    checks.require(&RESULT_SHARDED, columns.is_some(), values![tiles, memory = args.memory]);
    checks.require(&RESULT_TYPE, matches!(args.dtype, DType::Bf16 | DType::F32), values![dtype = args.dtype]);
    let most = if args.compute.fp32_dest_acc { 8 } else { 16 };
    let columns = columns.unwrap_or(1);
    checks.require(&DEST, columns <= most, values![columns, most]);
    let (in0_block_w, buffers) = (args.program.in0_block_w, args.program.buffers);
    let whole = (1..4096).contains(&in0_block_w) && inner.is_multiple_of(in0_block_w);
    checks.require(&BLOCKS, whole, values![in0_block_w, inner]);
    let blocks = inner / in0_block_w.max(1);
    checks.require(&BUFFERS, !whole || (1..=blocks).contains(&buffers), values![buffers, blocks]);
    checks.require(&NO_PARTIAL_SUMS, !args.compute.packer_l1_acc, values![]);
    checks.require(&ACTIVATION, args.program.activation != Some(FusedActivation::Silu), values![]);
    let (found, own) = (args.program.kernels, kernels::TERNARY_LINEAR.fingerprint());
    checks.require(&KERNELS, found == own, values![found, own]);
    require_placement(b, card, &mut checks);
    checks.settle()?;
    let mut shape = a.shape.clone();
    if let Some(last) = shape.last_mut() {
        *last = b.columns();
    }
    let output = TensorSpec::tile(shape, args.dtype, args.memory.clone());
    require_placement(&output, card, &mut checks);
    // The result's buffer is its shard.
    let circular_buffers = u64::from(inner) * a.dtype.tile_bytes()
        + u64::from(buffers) * u64::from(in0_block_w * columns) * b.dtype.tile_bytes();
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

/// Whether the kernel can gather a tensor of `inner` tiles.
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
    use crate::{ComputeKernel, Fidelity, Op, TernaryProgram, ttnn};

    /// `down` of 2B-4T on 40 cores: 216 tiles of activations, and two columns of codes in blocks of 18 tiles.
    fn down(change: impl FnOnce(&mut TernaryLinear, &mut TensorSpec)) -> Answer {
        let card = n150();
        let mut args = TernaryLinear {
            a: any(),
            b: any(),
            program: TernaryProgram {
                in0_block_w: 18,
                buffers: 3,
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
    fn a_core_holds_all_activations_and_its_blocks_of_codes() {
        let outcome = down(|_, _| {}).unwrap();
        assert_eq!(outcome.circular_buffers, 216 * 2048 + 3 * 18 * 2 * 256);
        assert_eq!(outcome.outputs[0].to_string(), "[1, 1, 32, 2560] bf16 L1 WS[32,64] on 8x5");
    }

    #[test]
    fn what_the_kernel_cannot_do_is_refused() {
        let cores = |n, width| MemoryConfig::width(Cores::row_major(n, (8, 8)), [32, width]);
        let eight = cores(8, 320);
        assert!(down(|args, _| args.memory = eight.clone()).is_ok());
        let wide = |args: &mut TernaryLinear, _: &mut TensorSpec| {
            (args.memory, args.compute.fp32_dest_acc) = (eight, true);
        };
        assert!(refusal(wide).contains("the destination register holds 8"));
        assert!(refusal(|args, _| args.memory = cores(27, 96)).contains("ternary_linear.result_sharded"));
        assert!(refusal(|args, _| args.program.in0_block_w = 16).contains("in0_block_w 16 of 216 tiles"));
        assert!(refusal(|args, _| args.program.buffers = 13).contains("13 buffers for 12 blocks"));
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
