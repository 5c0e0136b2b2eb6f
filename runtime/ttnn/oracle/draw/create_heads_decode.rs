//! Draws of `ttnn.experimental.nlp_create_qkv_heads_decode`.

use bitnetc_plan::op::CreateHeadsDecode;
use bitnetc_plan::{DType, MemoryConfig, TILE, TensorSpec};

use super::dice::Dice;
use super::heads::grid;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("nlp_create_qkv_heads_decode", draw)];

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let ((heads, kv_heads, head_dim), rows) = (dice.heads(), dice.batch_rows());
    let columns = (heads + 2 * kv_heads) * head_dim;
    let half = if head_dim.is_multiple_of(64) { head_dim / 2 } else { head_dim };
    let width = dice.pick(&[head_dim, head_dim, half, 32, 64, 128]);
    let overlap = dice.chance(0.4);
    let interleaved = if overlap && heads > TILE { 0.9 } else { 0.05 };
    let memory = match dice.chance(interleaved) {
        true => dice.interleaved(),
        false => {
            let count = columns.div_ceil(width);
            if count > dice.card.cores() {
                return None;
            }
            MemoryConfig::width(dice.cores(count), [TILE, width])
        }
    };
    let input = TensorSpec::tile([1, 1, rows, columns], DType::Bf16, memory);
    let memory = MemoryConfig::height(grid(dice), [heads.next_multiple_of(TILE), head_dim]);
    question(dice, CreateHeadsDecode { input: operand(), heads, kv_heads, overlap, memory }, vec![input])
}
