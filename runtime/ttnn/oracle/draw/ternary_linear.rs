//! Draws of `ternary_linear`: whether the circular buffers, the result and the weight are what TT-NN makes of the kernels' calls.

use bitnetc_plan::op::TernaryLinear;
use bitnetc_plan::program::FusedActivation;
use bitnetc_plan::{Cores, DType, MemoryConfig, TILE, TensorSpec, TernaryProgram, kernels};

use super::dice::{Dice, WIDTHS};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("ternary_linear", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let (k, n) = (dice.pick(&WIDTHS), dice.pick(&WIDTHS));
    let (inner, outer) = (k / TILE, n.div_ceil(TILE));
    let rows = if dice.chance(0.03) { 64 } else { dice.batch_rows() };
    let a = TensorSpec::tile([1, 1, rows, k], DType::Bf16, dice.width_shards(rows, k));
    let b = TensorSpec::tile([1, 1, k, n], DType::Bfp2, MemoryConfig::DRAM);
    let activation = dice.pick(&[None, None, Some(FusedActivation::Relu), Some(FusedActivation::Silu)]);
    let program = program(dice, inner, activation);
    let columns = if dice.chance(0.9) { dice.divisor(outer, 8) } else { dice.between(1, outer) };
    let cores = outer.div_ceil(columns);
    let memory = MemoryConfig::width(Cores::row_major(cores, dice.card.grid), [TILE, columns * TILE]);
    let mut compute = dice.compute();
    compute.packer_l1_acc = false;
    let dtype = dice.pick(&[DType::Bf16, DType::Bf16, DType::F32]);
    question(dice, TernaryLinear { a: operand(), b: operand(), program, compute, dtype, memory }, vec![a, b])
}

/// How a product over so many tiles is cut.
pub(super) fn program(dice: &mut Dice<'_>, inner: u32, activation: Option<FusedActivation>) -> TernaryProgram {
    let in0_block_w = if dice.chance(0.95) { dice.divisor(inner, 32) } else { dice.between(1, inner) };
    let most = dice.card.dram.readers_per_bank;
    let readers = if dice.chance(0.05) { most + 1 } else { dice.between(1, most) };
    TernaryProgram { in0_block_w, readers, activation, kernels: kernels::TERNARY_LINEAR.fingerprint() }
}
