//! Draws of `ternary_gated`: whether the circular buffers, the result and the weights are what TT-NN makes of the kernels' calls.

use bitnetc_plan::op::TernaryGated;
use bitnetc_plan::{Cores, DType, MemoryConfig, TILE, TensorSpec};

use super::dice::{Dice, WIDTHS};
use super::ternary_linear::program;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("ternary_gated", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let (k, n) = (dice.pick(&WIDTHS), dice.pick(&WIDTHS));
    let outer = n.div_ceil(TILE);
    let rows = if dice.chance(0.03) { 64 } else { dice.batch_rows() };
    let a = TensorSpec::tile([1, 1, rows, k], DType::Bf16, dice.width_shards(rows, k));
    let gate = TensorSpec::tile([1, 1, k, n], DType::Bfp2, MemoryConfig::DRAM);
    let wider = if dice.chance(0.1) { n + TILE } else { n };
    let up = TensorSpec::tile([1, 1, k, wider], DType::Bfp2, MemoryConfig::DRAM);
    let program = program(dice, k / TILE, None);
    let columns = if dice.chance(0.9) { dice.divisor(outer, 4) } else { dice.between(1, outer) };
    let memory = MemoryConfig::width(Cores::row_major(outer.div_ceil(columns), dice.card.grid), [TILE, columns * TILE]);
    let mut compute = dice.compute();
    compute.packer_l1_acc = false;
    if dice.chance(0.9) {
        compute.fp32_dest_acc = false;
    }
    let call = TernaryGated { a: operand(), gate: operand(), up: operand(), program, compute, memory };
    question(dice, call, vec![a, gate, up])
}
