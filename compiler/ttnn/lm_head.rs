//! The LM head: DRAM-sharded matmuls over chunks of the vocabulary, each untilised to DRAM, then joined for argmax.
//!
//! The fewer chunks the fewer launches, until a chunk's circular buffers no longer fit; chunks end at whole tiles. Sums in fp32 stay f32
//! up to argmax: rounded to bf16, logits that lie close would tie.

use bitnetc_plan::op::{Concat, Matmul, ToLayout};
use bitnetc_plan::ttnn::{Violation, check};
use bitnetc_plan::weight::Matrix;
use bitnetc_plan::{Cores, DType, Layout, MatmulProgram, MemoryConfig, Op, Ref, Source, TILE, Weight};

use super::{Context, Drafting, Ways, cost, matmul, placements};
use crate::passes::select::weights::dram_sharded;
use crate::policy::Precision;
use crate::schedule::Call;

/// Numbers of chunks considered.
const CHUNKS: [u32; 10] = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16];

/// All ways: input placement by number of chunks, each with its best program.
pub fn ways(
    call: &Call,
    cx: &Context<'_>,
    matrix: &Matrix,
    precision: Precision,
    chunks: Option<u32>,
    ways: &mut Ways,
) {
    let Some(input) = call.values().next() else { return };
    let spec = cx.spec(input, MemoryConfig::DRAM);
    for memory in placements::width_shards(spec.columns(), &cx.target.card) {
        for count in CHUNKS.into_iter().filter(|c| chunks.is_none_or(|decided| decided == *c)) {
            let cut = Cut { matrix, precision, columns: matrix.shape[0].div_ceil(TILE).div_ceil(count) * TILE, count };
            let Some(program) = best_program(call, cx, &cut, &memory) else { continue };
            let what = || format!("{count} chunks from {memory}, {program:?}");
            ways.consider(cx, call, vec![memory.clone()], what, |d| draft(d, cx, call, &cut, &program));
        }
    }
}

/// Data type of the logits.
pub const fn dtype(precision: Precision) -> DType {
    if precision.fp32_dest_acc { DType::F32 } else { DType::Bf16 }
}

/// How the vocabulary is cut.
struct Cut<'a> {
    matrix: &'a Matrix,
    precision: Precision,
    /// Columns of a chunk but the last.
    columns: u32,
    count: u32,
}

impl Cut<'_> {
    /// The chunks' rows of the matrix; fewer than `count` when whole tiles run out.
    fn ranges(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        (0..self.count)
            .map(|i| (i * self.columns, ((i + 1) * self.columns).min(self.matrix.shape[0])))
            .filter(|(a, b)| a < b)
    }

    fn weight(&self, at: usize, (start, end): (u32, u32), banks: u32) -> Weight {
        let first = self.matrix.rows.map_or(0, |(first, _)| first);
        let [_, inner] = self.matrix.shape;
        let whole = self.matrix.rows.is_none() && (start, end) == (0, self.matrix.shape[0]);
        let part = Matrix {
            shape: [end - start, inner],
            rows: (!whole).then_some((first + start, first + end)),
            ..self.matrix.clone()
        };
        Weight {
            name: format!("lm_head.{at}"),
            per_layer: false,
            spec: dram_sharded([inner, end - start], self.precision.weight, banks),
            address: None,
            source: Source::Columns(vec![part]),
        }
    }
}

fn out_placement(columns: u32, per_core_n: u32, cx: &Context<'_>) -> MemoryConfig {
    let cores = Cores::row_major(columns.div_ceil(TILE).div_ceil(per_core_n), cx.target.card.grid);
    MemoryConfig::width(cores, [TILE, per_core_n * TILE])
}

fn matmul(a: Ref, b: Ref, cut: &Cut<'_>, columns: u32, program: &MatmulProgram, cx: &Context<'_>) -> Matmul {
    let per_core_n = if let MatmulProgram::DramSharded { per_core_n, .. } = program { *per_core_n } else { 1 };
    let memory = out_placement(columns, per_core_n, cx);
    Matmul {
        a,
        b,
        program: program.clone(),
        compute: matmul::compute(cut.precision),
        dtype: dtype(cut.precision),
        memory,
    }
}

/// The cheapest legal program for a chunk that leaves L1 room, found on the first chunk.
fn best_program(call: &Call, cx: &Context<'_>, cut: &Cut<'_>, memory: &MemoryConfig) -> Option<MatmulProgram> {
    let card = &cx.target.card;
    let [_, width] = memory.shard()?;
    let first = cut.ranges().next()?;
    let weight = cut.weight(0, first, card.dram.banks);
    let input = cx.spec(call.values().next()?, memory.clone());
    let columns = first.1 - first.0;
    let per_core_n = columns.div_ceil(TILE).div_ceil(card.cores());
    let mut best: Option<(cost::Price, MatmulProgram)> = None;
    for readers in 1..=card.dram.readers_per_bank {
        for in0_block_w in matmul::divisors(width / TILE) {
            let program =
                MatmulProgram::DramSharded { in0_block_w, per_core_m: 1, per_core_n, activation: None, readers };
            let op: Op =
                matmul(Ref::Value(String::new()), Ref::Weight(String::new()), cut, columns, &program, cx).into();
            let Ok(outcome) = check(&op, &[&input, &weight.spec], card) else { continue };
            let shard = u64::from(per_core_n) * dtype(cut.precision).tile_bytes();
            let inputs = u64::from(width / TILE) * DType::Bf16.tile_bytes();
            // The residual stream is alive beside the normed input.
            if outcome.circular_buffers + shard + 2 * inputs > card.l1_bytes() {
                continue;
            }
            let price = cost::Price::of(&cost::cost(&op, &[&input, &weight.spec], &outcome, cx));
            if best.as_ref().is_none_or(|(b, _)| price < *b) {
                best = Some((price, program));
            }
            break;
        }
    }
    best.map(|(_, program)| program)
}

fn draft(
    d: &mut Drafting<'_>,
    cx: &Context<'_>,
    call: &Call,
    cut: &Cut<'_>,
    program: &MatmulProgram,
) -> Result<(), Vec<Violation>> {
    d.cut_into(cut.count);
    let logits = d.output_name(0);
    let ranges: Vec<_> = cut.ranges().collect();
    let mut rows = Vec::with_capacity(ranges.len());
    for (at, range) in ranges.iter().enumerate() {
        let weight = d.weight(cut.weight(at, *range, cx.target.card.dram.banks));
        let tiled = format!("{}.{at}.tiles", call.name);
        let op = matmul(d.input(0), weight, cut, range.1 - range.0, program, cx);
        d.named_step(tiled.clone(), op, vec![tiled.clone()])?;
        let name = if ranges.len() == 1 { logits.clone() } else { format!("{logits}.{at}") };
        let untilize = ToLayout { input: Ref::Value(tiled), layout: Layout::RowMajor, memory: MemoryConfig::DRAM };
        d.named_step(format!("{}.{at}.rows", call.name), untilize, vec![name.clone()])?;
        rows.push(Ref::Value(name));
    }
    if rows.len() > 1 {
        d.named_step(format!("{}.join", call.name), Concat { inputs: rows, memory: MemoryConfig::DRAM }, vec![logits])?;
    }
    Ok(())
}
