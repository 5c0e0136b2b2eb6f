//! Levers of what moves around the projections: norms, the KV cache, the host.

use bitnetc_plan::op::{ArgMax, Concat, RmsNorm, ToMemoryConfig};
use bitnetc_plan::{MemoryConfig, Op, TensorSpec};

use super::{Bench, How, Lever, device_us};
use crate::pricer::operand;

impl Bench<'_> {
    pub(super) fn norms(&self) -> Lever {
        let (mut from, mut to, mut count) = (Ok(0.0), 0.0, 0);
        for (times, step) in self.steps() {
            let (Op::RmsNorm(args), Some(out)) = (&step.op, step.outputs.first()) else { continue };
            count += times;
            to += f64::from(times) * step.cost.us;
            let cost = self.interleaved_norm(args, &out.spec);
            from = from.and_then(|sum: f64| cost.map(|us| sum + f64::from(times) * us));
        }
        Lever {
            name: "norms".into(),
            positions: ("interleaved".into(), "sharded".into()),
            us: from.map(|from| (from, to)),
            how: How::Priced,
            note: format!("{count} norms; an interleaved one leaves its shards and returns to them"),
        }
    }

    fn interleaved_norm(&self, args: &RmsNorm, out: &TensorSpec) -> Result<f64, String> {
        let interleaved = TensorSpec { memory: MemoryConfig::DRAM, ..out.clone() };
        let gamma = self.compiled.plan.weight(args.gamma.name()).map(|w| &w.spec).ok_or("its factors are no weight")?;
        let norm = RmsNorm { program: None, memory: MemoryConfig::DRAM, ..args.clone() };
        let to = |memory: &MemoryConfig| ToMemoryConfig { input: operand(), memory: memory.clone() };
        let price = |op: Op, specs: &[&TensorSpec]| {
            self.pricer.legal(op, specs).map(|c| c.us).map_err(|v| v.first().map_or(String::new(), ToString::to_string))
        };
        let moves = if out.memory.is_sharded() {
            price(to(&MemoryConfig::DRAM).into(), &[out])? + price(to(&out.memory).into(), &[&interleaved])?
        } else {
            0.0
        };
        Ok(moves + price(norm.into(), &[&interleaved, gamma])?)
    }

    pub(super) fn cache(&self) -> Lever {
        let (mut to, mut caches, mut spec) = (0.0, 0, None);
        for (count, step) in self.steps() {
            let cache = match &step.op {
                Op::CacheUpdate(args) => &args.k_cache,
                Op::CacheUpdateOne(args) => &args.cache,
                _ => continue,
            };
            to += f64::from(count) * step.cost.us;
            caches += count * if matches!(step.op, Op::CacheUpdate(_)) { 2 } else { 1 };
            spec = self.compiled.plan.buffer(cache.name()).map(|b| &b.spec);
        }
        let us = spec.ok_or_else(|| "the plan caches nothing".to_string()).map(|cache| {
            let kv_heads = cache.shape.get(1).copied().unwrap_or(1);
            let tokens = self.options.priced_at() + 1;
            let shape = vec![self.options.batch, kv_heads, tokens, cache.columns()];
            let whole = TensorSpec::tile(shape, cache.dtype, MemoryConfig::DRAM);
            let op = Concat { inputs: vec![operand(), operand()], memory: MemoryConfig::DRAM };
            let cost = self.pricer.priced(op, &[&whole], whole.clone());
            (f64::from(caches) * cost.us, to)
        });
        Lever {
            name: "KV cache".into(),
            positions: ("concatenated".into(), "in place".into()),
            us,
            how: How::Priced,
            note: format!("at position {}; keys and values read and written whole", self.options.priced_at()),
        }
    }

    pub(super) fn host(&self) -> Vec<Lever> {
        let device = device_us(&self.compiled.plan);
        let c = &self.target.cost;
        let (mut argmax, mut programs) = (0.0, 0);
        for (times, step) in self.steps() {
            programs += if step.cost.us > 0.0 { times } else { 0 };
            if let Op::ArgMax(ArgMax { .. }) = &step.op {
                argmax += step.cost.us;
            }
        }
        let lever = |name: &str, positions: (&str, &str), us, how, note: String| Lever {
            name: name.into(),
            positions: (positions.0.into(), positions.1.into()),
            us,
            how,
            note,
        };
        vec![
            lever(
                "token",
                ("host samples", "argmax on the card"),
                Ok((c.host_sampling_us, argmax + c.host_us)),
                How::Priced,
                "host time of a loop that samples, against argmax, the trace's start and a read of the token".into(),
            ),
            lever(
                "second queue",
                ("host copies wait", "host copies hidden"),
                Ok((device + HOST_COPIES_US, device)),
                How::Measured("P150"),
                "three or four copies a step, in the best case hidden whole".into(),
            ),
            lever(
                "trace",
                ("dispatched one by one", "traced"),
                Err("no published figure of untraced dispatch".into()),
                How::Priced,
                format!(
                    "{programs} calls a step: dispatch is hidden only while the host takes less than {:.1} us a call",
                    device / f64::from(programs.max(1))
                ),
            ),
        ]
    }
}

/// Host copies of a step without a second queue.
const HOST_COPIES_US: f64 = 660.0;
