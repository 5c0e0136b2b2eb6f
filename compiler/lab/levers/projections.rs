//! Levers of the projections of a layer: DRAM-sharded weights, one fused QKV.

use bitnetc_plan::{ComputeKernel, TensorSpec};

use super::{How, Lever};
use crate::bench::Bench;
use bitnetc_compiler::graph::Role;
use bitnetc_compiler::pricer::{Projection, first_violation};
use bitnetc_compiler::ttnn::cost::Price;
use bitnetc_compiler::ttnn::matmul::divisors;

impl Bench<'_> {
    pub(super) fn interleaved_matmuls(&self) -> Vec<Lever> {
        let matmuls: Vec<_> = self.matmuls().collect();
        let now: f64 = matmuls.iter().map(|(times, step, ..)| f64::from(*times) * self.us(step)).sum();
        let c = &self.target.cost;
        let read: f64 = matmuls
            .iter()
            .map(|(times, _, spec, args)| f64::from(*times) * self.interleaved_us(spec, args.compute.fidelity))
            .sum();
        let mut one_d = Ok(0.0);
        for (times, step, spec, args) in &matmuls {
            let cost = self.pricer.interleaved(projection(spec, args.compute));
            let cost = cost.map_err(|v| format!("{}: {}", step.name, first_violation(v)));
            one_d = one_d.and_then(|sum: f64| cost.map(|c| sum + f64::from(*times) * c.us));
        }
        let lever = |from: &str, us: Result<f64, String>, note: String| Lever {
            name: "all projections".into(),
            positions: (from.into(), "DRAM-sharded".into()),
            us: us.map(|from| (from, now)),
            band_us: (0.0, 0.0),
            how: How::Priced,
            note,
        };
        vec![
            lever("1D, interleaved", one_d, format!("1D matmuls that read at most {} GB/s", c.multicast_1d.gb_per_s)),
            lever(
                "interleaved reads",
                Ok(read),
                "reads alone, on all cores and with nothing that is not hidden: a lower bound".into(),
            ),
        ]
    }

    pub(super) fn fused_qkv(&self) -> Lever {
        let us = self.three_projections();
        Lever {
            name: "QKV".into(),
            positions: ("three projections".into(), "one".into()),
            us,
            band_us: (0.0, 0.0),
            how: How::Priced,
            note: "each with its best K-block; joining the three for the head split is not counted".into(),
        }
    }

    fn three_projections(&self) -> Result<(f64, f64), String> {
        let qkv = self.projections().find(|(_, step, ..)| self.role(step) == Some(Role::Qkv));
        let (times, step, spec, args) = qkv.ok_or("no fused projection")?;
        let three = self.best_sharded(&self.heads_of_qkv(spec)?, spec, args.compute)?;
        Ok((three * f64::from(times), self.us(step) * f64::from(times)))
    }

    /// DRAM-sharded matmuls of the given numbers of column tiles, one after another.
    fn best_sharded(&self, columns: &[u32], weight: &TensorSpec, compute: ComputeKernel) -> Result<f64, String> {
        columns.iter().map(|n| self.best_dram_sharded(Projection { columns: *n, ..projection(weight, compute) })).sum()
    }

    /// The cheapest DRAM-sharded matmul with one reader per bank, over all numbers of cores and K-blocks.
    fn best_dram_sharded(&self, projection: Projection) -> Result<f64, String> {
        let inner = projection.inner;
        let cores = divisors(inner).filter(|c| *c <= self.target.card.cores());
        let all = cores.flat_map(|c| divisors(inner).map(move |block| (c, block)));
        let best = all
            .filter_map(|(cores, block)| self.pricer.dram_sharded(projection, cores, block, 1).ok())
            .map(|cost| Price::of(&cost))
            .min();
        let refused = || format!("no DRAM-sharded matmul of {inner} x {} tiles is legal", projection.columns);
        best.map(Price::us).ok_or_else(refused)
    }
}

fn projection(weight: &TensorSpec, compute: ComputeKernel) -> Projection {
    let (inner, columns) = (weight.tile_rows() as u32, weight.tile_columns() as u32);
    Projection { inner, columns, weight: weight.dtype, compute }
}
