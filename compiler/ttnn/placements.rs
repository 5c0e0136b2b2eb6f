//! The placements worth considering for a tensor of one tile of rows.

use bitnetc_plan::{Card, Cores, DType, MemoryConfig, TILE, TensorSpec};

use super::Context;
use crate::schedule::{Kind, ValueId};

/// Equal width shards of whole tiles on the first cores, row by row: one placement per core count that divides the width.
///
/// DRAM-sharded matmuls put their results on exactly such cores, so a reshard to any other placement gains nothing.
pub fn width_shards(columns: u32, card: &Card) -> Vec<MemoryConfig> {
    let tiles = columns.div_ceil(TILE);
    if !columns.is_multiple_of(TILE) {
        return Vec::new();
    }
    (1..=tiles.min(card.cores()))
        .filter(|n| tiles.is_multiple_of(*n))
        .map(|n| MemoryConfig::width(Cores::row_major(n, card.grid), [TILE, tiles / n * TILE]))
        .collect()
}

/// The cores on which TT-NN's head concatenation leaves a head each: rectangles of `count` cores, widest first; where there is none, the
/// first cores row by row.
pub fn head_grids(count: u32, card: &Card) -> Vec<Cores> {
    let mut grids: Vec<Cores> = (1..=card.grid.1)
        .filter(|h| count.is_multiple_of(*h) && count / h <= card.grid.0)
        .map(|h| Cores::rectangle(0, 0, count / h, h))
        .collect();
    if grids.is_empty() && count <= card.cores() {
        grids.push(Cores::row_major(count, card.grid));
    }
    grids
}

/// The placements of features `[1, 1, rows, columns]` in either phase: DRAM always, width shards for one tile of rows, and for merged
/// heads the cores on which concatenation leaves them.
pub fn features(spec: &TensorSpec, head_grids: Option<u32>, card: &Card) -> Vec<MemoryConfig> {
    let mut all = vec![MemoryConfig::DRAM];
    if spec.outer() != 1 || spec.rows() > TILE {
        return all;
    }
    all.extend(width_shards(spec.columns(), card));
    if let Some(heads) = head_grids {
        for cores in self::head_grids(heads, card) {
            let placement = MemoryConfig::width(cores, [TILE, spec.columns() / heads]);
            if !all.contains(&placement) {
                all.push(placement);
            }
        }
    }
    all
}

/// The number of heads if a value consists of merged heads in decode, directly or through a norm or a quantisation.
pub fn head_count(cx: &Context<'_>, value: ValueId) -> Option<u32> {
    let call = cx.schedule.layer.iter().find(|c| c.outputs.first() == Some(&value))?;
    match call.kind {
        Kind::ConcatHeads { heads } => Some(heads),
        Kind::RmsNorm { .. } | Kind::Quantize { .. } => head_count(cx, call.values().next()?),
        Kind::Embedding
        | Kind::Matmul { .. }
        | Kind::Gated { .. }
        | Kind::LmHead { .. }
        | Kind::CreateHeads { .. }
        | Kind::RotaryRows
        | Kind::RotaryFused
        | Kind::Rotary
        | Kind::CacheUpdate
        | Kind::CacheUpdateOne
        | Kind::CacheFill
        | Kind::Attention { .. }
        | Kind::AddInto { .. }
        | Kind::AddDequantized { .. }
        | Kind::Bias
        | Kind::Join
        | Kind::HeadNorm { .. }
        | Kind::Multiply { .. }
        | Kind::Dequantize { .. }
        | Kind::Scale { .. }
        | Kind::Typecast
        | Kind::LastTile
        | Kind::ArgMax
        | Kind::TopK
        | Kind::Seed
        | Kind::Sample
        | Kind::PlusOne { .. } => None,
    }
}

/// The spec of a weight `[1, 1, K, N]` in two-bit codes, whose columns of tiles are interleaved over the DRAM banks.
pub fn two_bits([rows, columns]: [u32; 2]) -> TensorSpec {
    TensorSpec::tile(vec![1, 1, rows, columns], DType::Bfp2, MemoryConfig::DRAM)
}

/// The spec of a weight `[1, 1, K, N]` whose columns are in equal shards of whole tiles over the DRAM banks.
pub fn dram_sharded([rows, columns]: [u32; 2], dtype: DType, banks: u32) -> TensorSpec {
    let shard = columns.next_multiple_of(TILE * banks) / banks;
    TensorSpec::tile(vec![1, 1, rows, columns], dtype, MemoryConfig::dram_width(banks, [rows, shard]))
}
