//! `ttnn.topk` over the last dimension.
//!
//! Which kernel searches depends on the width ([`Search`]): one core alone; several cores in equal parts, whose finds one more core merges;
//! or, on Blackhole, a core for each row, with two programs around it that untilize and tilize. The rows that fill a tile up are overwritten
//! before the first two search.

use super::constraint::{constraints, values};
use super::{Answer, Checks, Outcome, Temporary};
use crate::op::TopK;
use crate::ttnn::checks::operands;
use crate::{Arch, Card, DType, Layout, MemoryConfig, TILE, TensorSpec};

/// Elements of each row that plans ask for: those of a tile.
pub const CANDIDATES: u32 = TILE;

/// Columns up to which their numbers are u16.
const SHORT: u32 = 1 << 16;

constraints! { "top_k", "topk_device_operation.cpp", also [];
    TILED: "The tensor is tiled."
        => "The input must be in tiled format, not {input}", "a tiled tensor";
    BF16: "The tensor is bf16."
        because "TT-NN takes bfp8 as well, which logits are never in"
        => "topk of {dtype}", "bf16";
    IN_DRAM: "Tensor and results are interleaved in DRAM."
        because "logits lie there; other placements were not studied"
        => "topk of {input} to {memory}", "a tensor in DRAM, and results there";
    ONE_TILE_ROW: "The tensor is [1, 1, B, V] with at most 32 rows."
        because "a token is drawn for each user"
        => "topk of {shape}", "[1, 1, B, V] with B up to 32";
    ONE_TILE: "32 elements of each row are asked for."
        because "TT-NN cuts other numbers out of the next multiple of 32, and the call that draws a token takes 32"
        => "topk of {k} elements", "{candidates}";
    WHOLE_TILES: "Rows are of whole tiles, two at least."
        because "TT-NN fills others up with programs that were not studied"
        => "topk of {columns} columns", "a multiple of 32, from 64 on";
}

/// How TT-NN searches rows of a width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// One core, tile by tile.
    OneCore,
    /// So many cores, each so many tiles, and one that merges what they find.
    Cores {
        /// Cores that search.
        cores: u32,
        /// Tiles of each.
        tiles: u32,
    },
    /// A core for each row.
    Rows,
}

impl Search {
    /// The kernel for rows of `columns`, a multiple of 32, on a chip family: as mock cards report it for widths from 64 to 262,144.
    pub fn of(columns: u32, arch: Arch) -> Search {
        let cores = match (arch, columns) {
            (_, 1024) => 8,
            (_, 2048) => 16,
            (Arch::Wormhole, 4096 | 8192 | 16_384 | 32_768) => 16,
            (Arch::Blackhole, 8192 | 16_384) => 32,
            (Arch::Blackhole, 32_768) => 64,
            (Arch::Blackhole, 4096..) => return Search::Rows,
            (Arch::Wormhole | Arch::Blackhole, _) => return Search::OneCore,
        };
        Search::Cores { cores, tiles: columns / TILE / cores }
    }
}

/// Tiled bf16 `[1,1,B,V]` in DRAM -> values `[1,1,B,32]` bf16 and columns `[1,1,B,32]`, tiled in DRAM.
pub(super) fn check(args: &TopK, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    checks.require(&TILED, x.layout == Layout::Tile, values![input = x]);
    checks.require(&BF16, x.dtype == DType::Bf16, values![dtype = x.dtype]);
    let in_dram = x.memory == MemoryConfig::DRAM && args.memory == MemoryConfig::DRAM;
    checks.require(&IN_DRAM, in_dram, values![input = x, memory = args.memory]);
    let one_tile_row = x.shape.len() == 4 && x.outer() == 1 && x.rows() <= TILE;
    checks.require(&ONE_TILE_ROW, one_tile_row, values![shape = x.shape]);
    checks.require(&ONE_TILE, args.k == CANDIDATES, values![k = args.k, candidates = CANDIDATES]);
    let columns = x.columns();
    checks.require(&WHOLE_TILES, columns >= 2 * TILE && columns.is_multiple_of(TILE), values![columns]);
    checks.settle()?;
    let search = Search::of(columns, card.arch);
    let index = if columns <= SHORT { DType::U16 } else { DType::U32 };
    let result = |dtype| TensorSpec::tile([1, 1, x.rows(), CANDIDATES], dtype, MemoryConfig::DRAM);
    let before = |spec| Temporary { spec, before_output: true };
    let rows = |columns, dtype| TensorSpec::row_major([1, 1, x.rows(), columns], dtype, MemoryConfig::DRAM);
    let (temporaries, programs) = match search {
        Search::Rows => (vec![before(rows(columns, DType::Bf16)), before(rows(CANDIDATES, DType::U32))], 3),
        Search::OneCore | Search::Cores { .. } => (Vec::new(), if x.rows().is_multiple_of(TILE) { 1 } else { 2 }),
    };
    let circular_buffers = bytes(search, index);
    checks.finish(|| Outcome {
        outputs: vec![result(DType::Bf16), result(index)],
        circular_buffers,
        temporaries,
        programs,
    })
}

/// Of one core: four tiles of input, four transposed, two in work and one of results, values and columns each. Of several: four tiles of
/// both, what all of them find, and one core's part or again what all of them find. Of rows: 16 tiles twice.
fn bytes(search: Search, index: DType) -> u64 {
    let tile = DType::Bf16.tile_bytes();
    match search {
        Search::OneCore => 9 * (tile + index.tile_bytes()),
        Search::Cores { cores, tiles } => {
            let pairs = |tiles: u32| 2 * tile * u64::from(tiles);
            pairs(5) + pairs(cores) + pairs(1) + pairs(cores.max(tiles))
        }
        Search::Rows => 32 * tile,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, n150, p150, refusal};

    fn of(rows: u32, columns: u32, card: &Card) -> Outcome {
        let x = TensorSpec::tile([1, 1, rows, columns], DType::Bf16, MemoryConfig::DRAM);
        check(&TopK { input: any(), k: 32, memory: MemoryConfig::DRAM }.into(), &[&x], card).unwrap()
    }

    #[test]
    fn bytes_programs_and_columns_as_mock_cards_report_them() {
        for (card, rows, columns, bytes, programs, index) in [
            (n150(), 32, 64, 36_864, 1, DType::U16),
            (n150(), 32, 1024, 90_112, 1, DType::U16),
            (n150(), 1, 2048, 155_648, 2, DType::U16),
            (n150(), 32, 16_384, 221_184, 1, DType::U16),
            (n150(), 32, 32_768, 352_256, 1, DType::U16),
            (n150(), 32, 65_536, 36_864, 1, DType::U16),
            (n150(), 1, 128_256, 55_296, 2, DType::U32),
            (p150(), 32, 3072, 36_864, 1, DType::U16),
            (p150(), 8, 8192, 286_720, 2, DType::U16),
            (p150(), 32, 32_768, 548_864, 1, DType::U16),
            (p150(), 32, 4096, 65_536, 3, DType::U16),
            (p150(), 1, 128_256, 65_536, 3, DType::U32),
        ] {
            let outcome = of(rows, columns, &card);
            let what = format!("{} {rows} x {columns}", card.name);
            assert_eq!((outcome.circular_buffers, outcome.programs), (bytes, programs), "{what}");
            assert_eq!(outcome.outputs[1].dtype, index, "{what}");
        }
    }

    #[test]
    fn rows_are_untilized_beside_the_logits() {
        let temporaries = of(32, 30_720, &p150()).temporaries;
        let bytes = temporaries.iter().map(|t| t.spec.shape.iter().product::<u32>());
        assert_eq!(bytes.collect::<Vec<_>>(), [32 * 30_720, 32 * 32]);
    }

    #[test]
    fn row_major_logits_are_refused() {
        let x = TensorSpec::row_major([1, 1, 32, 1024], DType::Bf16, MemoryConfig::DRAM);
        let answer = check(&TopK { input: any(), k: 32, memory: MemoryConfig::DRAM }.into(), &[&x], &n150());
        assert!(refusal(answer).contains("must be in tiled format"));
    }
}
