//! `rms_norm`: `layernorm.cpp` (interleaved) and `layernorm_sharded.cpp`, compiled with RMSNORM and an fp32 Dst.
//!
//! Every buffer is f32 and is read with 11 significant bits. Squares are summed by a matmul with a column: of ones, the sum then divided by
//! the width, where the tensor is interleaved; of the bf16 reciprocal of a shard's width where it is sharded, and the cores' sums again by
//! the bf16 reciprocal of the number of cores. Those reciprocals are off by up to 0.2 %.

use half::bf16;
use rayon::prelude::*;
use smallvec::SmallVec;

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
    // As many rows as have a task for each thread, and no more than a tile has.
    let together = (x.len() / dim).div_ceil(2 * rayon::current_num_threads()).clamp(1, TILE) * dim;
    let tasks = out.par_chunks_mut(together).zip(x.par_chunks(together));
    tasks.for_each_init(
        || [Vec::new(), Vec::new()],
        |[rows, buffer], (out, x)| {
            rows.resize(x.len(), 0.0);
            buffer.resize(x.len(), 0.0);
            widen_slice(x, rows);
            fmul(rows, rows, how, buffer);
            let means = mean.of(&buffer.chunks(dim).collect::<SmallVec<[_; TILE]>>());
            let rows = rows.chunks_mut(dim).zip(buffer.chunks_mut(dim)).zip(out.chunks_mut(dim));
            for (((row, buffer), out), mean) in rows.zip(means) {
                let scale = (1.0 / f64::from(fadd(mean, truncated(epsilon))).sqrt()) as f32;
                fmul_scalar(row, scale, how, buffer);
                fmul(buffer, &weights, how, row);
                pack_slice(row, out);
            }
        },
    );
    Ok(())
}

/// The columns that squares are summed with.
#[allow(clippy::large_enum_variant, reason = "one is made for a call, and none is kept")]
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

    /// Means of rows of squares.
    fn of(&self, squares: &[&[f32]]) -> [f32; TILE] {
        match self {
            Mean::Interleaved { ones, reciprocal } => ones.sums(squares).map(|sum| sum * reciprocal),
            Mean::Sharded { shard, total, ones, width, row } => {
                let dim = squares.first().map_or(0, |row| row.len());
                let part = |first: usize| -> [f32; TILE] {
                    let rows: SmallVec<[_; TILE]> =
                        squares.iter().map(|row| &row[first..dim.min(first + width)]).collect();
                    shard.sums(&rows)
                };
                let gather = |column: &Column, all: &mut [u32; TILE], sums: [f32; TILE]| {
                    column.add(sums.map(tf32).chunks(1), all);
                };
                let (mut first, mut later) = ([0; TILE], [0; TILE]);
                for (at, sums) in (0..dim).step_by(*width).map(part).enumerate() {
                    match *row {
                        // The rows of the grid after the first are summed each by itself, and then with the first.
                        Some(row) if at >= row => {
                            if at > row && at % row == 0 {
                                gather(total, &mut first, std::mem::replace(&mut later, [0; TILE]).map(f32::from_bits));
                            }
                            gather(ones, &mut later, sums);
                        }
                        Some(_) | None => gather(total, &mut first, sums),
                    }
                }
                if row.is_some() {
                    gather(total, &mut first, later.map(f32::from_bits));
                }
                first.map(f32::from_bits)
            }
        }
    }
}
