//! Price of an RMS norm.

use bitnetc_plan::TensorSpec;
use bitnetc_plan::op::RmsNorm;

use super::{Kernel, Machine, Priced, laws};

pub fn kernel(_: &RmsNorm, priced: &Priced<'_>) -> Kernel {
    laws::measured(norm(priced.operands[0], priced.machine), priced)
}

/// A sharded norm shares a row among cores; an interleaved one gives each core rows of its own.
fn norm(spec: &TensorSpec, machine: Machine<'_>) -> f64 {
    let n = &machine.cost.norm;
    if spec.memory.is_sharded() {
        return n.start_us + n.per_1000_us * f64::from(spec.columns()) / 1000.0 + laws::crowding(spec, machine.cost);
    }
    let rows = spec.tile_rows().div_ceil(u64::from(machine.card.cores()));
    n.start_us + n.interleaved_tile_us * (rows * spec.tile_columns()) as f64
}
