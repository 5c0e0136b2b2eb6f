//! Candidates of the LM head: DRAM-sharded matmuls over chunks of the vocabulary, whose results go to DRAM and are joined there: untilised
//! for argmax, as tiles for the search of the likeliest tokens.
//!
//! Fewer chunks need fewer launches, but the circular buffers of a long chunk may not fit beside the live tensors, so the search decides
//! their number. Every chunk but the last ends at a whole tile of every reader of every bank. Sums in fp32 are kept in f32 up to argmax,
//! since logits that lie close to each other would become equal when rounded to bf16.
//!
//! A vocabulary may be of any size. TT-NN joins rows that end on the alignment of DRAM. Where those of the last chunk do not, it gets zero
//! columns up to a whole tile, and the joined rows are cut to the vocabulary: argmax never sees a zero that no token stands for.

use std::ops::RangeInclusive;

use bitnetc_plan::op::{Concat, Kept, Matmul, Slice, ToLayout, ToMemoryConfig};
use bitnetc_plan::ttnn::{Violation, check};
use bitnetc_plan::weight::Matrix;
use bitnetc_plan::{
    Card, Cores, DType, Layout, MatmulProgram, MemoryConfig, Op, Padding, Ref, Source, TILE, TensorSpec, Weight,
};

use super::front::Front;
use super::{Context, Drafting, Ways, cost, matmul, placements};
use crate::policy::Precision;
use crate::schedule::Call;

/// The most chunks considered. Every chunk costs two launches, and a sixteenth of the vocabulary of any shipped model leaves most of L1
/// free.
pub const MOST_CHUNKS: u32 = 16;

/// All ways: every input placement with every number of chunks, each with the programs that no other beats in both time and circular
/// buffers.
pub fn ways(
    call: &Call,
    cx: &Context<'_>,
    matrix: &Matrix,
    precision: Precision,
    chunks: &RangeInclusive<u32>,
    ways: &mut Ways,
) {
    let Some(input) = call.values().next() else { return };
    let spec = cx.spec(input, MemoryConfig::DRAM);
    for memory in placements::width_shards(spec.columns(), &cx.target.card) {
        for count in chunks.clone() {
            let Some(cut) = Cut::new(matrix, precision, count, &cx.target.card) else { continue };
            for program in programs(cx, &cut, &cx.spec(input, memory.clone())) {
                let what = || {
                    let [cores, tiles] =
                        [memory.l1_cores().map_or(0, Cores::len), memory.shard().map_or(0, |[_, w]| w / TILE)];
                    let Program { in0_block_w, readers, .. } = program;
                    format!(
                        "{count} {} of {} columns from {cores} cores ({tiles} tiles each), in0_block_w {in0_block_w}, \
                         {readers} readers per bank",
                        if count == 1 { "chunk" } else { "chunks" },
                        cut.columns
                    )
                };
                ways.consider(cx, call, vec![memory.clone()], what, |d| draft(d, cx, call, &cut, program));
            }
        }
    }
}

/// Data type of the logits.
pub const fn dtype(precision: Precision) -> DType {
    if precision.fp32_dest_acc { DType::F32 } else { DType::Bf16 }
}

/// A division of the vocabulary into chunks.
struct Cut<'a> {
    matrix: &'a Matrix,
    precision: Precision,
    /// Columns of a chunk but the last.
    columns: u32,
    count: u32,
}

impl<'a> Cut<'a> {
    /// `count` chunks, all but the last whole tiles for every reader of every bank; `None` when so many are not needed.
    fn new(matrix: &'a Matrix, precision: Precision, count: u32, card: &Card) -> Option<Self> {
        let tiles = matrix.shape[0].div_ceil(TILE);
        let even = card.dram.banks * common_multiple(card.dram.readers_per_bank);
        let each = if count == 1 { tiles } else { tiles.div_ceil(count).next_multiple_of(even) };
        (tiles.div_ceil(each.max(1)) == count).then_some(Cut { matrix, precision, columns: each * TILE, count })
    }

    /// The chunks' rows of the matrix.
    fn ranges(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        (0..self.count)
            .map(|i| (i * self.columns, ((i + 1) * self.columns).min(self.matrix.shape[0])))
            .filter(|(a, b)| a < b)
    }

    /// The zero columns of a chunk of the matrix's rows `start..end`.
    fn padding(&self, (start, end): (u32, u32), card: &Card) -> Option<Padding> {
        let bytes = u64::from(end - start) * dtype(self.precision).element_bytes().unwrap_or(1);
        let joined = self.count > 1 && !bytes.is_multiple_of(card.dram.alignment);
        if joined { Padding::to_tiles(1, end - start, 0) } else { None }
    }

    fn weight(&self, at: usize, (start, end): (u32, u32), card: &Card) -> Weight {
        let outputs = self.padding((start, end), card);
        let columns = outputs.map_or(end - start, |padding| padding.to);
        let first = self.matrix.rows.map_or(0, |(first, _)| first);
        let [_, inner] = self.matrix.shape;
        let rows = self.matrix.inputs.map_or(inner, |padding| padding.columns() as u32);
        let whole = self.matrix.rows.is_none() && (start, end) == (0, self.matrix.shape[0]);
        let part = Matrix {
            shape: [end - start, inner],
            rows: (!whole).then_some((first + start, first + end)),
            outputs,
            ..self.matrix.clone()
        };
        Weight {
            name: format!("lm_head.{at}"),
            per_layer: false,
            spec: placements::dram_sharded([rows, columns], self.precision.weight, card.dram.banks),
            address: None,
            source: Source::Columns(vec![part]),
        }
    }
}

/// The least number that 1 to `most` divide.
fn common_multiple(most: u32) -> u32 {
    let divided = |n: &u32| (1..=most).all(|d| n.is_multiple_of(d));
    (1..).find(divided).unwrap_or(1)
}

/// The matmul of one chunk.
#[derive(Debug, Clone, Copy)]
struct Program {
    in0_block_w: u32,
    per_core_n: u32,
    readers: u32,
}

impl Program {
    fn matmul(self, a: Ref, b: Ref, cut: &Cut<'_>, columns: u32, cx: &Context<'_>) -> Matmul {
        let Program { in0_block_w, per_core_n, readers } = self;
        let cores = Cores::row_major(columns.div_ceil(TILE).div_ceil(per_core_n), cx.target.card.grid);
        Matmul {
            a,
            b,
            program: MatmulProgram::DramSharded { in0_block_w, per_core_m: 1, per_core_n, activation: None, readers },
            compute: matmul::compute(cut.precision),
            dtype: dtype(cut.precision),
            memory: MemoryConfig::width(cores, [TILE, per_core_n * TILE]),
        }
    }
}

/// The programs worth drafting, judged by the first chunk. The result is spread over as many cores as the tiles allow.
fn programs(cx: &Context<'_>, cut: &Cut<'_>, input: &TensorSpec) -> Vec<Program> {
    let card = &cx.target.card;
    let Some(first) = cut.ranges().next() else { return Vec::new() };
    let weight = cut.weight(0, first, card);
    let columns = weight.spec.columns();
    let per_core_n = columns.div_ceil(TILE).div_ceil(card.cores());
    let blocks = || matmul::divisors(input.tile_columns() as u32);
    let all: Vec<_> = (1..=card.dram.readers_per_bank)
        .flat_map(|readers| blocks().map(move |in0_block_w| Program { in0_block_w, per_core_n, readers }))
        .collect();
    let mut front = Front::default();
    for &program in &all {
        let op: Op = program.matmul(Ref::Value(String::new()), Ref::Weight(String::new()), cut, columns, cx).into();
        let Ok(outcome) = check(&op, &[input, &weight.spec], card) else { continue };
        let price = cost::Price::of(&cost::cost(&op, &[input, &weight.spec], &outcome, cx));
        front.offer(price, outcome.circular_buffers, program);
    }
    let legal: Vec<_> = front.into_choices().collect();
    // Where none is legal, drafting them tells why.
    if legal.is_empty() && cx.everything { all } else { legal }
}

fn draft(
    d: &mut Drafting<'_>,
    cx: &Context<'_>,
    call: &Call,
    cut: &Cut<'_>,
    program: Program,
) -> Result<(), Vec<Violation>> {
    d.cut_into(cut.count);
    let logits = d.output_name(0);
    let ranges: Vec<_> = cut.ranges().collect();
    let layout = call.outputs.first().map_or(Layout::RowMajor, |id| cx.schedule.values[*id].layout);
    let padded =
        layout == Layout::RowMajor && ranges.last().is_some_and(|range| cut.padding(*range, &cx.target.card).is_some());
    let mut parts = Vec::with_capacity(ranges.len());
    for (at, range) in ranges.iter().enumerate() {
        let weight = cut.weight(at, *range, &cx.target.card);
        let columns = weight.spec.columns();
        let weight = d.weight(weight);
        let tiled = format!("{}.{at}.tiles", call.name);
        // The last chunk's tiles may not divide among as many readers.
        let readers = (1..=program.readers).rev();
        let mut tried = readers.map(|readers| {
            let program = Program { readers, ..program };
            let op = program.matmul(d.input(0), weight.clone(), cut, columns, cx);
            d.named_step(tiled.clone(), op, vec![tiled.clone()])
        });
        let first = tried.next().unwrap_or(Ok(()));
        if first.is_err() && !tried.any(|step| step.is_ok()) {
            return first;
        }
        let name = if ranges.len() == 1 { logits.clone() } else { format!("{logits}.{at}") };
        let (input, memory) = (Ref::Value(tiled), MemoryConfig::DRAM);
        match layout {
            Layout::RowMajor => {
                let untilize = ToLayout { input, layout, memory };
                d.named_step(format!("{}.{at}.rows", call.name), untilize, vec![name.clone()])?;
            }
            Layout::Tile => {
                let step = format!("{}.{at}.interleaved", call.name);
                d.named_step(step, ToMemoryConfig { input, memory }, vec![name.clone()])?;
            }
        }
        parts.push(Ref::Value(name));
    }
    if parts.len() == 1 {
        return Ok(());
    }
    let joined = if padded { format!("{logits}.padded") } else { logits.clone() };
    let join = Concat { inputs: parts, memory: MemoryConfig::DRAM };
    d.named_step(format!("{}.join", call.name), join, vec![joined.clone()])?;
    if padded {
        let kept = Kept::Columns(cut.matrix.shape[0]);
        let slice = Slice { input: Ref::Value(joined), kept, memory: MemoryConfig::DRAM };
        d.named_step(format!("{}.cut", call.name), slice, vec![logits])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{PhaseKind, Role};
    use crate::policy::{Policy, asked};
    use crate::target::Target;
    use bitnetc_plan::weight::Content;

    #[test]
    fn chunks_divide_among_all_readers_but_the_last() {
        let p150 = Target::find("p150").unwrap().card;
        let precision = asked(Policy::Balanced, &[], PhaseKind::Decode { batch: 1 }, Role::LmHead, false);
        let matrix = Matrix {
            tensor: "lm_head".into(),
            shape: [128_256, 2560],
            rows: None,
            content: Content::Dense,
            rotated: 0,
            outputs: None,
            inputs: None,
        };
        for count in 2..=MOST_CHUNKS {
            let Some(cut) = Cut::new(&matrix, precision, count, &p150) else { continue };
            let ranges: Vec<_> = cut.ranges().collect();
            assert_eq!((ranges.len(), ranges[ranges.len() - 1].1), (count as usize, 128_256));
            for (start, end) in &ranges[..ranges.len() - 1] {
                assert!(((end - start) / TILE / p150.dram.banks).is_multiple_of(6), "{count}: {start}..{end}");
            }
        }
        assert!(Cut::new(&matrix, precision, 3, &p150).is_some());
    }
}
