//! Levers of the LM head: the number of its chunks, and the number of prompt rows that it computes.

use bitnetc_plan::{DType, MatmulProgram, MemoryConfig, Op, PhaseKind, TILE, TensorSpec};

use super::{BUCKET, How, Lever};
use crate::bench::Bench;
use bitnetc_compiler::pricer::matmul;
use bitnetc_compiler::schedule::Kind;
use bitnetc_compiler::ttnn::matmul::divisors;

impl Bench<'_> {
    pub(super) fn chunks(&self) -> Lever {
        let mut lever = Lever {
            name: "LM head".into(),
            positions: ("most chunks".into(), "cheapest".into()),
            us: Err("the plan has no LM head".into()),
            how: How::Priced,
            band_us: (0.0, 0.0),
            note: String::new(),
        };
        if let (Some(phase), Some(head), Some(chosen), Some(most)) =
            (self.decode(), self.head_ways(), self.head(), self.most_chunks())
        {
            lever.us = Ok((self.way_us(phase, head, most), self.way_us(phase, head, chosen)));
            let best = |chunks| head.ways.candidates.iter().filter(|c| c.chunks == chunks).map(|c| c.price).min();
            let mut counts: Vec<u32> = head.ways.candidates.iter().map(|c| c.chunks).collect();
            counts.sort_unstable();
            counts.dedup();
            let each = counts.iter().filter_map(|n| best(*n).map(|p| format!("{n}: {:.0}", p.us())));
            let missing = if counts.first() == Some(&1) { "" } else { "; fewer do not fit L1" };
            let each = each.collect::<Vec<_>>().join(", ");
            lever.note = format!("{} chunks to {}; us by chunks, {each}{missing}", most.chunks, chosen.chunks);
        }
        lever
    }

    /// The lever of the last token's slice in prefill: the LM head of all rows against that of the tile with the last token.
    pub(super) fn last_token(&self) -> Lever {
        let us = self.last_token_us();
        Lever {
            name: format!("LM head in prefill {BUCKET}"),
            positions: ("all rows".into(), "last token's tile".into()),
            us,
            how: How::Priced,
            band_us: (0.0, 0.0),
            note: "per prefill, not per step; all rows in one 2D matmul, priced although its output would not fit L1"
                .into(),
        }
    }

    fn last_token_us(&self) -> Result<(f64, f64), String> {
        let prefill = self.variant(|o| o.prefill = vec![BUCKET])?;
        let placed = prefill.compiled.record.iter().find(|r| r.kind == PhaseKind::Prefill { tokens: BUCKET });
        let phase = placed.ok_or("no prefill phase")?;
        let record = phase.placed.record.iter().find(|r| matches!(r.call.kind, Kind::LmHead { .. }));
        let way = record.and_then(|r| r.ways.candidates.get(r.chosen).map(|way| (r, way)));
        let (record, head) = way.ok_or("prefill has no LM head")?;
        let sliced = self.way_us(phase, record, head);
        let weight = |name: &str| head.weights.iter().find(|w| w.name == name).map(|w| &w.spec);
        let parts: Vec<_> = head
            .drafts
            .iter()
            .filter_map(|d| {
                let Op::Matmul(args) = &d.op else { return None };
                weight(args.b.name()).map(|spec| (spec, args.compute))
            })
            .collect();
        let (first, compute) = parts.first().copied().ok_or("the LM head is no matmul")?;
        let columns: u32 = parts.iter().map(|(spec, _)| spec.tile_columns() as u32).sum();
        let (inner, rows) = (first.tile_rows() as u32, BUCKET / TILE);
        let grid = (8.min(self.target.card.grid.0), rows.min(self.target.card.grid.1));
        let (per_core_m, per_core_n) = (rows.div_ceil(grid.1), columns.div_ceil(grid.0));
        let program = MatmulProgram::Multicast2D {
            grid,
            in0_block_w: divisors(inner).find(|b| *b <= 8).unwrap_or(1),
            out_subblock: (1, 1),
            out_block: (per_core_m, per_core_n),
            per_core_m,
            per_core_n,
            activation: None,
        };
        let tile = |shape: [u32; 2], dtype| TensorSpec::tile(vec![1, 1, shape[0], shape[1]], dtype, MemoryConfig::DRAM);
        let input = tile([BUCKET, inner * TILE], DType::Bf16);
        let weight = tile([inner * TILE, columns * TILE], first.dtype);
        let out = tile([BUCKET, columns * TILE], DType::Bf16);
        let cost = self.pricer.priced(matmul(program, compute, MemoryConfig::DRAM), &[&input, &weight], out);
        Ok((cost.us, sliced))
    }
}
