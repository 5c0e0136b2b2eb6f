//! Sizes and cores of ops on heads.

use bitnetc_plan::{Cores, TILE};

use super::dice::Dice;

/// A grid of the card, often the whole one, sometimes not at its corner.
pub fn grid(dice: &mut Dice<'_>) -> Cores {
    let (x, y) = dice.card.grid;
    let (width, height) = dice.pick(&[(x, y), (x, y), (8, 8), (8, 4), (4, 8), (5, 4), (8, 2), (6, 5)]);
    let at = u32::from(dice.chance(0.15));
    Cores::rectangle(at, at, width, height)
}

/// The longest context of a shipped model.
const LONGEST: u32 = 131_072;

/// Elements of a tensor of a prompt: several of them fit the smallest card.
const MOST_ELEMENTS: u32 = 1 << 28;

/// Rows of a prompt whose tensors have so many columns: a usual bucket, or any number of tiles up to the longest context, short ones as
/// often as long ones.
pub fn prompt(dice: &mut Dice<'_>, columns: u32) -> u32 {
    let usual = dice.pick(&[32, 64, 96, 128, 256, 384, 512, 1000, 1024, 2048, 4096, 8192, 12_288, 32_768]);
    let longest = LONGEST >> dice.between(0, (LONGEST / TILE).ilog2());
    let any = dice.between(1, longest / TILE) * TILE;
    let rows = if dice.chance(0.5) { usual } else { any };
    rows.min(MOST_ELEMENTS / columns / TILE * TILE)
}
