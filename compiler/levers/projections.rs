//! Levers of the projections of a layer: DRAM-sharded weights, one fused QKV.

use bitnetc_plan::op::Matmul;
use bitnetc_plan::{ComputeKernel, Cost, DType, MatmulProgram, MemoryConfig, Op, TensorSpec};

use super::{Bench, How, Lever};
use crate::pricer::{Projection, matmul, row};
use crate::ttnn::cost::{Price, data_bytes};
use crate::ttnn::matmul::divisors;

impl Bench<'_> {
    pub(super) fn interleaved_matmuls(&self) -> Vec<Lever> {
        let matmuls = self.matmuls();
        let now: f64 = matmuls.iter().map(|(times, step, ..)| f64::from(*times) * step.cost.us).sum();
        let c = &self.target.cost;
        let streamed = |spec: &TensorSpec| {
            let read = data_bytes(spec) as f64 / (c.movement.interleaved_gb_per_s * 1000.0);
            // Spread over all cores, the products of one tile of rows never take longer than the reading.
            let launched = c.dram_sharded.start_us + read + c.launch_us;
            launched.max(c.period_us)
        };
        let read: f64 = matmuls.iter().map(|(times, _, spec, _)| f64::from(*times) * streamed(spec)).sum();
        let mut one_d = Ok(0.0);
        for (times, step, spec, args) in &matmuls {
            let cost = self.one_d(spec, args).map_err(|why| format!("{}: {why}", step.name));
            one_d = one_d.and_then(|sum: f64| cost.map(|c| sum + f64::from(*times) * c.us));
        }
        let lever = |from: &str, us: Result<f64, String>, note: String| Lever {
            name: "all projections".into(),
            positions: (from.into(), "DRAM-sharded".into()),
            us: us.map(|from| (from, now)),
            how: How::Priced,
            note,
        };
        vec![
            lever(
                "1D, interleaved",
                one_d,
                format!("1D priced at the {} GB/s of compute-bound matmuls: an upper bound", c.multicast.gb_per_s),
            ),
            lever(
                "interleaved reads",
                Ok(read),
                format!(
                    "weights read at {} GB/s, the published bandwidth of interleaved matmuls",
                    c.movement.interleaved_gb_per_s
                ),
            ),
        ]
    }

    /// A projection as a 1D multicast matmul with its weight interleaved.
    fn one_d(&self, weight: &TensorSpec, args: &Matmul) -> Result<Cost, String> {
        let card = &self.target.card;
        let (inner, columns) = (weight.tile_rows() as u32, weight.tile_columns() as u32);
        let per_core_n = columns.div_ceil(card.cores());
        let most = if args.compute.fp32_dest_acc { 4 } else { 8 };
        let subblock = divisors(per_core_n).find(|w| *w <= most).unwrap_or(1);
        let in0_block_w = divisors(inner).find(|b| *b <= 8).unwrap_or(1);
        let program = MatmulProgram::Multicast1D {
            grid: card.grid,
            in0_block_w,
            out_subblock: (1, subblock),
            per_core_m: 1,
            per_core_n,
            activation: None,
        };
        let interleaved = TensorSpec { memory: MemoryConfig::DRAM, ..weight.clone() };
        let op = matmul(program, args.compute, MemoryConfig::DRAM);
        let input = row(inner, MemoryConfig::DRAM);
        self.pricer.legal(op, &[&input, &interleaved]).map_err(|v| v.first().map_or(String::new(), ToString::to_string))
    }

    pub(super) fn fused_qkv(&self) -> Lever {
        let layers = self.compiled.plan.model.layers;
        let us = self.three_projections().map(|(three, fused)| (three * f64::from(layers), fused * f64::from(layers)));
        Lever {
            name: "QKV".into(),
            positions: ("three projections".into(), "one".into()),
            us,
            how: How::Priced,
            note: "each with its best K-block; joining the three for the head split is not counted".into(),
        }
    }

    fn three_projections(&self) -> Result<(f64, f64), String> {
        let matmuls = self.matmuls();
        let split = self.steps().find_map(|(_, s)| match &s.op {
            Op::CreateHeadsDecode(args) => Some((args.heads, args.kv_heads, args.input.name().to_string())),
            _ => None,
        });
        let (heads, kv_heads, _) = split.ok_or("no head split")?;
        let (_, step, spec, args) = matmuls.iter().find(|(_, s, ..)| s.name == "qkv").ok_or("no fused projection")?;
        let (inner, columns) = (spec.tile_rows() as u32, spec.tile_columns() as u32);
        let per_head = columns / (heads + 2 * kv_heads);
        let mut three = 0.0;
        for columns in [heads, kv_heads, kv_heads].map(|h| h * per_head) {
            three += self.best_dram_sharded(inner, columns, spec.dtype, args.compute)?;
        }
        Ok((three, step.cost.us))
    }

    /// The cheapest DRAM-sharded matmul with one reader per bank over numbers of cores and K-blocks.
    fn best_dram_sharded(
        &self,
        inner: u32,
        columns: u32,
        weight: DType,
        compute: ComputeKernel,
    ) -> Result<f64, String> {
        let projection = Projection { inner, columns, weight, compute };
        let cores = divisors(inner).filter(|c| *c <= self.target.card.cores());
        let all = cores.flat_map(|c| divisors(inner).map(move |block| (c, block)));
        let best = all
            .filter_map(|(cores, block)| self.pricer.dram_sharded(projection, cores, block).ok())
            .map(|cost| Price::of(&cost))
            .min();
        best.map(Price::us).ok_or_else(|| format!("no DRAM-sharded matmul of {inner} x {columns} tiles is legal"))
    }
}
