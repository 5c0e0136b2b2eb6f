//! Draws of `ttnn.linear`.

use bitnetc_plan::op::Matmul;
use bitnetc_plan::program::FusedActivation;
use bitnetc_plan::{Arch, Cores, DType, MatmulProgram, MemoryConfig, TILE, TensorSpec};

use super::dice::{Dice, WIDTHS};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[
    ("linear, DRAM-sharded", dram_sharded),
    ("linear, 1D multicast", multicast_1d),
    ("linear, 2D multicast", multicast_2d),
];

/// Widths of products that are no width of activations: fused projections, shares of vocabularies.
const PRODUCTS: [u32; 8] = [3840, 1280, 13824, 2688, 1000, 16032, 8016, 4008];

fn inner_and_outer(dice: &mut Dice<'_>) -> (u32, u32) {
    let n = if dice.chance(0.5) { dice.pick(&PRODUCTS) } else { dice.pick(&WIDTHS) };
    (dice.pick(&WIDTHS), n)
}

fn activation(dice: &mut Dice<'_>) -> Option<FusedActivation> {
    dice.pick(&[None, None, None, Some(FusedActivation::Relu), Some(FusedActivation::Silu)])
}

/// A weight over `banks` DRAM banks in the narrowest shards.
fn over_banks(k: u32, n: u32, banks: u32) -> MemoryConfig {
    MemoryConfig::dram_width(banks, [k, n.div_ceil(TILE * banks) * TILE])
}

fn linear(
    dice: &mut Dice<'_>,
    program: MatmulProgram,
    memory: MemoryConfig,
    a: TensorSpec,
    b: TensorSpec,
) -> Option<Question> {
    let (dtype, compute) = (dice.activations(), dice.compute());
    question(dice, Matmul { a: operand(), b: operand(), program, compute, dtype, memory }, vec![a, b])
}

fn dram_sharded(dice: &mut Dice<'_>) -> Option<Question> {
    let (k, n) = inner_and_outer(dice);
    let (inner, outer) = (k / TILE, n.div_ceil(TILE));
    let rows = if dice.chance(0.03) { 64 } else { dice.batch_rows() };
    let memory = dice.width_shards(rows, k);
    let shard = memory.shard().map_or(1, |s| s[1] / TILE);
    let in0_block_w = match dice.between(0, 19) {
        0 => dice.between(1, inner),
        1..=3 => dice.divisor(inner, inner),
        _ => dice.divisor(shard, shard),
    };
    let cores = dice.pick(&[8, 16, 24, 32, 64]);
    let any = dice.between(1, outer);
    let few = dice.between(1, 16);
    let per_core_n = dice.pick(&[few, outer.div_ceil(cores), outer.div_ceil(cores), any]);
    let readers = match dice.card.arch {
        Arch::Wormhole => 1 + u32::from(dice.chance(0.04)),
        Arch::Blackhole => dice.pick(&[1, 2, 3, 1, 2, 3, 4]),
    };
    let per_core_m = if dice.chance(0.02) { 2 } else { 1 };
    let program =
        MatmulProgram::DramSharded { in0_block_w, per_core_m, per_core_n, activation: activation(dice), readers };
    let a = TensorSpec::tile([1, 1, rows, k], dice.activations(), memory);
    let banks = dice.card.dram.banks;
    let placed = match dice.between(0, 29) {
        0 => MemoryConfig::DRAM,
        1 => over_banks(k, n, banks - 1),
        2 => over_banks(k, n + TILE * banks, banks),
        _ => over_banks(k, n, banks),
    };
    let b = TensorSpec::tile([1, 1, k, n], dice.weights(), placed);
    let out = Cores::row_major(outer.div_ceil(per_core_n), dice.card.grid);
    linear(dice, program, MemoryConfig::width(out, [TILE, per_core_n * TILE]), a, b)
}

/// A subblock of a block, mostly the widest that fits the destination register.
fn subblock(dice: &mut Dice<'_>, block: (u32, u32)) -> (u32, u32) {
    let height = if dice.chance(0.7) { 1 } else { dice.divisor(block.0, 8) };
    let width = match dice.between(0, 9) {
        0 => dice.between(1, 8),
        1..=3 => dice.divisor(block.1, 8),
        _ => (1..=4).rev().find(|w| block.1.is_multiple_of(*w) && w * height <= 4).unwrap_or(1),
    };
    (height, width)
}

fn multicast_1d(dice: &mut Dice<'_>) -> Option<Question> {
    let (k, n) = inner_and_outer(dice);
    let (inner, outer) = (k / TILE, n.div_ceil(TILE));
    let (x, y) = dice.card.grid;
    let grid = if dice.chance(0.8) { (x, y) } else { (dice.between(1, x), dice.between(1, y)) };
    let (rows, sharded) = (dice.batch_rows(), dice.chance(0.75));
    let memory = if sharded { dice.width_shards(rows, k) } else { dice.interleaved() };
    let shard = memory.shard().map_or(inner, |s| s[1] / TILE);
    let in0_block_w = if dice.chance(0.85) { dice.divisor(shard, 16) } else { dice.divisor(inner, inner) };
    let cores = dice.pick(&[grid.0 * grid.1, grid.0 * grid.1, 8, 16]);
    let per_core_n = if dice.chance(0.9) { outer.div_ceil(cores) } else { dice.between(1, outer) };
    let out_subblock = subblock(dice, (1, per_core_n));
    let per_core_m = if dice.chance(0.03) { 2 } else { 1 };
    let program = MatmulProgram::Multicast1D {
        grid,
        in0_block_w,
        out_subblock,
        per_core_m,
        per_core_n,
        activation: activation(dice),
    };
    let a = TensorSpec::tile([1, 1, rows, k], dice.activations(), memory);
    let banks = dice.card.dram.banks;
    let placed = if dice.chance(0.9) { MemoryConfig::DRAM } else { over_banks(k, n, banks) };
    let b = TensorSpec::tile([1, 1, k, n], dice.weights(), placed);
    let out = match dice.chance(0.6) {
        true => MemoryConfig::width(Cores::row_major(outer.div_ceil(per_core_n), grid), [TILE, per_core_n * TILE]),
        false => dice.interleaved(),
    };
    linear(dice, program, out, a, b)
}

fn multicast_2d(dice: &mut Dice<'_>) -> Option<Question> {
    let (k, n) = inner_and_outer(dice);
    let rows = dice.pick(&[32, 64, 96, 128, 256, 512, 1024, 2048, 4096, 8192]);
    let (m, inner, outer) = (rows / TILE, k / TILE, n.div_ceil(TILE));
    let (x, y) = dice.card.grid;
    let (any_x, any_y) = (dice.between(1, x), dice.between(1, y));
    let grid = (dice.pick(&[8, 8, 8, x, any_x]), dice.pick(&[8.min(m), y.min(m), any_y]));
    let per_core_m = if dice.chance(0.9) { m.div_ceil(grid.1) } else { dice.between(1, m) };
    let per_core_n = if dice.chance(0.9) { outer.div_ceil(grid.0) } else { dice.between(1, outer) };
    let mut out_block = (per_core_m, per_core_n);
    if dice.chance(0.5) {
        out_block = (dice.divisor(per_core_m, 64), dice.divisor(per_core_n, 64));
    }
    if dice.chance(0.03) {
        out_block.0 += 1;
    }
    let in0_block_w = if dice.chance(0.93) { dice.divisor(inner, 16) } else { dice.between(1, 12) };
    let program = MatmulProgram::Multicast2D {
        grid,
        in0_block_w,
        out_subblock: subblock(dice, out_block),
        out_block,
        per_core_m,
        per_core_n,
        activation: activation(dice),
    };
    let a = TensorSpec::tile([1, 1, rows, k], dice.activations(), MemoryConfig::DRAM);
    let banks = dice.card.dram.banks;
    let placed = dice.pick(&[MemoryConfig::DRAM, over_banks(k, n, banks), over_banks(k, n, banks)]);
    let b = TensorSpec::tile([1, 1, k, n], dice.weights(), placed);
    let out = if u64::from(rows) * u64::from(n) * DType::Bf16.tile_bytes() / 1024 < 10_000_000 {
        dice.interleaved()
    } else {
        MemoryConfig::DRAM
    };
    linear(dice, program, out, a, b)
}
