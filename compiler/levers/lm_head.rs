//! Levers of the LM head: its chunks, and how many rows of a prompt it sees.

use bitnetc_plan::{DType, MatmulProgram, MemoryConfig, Op, PhaseKind, TILE, TensorSpec};

use super::{BUCKET, Bench, How, Lever};
use crate::pricer::matmul;
use crate::schedule::Kind;
use crate::ttnn::matmul::divisors;

impl Bench<'_> {
    pub(super) fn chunks(&self) -> Lever {
        let record = self.compiled.record.iter().find(|r| matches!(r.kind, PhaseKind::Decode { .. }));
        let head = record.and_then(|r| r.placed.record.iter().find(|r| matches!(r.call.kind, Kind::LmHead { .. })));
        let mut lever = Lever {
            name: "LM head".into(),
            positions: (String::new(), String::new()),
            us: Err("the plan has no LM head".into()),
            how: How::Priced,
            note: String::new(),
        };
        if let Some(head) = head {
            let chosen = &head.ways.candidates[head.chosen];
            let best = |chunks| head.ways.candidates.iter().filter(|c| c.chunks == chunks).map(|c| c.price).min();
            let most = head.ways.candidates.iter().map(|c| c.chunks).max().unwrap_or(1);
            lever.positions = (format!("{most} chunks"), format!("{} chunks", chosen.chunks));
            lever.us =
                best(most).map(|p| (p.us(), chosen.price.us())).ok_or_else(|| "no other number of chunks".into());
            let mut counts: Vec<u32> = head.ways.candidates.iter().map(|c| c.chunks).collect();
            counts.sort_unstable();
            counts.dedup();
            let each = counts.iter().filter_map(|n| best(*n).map(|p| format!("{n}: {:.0}", p.us())));
            let missing = if counts.first() == Some(&1) { "" } else { "; fewer do not fit L1" };
            lever.note = format!("us by chunks, {}{missing}", each.collect::<Vec<_>>().join(", "));
        }
        lever
    }

    /// In a prefill: the LM head of all rows beside that of the tile with the last token.
    pub(super) fn last_token(&self) -> Lever {
        let us = self.last_token_us();
        Lever {
            name: format!("LM head in prefill {BUCKET}"),
            positions: ("all rows".into(), "last token's tile".into()),
            us,
            how: How::Priced,
            note: "per prefill, not per step; all rows in one 2D matmul, priced although its output would not fit L1"
                .into(),
        }
    }

    fn last_token_us(&self) -> Result<(f64, f64), String> {
        let prefill = self.variant(|o| o.prefill = vec![BUCKET])?;
        let phase = prefill.plan.phase(PhaseKind::Prefill { tokens: BUCKET }).ok_or("no prefill phase")?;
        let heads = phase.epilogue.iter().filter(|s| s.name.starts_with("logits") || s.name.starts_with("lm_head"));
        let sliced: f64 = heads.map(|s| s.cost.us).sum();
        let parts: Vec<_> = phase
            .epilogue
            .iter()
            .filter_map(|s| match &s.op {
                Op::Matmul(args) => prefill.plan.weight(args.b.name()).map(|w| (&w.spec, args.compute)),
                _ => None,
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
