//! `rms_norm`: `layernorm.cpp` (interleaved) and `layernorm_sharded.cpp`, compiled with RMSNORM and an fp32 Dst.
//!
//! Every buffer is f32 and is read with 11 significant bits. Squares are summed by a matmul with a column: of ones, the sum then divided by
//! the width, where the tensor is interleaved; of the bf16 reciprocal of a shard's width where it is sharded, and the cores' sums again by
//! the bf16 reciprocal of the number of cores. Those reciprocals are off by up to 0.2 %.

use half::bf16;
use rayon::prelude::*;

use super::fpu::{Column, fadd, fmul, fmul_scalar, rne, tf32, truncated};
use super::{Compute, Known};
use crate::error::{NumericsError, check_dim, check_multiple};
use crate::format::TILE;
use crate::mvmul::Fidelity;
use crate::rounding::{pack_slice, widen_slice};

/// How the rows lie on cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormProgram {
    /// In DRAM or L1 banks: a core has whole rows.
    Interleaved,
    /// Width-sharded over `cores` cores, in rows of the grid, of `block_w` tiles each.
    Sharded {
        /// Tiles of a shard.
        block_w: usize,
        /// Cores that hold a shard.
        cores: usize,
        /// Cores of a row of the grid, where the shards fill a grid of more than one row and column: the sum then goes in two stages. A grid
        /// whose last row is not full is summed in one.
        row: Option<usize>,
    },
}

/// Whether [`rms_norm`] has the kernel's bits.
pub fn rms_norm_known(how: Compute) -> Known {
    match (how.fidelity, how.fp32_dest) {
        (Fidelity::HiFi4, true) => Known::Exact,
        _ => Known::Unknown("norms were compared at HiFi4 with an fp32 destination register only"),
    }
}

/// Normalises each row of x, shape [rows, gamma.len()].
///
/// # Errors
/// [`NumericsError::Multiple`] if gamma's length does not divide x, [`NumericsError::Dimension`] if out is not as long as x.
pub fn rms_norm(
    x: &[bf16],
    gamma: &[bf16],
    epsilon: f32,
    program: NormProgram,
    how: Compute,
    out: &mut [bf16],
) -> Result<(), NumericsError> {
    let dim = gamma.len();
    check_multiple("elements to normalise", x.len(), dim)?;
    check_dim("output elements", out.len(), x.len())?;
    let mut weights = vec![0f32; dim];
    widen_slice(gamma, &mut weights);
    let mean = Mean::new(program, dim, how);
    let rows = out.par_chunks_mut(dim).zip(x.par_chunks(dim));
    rows.for_each_init(
        || [vec![0f32; dim], vec![0f32; dim]],
        |[row, buffer], (out, x)| {
            widen_slice(x, row);
            fmul(row, row, how, buffer);
            let scale = (1.0 / f64::from(fadd(mean.of(buffer), truncated(epsilon))).sqrt()) as f32;
            fmul_scalar(row, scale, how, buffer);
            fmul(buffer, &weights, how, row);
            pack_slice(row, out);
        },
    );
    Ok(())
}

/// The columns that squares are summed with.
enum Mean {
    Interleaved { ones: Column, reciprocal: f32 },
    Sharded { shard: Column, total: Column, ones: Column, width: usize, row: Option<usize> },
}

impl Mean {
    fn new(program: NormProgram, dim: usize, how: Compute) -> Self {
        let ones = Column::new(1.0, how);
        match program {
            NormProgram::Interleaved => Mean::Interleaved { ones, reciprocal: (1.0 / dim as f64) as f32 },
            NormProgram::Sharded { block_w, cores, row } => {
                let width = block_w * TILE;
                let column = |count: usize| Column::new(rne(1.0 / count as f32), how);
                Mean::Sharded { shard: column(width), total: column(cores), ones, width, row }
            }
        }
    }

    /// Mean of a row of squares.
    fn of(&self, squares: &[f32]) -> f32 {
        match self {
            Mean::Interleaved { ones, reciprocal } => ones.sum(squares) * reciprocal,
            Mean::Sharded { shard, total, ones, width, row } => {
                let sums = squares.chunks(*width).map(|part| shard.sum(part));
                let gather = |column: &Column, start: u32, sum: f32| column.add(&[tf32(sum)], start);
                let Some(row) = *row else {
                    return f32::from_bits(sums.fold(0, |all, sum| gather(total, all, sum)));
                };
                let (mut first, mut later, mut at) = (0, 0, 0);
                let finish = |later: &mut u32, first: &mut u32| {
                    *first = gather(total, *first, f32::from_bits(std::mem::take(later)));
                };
                for sum in sums {
                    match at {
                        _ if at < row => first = gather(total, first, sum),
                        _ => {
                            if at > row && at % row == 0 {
                                finish(&mut later, &mut first);
                            }
                            later = gather(ones, later, sum);
                        }
                    }
                    at += 1;
                }
                finish(&mut later, &mut first);
                f32::from_bits(first)
            }
        }
    }
}
