//! The schedule of tt_transformers, which most rows measured, call by call.

use bitnetc_plan::op::{BinaryKind, Concat};
use bitnetc_plan::program::Unary;
use bitnetc_plan::{Arch, ComputeKernel, Cores, Cost, DType, MemoryConfig, TILE};

use super::parts::{HEADS_GRID, Heads, Parts};
use super::{CalibrationError, Shape};
use crate::priced::{PricedCall, PricedStep};
use crate::rows::{Scheduled, StepRow};
use bitnetc_compiler::graph::{PhaseKind, Role};
use bitnetc_compiler::policy::{Override, Policy, Precision, asked};
use bitnetc_compiler::pricer::{Pricer, Projection, operand, row};
use bitnetc_compiler::target::Target;
use bitnetc_compiler::ttnn::matmul::divisors;

/// The decode step of tt_transformers that a row measured.
///
/// # Errors
/// When our rules refuse one of its matmuls or norms.
pub fn reference(shape: &Shape, measured: &StepRow, target: &Target) -> Result<PricedStep, CalibrationError> {
    let mut schedule = Reference {
        parts: Parts { pricer: Pricer::new(target, 0) },
        shape,
        measured,
        overrides: measured.overrides()?,
        calls: Vec::new(),
    };
    schedule.attention()?;
    schedule.mlp()?;
    schedule.rest()?;
    Ok(PricedStep { calls: schedule.calls, host_us: target.cost.host.sampled_us(measured.batch, shape.vocab) })
}

/// Most columns of an LM head chunk: so many per core on Wormhole, and so many in all on Blackhole (`model_config.py`).
fn most_columns(arch: Arch, cores: u32) -> u32 {
    match arch {
        Arch::Wormhole => 668 * cores,
        Arch::Blackhole => 16_032,
    }
}

/// Keys that attention reads at a time (`model_config.py`).
fn chunk(arch: Arch) -> u32 {
    match arch {
        Arch::Wormhole => 256,
        Arch::Blackhole => 128,
    }
}

/// The longest K-block.
const MAX_BLOCK: u32 = 8;

/// The number of reshards in a layer that move data.
const RESHARDS: u32 = 3;

struct Reference<'a> {
    parts: Parts<'a>,
    shape: &'a Shape,
    measured: &'a StepRow,
    overrides: Vec<Override>,
    calls: Vec<PricedCall>,
}

impl Reference<'_> {
    fn add(&mut self, name: &'static str, times: u32, cost: Cost) {
        self.calls.push(PricedCall { name: name.into(), times, cost });
    }

    fn precision(&self, role: Role) -> Precision {
        let phase = PhaseKind::Decode { batch: self.measured.batch };
        asked(Policy::Balanced, &self.overrides, phase, role, false)
    }

    /// Readers per bank of a projection: those of the row where a bank's columns can be dealt to them, one for the LM head.
    fn readers(&self, role: Role, columns: u32) -> u32 {
        let asked = self.measured.readers;
        let each = columns.div_ceil(self.parts.pricer.target().card.dram.banks);
        if role != Role::LmHead && each.is_multiple_of(asked) { asked } else { 1 }
    }

    fn projection(
        &mut self,
        name: &'static str,
        times: u32,
        role: Role,
        (inner, columns): (u32, u32),
        cores: u32,
    ) -> Result<(), CalibrationError> {
        let Precision { weight, fidelity, fp32_dest_acc } = self.precision(role);
        let compute = ComputeKernel { fidelity, fp32_dest_acc, packer_l1_acc: true };
        let block = divisors(inner / cores).find(|b| *b <= MAX_BLOCK).unwrap_or(1);
        let cost = self
            .parts
            .pricer
            .dram_sharded(Projection { inner, columns, weight, compute }, cores, block, self.readers(role, columns))
            .map_err(|violations| CalibrationError::Refused { call: name.into(), violations })?;
        self.add(name, times, cost);
        Ok(())
    }

    fn norm(&mut self, name: &'static str, times: u32, cores: u32) -> Result<(), CalibrationError> {
        let cost = self
            .parts
            .norm(self.shape.hidden / TILE, cores)
            .map_err(|violations| CalibrationError::Refused { call: name.into(), violations })?;
        self.add(name, times, cost);
        Ok(())
    }

    fn move_to(&mut self, name: &'static str, times: u32, from: MemoryConfig, to: MemoryConfig, tiles: u32) {
        let cost = self.parts.moved(from, to, tiles);
        self.add(name, times, cost);
    }

    fn attention(&mut self) -> Result<(), CalibrationError> {
        let s = *self.shape;
        let (hidden, heads) = (s.hidden / TILE, s.heads * s.head_dim / TILE);
        let fused = (s.heads + 2 * s.kv_heads) * s.head_dim / TILE;
        let stream = near_32(hidden);
        self.norm("attention norm", s.layers, stream)?;
        self.projection("qkv", s.layers, Role::Qkv, (hidden, fused), stream)?;
        if self.measured.schedule != Scheduled::QkvSharded {
            let sharded = self.parts.width(fused, divisor_of_both(fused, fused));
            self.move_to("qkv to interleaved", s.layers, sharded, MemoryConfig::L1, fused);
        }
        self.heads();
        self.projection("o", s.layers, Role::O, (heads, hidden), s.heads)?;
        self.residual("attention residual", hidden);
        let to = self.parts.width(hidden, divisor_of_both(hidden, s.ffn / TILE));
        self.move_to("reshards", RESHARDS * s.layers, self.parts.width(hidden, stream), to, hidden);
        Ok(())
    }

    /// Head split, rotation, cache writes, attention, heads joined.
    fn heads(&mut self) {
        let s = *self.shape;
        let of = Heads { users: self.measured.batch, heads: s.heads, kv_heads: s.kv_heads, head_dim: s.head_dim };
        let (cache, positions, parts) = (self.precision(Role::Sdpa).weight, self.measured.positions(), &self.parts);
        let attention = self.attention_over(&of, cache, &positions);
        let position = positions.first().copied().unwrap_or(0);
        let calls = [
            ("create heads", 1, parts.create_heads(&of)),
            ("rotate q, rotate k", 2, parts.rotate(&of)),
            ("cache keys, cache values", 2, parts.cache_one(&of, cache, position)),
            ("attention", 1, attention),
            ("attention to shards", 1, parts.attention_to_shards(&of)),
            ("concat heads", 1, parts.concat_heads(&of)),
        ];
        for (name, times, cost) in calls {
            self.add(name, times * s.layers, cost);
        }
    }

    /// Attention in the mean over positions.
    fn attention_over(&self, of: &Heads, cache: DType, positions: &[u32]) -> Cost {
        let target = self.parts.pricer.target();
        let at = |position: &u32| {
            let parts = Parts { pricer: Pricer::new(target, *position) };
            parts.attention(of, cache, HEADS_GRID, chunk(target.card.arch))
        };
        let all: Vec<Cost> = positions.iter().map(at).collect();
        let us = all.iter().map(|cost| cost.us).sum::<f64>() / all.len().max(1) as f64;
        Cost { us, ..all.get(all.len() / 2).copied().unwrap_or_default() }
    }

    fn residual(&mut self, name: &'static str, hidden: u32) {
        let memory = self.parts.width(hidden, near_32(hidden));
        let cost = self.parts.binary(BinaryKind::Add, Vec::new(), hidden, memory);
        self.add(name, self.shape.layers, cost);
    }

    fn mlp(&mut self) -> Result<(), CalibrationError> {
        let s = *self.shape;
        let (hidden, ffn) = (s.hidden / TILE, s.ffn / TILE);
        let cores = divisor_of_both(hidden, ffn);
        self.norm("MLP norm", s.layers, cores)?;
        self.projection("gate", s.layers, Role::Gate, (hidden, ffn), cores)?;
        self.projection("up", s.layers, Role::Up, (hidden, ffn), cores)?;
        let memory = self.parts.width(ffn, cores);
        let cost = self.parts.binary(BinaryKind::Mul, vec![Unary::Silu], ffn, memory);
        self.add("product", s.layers, cost);
        self.projection("down", s.layers, Role::Down, (ffn, hidden), cores)?;
        self.residual("MLP residual", hidden);
        Ok(())
    }

    /// The last norm and the LM head.
    fn rest(&mut self) -> Result<(), CalibrationError> {
        let s = *self.shape;
        let hidden = s.hidden / TILE;
        let cores = divisors(hidden).find(|c| on_grid(*c)).unwrap_or(1);
        self.norm("last norm", 1, near_32(hidden))?;
        let (from, to) = (self.parts.width(hidden, near_32(hidden)), self.parts.width(hidden, cores));
        self.move_to("LM head input", 1, from, to, hidden);
        let widest = most_columns(self.parts.pricer.target().card.arch, cores);
        let chunks = s.vocab.div_ceil(widest);
        for chunk in 0..chunks {
            let columns = (s.vocab - chunk * widest).min(widest).div_ceil(TILE);
            self.projection("LM head chunk", 1, Role::LmHead, (hidden, columns), cores)?;
            let sharded = MemoryConfig::width(Cores::row_major(cores, (8, 8)), [TILE, columns.div_ceil(cores) * TILE]);
            self.move_to("chunk to interleaved", 1, sharded, MemoryConfig::L1, columns);
        }
        if chunks > 1 {
            let op = Concat { inputs: vec![operand(); chunks as usize], memory: MemoryConfig::L1 };
            let logits = row(s.vocab.div_ceil(TILE), MemoryConfig::L1);
            let cost = self.parts.pricer.priced(op, &[&logits], logits.clone());
            self.add("join chunks", 1, cost);
        }
        Ok(())
    }
}

/// Whether a number of cores fills a rectangle of an 8x8 grid.
fn on_grid(cores: u32) -> bool {
    (1..=8).any(|rows| cores.is_multiple_of(rows) && cores / rows <= 8)
}

/// The divisor of `tiles` that is nearest to 32, and the smaller of two that are equally near.
fn near_32(tiles: u32) -> u32 {
    (1..=64).filter(|c| tiles.is_multiple_of(*c) && on_grid(*c)).min_by_key(|c: &u32| c.abs_diff(32)).unwrap_or(1)
}

/// The largest number of cores that divides both.
fn divisor_of_both(a: u32, b: u32) -> u32 {
    (1..=64).rev().find(|c| a.is_multiple_of(*c) && b.is_multiple_of(*c) && on_grid(*c)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_librarys_core_counts() {
        assert_eq!((near_32(128), near_32(96), near_32(64)), (32, 32, 32));
        assert_eq!((divisor_of_both(128, 448), divisor_of_both(96, 256), divisor_of_both(64, 256)), (64, 32, 64));
    }
}
