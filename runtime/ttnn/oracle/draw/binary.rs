//! Draws of `ttnn.add` and `ttnn.mul`.

use bitnetc_plan::op::{Binary, BinaryKind, Destination};
use bitnetc_plan::{MemoryConfig, TensorSpec, Unary};

use super::dice::{Dice, WIDTHS};
use super::heads::prompt;
use super::{Rule, operand, question};
use crate::oracle::Question;

pub const RULES: &[Rule] = &[("add, mul", draw)];

/// Functions on an operand: mostly none.
fn functions(dice: &mut Dice<'_>) -> Vec<Unary> {
    match dice.between(0, 14) {
        0 => vec![Unary::Square],
        1 => vec![Unary::Relu, Unary::Square],
        2 => vec![Unary::Relu],
        3 => vec![Unary::Silu],
        4 => vec![Unary::MulScalar(0.007_874.into())],
        5 => vec![Unary::MaxScalar(1e-5.into()), Unary::Recip, Unary::MulScalar(127.0.into())],
        6 => vec![Unary::Abs],
        7 => vec![Unary::MaxScalar(1e-5.into()), Unary::MulScalar(0.007_874.into()), Unary::Power(3)],
        _ => Vec::new(),
    }
}

fn draw(dice: &mut Dice<'_>) -> Option<Question> {
    let columns = dice.pick(&WIDTHS);
    let prefill = dice.chance(0.3);
    let rows = match prefill {
        true if dice.chance(0.1) => 33,
        true => prompt(dice, columns),
        false => dice.batch_rows(),
    };
    let place = |dice: &mut Dice<'_>| match prefill {
        true => MemoryConfig::DRAM,
        false => match dice.between(0, 9) {
            0 => MemoryConfig::DRAM,
            1 => MemoryConfig::L1,
            _ => dice.width_shards(rows, columns),
        },
    };
    let a_memory = place(dice);
    let column = dice.chance(0.25);
    let row = !column && dice.chance(0.2);
    let b_memory = match column || row {
        true => dice.interleaved(),
        false if dice.chance(0.6) => a_memory.clone(),
        false => place(dice),
    };
    let out = if dice.chance(0.7) { a_memory.clone() } else { place(dice) };
    let mut b_columns = if column { 1 } else { columns };
    if dice.chance(0.03) {
        b_columns += 32;
    }
    let a = TensorSpec::tile([1, 1, rows, columns], dice.activations(), a_memory);
    let b_dtype = if dice.chance(0.6) { a.dtype } else { dice.activations() };
    let b = TensorSpec::tile([1, 1, if row { 1 } else { rows }, b_columns], b_dtype, b_memory);
    let in_place = dice.chance(0.3);
    let dtype = if in_place || dice.chance(0.7) { a.dtype } else { dice.activations() };
    let activations = match dice.chance(0.15) {
        true => vec![Unary::Round, Unary::Clamp(-128.0, 127.0)],
        false => functions(dice),
    };
    let op = Binary {
        kind: dice.pick(&[BinaryKind::Add, BinaryKind::Mul]),
        a: operand(),
        b: operand(),
        a_activations: functions(dice),
        b_activations: functions(dice),
        activations,
        dtype,
        into: if in_place { Destination::InPlace } else { Destination::New(out) },
    };
    question(dice, op, vec![a, b])
}
