//! Draws of `ttnn.rms_norm`.

use bitnetc_plan::op::RmsNorm;
use bitnetc_plan::program::NormProgram;
use bitnetc_plan::{DType, MemoryConfig, TILE, TensorSpec};

use super::dice::{Dice, WIDTHS};
use super::heads::prompt;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("rms_norm, sharded", sharded), ("rms_norm, interleaved", interleaved)];

fn gamma(dice: &mut Dice<'_>, k: u32) -> TensorSpec {
    let rows = |dtype, memory| TensorSpec::row_major([1, 1, k / TILE, TILE], dtype, memory);
    match dice.between(0, 19) {
        0 => rows(DType::F32, MemoryConfig::DRAM),
        1 => rows(DType::Bf16, MemoryConfig::L1),
        2 => TensorSpec::row_major([1, 1, 1, k], DType::Bf16, MemoryConfig::DRAM),
        3..=6 => TensorSpec::tile([1, 1, 1, k], dice.activations(), MemoryConfig::DRAM),
        _ => rows(DType::Bf16, MemoryConfig::DRAM),
    }
}

fn norm(dice: &mut Dice<'_>, program: Option<NormProgram>, memory: MemoryConfig, x: TensorSpec) -> Option<Question> {
    let (compute, gamma) = (dice.compute(), gamma(dice, x.columns()));
    let op = RmsNorm { input: operand(), gamma: operand(), epsilon: 1e-5.into(), program, compute, memory };
    question(dice, op, vec![x, gamma])
}

fn sharded(dice: &mut Dice<'_>) -> Option<Question> {
    let k = dice.pick(&WIDTHS);
    let rows = if dice.chance(0.04) { 64 } else { dice.batch_rows() };
    let memory = dice.width_shards(rows, k);
    let block_w = memory.shard()?[1] / TILE + u32::from(dice.chance(0.03));
    let widest = (1..=4).rev().find(|w| block_w.is_multiple_of(*w)).unwrap_or(1);
    let any = dice.between(1, block_w);
    let divisor = dice.divisor(block_w, block_w);
    let subblock_w = dice.pick(&[widest, widest, widest, widest, divisor, divisor, any]);
    let (x, y) = dice.card.grid;
    let other = (dice.between(1, x), dice.between(1, y));
    let grid = dice.pick(&[memory.l1_cores()?.extent(), memory.l1_cores()?.extent(), (x, y), other]);
    let block_h = rows.div_ceil(TILE) + u32::from(dice.chance(0.03));
    let program = Some(NormProgram { grid, subblock_w, block_h, block_w });
    let out = match dice.between(0, 19) {
        0 => MemoryConfig::DRAM,
        1 => dice.width_shards(rows, k),
        _ => memory.clone(),
    };
    let x = TensorSpec::tile([1, 1, rows, k], dice.activations(), memory);
    norm(dice, program, out, x)
}

fn interleaved(dice: &mut Dice<'_>) -> Option<Question> {
    let k = dice.pick(&WIDTHS);
    let rows = if dice.chance(0.1) { 1 } else { prompt(dice, k) };
    let small = u64::from(rows) * u64::from(k) < 2_000_000;
    let memory = if small { dice.interleaved() } else { MemoryConfig::DRAM };
    let out = match dice.between(0, 9) {
        0 | 1 if rows <= 32 => dice.width_shards(rows, k),
        2..=4 if small => MemoryConfig::L1,
        _ => MemoryConfig::DRAM,
    };
    let x = TensorSpec::tile([1, 1, rows, k], dice.activations(), memory);
    norm(dice, None, out, x)
}
