//! The emulated matmul: bit for bit what the FPU, the packer and the K-block spills make of it.
//!
//! out[m, n] = sum over k of in0[m, k] * in1[k, n]. in0 (the activation) goes to SrcB, in1 (the weight) to SrcA.
//! For each output tile: for each K-block, for each k-tile, for each phase, for each half of the tile's k: one
//! MVMUL; between K-blocks a spill; at the end a pack. Output elements do not influence each other before
//! the pack, so rows of padding are not computed and tiles run on all cores.

use rayon::prelude::*;

use crate::device_pack::pack_row;
use crate::error::{NumericsError, check_dim, check_multiple};
use crate::format::{Format, TILE};
use crate::lanes::{Accumulation, Lanes};
use crate::mvmul::{Arch, Fidelity};
use crate::operands::{Activation, SrcATile, SrcB};
use crate::spill::{Spill, accumulate_l1, through_buffer};
use crate::tiled::{Tiled, TiledView};

/// The parts of a matmul's program and compute configuration that decide its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatmulConfig {
    /// The chip.
    pub arch: Arch,
    /// Phases run.
    pub fidelity: Fidelity,
    /// `fp32_dest_acc_en`.
    pub fp32_dest: bool,
    /// The way of partial sums between K-blocks; see [`Spill::of`].
    pub spill: Spill,
    /// K-tiles of one block; divides the number of k-tiles.
    pub in0_block_w: usize,
    /// Format of the output tiles.
    pub out_format: Format,
}

/// in0 [m, k] times in1 [k, n] into a new tiled matrix [m, n].
///
/// # Errors
/// [`NumericsError::Dimension`] if the operands disagree about k, [`NumericsError::Multiple`] if
/// `in0_block_w` does not divide the k-tiles.
pub fn matmul(in0: &SrcB, in1: TiledView<'_>, config: &MatmulConfig) -> Result<Tiled, NumericsError> {
    let mut out = Tiled::zeros(config.out_format, in0.rows(), in1.cols());
    matmul_into(in0, in1, config, &mut out)?;
    Ok(out)
}

/// As [`matmul`], into a matrix that exists already.
///
/// # Errors
/// Those of [`matmul`], and [`NumericsError::Dimension`] if `out` has another shape or format than
/// the product.
pub fn matmul_into(
    in0: &SrcB,
    in1: TiledView<'_>,
    config: &MatmulConfig,
    out: &mut Tiled,
) -> Result<(), NumericsError> {
    matmul_on(Lanes::best(), in0, in1, config, out)
}

fn matmul_on(
    lanes: Lanes,
    in0: &SrcB,
    in1: TiledView<'_>,
    config: &MatmulConfig,
    out: &mut Tiled,
) -> Result<(), NumericsError> {
    check_dim("k of in1", in1.rows(), in0.k())?;
    check_dim("rows of the output", out.rows(), in0.rows())?;
    check_dim("columns of the output", out.cols(), in1.cols())?;
    let tile_bytes = config.out_format.tile_bytes();
    check_dim("bytes of an output tile", out.format().tile_bytes(), tile_bytes)?;
    let (k_tiles, n_tiles) = in1.tiles();
    check_multiple("k in tiles", k_tiles, config.in0_block_w)?;
    out.bytes_mut().par_chunks_mut(tile_bytes).enumerate().for_each_init(SrcATile::zeroed, |weights, (t, tile)| {
        output_tile(lanes, in0, in1, config, (t / n_tiles, t % n_tiles), weights, tile);
    });
    Ok(())
}

/// Computes output tile (down, across) into `tile`.
fn output_tile(
    lanes: Lanes,
    in0: &SrcB,
    in1: TiledView<'_>,
    config: &MatmulConfig,
    (down, across): (usize, usize),
    weights: &mut SrcATile,
    tile: &mut [u8],
) {
    let first = down * TILE;
    let live = (in0.rows() - first).min(TILE);
    let how = Accumulation { phases: config.fidelity.phases(), fp32_dest: config.fp32_dest, arch: config.arch };
    let blocks = in1.tiles().0 / config.in0_block_w;
    let mut dst_rows = [[0u32; TILE]; TILE];
    let mut l1_rows = [[0u32; TILE]; TILE];
    let (dst, l1) = (&mut dst_rows[..live], &mut l1_rows[..live]);
    for block in 0..blocks {
        for kt in block * config.in0_block_w..(block + 1) * config.in0_block_w {
            lanes.load(weights, in1, kt, across);
            let mut rows: [&[Activation; TILE]; TILE] = [&NOTHING; TILE];
            for (r, x) in rows[..live].iter_mut().enumerate() {
                if let Some(part) = in0.row(first + r).as_chunks::<TILE>().0.get(kt) {
                    *x = part;
                }
            }
            lanes.accumulate(weights, &rows[..live], dst, how);
        }
        if block + 1 < blocks {
            spill(config, block, blocks, dst, l1);
        }
    }
    tile.fill(0);
    for (r, row) in dst.iter().enumerate() {
        pack_row(config.out_format, config.fp32_dest, r, row, tile);
    }
}

const NOTHING: [Activation; TILE] = [Activation { high: 0, low: 0, exponent: crate::operands::ZERO, sign: 0 }; TILE];

/// Ends K-block `block`, which is not the last: leaves in Dst what the next block starts from.
fn spill(config: &MatmulConfig, block: usize, blocks: usize, dst: &mut [[u32; TILE]], l1: &mut [[u32; TILE]]) {
    let format = config.spill.format(config.fp32_dest, config.out_format);
    for (d, sum) in dst.iter_mut().zip(l1) {
        through_buffer(format, config.fp32_dest, d);
        if config.spill == Spill::L1Accumulate {
            if block == 0 {
                *sum = *d;
            } else {
                accumulate_l1(config.fp32_dest, d, sum);
            }
            *d = if block + 2 == blocks { *sum } else { [0; TILE] };
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const CONFIG: MatmulConfig = MatmulConfig {
        arch: Arch::Wormhole,
        fidelity: Fidelity::LoFi,
        fp32_dest: true,
        spill: Spill::Reload,
        in0_block_w: 1,
        out_format: Format::F32,
    };

    fn integers(seed: u64, m: usize, k: usize, n: usize) -> (Vec<f32>, Vec<f32>) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let x = (0..m * k).map(|_| f32::from(rng.random_range(-128i16..=127))).collect();
        let w = (0..k * n).map(|_| f32::from(rng.random_range(-1i16..=1))).collect();
        (x, w)
    }

    fn exact(x: &[f32], w: &[f32], m: usize, k: usize, n: usize) -> Vec<f32> {
        let mut out = vec![0f32; m * n];
        for (r, o) in out.iter_mut().enumerate() {
            *o = (0..k).map(|i| x[r / n * k + i] * w[i * n + r % n]).sum();
        }
        out
    }

    fn run(x: &[f32], w: &[f32], (m, k, n): (usize, usize, usize), c: &MatmulConfig) -> Vec<f32> {
        let mut in0 = SrcB::new();
        in0.load_f32(m, k, x).unwrap();
        let in1 = Tiled::pack(Format::Bfp8, k, n, w).unwrap();
        matmul(&in0, in1.view(), c).unwrap().to_f32()
    }

    #[test]
    fn integer_by_ternary_is_exact_whatever_the_blocks() {
        let shape = (35, 256, 70);
        let (x, w) = integers(1, shape.0, shape.1, shape.2);
        let want = exact(&x, &w, shape.0, shape.1, shape.2);
        for in0_block_w in [1, 2, 4, 8] {
            for spill in [Spill::Reload, Spill::L1Accumulate] {
                for fidelity in [Fidelity::LoFi, Fidelity::HiFi4] {
                    let c = MatmulConfig { in0_block_w, spill, fidelity, ..CONFIG };
                    assert_eq!(run(&x, &w, shape, &c), want, "{c:?}");
                }
            }
        }
    }

    #[test]
    fn a_bf16_dest_loses_bits_and_spills_differ() {
        let shape = (4, 512, 32);
        let (x, w) = integers(2, shape.0, shape.1, shape.2);
        let want = exact(&x, &w, shape.0, shape.1, shape.2);
        let bf16 = MatmulConfig { fp32_dest: false, in0_block_w: 2, ..CONFIG };
        let reload = run(&x, &w, shape, &bf16);
        assert_ne!(reload, want);
        let l1 = run(&x, &w, shape, &MatmulConfig { spill: Spill::L1Accumulate, ..bf16 });
        assert_ne!(reload, l1);
        let bfp8 = MatmulConfig { out_format: Format::Bfp8, ..bf16 };
        assert_ne!(reload, run(&x, &w, shape, &bfp8));
        let error: f32 = reload.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error < 60.0, "{error}");
    }

    #[test]
    fn bad_shapes_are_refused() {
        let mut in0 = SrcB::new();
        in0.load_f32(1, 96, &[1.0; 96]).unwrap();
        let w = Tiled::zeros(Format::Bfp4, 96, 32);
        let two = MatmulConfig { in0_block_w: 2, ..CONFIG };
        assert_eq!(
            matmul(&in0, w.view(), &two).unwrap_err(),
            NumericsError::Multiple { what: "k in tiles", got: 3, multiple: 2 }
        );
        let other = Tiled::zeros(Format::Bfp4, 64, 32);
        assert!(matmul(&in0, other.view(), &CONFIG).is_err());
        let mut out = Tiled::zeros(Format::Bf16, 1, 32);
        assert!(matmul_into(&in0, w.view(), &CONFIG, &mut out).is_err());
    }
}
