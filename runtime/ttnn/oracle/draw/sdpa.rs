//! Draws of `ttnn.transformer.scaled_dot_product_attention`.

use bitnetc_plan::op::Sdpa;
use bitnetc_plan::program::SdpaProgram;
use bitnetc_plan::{DType, MemoryConfig, TensorSpec};

use super::dice::Dice;
use super::heads::prompt;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("scaled_dot_product_attention", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let (heads, kv_heads, head_dim) = dice.heads();
    let rows = prompt(dice, heads.max(kv_heads) * head_dim);
    let (x, y) = dice.card.grid;
    let program = SdpaProgram {
        grid: dice.pick(&[(x, y), (8, 8), (8, 4), (4, 4), (7, 7)]),
        q_chunk: dice.pick(&[32, 64, 96, 128, 256]),
        k_chunk: dice.pick(&[32, 64, 96, 128, 256, 512]),
    };
    let q_dtype = dice.pick(&[DType::Bf16, DType::Bf16, DType::Bfp8]);
    let q = TensorSpec::tile([1, heads, rows, head_dim], q_dtype, MemoryConfig::DRAM);
    let k = TensorSpec::tile([1, kv_heads, rows, head_dim], dice.weights(), MemoryConfig::DRAM);
    let (compute, memory) = (dice.compute(), MemoryConfig::DRAM);
    let op = Sdpa { q: operand(), k: operand(), v: operand(), scale: 0.1.into(), program, compute, memory };
    question(dice, op, vec![q, k.clone(), k])
}
