//! Draws of `ttnn.to_memory_config`.

use bitnetc_plan::op::ToMemoryConfig;
use bitnetc_plan::{DType, MemoryConfig, TensorSpec};

use super::dice::{Dice, WIDTHS, tensor};
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("to_memory_config", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    if dice.chance(0.15) {
        let shape = vec![1, 1, dice.batch_rows(), dice.pick(&WIDTHS)];
        let (from, to) = dice.pick(&[(MemoryConfig::DRAM, MemoryConfig::L1), (MemoryConfig::L1, MemoryConfig::DRAM)]);
        let x = TensorSpec::row_major(shape, dice.pick(&[DType::Bf16, DType::I32, DType::U32, DType::F32]), from);
        return question(dice, ToMemoryConfig { input: operand(), memory: to }, vec![x]);
    }
    let x = tensor(dice);
    let memory = dice.placement(&x.shape);
    question(dice, ToMemoryConfig { input: operand(), memory }, vec![x])
}
