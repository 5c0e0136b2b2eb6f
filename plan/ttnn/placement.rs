//! What every tensor on a card must satisfy, whatever op returns it: TT-NN's `TensorSpec` and buffer checks.

use super::Checks;
use crate::{Card, Cores, Layout, Memory, MemoryConfig, Strategy, TILE, TensorSpec};

/// Requires that TT-NN can place a tensor of `spec` on `card`, capacity aside.
///
/// Stricter than TT-NN in one point: the shards of a sharded tensor must lie on exactly as many cores as there are shards (TT-NN takes more
/// cores and leaves some empty, which no op of a plan profits from), except in DRAM, where the last banks may be empty.
pub fn require_placement(spec: &TensorSpec, card: &Card, checks: &mut Checks) {
    checks.require(
        !spec.dtype.is_block() || spec.layout == Layout::Tile,
        format_args!("{} tensors must be in TILE layout", spec.dtype),
        format_args!("bf16 in row-major layout"),
    );
    checks.require(
        (1..=4).contains(&spec.shape.len()) && spec.shape.iter().all(|&d| d > 0),
        format_args!("shape {:?}", spec.shape),
        format_args!("one to four dimensions, none of them 0"),
    );
    if let MemoryConfig::Sharded { memory, strategy, cores, shard } = &spec.memory {
        require_grid(*memory, cores, card, checks);
        require_shards(spec, *memory, *strategy, cores.len(), *shard, checks);
    }
}

fn require_grid(memory: Memory, cores: &Cores, card: &Card, checks: &mut Checks) {
    let (grid, place) = match memory {
        Memory::L1 => (card.grid, "cores"),
        Memory::Dram => ((card.dram.banks, 1), "banks"),
    };
    checks.require(
        cores.fits(grid),
        format_args!("shard grid {cores} is not within the {}x{} {place} of {}", grid.0, grid.1, card.name),
        format_args!("disjoint ranges of existing {place}"),
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
    if !checks.require(
        rows > 0 && columns > 0 && rows % whole == 0 && columns % whole == 0,
        format_args!("Physical shard shape ({rows}, {columns}) must be tile {{32, 32}} sized!"),
        format_args!("shard sides that are multiples of 32"),
    ) {
        return;
    }
    let height = spec.matrix_rows();
    let width =
        u64::from(if spec.layout == Layout::Tile { spec.columns().next_multiple_of(TILE) } else { spec.columns() });
    let shards = match strategy {
        Strategy::Width => {
            checks.require(
                height == u64::from(rows),
                format_args!("Shard height {rows} must match physical height {height} for width sharded"),
                format_args!("shard [{height}, {columns}]"),
            );
            width.div_ceil(u64::from(columns))
        }
        Strategy::Height => {
            checks.require(
                width == u64::from(columns) || (whole == 1 && width < u64::from(columns)),
                format_args!("Shard width {columns} must match physical width {width} for height sharded"),
                format_args!("shard [{rows}, {width}]"),
            );
            checks.narrow(
                width >= u64::from(columns),
                format_args!("rows of {width} in shards of {columns}"),
                format_args!("shard [{rows}, {width}]"),
            );
            height.div_ceil(u64::from(rows))
        }
    };
    let cores = u64::from(cores);
    checks.require(
        shards <= cores,
        format_args!("Number of shards {shards} must not exceed number of cores {cores}"),
        format_args!("{shards} cores, one for each shard"),
    );
    checks.narrow(
        shards >= cores || memory == Memory::Dram,
        format_args!("{shards} shards on {cores} cores"),
        format_args!("{shards} cores, one for each shard"),
    );
}
