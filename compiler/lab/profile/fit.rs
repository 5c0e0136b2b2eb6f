//! The constants of the cost model fitted to the measured kernels of a plan.
//!
//! A residual is the relative error of a step's prediction, and each step counts once, however often it ran. A plan's steps do not determine
//! every constant, and some only together; so a constant that leaves its value costs as much as an error of the same share of a tenth would,
//! and what was not measured stays as it is.

use std::convert::Infallible;

use bitnetc_compiler::target::Target;

use super::Measured;
use crate::calibration::refit::{Constant, descend};

/// The constants on which the time of kernels depends.
pub const CONSTANTS: [Constant; 36] = [
    Constant { name: "dram_sharded.start_us", field: |c| &mut c.dram_sharded.start_us },
    Constant { name: "dram_sharded.bank_gb_per_s", field: |c| &mut c.dram_sharded.bank_gb_per_s },
    Constant { name: "dram_sharded.block_us", field: |c| &mut c.dram_sharded.block_us },
    Constant { name: "dram_sharded.block_floor_us", field: |c| &mut c.dram_sharded.block_floor_us },
    Constant { name: "dram_sharded.tile_cycles", field: |c| &mut c.dram_sharded.tile_cycles },
    Constant { name: "multicast.start_us", field: |c| &mut c.multicast.start_us },
    Constant { name: "multicast.gb_per_s", field: |c| &mut c.multicast.gb_per_s },
    Constant { name: "fpu.tile_cycles", field: |c| &mut c.fpu.tile_cycles },
    Constant { name: "fpu.phase_factor", field: |c| &mut c.fpu.phase_factor },
    Constant { name: "norm.start_us", field: |c| &mut c.norm.start_us },
    Constant { name: "norm.per_1000_us", field: |c| &mut c.norm.per_1000_us },
    Constant { name: "norm.per_tile_us", field: |c| &mut c.norm.per_tile_us },
    Constant { name: "norm.interleaved_tile_us", field: |c| &mut c.norm.interleaved_tile_us },
    Constant { name: "attention.start_us", field: |c| &mut c.attention.start_us },
    Constant { name: "attention.group_us", field: |c| &mut c.attention.group_us },
    Constant { name: "attention.dram_gb_per_s", field: |c| &mut c.attention.dram_gb_per_s },
    Constant { name: "attention.combine_us", field: |c| &mut c.attention.combine_us },
    Constant { name: "attention.core_gb_per_s", field: |c| &mut c.attention.core_gb_per_s },
    Constant { name: "attention.chunk_us", field: |c| &mut c.attention.chunk_us },
    Constant { name: "attention.score_tile_us", field: |c| &mut c.attention.score_tile_us },
    Constant { name: "movement.to_interleaved_us", field: |c| &mut c.movement.to_interleaved_us },
    Constant { name: "movement.to_sharded_us", field: |c| &mut c.movement.to_sharded_us },
    Constant { name: "movement.reshard_us", field: |c| &mut c.movement.reshard_us },
    Constant { name: "movement.create_heads_us", field: |c| &mut c.movement.create_heads_us },
    Constant { name: "movement.rotary_us", field: |c| &mut c.movement.rotary_us },
    Constant { name: "movement.cache_update_us", field: |c| &mut c.movement.cache_update_us },
    Constant { name: "movement.concat_heads_us", field: |c| &mut c.movement.concat_heads_us },
    Constant { name: "movement.add_us", field: |c| &mut c.movement.add_us },
    Constant { name: "movement.multiply_us", field: |c| &mut c.movement.multiply_us },
    Constant { name: "movement.embedding_us", field: |c| &mut c.movement.embedding_us },
    Constant { name: "movement.untilize_us", field: |c| &mut c.movement.untilize_us },
    Constant { name: "argmax.start_us", field: |c| &mut c.argmax.start_us },
    Constant { name: "argmax.row_us", field: |c| &mut c.argmax.row_us },
    Constant { name: "argmax.element_ns", field: |c| &mut c.argmax.element_ns },
    Constant { name: "argmax.merge_ns", field: |c| &mut c.argmax.merge_ns },
    Constant { name: "movement.plus_one_us", field: |c| &mut c.movement.plus_one_us },
];

/// The weight of a constant's change beside a relative error.
const HOLD: f64 = 0.1;

/// The result of the fit.
#[derive(Debug, Clone)]
pub struct Fit {
    /// The target with its fitted constants.
    pub target: Target,
    /// The constants that changed by a thousandth or more: name, before, after.
    pub changed: Vec<(&'static str, f64, f64)>,
    /// Mean absolute relative error of the steps, before and after.
    pub error: (f64, f64),
}

/// Fits the constants of `CONSTANTS` to measured steps, from the target's own values.
pub fn fit(measured: &[Measured<'_>], target: &Target) -> Fit {
    let errors = |target: &Target| -> Vec<f64> {
        measured.iter().map(|step| step.planned.kernel_us(target) / step.mean().max(f64::MIN_POSITIVE) - 1.0).collect()
    };
    let held = |moved: &Target| -> Result<Vec<f64>, Infallible> {
        let change =
            |c: &Constant| HOLD * (c.of(moved).max(f64::MIN_POSITIVE) / c.of(target).max(f64::MIN_POSITIVE)).ln();
        Ok(errors(moved).into_iter().chain(CONSTANTS.iter().map(change)).collect())
    };
    let Ok(fitted) = descend(&CONSTANTS, target, held);
    let mean = |target: &Target| errors(target).iter().map(|e| e.abs()).sum::<f64>() / measured.len().max(1) as f64;
    let changed = CONSTANTS.iter().map(|c| (c.name, c.of(target), c.of(&fitted)));
    Fit {
        changed: changed.filter(|(_, before, after)| (after / before - 1.0).abs() >= 1e-3).collect(),
        error: (mean(target), mean(&fitted)),
        target: fitted,
    }
}
