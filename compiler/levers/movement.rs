//! Levers of what moves around the projections: norms, the KV cache, the host.

use bitnetc_plan::op::{Concat, RmsNorm, ToMemoryConfig};
use bitnetc_plan::{MemoryConfig, Op, TensorSpec};

use super::built::is_cache;
use super::{Bench, How, Lever, device_us};
use crate::calibration::{Use, host};
use crate::pricer::{first_violation, operand};

impl Bench<'_> {
    pub(super) fn norms(&self) -> Lever {
        let sharded = self.steps().filter(|(_, s)| matches!(s.op, Op::RmsNorm(_)));
        let (count, to) = sharded.fold((0, 0.0), |(n, us), (times, s)| (n + times, us + f64::from(times) * s.cost.us));
        Lever {
            name: "norms".into(),
            positions: ("interleaved".into(), "sharded".into()),
            us: self.interleaved_norms(true).map(|from| (from, to)),
            how: self.rests_on("norm.interleaved_tile_us"),
            note: format!("{count} norms; an interleaved one leaves its shards and returns to them"),
        }
    }

    /// Microseconds of all norms interleaved; `among_shards` when what is around them is sharded.
    pub(super) fn interleaved_norms(&self, among_shards: bool) -> Result<f64, String> {
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

    pub(super) fn cache(&self) -> Lever {
        let to = self.steps().filter(|(_, s)| is_cache(s)).map(|(times, s)| f64::from(times) * s.cost.us).sum();
        Lever {
            name: "KV cache".into(),
            positions: ("concatenated".into(), "in place".into()),
            us: self.concatenated_cache().map(|from| (from, to)),
            how: How::Priced,
            note: format!("at position {}; keys and values read and written whole", self.options.priced_at()),
        }
    }

    /// Microseconds of reading and writing all caches whole.
    pub(super) fn concatenated_cache(&self) -> Result<f64, String> {
        let (mut caches, mut spec) = (0, None);
        for (count, step) in self.steps() {
            let cache = match &step.op {
                Op::CacheUpdate(args) => &args.k_cache,
                Op::CacheUpdateOne(args) => &args.cache,
                _ => continue,
            };
            caches += count * if matches!(step.op, Op::CacheUpdate(_)) { 2 } else { 1 };
            spec = self.compiled.plan.buffer(cache.name()).map(|b| &b.spec);
        }
        let cache = spec.ok_or("the plan caches nothing")?;
        let kv_heads = cache.shape.get(1).copied().unwrap_or(1);
        let shape = vec![self.options.batch, kv_heads, self.options.priced_at() + 1, cache.columns()];
        let whole = TensorSpec::tile(shape, cache.dtype, MemoryConfig::DRAM);
        let op = Concat { inputs: vec![operand(), operand()], memory: MemoryConfig::DRAM };
        Ok(f64::from(caches) * self.pricer.priced(op, &[&whole], whole.clone()).us)
    }

    /// What the choice of who picks the token rests on: a measured argmax of one user, a host loop fitted to one user, and a link.
    pub(super) fn token_rests_on(&self) -> How {
        let (own, several) = (&self.target.card.name, self.options.batch > 1);
        let mut reasons = Vec::new();
        if let Some(card) = self.measured_on("movement.argmax_gb_per_s").filter(|card| several || *card != own) {
            reasons.push(format!("argmax measured on {card}{}", if several { ", one user" } else { "" }));
        }
        let mut fitted = self.rows.steps.iter().filter(|r| r.used == Use::Fit).map(|r| &r.target);
        if let Some(card) = fitted.clone().next().filter(|_| fitted.all(|card| card != own)) {
            reasons.push(format!("host loop fitted on {card}"));
        }
        if several {
            reasons.push("link assumed".into());
        }
        if reasons.is_empty() {
            How::Priced
        } else {
            How::Extrapolated(format!("extrapolated, {}", reasons.join("; ")))
        }
    }

    fn token(&self) -> Lever {
        let (vocab, users) = (self.compiled.plan.model.vocab, self.options.batch);
        let c = &self.target.cost;
        let argmax: f64 = self.steps().filter(|(_, s)| matches!(s.op, Op::ArgMax(_))).map(|(_, s)| s.cost.us).sum();
        let on_card = argmax + c.host_us;
        let us = host::sampling_us(self.target, vocab, users).map(|host| (host, on_card)).map_err(|e| e.to_string());
        let more = host::logit_bytes(vocab, users.saturating_sub(1)) as f64;
        let note = if users == 1 {
            "host: the fitted loop; card: argmax, the trace's start and a read of the token".to_string()
        } else {
            let link = self.published.link(self.target);
            let link = link.map_or_else(String::new, |l| format!(" over a link of {} GB/s ({})", l.gb_per_s, l.source));
            let even = (on_card - c.host_sampling_us).max(0.0);
            let while_ = if even > 0.0 { format!("below {:.1} GB/s", more / even / 1000.0) } else { "always".into() };
            format!("host: the loop fitted to one user, and {:.1} MB more{link}; the card wins {while_}", more / 1e6,)
        };
        Lever {
            name: "token".into(),
            positions: ("host samples".into(), "argmax on the card".into()),
            us,
            how: self.token_rests_on(),
            note,
        }
    }

    pub(super) fn host(&self) -> Vec<Lever> {
        let device = device_us(&self.compiled.plan);
        let programs: u32 = self.steps().filter(|(_, s)| s.cost.us > 0.0).map(|(times, _)| times).sum();
        let copies = &self.published.copies;
        let second = Lever {
            name: "second queue".into(),
            positions: ("host copies wait".into(), "host copies hidden".into()),
            us: Ok((device + copies.us, device)),
            how: How::Measured(copies.card.clone()),
            note: format!("three or four copies a step ({}), in the best case hidden whole", copies.source),
        };
        let trace = Lever {
            name: "trace".into(),
            positions: ("dispatched one by one".into(), "traced".into()),
            us: Err("no published figure of untraced dispatch".into()),
            how: How::Unknown,
            note: format!(
                "{programs} calls a step: dispatch is hidden only while the host takes less than {:.1} us a call",
                device / f64::from(programs.max(1))
            ),
        };
        vec![self.token(), second, trace]
    }
}
