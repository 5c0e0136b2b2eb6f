//! `ttnn.rms_norm`: width-sharded with a program config (decode), interleaved without (prefill).
//!
//! Buffers hold intermediate tiles in bf16, or fp32 with fp32 accumulation. The interleaved kernel keeps a whole row of tiles; a row that
//! does not fit is processed in pieces when gamma is tiled, and refused when gamma is row-major.

use super::{Answer, Checks, Outcome, operands, require_placement};
use crate::op::RmsNorm;
use crate::program::NormProgram;
use crate::{Card, Cores, DType, Layout, Memory, MemoryConfig, Strategy, TILE, TensorSpec};

/// `x [..,M,K]`, gamma `[1,1,K/32,32]` row-major (bf16 or f32) or `[1,1,1,K]` tiled -> the spec of `x` in another placement.
///
/// Stricter than TT-NN: a sharded norm takes one row of tiles, evenly sharded over a rectangle or the first cores of the grid row by row,
/// and leaves the result where the input was (TT-NN takes a larger output shard but does not move the data there); gamma is interleaved.
///
/// # Errors
/// Every constraint of `layernorm_device_operation.cpp` and its factories that the call breaks.
pub fn check_rms_norm(args: &RmsNorm, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x, gamma] = operands(given)?;
    let mut checks = Checks::new();
    checks.require(
        x.layout == Layout::Tile,
        format_args!("Input tensor must have TILE layout, got: {:?}", x.layout),
        format_args!("a tiled input"),
    );
    checks.require(
        matches!(x.dtype, DType::Bf16 | DType::Bfp8 | DType::F32),
        format_args!("Input tensor must be FLOAT32, BFLOAT16, or BFLOAT8_B, got: {}", x.dtype),
        format_args!("a bf16 input"),
    );
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
    let k = x.tile_columns();
    checks.narrow(
        !gamma.memory.is_sharded(),
        format_args!("gamma is sharded: {}", gamma.memory),
        format_args!("gamma interleaved in DRAM"),
    );
    if gamma.layout == Layout::Tile {
        checks.require(
            gamma.tile_columns() == k,
            format_args!("{} != {}", k * 32, gamma.tile_columns() * 32),
            format_args!("gamma [1, 1, 1, {}]", x.columns()),
        );
        checks.require(
            gamma.rows() <= TILE,
            format_args!("Gamma tensor height must be TILE_HEIGHT (32), got: {}", gamma.rows().next_multiple_of(TILE)),
            format_args!("gamma [1, 1, 1, {}]", x.columns()),
        );
    } else {
        checks.require(
            gamma.columns() == TILE && gamma.matrix_rows() == k,
            format_args!(
                "Gamma's last padded dim needs to equal tile width and gamma's volume needs to align with last padded dim of input: {:?}",
                gamma.shape
            ),
            format_args!("gamma [1, 1, {k}, 32]"),
        );
        checks.require(
            matches!(gamma.dtype, DType::F32 | DType::Bf16),
            format_args!("Gamma tensor must be FLOAT32 or BFLOAT16, got: {}", gamma.dtype),
            format_args!("bf16"),
        );
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
        checks.require(
            false,
            format_args!(
                "a LayerNormShardedMultiCoreProgramConfig needs a width-sharded input in L1, got {}",
                x.memory
            ),
            format_args!("no program config for an interleaved input"),
        );
        return 0;
    };
    checks.narrow(
        args.memory == x.memory,
        format_args!("output {} is sharded otherwise than the input {}", args.memory, x.memory),
        format_args!("the input's memory config; move the result afterwards"),
    );
    let count = cores.len().max(1);
    let k = x.columns().div_ceil(TILE);
    checks.require(
        k.div_ceil(count) == program.block_w && program.block_w * TILE == shard[1],
        format_args!("block_w ({}) must equal to K (in tiles) / num_cores ({})", program.block_w, k.div_ceil(count)),
        format_args!("block_w = {}", k.div_ceil(count)),
    );
    checks.narrow(
        k.is_multiple_of(count),
        format_args!("{k} column tiles on {count} cores"),
        format_args!("tiles spread evenly over the cores"),
    );
    checks.require(
        u64::from(program.block_h) == x.tile_rows(),
        format_args!("block_h ({}) must equal to M (in tiles) ({})", program.block_h, x.tile_rows()),
        format_args!("block_h = {}", x.tile_rows()),
    );
    checks.narrow(
        x.tile_rows() == 1,
        format_args!("{} rows of tiles under a sharded program", x.tile_rows()),
        format_args!("one row of tiles"),
    );
    checks.require(
        program.subblock_w > 0 && program.block_w.is_multiple_of(program.subblock_w.max(1)),
        format_args!("block_w must be divisible by subblock_w."),
        format_args!("a divisor of {}", program.block_w),
    );
    let widest = if args.compute.fp32_dest_acc { 4 } else { 8 };
    checks.require(
        program.subblock_w <= widest,
        format_args!(
            "subblock_wt={}, but subblock width must less than {widest} tiles when dst_full_sync_en is false",
            program.subblock_w
        ),
        format_args!("at most {widest}"),
    );
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

/// Columns and rows of the cores' bounding box.
fn require_grid(program: &NormProgram, cores: &Cores, card: &Card, checks: &mut Checks) -> (u32, u32) {
    let x0 = cores.0.iter().map(|r| r.start.0).min().unwrap_or(0);
    let y0 = cores.0.iter().map(|r| r.start.1).min().unwrap_or(0);
    let (x1, y1) = cores.extent();
    let (width, height) = (x1.saturating_sub(x0), y1.saturating_sub(y0));
    checks.require(
        width <= program.grid.0 && height <= program.grid.1,
        format_args!(
            "shard_spec.grid size {width}x{height} does not fit within program_config grid {}x{}",
            program.grid.0, program.grid.1
        ),
        format_args!("compute_with_storage_grid_size ({width}, {height})"),
    );
    checks.require(
        program.grid.0 <= card.grid.0 && program.grid.1 <= card.grid.1,
        format_args!(
            "compute_with_storage_grid_size {:?} is larger than the card's grid {:?}",
            program.grid, card.grid
        ),
        format_args!("({width}, {height})"),
    );
    if width * height == cores.len() {
        checks.require(
            x0 == 0 || width > 1 || height == 1,
            format_args!("Start core must be within grid size"),
            format_args!("a column of cores starts at x = 0"),
        );
    } else {
        checks.require(
            *cores == Cores::row_major(cores.len(), card.grid),
            format_args!("cores {cores} are neither a rectangle nor the first of the grid"),
            format_args!("a rectangle, or the first cores row by row"),
        );
    }
    (width, height)
}

/// Bytes of circular buffers of the interleaved kernel.
fn interleaved(args: &RmsNorm, x: &TensorSpec, gamma: &TensorSpec, card: &Card, checks: &mut Checks) -> u64 {
    checks.require(
        !x.memory.is_sharded(),
        format_args!("a sharded input {} without a program config", x.memory),
        format_args!("a program config"),
    );
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
