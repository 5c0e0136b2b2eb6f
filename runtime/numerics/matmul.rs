//! The emulated matmul: bit for bit what the FPU, the packer and the K-block spills make of it.
//!
//! out[m, n] = sum over k of in0[m, k] * in1[k, n]. in0 (the activation) goes to SrcB, in1 (the weight) to SrcA.
//! For each output tile: for each K-block, for each k-tile, for each phase, for each half of the tile's k: one
//! MVMUL; between K-blocks a spill; at the end a pack. Output elements do not influence each other before
//! the pack, so rows of padding are not computed and tiles run on all cores. A row of zeros stays one.

use rayon::prelude::*;

use crate::device_pack::pack_row;
use crate::error::{NumericsError, check_dim, check_multiple};
use crate::format::{Format, TILE};
use crate::lanes::{Accumulation, Lanes, Operand};
use crate::mvmul::{Arch, Fidelity};
use crate::operands::{Activation, SrcATile, SrcB};
use crate::signs::{self, SignTiles};
use crate::spill::{Spill, accumulate_l1, through_buffer};
use crate::tiled::{Tiled, TiledView};

/// The weights of a matmul.
#[derive(Debug, Clone, Copy)]
pub enum SrcA<'a> {
    /// In tiles, as in DRAM.
    Tiles(TiledView<'a>),
    /// Ternary, in a form that is faster to multiply by.
    Signs(&'a SignTiles),
}

impl<'a> From<TiledView<'a>> for SrcA<'a> {
    fn from(tiles: TiledView<'a>) -> Self {
        SrcA::Tiles(tiles)
    }
}

impl<'a> From<&'a SignTiles> for SrcA<'a> {
    fn from(signs: &'a SignTiles) -> Self {
        SrcA::Signs(signs)
    }
}

impl SrcA<'_> {
    fn shape(&self) -> (usize, usize) {
        match self {
            SrcA::Tiles(tiles) => (tiles.rows(), tiles.cols()),
            SrcA::Signs(signs) => (signs.k(), signs.n()),
        }
    }
}

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
pub fn matmul<'a>(in0: &SrcB, in1: impl Into<SrcA<'a>>, config: &MatmulConfig) -> Result<Tiled, NumericsError> {
    let in1 = in1.into();
    let mut out = Tiled::zeros(config.out_format, in0.rows(), in1.shape().1);
    matmul_into(in0, in1, config, &mut out)?;
    Ok(out)
}

/// As [`matmul`], into a matrix that exists already.
///
/// # Errors
/// Those of [`matmul`], and [`NumericsError::Dimension`] if `out` has another shape or format than
/// the product.
pub fn matmul_into<'a>(
    in0: &SrcB,
    in1: impl Into<SrcA<'a>>,
    config: &MatmulConfig,
    out: &mut Tiled,
) -> Result<(), NumericsError> {
    let in1 = in1.into();
    let (k, n) = in1.shape();
    check_dim("k of in1", k, in0.k())?;
    check_dim("rows of the output", out.rows(), in0.rows())?;
    check_dim("columns of the output", out.cols(), n)?;
    let tile_bytes = config.out_format.tile_bytes();
    check_dim("bytes of an output tile", out.format().tile_bytes(), tile_bytes)?;
    check_multiple("k in tiles", k.div_ceil(TILE), config.in0_block_w)?;
    let n_tiles = n.div_ceil(TILE);
    out.bytes_mut().par_chunks_mut(tile_bytes).enumerate().for_each_init(SrcATile::zeroed, |weights, (t, tile)| {
        OutputTile::new(in0, in1, config, (t / n_tiles, t % n_tiles)).compute(weights, tile);
    });
    Ok(())
}

/// An output tile being computed: its rows that are not zero.
struct OutputTile<'a> {
    in0: &'a SrcB,
    in1: SrcA<'a>,
    config: &'a MatmulConfig,
    across: usize,
    /// Numbers of the rows: in the activation and, counted from the first of the tile, in the tile.
    rows: [(usize, usize); TILE],
    live: usize,
    dst: [[u32; TILE]; TILE],
}

impl<'a> OutputTile<'a> {
    fn new(in0: &'a SrcB, in1: SrcA<'a>, config: &'a MatmulConfig, (down, across): (usize, usize)) -> Self {
        let first = down * TILE;
        let (mut rows, mut live) = ([(0, 0); TILE], 0);
        for row in (first..in0.rows().min(first + TILE)).filter(|row| in0.is_live(*row)) {
            rows[live] = (row, row - first);
            live += 1;
        }
        OutputTile { in0, in1, config, across, rows, live, dst: [[0; TILE]; TILE] }
    }

    fn compute(&mut self, weights: &mut SrcATile, tile: &mut [u8]) {
        tile.fill(0);
        if self.live == 0 {
            return;
        }
        let blocks = self.in1.shape().0.div_ceil(TILE) / self.config.in0_block_w;
        let mut l1 = [[0u32; TILE]; TILE];
        for block in 0..blocks {
            for kt in block * self.config.in0_block_w..(block + 1) * self.config.in0_block_w {
                match self.in1 {
                    SrcA::Signs(signs) if signs::is_available(self.config.fp32_dest) => {
                        self.add_signs(signs, kt, weights)
                    }
                    SrcA::Signs(signs) => {
                        signs.tile(kt, self.across).decode(weights);
                        self.add(weights, kt, 0..self.live);
                    }
                    SrcA::Tiles(tiles) => {
                        Lanes::best().load(weights, tiles, kt, self.across);
                        self.add(weights, kt, 0..self.live);
                    }
                }
            }
            if block + 1 < blocks {
                spill(self.config, block, blocks, &mut self.dst[..self.live], &mut l1);
            }
        }
        for ((_, r), row) in self.rows[..self.live].iter().zip(&self.dst) {
            pack_row(self.config.out_format, self.config.fp32_dest, *r, row, tile);
        }
    }

    /// Adds the products of k-tile `kt` to some of the rows.
    fn add(&mut self, weights: &SrcATile, kt: usize, which: std::ops::Range<usize>) {
        let how = Accumulation {
            phases: self.config.fidelity.phases(),
            fp32_dest: self.config.fp32_dest,
            arch: self.config.arch,
            tile: Operand::SrcA,
        };
        let mut rows: [&[Activation; TILE]; TILE] = [&NOTHING; TILE];
        for (x, (row, _)) in rows.iter_mut().zip(&self.rows[which.clone()]) {
            *x = self.in0.tile_of(*row, kt);
        }
        Lanes::best().accumulate(weights, &rows[..which.len()], &mut self.dst[which], how);
    }

    fn add_signs(&mut self, signs: &SignTiles, kt: usize, weights: &mut SrcATile) {
        let tile = signs.tile(kt, self.across);
        let mut decoded = false;
        for at in 0..self.live {
            let groups = self.in0.groups_of(self.rows[at].0, kt);
            if groups.iter().all(|group| group.plain) {
                signs::accumulate(tile, groups, self.config.fidelity.phases(), &mut self.dst[at]);
                continue;
            }
            if !decoded {
                tile.decode(weights);
                decoded = true;
            }
            self.add(weights, kt, at..at + 1);
        }
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
    fn signs_are_the_tiles_they_were_made_of() {
        let (m, k, n) = (35, 512, 70);
        let (integers, w) = integers(3, m, k, n);
        let mut x: Vec<f32> = integers.iter().enumerate().map(|(i, v)| v * 1.37f32.powi(i as i32 % 13) / 3.0).collect();
        // A row of zeros, one whose sums do not fit 16 bits, and one with a number at the end of the range.
        x[..k].fill(0.0);
        x[k..2 * k].fill(0.998);
        x[2 * k] = 1e-36;
        let (mut f32s, mut bf16s) = (SrcB::new(), SrcB::new());
        f32s.load_f32(m, k, &x).unwrap();
        bf16s.load_bf16(m, k, &x.iter().map(|v| half::bf16::from_f32(*v)).collect::<Vec<_>>()).unwrap();
        let tiles = Tiled::pack(Format::Bfp4, k, n, &w).unwrap();
        let signs = SignTiles::from_tiled(tiles.view()).unwrap();
        for fidelity in [Fidelity::LoFi, Fidelity::HiFi2, Fidelity::HiFi3, Fidelity::HiFi4] {
            for fp32_dest in [false, true] {
                for x in [&f32s, &bf16s] {
                    let c = MatmulConfig { fidelity, fp32_dest, in0_block_w: 4, spill: Spill::L1Accumulate, ..CONFIG };
                    assert!(matmul(x, tiles.view(), &c).unwrap() == matmul(x, &signs, &c).unwrap(), "{c:?}");
                }
            }
        }
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
