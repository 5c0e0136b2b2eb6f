//! Formulas that several ops share.

use bitnetc_plan::{Fidelity, TILE, TensorSpec};

use super::{Kernel, Priced};
use crate::target::Calibration;

/// A measured time for one tile of rows, or its bytes over the interleaved bandwidth, whichever is longer.
pub fn measured(us: f64, priced: &Priced<'_>) -> Kernel {
    Kernel::moves(us.max(priced.streamed()))
}

/// Elementwise work on every tile of the first operand, at the pace of a product.
pub fn elementwise(priced: &Priced<'_>) -> Kernel {
    elementwise_in(product_us(priced), priced)
}

/// Elementwise work that takes `us` microseconds when no core has more tiles than in the measurement.
pub fn elementwise_in(us: f64, priced: &Priced<'_>) -> Kernel {
    Kernel::moves(us.max(priced.streamed()) + crowding(priced.operands[0], priced.constants()))
}

/// Microseconds of an elementwise product as wide as the first operand.
pub fn product_us(priced: &Priced<'_>) -> f64 {
    let m = priced.movement();
    m.multiply_us + m.multiply_per_7000_us * f64::from(priced.operands[0].columns()) / 7000.0
}

/// Microseconds that are added when there are few cores, since a core works on its tiles one after another. The slope is that of norms, as
/// no other was measured.
pub fn crowding(spec: &TensorSpec, c: &Calibration) -> f64 {
    let tiles = spec.memory.shard().map_or(0, |[_, width]| width / TILE);
    c.norm.per_tile_us * f64::from(tiles.saturating_sub(c.norm.uncrowded_tiles))
}

/// Microseconds that are added when a core takes many tiles of an interleaved tensor one after another, whole rows of tiles at a time.
pub fn rows_in_turn(spec: &TensorSpec, priced: &Priced<'_>) -> f64 {
    if spec.memory.is_sharded() {
        return 0.0;
    }
    let (c, cores) = (priced.constants(), u64::from(priced.machine.card.cores()));
    let rows = spec.outer() * u64::from(spec.rows().div_ceil(TILE));
    let tiles = rows.div_ceil(cores) * u64::from(spec.columns().div_ceil(TILE));
    c.norm.per_tile_us * tiles.saturating_sub(u64::from(c.norm.uncrowded_tiles)) as f64
}

/// Cycles of one 32x32x32 product.
pub fn tile_cycles(c: &Calibration, fidelity: Fidelity) -> f64 {
    c.fpu.tile_cycles + 16.0 * f64::from(fidelity.phases()) * c.fpu.phase_factor
}
