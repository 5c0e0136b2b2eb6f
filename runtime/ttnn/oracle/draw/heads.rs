//! Sizes and cores of ops on heads.

use bitnetc_plan::Cores;

use super::dice::Dice;

/// A grid of the card, often the whole one, sometimes not at its corner.
pub fn grid(dice: &mut Dice<'_>) -> Cores {
    let (x, y) = dice.card.grid;
    let (width, height) = dice.pick(&[(x, y), (x, y), (8, 8), (8, 4), (4, 8), (5, 4), (8, 2), (6, 5)]);
    let at = u32::from(dice.chance(0.15));
    Cores::rectangle(at, at, width, height)
}

/// Rows of a prompt.
pub fn prompt(dice: &mut Dice<'_>) -> u32 {
    dice.pick(&[32, 64, 96, 128, 256, 384, 512, 1000, 1024, 2048])
}
