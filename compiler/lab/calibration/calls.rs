//! Prices of the calls that were measured on their own.

use bitnetc_plan::op::BinaryKind;
use bitnetc_plan::program::Unary;
use bitnetc_plan::ttnn::Split;
use bitnetc_plan::{ComputeKernel, Cost, MemoryConfig, TILE};

use super::CalibrationError;
use super::parts::{Heads, Parts};
use crate::rows::{CallRow, Measured};
use bitnetc_compiler::pricer::{Pricer, Projection};
use bitnetc_compiler::target::Target;
use bitnetc_compiler::ttnn::matmul::divisors;

impl CallRow {
    /// Predicted microseconds on a card.
    ///
    /// # Errors
    /// When our rules refuse the call.
    pub fn predict(&self, target: &Target) -> Result<f64, CalibrationError> {
        let mut target = target.clone();
        if self.kernel {
            target.cost.gap_us = 0.0;
        }
        let costs = costs(&self.call, &target)
            .map_err(|violations| CalibrationError::Refused { call: self.what.clone(), violations })?;
        Ok(costs.iter().map(|c| c.us).sum())
    }
}

fn costs(call: &Measured, target: &Target) -> Result<Vec<Cost>, Vec<bitnetc_plan::ttnn::Violation>> {
    let position = if let Measured::Attention { position, .. } = call { *position } else { 0 };
    let parts = Parts { pricer: Pricer::new(target, position) };
    // The largest number of cores that divides the tiles and leaves each core a few of them.
    let shards = |tiles: u32| parts.width(tiles, divisors(tiles).find(|c| *c <= 16).unwrap_or(1));
    let heads = |users, heads, kv_heads, head_dim| Heads { users, heads, kv_heads, head_dim };
    Ok(match *call {
        Measured::Linear { inner, columns, weight, fidelity, chunks } => {
            let compute = ComputeKernel { fidelity, fp32_dest_acc: false, packer_l1_acc: true };
            let (tiles, each) = (columns / TILE, (columns / TILE).div_ceil(chunks));
            let mut costs = Vec::new();
            for start in (0..tiles).step_by(each as usize) {
                let columns = each.min(tiles - start);
                costs.push(parts.pricer.interleaved(Projection { inner: inner / TILE, columns, weight, compute })?);
            }
            costs
        }
        Measured::Norm { columns, cores, conversions } => {
            let tiles = columns / TILE;
            let mut costs = vec![parts.norm(tiles, cores)?];
            if conversions && cores > 0 {
                let memory = parts.width(tiles, cores);
                costs.push(parts.moved(MemoryConfig::L1, memory.clone(), tiles));
                costs.push(parts.moved(memory, MemoryConfig::L1, tiles));
            }
            costs
        }
        Measured::Attention { users, heads: q, kv_heads, head_dim, cache, position: _, chunk, grid, in_turn } => {
            let attention = parts.attention(&heads(users, q, kv_heads, head_dim), cache, grid, chunk);
            let further = if in_turn { combined_in_turn(users, kv_heads, grid) } else { 0 };
            vec![Cost { us: attention.us + f64::from(further) * target.cost.attention.combine_us, ..attention }]
        }
        Measured::ToSharded { columns } => {
            vec![parts.moved(MemoryConfig::L1, shards(columns / TILE), columns / TILE)]
        }
        Measured::ToInterleaved { columns } => {
            vec![parts.moved(shards(columns / TILE), MemoryConfig::L1, columns / TILE)]
        }
        Measured::Reshard { columns } => {
            let tiles = columns / TILE;
            vec![parts.moved(shards(tiles), parts.width(tiles, 1), tiles)]
        }
        Measured::CreateHeads { users, heads: q, kv_heads, head_dim } => {
            vec![parts.create_heads(&heads(users, q, kv_heads, head_dim))]
        }
        Measured::RotateFused { users, heads: q, head_dim } => {
            vec![parts.rotate_fused(&heads(users, q, 1, head_dim))]
        }
        Measured::CacheUpdate { users, kv_heads, head_dim } => {
            vec![parts.cache_both(&heads(users, kv_heads, kv_heads, head_dim), bitnetc_plan::DType::Bfp8, position)]
        }
        Measured::ConcatHeads { users, heads: q, head_dim } => {
            vec![parts.concat_heads(&heads(users, q, 1, head_dim))]
        }
        Measured::JoinHeads { users, heads: q, head_dim } => {
            let (of, tiles) = (heads(users, q, 1, head_dim), q * head_dim / TILE);
            let joined = parts.width(tiles, q.min(target.card.cores()));
            vec![parts.reshard_heads(&of), parts.concat_heads(&of), parts.moved(joined, MemoryConfig::L1, tiles)]
        }
        Measured::Add { columns } => {
            vec![parts.binary(BinaryKind::Add, Vec::new(), columns / TILE, shards(columns / TILE))]
        }
        Measured::MulSilu { columns } => {
            vec![parts.binary(BinaryKind::Mul, vec![Unary::Silu], columns / TILE, shards(columns / TILE))]
        }
        Measured::Embedding { columns } => vec![parts.embedding(columns / TILE)],
        Measured::Untilize { columns } => vec![parts.untilize(columns / TILE)],
        Measured::ArgMax { columns, rows, cores } => vec![parts.argmax(rows, columns, cores)],
        Measured::PlusOne => vec![parts.plus_one()],
    })
}

/// How many more combinations come one after another when one core of a head takes the results of all others than when they are combined two
/// by two.
fn combined_in_turn(users: u32, kv_heads: u32, (x, y): (u32, u32)) -> u32 {
    let cores = Split::of(x * y, users, kv_heads).map_or(1, |split| split.cores_per_head.max(1));
    cores - 1 - cores.next_power_of_two().ilog2()
}
