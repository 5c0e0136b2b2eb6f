//! The schedule that was measured, call by call.

use bitnetc_plan::op::{
    Binary, BinaryKind, ConcatHeadsDecode, CreateHeadsDecode, Destination, RmsNorm, Rotary, SdpaDecode, ToMemoryConfig,
};
use bitnetc_plan::program::{NormProgram, SdpaProgram, Unary};
use bitnetc_plan::{ComputeKernel, Cores, Cost, DType, Fidelity, MemoryConfig, Scalar, TILE, TensorSpec};

use super::{CalibrationError, POSITION, Setting, Shape};
use crate::pricer::{Pricer, Projection, operand, row};
use crate::target::Target;
use crate::ttnn::cost::Price;
use crate::ttnn::matmul::divisors;

/// A call of the reference schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// What it is.
    pub name: &'static str,
    /// How often it runs in a step.
    pub times: u32,
    /// Predicted cost of one run.
    pub cost: Cost,
}

/// A decode step of the reference schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its calls.
    pub calls: Vec<Call>,
    /// Host work outside the trace.
    pub host_us: f64,
}

impl Step {
    /// Predicted microseconds on the card.
    pub fn device_us(&self) -> f64 {
        self.calls.iter().map(|c| Price::of(&c.cost).times(u64::from(c.times))).sum::<Price>().us()
    }

    /// Predicted tokens per second of one user.
    pub fn tokens_per_s(&self) -> f64 {
        1e6 / (self.device_us() + self.host_us)
    }
}

/// The decode step of tt_transformers for one user.
///
/// # Errors
/// When our rules refuse one of its matmuls or norms.
pub fn reference(shape: &Shape, setting: Setting, target: &Target) -> Result<Step, CalibrationError> {
    let mut schedule = Reference { pricer: Pricer::new(target, POSITION), shape, calls: Vec::new() };
    schedule.attention()?;
    schedule.mlp(setting)?;
    schedule.rest()?;
    Ok(Step { calls: schedule.calls, host_us: target.cost.host_sampling_us })
}

/// Most columns per core of an LM head chunk.
const LM_HEAD_COLUMNS: u32 = 668;

/// The longest K-block.
const MAX_BLOCK: u32 = 8;

/// Chunk of keys that tt_transformers asks for on Wormhole.
const SDPA_CHUNK: u32 = 256;

/// Reshards of a layer that do move something.
const RESHARDS: u32 = 3;

struct Reference<'a> {
    pricer: Pricer<'a>,
    shape: &'a Shape,
    calls: Vec<Call>,
}

impl Reference<'_> {
    fn add(&mut self, name: &'static str, times: u32, cost: Cost) {
        self.calls.push(Call { name, times, cost });
    }

    fn projection(
        &mut self,
        name: &'static str,
        times: u32,
        (inner, columns): (u32, u32),
        cores: u32,
        (weight, fidelity): (DType, Fidelity),
    ) -> Result<(), CalibrationError> {
        let compute = ComputeKernel { fidelity, fp32_dest_acc: false, packer_l1_acc: true };
        let block = divisors(inner / cores).find(|b| *b <= MAX_BLOCK).unwrap_or(1);
        let cost = self
            .pricer
            .dram_sharded(Projection { inner, columns, weight, compute }, cores, block)
            .map_err(|violations| CalibrationError::Refused { call: name, violations })?;
        self.add(name, times, cost);
        Ok(())
    }

    fn norm(&mut self, name: &'static str, times: u32, cores: u32) -> Result<(), CalibrationError> {
        let tiles = self.shape.hidden / TILE;
        let block_w = tiles / cores;
        let memory = self.width(tiles, cores);
        let subblock_w = divisors(block_w).find(|s| *s <= 4).unwrap_or(1);
        let grid = Cores::row_major(cores, self.pricer.target().card.grid).extent();
        let op = RmsNorm {
            input: operand(),
            gamma: operand(),
            epsilon: Scalar::from(1e-5),
            program: Some(NormProgram { grid, subblock_w, block_h: 1, block_w }),
            compute: ComputeKernel { fidelity: Fidelity::HiFi4, fp32_dest_acc: true, packer_l1_acc: true },
            memory: memory.clone(),
        };
        let gamma = TensorSpec::tile(vec![1, 1, 1, self.shape.hidden], DType::Bf16, MemoryConfig::DRAM);
        let cost = self
            .pricer
            .legal(op, &[&row(tiles, memory), &gamma])
            .map_err(|violations| CalibrationError::Refused { call: name, violations })?;
        self.add(name, times, cost);
        Ok(())
    }

    fn width(&self, tiles: u32, cores: u32) -> MemoryConfig {
        MemoryConfig::width(Cores::row_major(cores, self.pricer.target().card.grid), [TILE, tiles / cores * TILE])
    }

    /// A reshard, or a change between sharded and interleaved L1.
    fn move_to(&mut self, name: &'static str, times: u32, from: MemoryConfig, to: MemoryConfig, tiles: u32) {
        let op = ToMemoryConfig { input: operand(), memory: to.clone() };
        let cost = self.pricer.priced(op, &[&row(tiles, from)], row(tiles, to));
        self.add(name, times, cost);
    }

    fn attention(&mut self) -> Result<(), CalibrationError> {
        let s = *self.shape;
        let (hidden, heads) = (s.hidden / TILE, s.heads * s.head_dim / TILE);
        let fused = (s.heads + 2 * s.kv_heads) * s.head_dim / TILE;
        let stream = near_32(hidden);
        self.norm("attention norm", s.layers, stream)?;
        self.projection("qkv", s.layers, (hidden, fused), stream, (DType::Bfp8, Fidelity::HiFi2))?;
        let sharded = self.width(fused, divisor_of_both(fused, fused));
        self.move_to("qkv to interleaved", s.layers, sharded, MemoryConfig::L1, fused);
        self.heads();
        let merged = MemoryConfig::height(Cores::row_major(1, (8, 8)), [TILE, s.head_dim]);
        self.move_to("attention to shards", s.layers, MemoryConfig::L1, merged, s.head_dim / TILE);
        self.concat();
        self.projection("o", s.layers, (heads, hidden), s.heads, (DType::Bfp8, Fidelity::HiFi2))?;
        self.residual("attention residual", hidden);
        let (from, to) = (self.width(hidden, stream), self.width(hidden, divisor_of_both(hidden, s.ffn / TILE)));
        self.move_to("reshards", RESHARDS * s.layers, from, to, hidden);
        Ok(())
    }

    /// Head split, rotation, cache writes, attention.
    fn heads(&mut self) {
        let s = *self.shape;
        let compute = ComputeKernel { fidelity: Fidelity::HiFi2, fp32_dest_acc: false, packer_l1_acc: false };
        let memory = MemoryConfig::height(Cores::row_major(1, (8, 8)), [TILE, s.head_dim]);
        let head = |count: u32| TensorSpec::tile(vec![1, 1, count, s.head_dim], DType::Bf16, memory.clone());
        let fused = row((s.heads + 2 * s.kv_heads) * s.head_dim / TILE, MemoryConfig::L1);
        let split = CreateHeadsDecode {
            input: operand(),
            heads: s.heads,
            kv_heads: s.kv_heads,
            overlap: false,
            memory: memory.clone(),
        };
        let cost = self.pricer.priced(split, &[&fused], head(s.heads));
        self.add("create heads", s.layers, cost);
        let rotary = Rotary {
            input: operand(),
            cos: operand(),
            sin: operand(),
            trans: operand(),
            compute,
            memory: memory.clone(),
        };
        let table = head(1);
        let cost = self.pricer.priced(rotary, &[&head(s.heads), &table, &table, &table], head(s.heads));
        self.add("rotate q, rotate k", 2 * s.layers, cost);
        let cache =
            TensorSpec::tile(vec![(POSITION + 1) / 32, s.kv_heads, 32, s.head_dim], DType::Bfp8, MemoryConfig::DRAM);
        let ids = TensorSpec::row_major(vec![1], DType::I32, MemoryConfig::DRAM);
        let update = bitnetc_plan::op::CacheUpdate {
            k_cache: operand(),
            k: operand(),
            v_cache: operand(),
            v: operand(),
            positions: operand(),
            page_table: operand(),
        };
        let keys = head(s.kv_heads);
        let cost = self.pricer.priced(update, &[&cache, &keys, &cache, &keys, &ids, &ids], keys.clone());
        self.add("cache keys, cache values", 2 * s.layers, cost);
        let attention = SdpaDecode {
            q: operand(),
            k_cache: operand(),
            v_cache: operand(),
            positions: operand(),
            page_table: operand(),
            scale: Scalar::from(1.0),
            program: SdpaProgram { grid: (8, 8), q_chunk: 0, k_chunk: SDPA_CHUNK },
            compute,
            memory: MemoryConfig::L1,
        };
        let out = TensorSpec { memory: MemoryConfig::L1, ..head(s.heads) };
        let cost = self.pricer.priced(attention, &[&head(s.heads), &cache, &cache, &ids, &ids], out);
        self.add("attention", s.layers, cost);
    }

    fn concat(&mut self) {
        let s = *self.shape;
        let memory = MemoryConfig::height(Cores::row_major(1, (8, 8)), [TILE, s.head_dim]);
        let heads = TensorSpec::tile(vec![1, 1, s.heads, s.head_dim], DType::Bf16, memory);
        let cores = Cores::row_major(s.heads, (8, 8));
        let out = row(s.heads * s.head_dim / TILE, MemoryConfig::width(cores.clone(), [TILE, s.head_dim]));
        let op = ConcatHeadsDecode { input: operand(), heads: s.heads, cores };
        let cost = self.pricer.priced(op, &[&heads], out);
        self.add("concat heads", s.layers, cost);
    }

    fn residual(&mut self, name: &'static str, hidden: u32) {
        let memory = self.width(hidden, near_32(hidden));
        self.binary(name, BinaryKind::Add, Vec::new(), hidden, memory);
    }

    fn binary(&mut self, name: &'static str, kind: BinaryKind, a: Vec<Unary>, tiles: u32, memory: MemoryConfig) {
        let op = Binary {
            kind,
            a: operand(),
            b: operand(),
            a_activations: a,
            b_activations: Vec::new(),
            activations: Vec::new(),
            dtype: DType::Bf16,
            into: Destination::New(memory.clone()),
        };
        let spec = row(tiles, memory);
        let cost = self.pricer.priced(op, &[&spec, &spec], spec.clone());
        self.add(name, self.shape.layers, cost);
    }

    fn mlp(&mut self, setting: Setting) -> Result<(), CalibrationError> {
        let s = *self.shape;
        let (hidden, ffn) = (s.hidden / TILE, s.ffn / TILE);
        let cores = divisor_of_both(hidden, ffn);
        let light = match setting {
            Setting::Performance => (DType::Bfp4, Fidelity::LoFi),
            Setting::Accuracy => (DType::Bfp8, Fidelity::HiFi2),
        };
        self.norm("MLP norm", s.layers, cores)?;
        self.projection("gate, up", 2 * s.layers, (hidden, ffn), cores, light)?;
        let memory = self.width(ffn, cores);
        self.binary("product", BinaryKind::Mul, vec![Unary::Silu], ffn, memory);
        self.projection("down", s.layers, (ffn, hidden), cores, (DType::Bfp8, Fidelity::HiFi2))?;
        self.residual("MLP residual", hidden);
        Ok(())
    }

    /// The last norm and the LM head.
    fn rest(&mut self) -> Result<(), CalibrationError> {
        let s = *self.shape;
        let hidden = s.hidden / TILE;
        let cores = divisors(hidden).find(|c| on_grid(*c)).unwrap_or(1);
        self.norm("last norm", 1, near_32(hidden))?;
        let (from, to) = (self.width(hidden, near_32(hidden)), self.width(hidden, cores));
        self.move_to("LM head input", 1, from, to, hidden);
        let widest = LM_HEAD_COLUMNS * cores;
        let chunks = s.vocab.div_ceil(widest);
        for chunk in 0..chunks {
            let columns = (s.vocab - chunk * widest).min(widest).div_ceil(TILE);
            self.projection("LM head chunk", 1, (hidden, columns), cores, (DType::Bfp8, Fidelity::HiFi2))?;
            let sharded = MemoryConfig::width(Cores::row_major(cores, (8, 8)), [TILE, columns.div_ceil(cores) * TILE]);
            self.move_to("chunk to interleaved", 1, sharded, MemoryConfig::L1, columns);
        }
        if chunks > 1 {
            let op = bitnetc_plan::op::Concat { inputs: vec![operand(); chunks as usize], memory: MemoryConfig::L1 };
            let logits = row(s.vocab.div_ceil(TILE), MemoryConfig::L1);
            let cost = self.pricer.priced(op, &[&logits], logits.clone());
            self.add("join chunks", 1, cost);
        }
        Ok(())
    }
}

/// Whether so many cores make a rectangle of an 8x8 grid.
fn on_grid(cores: u32) -> bool {
    (1..=8).any(|rows| cores.is_multiple_of(rows) && cores / rows <= 8)
}

/// The divisor of `tiles` nearest to 32, the smaller of two as near.
fn near_32(tiles: u32) -> u32 {
    (1..=64).filter(|c| tiles.is_multiple_of(*c) && on_grid(*c)).min_by_key(|c: &u32| c.abs_diff(32)).unwrap_or(1)
}

/// The most cores that divide both.
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
