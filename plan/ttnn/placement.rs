//! The demands of TT-NN's `TensorSpec` and buffers on every tensor on a card, whatever call returns it.

use super::constraint::{constraints, values};
use super::{Checks, SHAPE};
use crate::{Card, Cores, DType, Layout, Memory, MemoryConfig, Strategy, TILE, TensorSpec};

constraints! { "placement", "tensor_spec.cpp";
    BLOCK_FORMAT_TILED: "A tensor of a block format (bfp8, bfp4, bfp2) is tiled." in "tensor_layout.cpp"
        => "{dtype} tensors must be in TILE layout", "bf16 in row-major layout";
    TWO_BITS: "A tensor of two-bit codes is one matrix, interleaved in DRAM."
        because "the kernel that reads them takes a column of tiles for a page"
        => "{dtype} {shape} in {memory}", "one matrix, interleaved in DRAM";
    SHARD_GRID: "Shards lie on disjoint ranges of cores (or DRAM banks) that the card has." in "buffer.cpp"
        => "shard grid {cores} is not within the {width}x{height} {place} of {card}", "disjoint ranges of existing {place}";
    SHARD_TILES: "The sides of a shard are positive, and multiples of 32 in a tiled tensor." in "tensor_layout.cpp"
        => "Physical shard shape ({rows}, {columns}) must be tile {{32, 32}} sized!", "shard sides that are multiples of 32";
    SHARD_HEIGHT: "A width shard is as high as the tensor, padded to tiles."
        => "Shard height {rows} must match physical height {height} for width sharded", "shard [{height}, {columns}]";
    SHARD_WIDTH: "A height shard is as wide as the tensor, padded to tiles."
        => "Shard width {columns} must match physical width {width} for height sharded", "shard [{rows}, {width}]";
    ROWS_FILL_SHARDS: "Rows of a row-major tensor fill its height shards."
        because "no call of a plan leaves the rest of a shard's row empty, and addresses were not studied"
        => "rows of {width} in shards of {columns}", "shard [{rows}, {width}]";
    CORE_PER_SHARD: "There is a core for each shard."
        => "Number of shards {shards} must not exceed number of cores {cores}", "{shards} cores, one for each shard";
    SHARD_PER_CORE: "There is a shard for each core; only DRAM banks may stay empty."
        because "TT-NN takes more cores and leaves some empty, which no call of a plan profits from"
        => "{shards} shards on {cores} cores", "{shards} cores, one for each shard";
}

/// Requires that TT-NN can place a tensor of `spec` on `card`, capacity aside.
pub fn require_placement(spec: &TensorSpec, card: &Card, checks: &mut Checks) {
    checks.require(
        &BLOCK_FORMAT_TILED,
        !spec.dtype.is_block() || spec.layout == Layout::Tile,
        values![dtype = spec.dtype],
    );
    checks.require(&SHAPE, has_sides(spec), values![shape = spec.shape]);
    checks.require(
        &TWO_BITS,
        spec.dtype != DType::Bfp2 || (spec.memory == MemoryConfig::DRAM && spec.outer() == 1 && spec.shape.len() > 1),
        values![dtype = spec.dtype, shape = spec.shape, memory = spec.memory],
    );
    if let MemoryConfig::Sharded { memory, strategy, cores, shard } = &spec.memory {
        require_grid(*memory, cores, card, checks);
        require_shards(spec, *memory, *strategy, cores.len(), *shard, checks);
    }
}

/// One to four dimensions, none of them 0.
pub(super) fn has_sides(spec: &TensorSpec) -> bool {
    (1..=4).contains(&spec.shape.len()) && spec.shape.iter().all(|&d| d > 0)
}

fn require_grid(memory: Memory, cores: &Cores, card: &Card, checks: &mut Checks) {
    let (grid, place) = match memory {
        Memory::L1 => (card.grid, "cores"),
        Memory::Dram => ((card.dram.banks, 1), "banks"),
    };
    checks.require(
        &SHARD_GRID,
        cores.fits(grid),
        values![cores, width = grid.0, height = grid.1, place, card = card.name],
    );
}

fn require_shards(
    spec: &TensorSpec,
    memory: Memory,
    strategy: Strategy,
    cores: u32,
    shard: [u32; 2],
    checks: &mut Checks,
) {
    let [rows, columns] = shard;
    let whole = if spec.layout == Layout::Tile { TILE } else { 1 };
    let sides = rows > 0 && columns > 0 && rows % whole == 0 && columns % whole == 0;
    if !checks.require(&SHARD_TILES, sides, values![rows, columns]) {
        return;
    }
    let height = spec.matrix_rows();
    let width =
        u64::from(if spec.layout == Layout::Tile { spec.columns().next_multiple_of(TILE) } else { spec.columns() });
    let shards = match strategy {
        Strategy::Width => {
            checks.require(&SHARD_HEIGHT, height == u64::from(rows), values![rows, columns, height]);
            width.div_ceil(u64::from(columns))
        }
        Strategy::Height => {
            let fits = width == u64::from(columns) || (whole == 1 && width < u64::from(columns));
            checks.require(&SHARD_WIDTH, fits, values![rows, columns, width]);
            checks.require(&ROWS_FILL_SHARDS, width >= u64::from(columns), values![rows, columns, width]);
            height.div_ceil(u64::from(rows))
        }
    };
    let cores = u64::from(cores);
    checks.require(&CORE_PER_SHARD, shards <= cores, values![shards, cores]);
    checks.require(&SHARD_PER_CORE, shards >= cores || memory == Memory::Dram, values![shards, cores]);
}

/// Alignment of pages in a memory, in bytes.
pub(super) const fn alignment(memory: Memory, card: &Card) -> u64 {
    match memory {
        Memory::L1 => card.l1.alignment,
        Memory::Dram => card.dram.alignment,
    }
}
