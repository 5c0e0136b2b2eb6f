//! `ttnn.rms_norm`: width-sharded with a program config (decode), interleaved without (prefill).
//!
//! Buffers hold intermediate tiles in bf16, or fp32 with fp32 accumulation. The interleaved kernel keeps a whole row of tiles; a row that
//! does not fit is processed in pieces when gamma is tiled, and refused when gamma is row-major.

use super::constraint::{constraints, values};
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::RmsNorm;
use crate::program::NormProgram;
use crate::ttnn::checks::operands;
use crate::{Card, Cores, DType, Layout, Memory, MemoryConfig, Strategy, TILE, TensorSpec};

constraints! { "rms_norm", "layernorm_device_operation.cpp", also [placement];
    TILED: "The input is tiled."
        => "Input tensor must have TILE layout, got: {layout}", "a tiled input";
    INPUT_TYPE: "The input is bf16, bfp8 or f32."
        => "Input tensor must be FLOAT32, BFLOAT16, or BFLOAT8_B, got: {dtype}", "a bf16 input";
    GAMMA_INTERLEAVED: "Gamma is interleaved."
        because "gamma is a weight in DRAM; no kernel of a plan reads it from shards"
        => "gamma is sharded: {memory}", "gamma interleaved in DRAM";
    GAMMA_WIDTH: "A tiled gamma is as wide as the input."
        => "{input} != {gamma}", "gamma [1, 1, 1, {columns}]";
    GAMMA_HEIGHT: "A tiled gamma is one tile high."
        => "Gamma tensor height must be TILE_HEIGHT (32), got: {height}", "gamma [1, 1, 1, {columns}]";
    GAMMA_ROWS: "A row-major gamma has rows of 32, as many as the input has column tiles."
        => "Gamma's last padded dim needs to equal tile width and gamma's volume needs to align with last padded dim of input: {shape}",
           "gamma [1, 1, {tiles}, 32]";
    GAMMA_TYPE: "A row-major gamma is bf16 or f32."
        => "Gamma tensor must be FLOAT32 or BFLOAT16, got: {dtype}", "bf16";
    PROGRAM_WITHOUT_SHARDS: "With a program config, the input is width-sharded in L1."
        => "a LayerNormShardedMultiCoreProgramConfig needs a width-sharded input in L1, got {memory}",
           "no program config for an interleaved input";
    RESULT_IN_PLACE: "A sharded norm leaves its result in the shards of its input."
        because "TT-NN takes a larger output shard but does not move the data there"
        => "output {output} is sharded otherwise than the input {input}",
           "the input's memory config; move the result afterwards";
    BLOCK_W: "block_w is the column tiles of a shard."
        => "block_w ({block_w}) must equal to K (in tiles) / num_cores ({tiles})", "block_w = {tiles}";
    EVEN_SHARDS: "Column tiles are spread evenly over the cores."
        because "uneven shards were not studied"
        => "{tiles} column tiles on {cores} cores", "tiles spread evenly over the cores";
    BLOCK_H: "block_h is the row tiles of the input."
        => "block_h ({block_h}) must equal to M (in tiles) ({tiles})", "block_h = {tiles}";
    ONE_TILE_ROW: "The input of a sharded norm has one row of tiles."
        because "decode has at most 32 users; buffers of more rows were not studied"
        => "{rows} rows of tiles under a sharded program", "one row of tiles";
    SUBBLOCK_DIVIDES: "subblock_w divides block_w."
        => "block_w must be divisible by subblock_w.", "a divisor of {block_w}";
    SUBBLOCK_FITS: "subblock_w fits the destination register: 8 tiles, or 4 with fp32 accumulation."
        => "subblock_wt={subblock_w}, but subblock width must less than {most} tiles when dst_full_sync_en is false",
           "at most {most}";
    GRID_HOLDS_SHARDS: "The grid of the program config holds the cores of the shards."
        => "shard_spec.grid size {width}x{height} does not fit within program_config grid {columns}x{rows}",
           "compute_with_storage_grid_size ({width}, {height})";
    GRID_ON_CARD: "The grid of the program config is on the card."
        => "compute_with_storage_grid_size {grid} is larger than the card's grid {card}", "({width}, {height})";
    COLUMN_AT_ORIGIN: "A single column of cores is the card's first."
        => "Start core must be within grid size", "a column of cores starts at x = 0";
    CORES_IN_ORDER: "The cores are a rectangle, or the first of the card's grid row by row."
        => "cores {cores} are neither a rectangle nor the first of the grid", "a rectangle, or the first cores row by row";
    SHARDS_WITHOUT_PROGRAM: "Without a program config, the input is interleaved."
        => "a sharded input {memory} without a program config", "a program config";
}

/// The relative error of the results of a sharded norm of shards `width` columns wide on `cores` cores, as far as it is the same for all.
///
/// The kernel has the mean of squares by multiplying their sums by `1/width`, and the sum of the cores' results by `1/cores`
/// (`layernorm_sharded.cpp`), both rounded to bf16. It is exact for powers of two, and up to 0.2 % off for other numbers.
pub fn norm_error(width: u32, cores: u32) -> f64 {
    let mean = [width, cores].map(|n| f64::from(bf16(1.0 / n as f32)) * f64::from(n)).iter().product::<f64>();
    1.0 / mean.sqrt() - 1.0
}

/// Rounded to nearest, ties to even.
fn bf16(v: f32) -> f32 {
    let bits = v.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

/// `x [..,M,K]`, gamma `[1,1,K/32,32]` row-major (bf16 or f32) or `[1,1,1,K]` tiled -> the spec of `x` in another placement.
pub(super) fn check(args: &RmsNorm, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x, gamma] = operands(given)?;
    let mut checks = Checks::new();
    checks.require(&TILED, x.layout == Layout::Tile, values![layout = x.layout]);
    checks.require(&INPUT_TYPE, matches!(x.dtype, DType::Bf16 | DType::Bfp8 | DType::F32), values![dtype = x.dtype]);
    require_gamma(x, gamma, &mut checks);
    let output = TensorSpec::tile(x.shape.clone(), x.dtype, args.memory.clone());
    require_placement(&output, card, &mut checks);
    let circular_buffers = match &args.program {
        Some(program) => sharded(args, program, x, gamma, card, &mut checks),
        None => interleaved(args, x, gamma, card, &mut checks),
    };
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

fn require_gamma(x: &TensorSpec, gamma: &TensorSpec, checks: &mut Checks) {
    let tiles = x.tile_columns();
    let columns = x.columns();
    checks.require(&GAMMA_INTERLEAVED, !gamma.memory.is_sharded(), values![memory = gamma.memory]);
    if gamma.layout == Layout::Tile {
        checks.require(
            &GAMMA_WIDTH,
            gamma.tile_columns() == tiles,
            values![input = tiles * 32, gamma = gamma.tile_columns() * 32, columns],
        );
        checks.require(
            &GAMMA_HEIGHT,
            gamma.rows() <= TILE,
            values![height = gamma.rows().next_multiple_of(TILE), columns],
        );
    } else {
        checks.require(
            &GAMMA_ROWS,
            gamma.columns() == TILE && gamma.matrix_rows() == tiles,
            values![shape = gamma.shape, tiles],
        );
        checks.require(&GAMMA_TYPE, matches!(gamma.dtype, DType::F32 | DType::Bf16), values![dtype = gamma.dtype]);
    }
}

/// Bytes of circular buffers of the sharded kernel.
fn sharded(
    args: &RmsNorm,
    program: &NormProgram,
    x: &TensorSpec,
    gamma: &TensorSpec,
    card: &Card,
    checks: &mut Checks,
) -> u64 {
    let MemoryConfig::Sharded { memory: Memory::L1, strategy: Strategy::Width, cores, shard } = &x.memory else {
        checks.require(&PROGRAM_WITHOUT_SHARDS, false, values![memory = x.memory]);
        return 0;
    };
    checks.require(&RESULT_IN_PLACE, args.memory == x.memory, values![output = args.memory, input = x.memory]);
    let count = cores.len().max(1);
    require_blocks(args, program, x, count, shard[1], checks);
    let (width, height) = require_grid(program, cores, card, checks);
    // A rectangle reduces along its rows, then along its first column.
    let partial_sums = match width * height == count && width > 1 && height > 1 {
        true => u64::from(width + height - 1),
        false => u64::from(count),
    };
    let tile = intermediate_bytes(args);
    let block = u64::from(program.block_w);
    2 * DType::Bf16.tile_bytes() + (5 + partial_sums + 2 * block) * tile + block * gamma.dtype.tile_bytes()
}

/// The program's blocks are the shards, `width` elements on each of `cores` cores.
fn require_blocks(args: &RmsNorm, program: &NormProgram, x: &TensorSpec, cores: u32, width: u32, checks: &mut Checks) {
    let (columns, rows) = (x.columns().div_ceil(TILE), x.tile_rows());
    let NormProgram { subblock_w, block_h, block_w, .. } = *program;
    let tiles = columns.div_ceil(cores);
    checks.require(&BLOCK_W, tiles == block_w && block_w * TILE == width, values![block_w, tiles]);
    checks.require(&EVEN_SHARDS, columns.is_multiple_of(cores), values![tiles = columns, cores]);
    checks.require(&BLOCK_H, u64::from(block_h) == rows, values![block_h, tiles = rows]);
    checks.require(&ONE_TILE_ROW, rows == 1, values![rows]);
    let divides = subblock_w > 0 && block_w.is_multiple_of(subblock_w.max(1));
    checks.require(&SUBBLOCK_DIVIDES, divides, values![block_w]);
    let most: u32 = if args.compute.fp32_dest_acc { 4 } else { 8 };
    checks.require(&SUBBLOCK_FITS, subblock_w <= most, values![subblock_w, most]);
}

/// Columns and rows of the cores' bounding box.
fn require_grid(program: &NormProgram, cores: &Cores, card: &Card, checks: &mut Checks) -> (u32, u32) {
    let x0 = cores.0.iter().map(|r| r.start.0).min().unwrap_or(0);
    let y0 = cores.0.iter().map(|r| r.start.1).min().unwrap_or(0);
    let (x1, y1) = cores.extent();
    let (width, height) = (x1.saturating_sub(x0), y1.saturating_sub(y0));
    let (columns, rows) = program.grid;
    checks.require(&GRID_HOLDS_SHARDS, width <= columns && height <= rows, values![width, height, columns, rows]);
    checks.require(
        &GRID_ON_CARD,
        columns <= card.grid.0 && rows <= card.grid.1,
        values![grid = program.grid, card = card.grid, width, height],
    );
    if width * height == cores.len() {
        checks.require(&COLUMN_AT_ORIGIN, x0 == 0 || width > 1 || height == 1, values![]);
    } else {
        checks.require(&CORES_IN_ORDER, *cores == Cores::row_major(cores.len(), card.grid), values![cores]);
    }
    (width, height)
}

/// Bytes of circular buffers of the interleaved kernel.
fn interleaved(args: &RmsNorm, x: &TensorSpec, gamma: &TensorSpec, card: &Card, checks: &mut Checks) -> u64 {
    checks.require(&SHARDS_WITHOUT_PROGRAM, !x.memory.is_sharded(), values![memory = x.memory]);
    let block = if args.compute.fp32_dest_acc { 4 } else { 8 };
    let (x_tile, gamma_tile, tile) = (x.dtype.tile_bytes(), gamma.dtype.tile_bytes(), intermediate_bytes(args));
    let fixed = 2 * block * x_tile + 4 * DType::Bf16.tile_bytes() + (2 + 8 + 2 * block) * tile;
    let row = x.tile_columns().next_multiple_of(block);
    let whole = fixed + row * (x_tile + tile + gamma_tile);
    // TT-NN leaves a twentieth of L1 free before it cuts the row.
    if gamma.layout == Layout::RowMajor || whole * 20 < card.l1_bytes() * 19 {
        return whole;
    }
    let piece = (if args.compute.fp32_dest_acc { 30 } else { 60 }) / block * block;
    fixed + tile + piece * (x_tile + 2 * tile + gamma_tile)
}

fn intermediate_bytes(args: &RmsNorm) -> u64 {
    if args.compute.fp32_dest_acc { DType::F32.tile_bytes() } else { DType::Bf16.tile_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{ComputeKernel, Fidelity};
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, bytes, n150, p150, refusal, row};

    fn norm(program: Option<NormProgram>, fp32_dest_acc: bool, memory: MemoryConfig) -> RmsNorm {
        let compute = ComputeKernel { fidelity: Fidelity::HiFi4, fp32_dest_acc, packer_l1_acc: true };
        RmsNorm { input: any(), gamma: any(), epsilon: 1e-5.into(), program, compute, memory }
    }

    const fn program(grid: (u32, u32), subblock_w: u32, block_w: u32) -> Option<NormProgram> {
        Some(NormProgram { grid, subblock_w, block_h: 1, block_w })
    }

    fn gamma(k: u32) -> TensorSpec {
        TensorSpec::row_major([1, 1, k / 32, 32], DType::Bf16, MemoryConfig::DRAM)
    }

    fn rectangle(k: u32, width: u32, height: u32) -> TensorSpec {
        let memory = MemoryConfig::width(Cores::rectangle(0, 0, width, height), [32, k / (width * height)]);
        TensorSpec::tile([1, 1, 32, k], DType::Bf16, memory)
    }

    #[test]
    fn bytes_of_sharded_norms() {
        let card = n150();
        let of = |x: &TensorSpec, p, fp32| bytes(norm(p, fp32, x.memory.clone()), &[x, &gamma(x.columns())], &card);
        assert_eq!(of(&row(&card, 32, 2560, 8, 10), program((8, 1), 2, 10), true), 159_744);
        assert_eq!(of(&rectangle(2560, 5, 4), program((5, 4), 4, 4), true), 98_304);
        assert_eq!(of(&rectangle(6912, 8, 3), program((8, 3), 3, 9), true), 157_696);
        assert_eq!(of(&row(&card, 32, 2560, 20, 4), program((8, 3), 4, 4), false), 79_872);
        assert_eq!(of(&rectangle(2048, 8, 8), program((8, 8), 1, 1), true), 96_256);
    }

    #[test]
    fn reciprocals_in_bf16_bias_a_norm() {
        assert_eq!(norm_error(64, 32), 0.0);
        // 1/160 and 1/96 are 0.1 % and 0.2 % too large.
        assert!((norm_error(160, 16) + 0.00049).abs() < 1e-5, "{}", norm_error(160, 16));
        assert!((norm_error(96, 18) + 0.00195).abs() < 1e-5, "{}", norm_error(96, 18));
    }

    #[test]
    fn bytes_of_interleaved_norms() {
        let card = n150();
        let dram = |rows, k| TensorSpec::tile([1, 1, rows, k], DType::Bf16, MemoryConfig::DRAM);
        let of = |x: &TensorSpec, g: &TensorSpec, fp32, card: &Card| {
            bytes(norm(None, fp32, MemoryConfig::DRAM), &[x, g], card)
        };
        assert_eq!(of(&dram(512, 4096), &gamma(4096), false, &card), 880_640);
        assert_eq!(of(&dram(128, 1728), &gamma(1728), true, &card), 557_056);
        // A tiled gamma lets long rows be cut: from 201 tiles on in bf16, from 149 in fp32; 209 on a p150.
        let tiled = |tiles: u32| TensorSpec::tile([1, 1, 1, tiles * 32], DType::Bf16, MemoryConfig::DRAM);
        assert_eq!(of(&dram(128, 200 * 32), &tiled(200), false, &card), 1_323_008);
        assert_eq!(of(&dram(128, 201 * 32), &tiled(201), false, &card), 555_008);
        assert_eq!(of(&dram(128, 148 * 32), &tiled(148), true, &card), 1_310_720);
        assert_eq!(of(&dram(128, 720 * 32), &tiled(720), true, &card), 446_464);
        assert_eq!(of(&dram(128, 208 * 32), &tiled(208), false, &p150()), 1_372_160);
        assert_eq!(of(&dram(128, 209 * 32), &tiled(209), false, &p150()), 555_008);
        let answer = check(&norm(None, true, MemoryConfig::DRAM).into(), &[&dram(128, 6912), &gamma(6912)], &card);
        assert!(refusal(answer).contains("beyond max L1 size"));
    }

    #[test]
    fn refusals() {
        let card = n150();
        let x = row(&card, 32, 2560, 8, 10);
        let said = |args: RmsNorm, x: &TensorSpec, g: &TensorSpec| refusal(check(&args.into(), &[x, g], &card));
        let here = x.memory.clone();
        assert!(
            said(norm(program((8, 1), 3, 10), true, here.clone()), &x, &gamma(2560))
                .contains("divisible by subblock_w")
        );
        assert!(said(norm(program((8, 1), 5, 10), true, here.clone()), &x, &gamma(2560)).contains("less than 4 tiles"));
        assert!(
            said(norm(program((4, 2), 2, 10), true, here.clone()), &x, &gamma(2560)).contains("size 8x1 does not fit")
        );
        assert!(
            said(norm(program((8, 1), 2, 8), true, here.clone()), &x, &gamma(2560)).contains("block_w (8) must equal")
        );
        assert!(
            said(norm(program((8, 1), 2, 10), true, MemoryConfig::DRAM), &x, &gamma(2560))
                .contains("sharded otherwise")
        );
        let flat = TensorSpec::row_major([1, 1, 1, 2560], DType::Bf16, MemoryConfig::DRAM);
        assert!(
            said(norm(program((8, 1), 2, 10), true, here), &x, &flat).contains("padded dim needs to equal tile width")
        );
        let memory = MemoryConfig::width(Cores::rectangle(4, 2, 1, 3), [32, 576]);
        let column = TensorSpec::tile([1, 1, 8, 1728], DType::Bf16, memory.clone());
        assert!(said(norm(program((8, 8), 2, 18), true, memory), &column, &gamma(1728)).contains("Start core"));
    }
}
