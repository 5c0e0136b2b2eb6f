//! Prices of a decode step in which nothing is sharded: weights, norms and caches interleaved in DRAM, the token picked by the host.
//!
//! Published ports of BitNet run such schedules. The calls are those of the plan. Each call that the compiler shards is replaced by its
//! interleaved form, priced by the same cost functions.

use bitnetc_compiler::graph::Role;
use bitnetc_compiler::pricer::{first_violation, operand};
use bitnetc_compiler::ttnn::Draft;
use bitnetc_compiler::ttnn::cost::data_bytes;
use bitnetc_plan::op::{Concat, RmsNorm, ToMemoryConfig};
use bitnetc_plan::{Bound, Cost, Fidelity, MemoryConfig, Op, TensorSpec};

use crate::bench::{Bench, is_cache};
use crate::priced::{PricedCall, PricedStep};

impl Bench<'_> {
    /// The whole step, interleaved.
    ///
    /// # Errors
    /// When the plan has no LM head or no cache, or a rule refuses a call; the text says which.
    pub fn interleaved_step(&self) -> Result<PricedStep, String> {
        let norms = self.sum_us(|s| matches!(s.op, Op::RmsNorm(_)));
        let cache = self.sum_us(is_cache);
        let argmax = self.token_us();
        let projections: f64 = self.projections().map(|(times, s, ..)| f64::from(times) * self.us(s)).sum();
        let head = self.head().map_or(0.0, |c| c.price.us());
        let rest = self.sum_us(|_| true) - norms - cache - argmax - projections - head;
        let calls = [
            ("projections", self.interleaved_projections()?),
            ("LM head", self.interleaved_head()?),
            ("norms", self.interleaved_norms(false)?),
            ("KV cache", self.concatenated_cache()?),
            ("everything else on the card", rest),
        ];
        let priced = |(name, us): (&str, f64)| PricedCall {
            name: name.into(),
            times: 1,
            cost: Cost { us, dram_bytes: 0, fpu_cycles: 0, bound: Bound::Movement },
        };
        let sampled = self.target.cost.host.sampled_us(self.options.batch, self.compiled.plan.model.vocab);
        let host_us = sampled + self.published.copies.us;
        Ok(PricedStep { calls: calls.map(priced).to_vec(), host_us })
    }

    /// Microseconds of a matmul that reads an interleaved weight, spread over all cores.
    pub fn interleaved_us(&self, weight: &TensorSpec, fidelity: Fidelity) -> f64 {
        let c = &self.target.cost;
        let tiles = (weight.tile_rows() * weight.tile_columns()) as f64;
        let m = &c.multicast_1d;
        let read = (data_bytes(weight) as f64 / (m.gb_per_s * 1000.0)).max(tiles * m.tile_ns / 1000.0);
        let products =
            (weight.tile_rows() * weight.tile_columns().div_ceil(u64::from(self.target.card.cores()))) as f64;
        let cycles = c.fpu.tile_cycles + 16.0 * f64::from(fidelity.phases()) * c.fpu.phase_factor;
        let compute = products * cycles / (c.clock_ghz * 1000.0);
        m.start_us + read.max(compute) + c.gap_us
    }

    /// Microseconds of the layers' projections, with q, k and v as projections of their own.
    fn interleaved_projections(&self) -> Result<f64, String> {
        let mut sum = 0.0;
        for (times, step, spec, args) in self.projections() {
            let fidelity = args.compute.fidelity;
            let us = if self.role(step) == Some(Role::Qkv) {
                let parts = self.heads_of_qkv(spec)?;
                parts.iter().map(|tiles| self.interleaved_us(&columns(spec, *tiles), fidelity)).sum()
            } else {
                self.interleaved_us(spec, fidelity)
            };
            sum += f64::from(times) * us;
        }
        Ok(sum)
    }

    /// Microseconds of the LM head in the most chunks that were considered.
    fn interleaved_head(&self) -> Result<f64, String> {
        let way = self.most_chunks().ok_or("the plan has no LM head")?;
        let of = |draft: &Draft| {
            let Op::Matmul(args) = &draft.op else { return draft.cost.us };
            let weight = way.weights.iter().find(|w| w.name == args.b.name());
            weight.map_or(draft.cost.us, |w| self.interleaved_us(&w.spec, args.compute.fidelity))
        };
        Ok(way.drafts.iter().map(of).sum())
    }

    /// Microseconds of all norms when they are interleaved. With `among_shards` the calls around them stay sharded, so the conversions are
    /// included.
    pub fn interleaved_norms(&self, among_shards: bool) -> Result<f64, String> {
        let mut sum = 0.0;
        for (times, step) in self.steps() {
            let (Op::RmsNorm(args), Some(out)) = (&step.op, step.outputs.first()) else { continue };
            sum += f64::from(times) * self.interleaved_norm(args, &out.spec, among_shards)?;
        }
        Ok(sum)
    }

    fn interleaved_norm(&self, args: &RmsNorm, out: &TensorSpec, among_shards: bool) -> Result<f64, String> {
        let interleaved = TensorSpec { memory: MemoryConfig::DRAM, ..out.clone() };
        let gamma = self.compiled.plan.weight(args.gamma.name()).map(|w| &w.spec).ok_or("its factors are no weight")?;
        let norm = RmsNorm { program: None, memory: MemoryConfig::DRAM, ..args.clone() };
        let to = |memory: &MemoryConfig| ToMemoryConfig { input: operand(), memory: memory.clone() };
        let price = |op: Op, specs: &[&TensorSpec]| self.pricer.legal(op, specs).map(|c| c.us).map_err(first_violation);
        let moves = if among_shards && out.memory.is_sharded() {
            price(to(&MemoryConfig::DRAM).into(), &[out])? + price(to(&out.memory).into(), &[&interleaved])?
        } else {
            0.0
        };
        Ok(moves + price(norm.into(), &[&interleaved, gamma])?)
    }

    /// Microseconds of reading and writing all caches whole, as concatenating a row to each does.
    pub fn concatenated_cache(&self) -> Result<f64, String> {
        let (mut caches, mut spec) = (0, None);
        for (times, step) in self.steps() {
            let (cache, each) = if let Op::CacheUpdate(args) = &step.op {
                (&args.k_cache, 2)
            } else if let Op::CacheUpdateOne(args) = &step.op {
                (&args.cache, 1)
            } else {
                continue;
            };
            caches += times * each;
            spec = self.compiled.plan.buffer(cache.name()).map(|b| &b.spec);
        }
        let cache = spec.ok_or("the plan caches nothing")?;
        let kv_heads = cache.shape.get(1).copied().unwrap_or(1);
        let shape = vec![self.options.batch, kv_heads, self.options.priced_at() + 1, cache.columns()];
        let whole = TensorSpec::tile(shape, cache.dtype, MemoryConfig::DRAM);
        let op = Concat { inputs: vec![operand(), operand()], memory: MemoryConfig::DRAM };
        Ok(f64::from(caches) * self.pricer.priced(op, &[&whole], whole.clone()).us)
    }
}

/// The first `tiles` columns of a weight, interleaved.
fn columns(weight: &TensorSpec, tiles: u32) -> TensorSpec {
    let mut shape = weight.shape.clone();
    if let Some(last) = shape.last_mut() {
        *last = tiles * bitnetc_plan::TILE;
    }
    TensorSpec { shape, ..weight.clone() }
}
