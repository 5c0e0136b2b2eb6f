//! Ternary matrices for the emulated matmul: two bits a weight, and a kernel that needs no products.
//!
//! A weight of -1, 0 or 1 has one significant bit, so a product has the activation's bits and exponent, and phases 1 and 3, which take the
//! weight's lower bits, multiply zeros. What is left of a group of 8 products is a sum of some activations, aligned to the largest exponent
//! among those whose weight is not zero. Alignment to the largest exponent of the whole group is the same for every column, so [`Groups`]
//! does it once for a row. Where it drops no bits, as is usual, a column's sum is the sum of those aligned activations, scaled to the column's
//! own exponent; only activations that lose bits are aligned column by column.
//!
//! The kernel is written for AVX-512 with a bf16 Dst and gives [`crate::lanes`]' bits; other machines, an fp32 Dst and the rare rows whose
//! sums do not fit 16 bits take the weights decoded for that.

#[cfg(target_arch = "x86_64")]
mod avx512;

use rayon::prelude::*;

use crate::error::{NumericsError, check_len, check_multiple};
use crate::format::TILE;
use crate::operands::{Activation, SrcATile, ZERO};
use crate::tiled::TiledView;

/// Products that the FPU aligns together.
pub(crate) const GROUP: usize = 8;

/// A matrix [k, n] of -1, 0 and 1 in tiles, for the emulated matmul.
#[derive(Debug, Clone)]
pub struct SignTiles {
    k: usize,
    n: usize,
    tiles: Vec<SignTile>,
}

/// A tile of 32 k by 32 columns: bit n of word k is about weight [k, n].
#[derive(Debug, Clone, Default)]
pub(crate) struct SignTile {
    pub positive: [u32; TILE],
    pub negative: [u32; TILE],
}

impl SignTiles {
    /// Takes the matrix column after column: `values` is [n, k], each -1, 0 or 1.
    ///
    /// # Errors
    /// [`NumericsError::Length`] if `values` is not `n * k` long, [`NumericsError::NotTernary`] names another value,
    /// [`NumericsError::Multiple`] if 32 does not divide k.
    pub fn from_columns(k: usize, n: usize, values: &[i8]) -> Result<Self, NumericsError> {
        check_len("ternary columns", values.len(), n * k)?;
        let column = |n: usize, down: usize| values.get(n * k + down * TILE..n * k + (down + 1) * TILE);
        Self::from_tiles(k, n, |down, across, tile| {
            for c in 0..TILE.min(n - across * TILE) {
                let weights = column(across * TILE + c, down).unwrap_or(&[]);
                for (i, w) in weights.iter().enumerate() {
                    if !(-1..=1).contains(w) {
                        return Err(not_ternary(down * TILE + i, across * TILE + c, f32::from(*w)));
                    }
                    tile.positive[i] |= u32::from(*w > 0) << c;
                    tile.negative[i] |= u32::from(*w < 0) << c;
                }
            }
            Ok(())
        })
    }

    /// Takes tiles whose values are -1, 0 and 1.
    ///
    /// # Errors
    /// [`NumericsError::NotTernary`] names another value, [`NumericsError::Multiple`] if 32 does not divide k.
    pub fn from_tiled(tiles: TiledView<'_>) -> Result<Self, NumericsError> {
        Self::from_tiles(tiles.rows(), tiles.cols(), |down, across, tile| {
            for i in 0..TILE {
                for (c, bits) in tiles.row_of_tile(down * TILE + i, across).into_iter().enumerate() {
                    let weight = f32::from_bits(bits);
                    if weight != 0.0 && weight.abs() != 1.0 {
                        return Err(not_ternary(down * TILE + i, across * TILE + c, weight));
                    }
                    tile.positive[i] |= u32::from(weight > 0.0) << c;
                    tile.negative[i] |= u32::from(weight < 0.0) << c;
                }
            }
            Ok(())
        })
    }

    fn from_tiles(
        k: usize,
        n: usize,
        fill: impl Fn(usize, usize, &mut SignTile) -> Result<(), NumericsError> + Sync,
    ) -> Result<Self, NumericsError> {
        check_multiple("k of a ternary matrix", k, TILE)?;
        let across = n.div_ceil(TILE);
        let mut tiles = vec![SignTile::default(); k / TILE * across];
        tiles.par_iter_mut().enumerate().try_for_each(|(at, tile)| fill(at % (k / TILE), at / (k / TILE), tile))?;
        Ok(SignTiles { k, n, tiles })
    }

    /// Rows (input features).
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns (output features).
    pub fn n(&self) -> usize {
        self.n
    }

    /// Bytes held in memory.
    pub fn bytes(&self) -> usize {
        size_of_val(self.tiles.as_slice())
    }

    /// Tile (down, across). Those below one another lie one after another.
    pub(crate) fn tile(&self, down: usize, across: usize) -> &SignTile {
        &self.tiles[across * (self.k / TILE) + down]
    }
}

fn not_ternary(k: usize, n: usize, value: f32) -> NumericsError {
    NumericsError::NotTernary { k, n, value: value.to_string(), unit: "1".into() }
}

impl SignTile {
    /// The tile as the FPU sees it.
    pub fn decode(&self, to: &mut SrcATile) {
        to.set(|k| {
            std::array::from_fn(|n| match (self.positive[k] >> n & 1, self.negative[k] >> n & 1) {
                (0, 0) => 0,
                (_, 0) => 1f32.to_bits(),
                _ => (-1f32).to_bits(),
            })
        });
    }
}

/// 8 activations of a row, aligned to the largest of them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Group {
    /// Exponents; [`ZERO`] of a zero.
    pub exponent: [i16; GROUP],
    /// The largest of them.
    pub largest: i16,
    /// The bits of phases 0 and 2, aligned, with the activation's sign; 0 where alignment would drop bits.
    pub aligned: [[i16; GROUP]; 2],
    /// The bits of phases 0 and 2 before alignment, doubled.
    pub doubled: [[i16; GROUP]; 2],
    /// Bit i: activation i loses bits when it is aligned, in phases 0 and 2.
    pub rounded: [u8; 2],
    /// Bit i: activation i is negative.
    pub negative: u8,
    /// Sums of two such groups and Dst fit 16 bits, and no exponent is near the end of its range.
    pub plain: bool,
}

/// Exponents with which no sum overflows or is flushed.
const PLAIN: std::ops::RangeInclusive<i16> = 40..=200;
/// Largest sum of a group's upper bits: 16 times it, of two groups, and Dst are below 2^15.
const LARGEST_SUM: i32 = 960;

impl Group {
    /// Of 8 activations.
    pub fn of(activations: &[Activation; GROUP]) -> Self {
        let mut group = Group { largest: ZERO, plain: true, ..Group::default() };
        group.exponent = activations.map(|x| x.exponent);
        group.largest = group.exponent.iter().fold(ZERO, |most, e| most.max(*e));
        let mut sum = 0;
        for (i, x) in activations.iter().enumerate() {
            if x.exponent == ZERO {
                continue;
            }
            group.plain &= PLAIN.contains(&x.exponent);
            group.negative |= u8::from(x.sign != 0) << i;
            sum += i32::from(x.high / 2);
            let shift = (group.largest - x.exponent).min(12);
            for (part, bits) in [x.high, x.low].into_iter().enumerate() {
                // A power of two has 16 as its upper 5 bits.
                let product = 8 * bits;
                group.doubled[part][i] = 2 * product;
                match product & ((1i16 << shift) - 1) {
                    0 => group.aligned[part][i] = if x.sign != 0 { -(product >> shift) } else { product >> shift },
                    _ => group.rounded[part] |= 1 << i,
                }
            }
        }
        group.plain &= sum <= LARGEST_SUM;
        group
    }
}

/// True where [`accumulate`] can be used.
pub(crate) fn is_available(fp32_dest: bool) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        !fp32_dest && crate::lanes::Lanes::best() == crate::lanes::Lanes::Avx512
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = fp32_dest;
        false
    }
}

/// Adds one k-tile's products to a row of a bf16 Dst, all phases in order. [`is_available`] is true, and every group is plain.
pub(crate) fn accumulate(tile: &SignTile, groups: &[Group; TILE / GROUP], phases: u32, dst: &mut [u32; TILE]) {
    #[cfg(target_arch = "x86_64")]
    {
        assert!(is_available(false), "a kernel of an instruction set that is not there");
        // SAFETY: the features were detected, as was just seen.
        unsafe { avx512::accumulate(tile, groups, phases, dst) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (tile, groups, phases, dst);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lanes::{Accumulation, Lanes, Operand};
    use crate::mvmul::Arch;

    /// Activations of every kind: alike, far apart, cancelling, with bits for all phases, zero.
    fn activation() -> impl Strategy<Value = u32> {
        prop_oneof![
            4 => (any::<u32>(), 122u32..130).prop_map(|(b, e)| b & 0x807f_0000 | e << 23),
            2 => (any::<u32>(), 100u32..140).prop_map(|(b, e)| b & 0x807f_e000 | e << 23),
            1 => (any::<u32>(), 110u32..127).prop_map(|(b, e)| b & 0x8000_0000 | e << 23),
            1 => Just(0u32),
            1 => Just(0x3fff_0000u32),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_kernel_has_the_bits_of_the_decoded_weights(
            weights in prop::collection::vec(-1i8..=1, 1024),
            row in prop::collection::vec(activation(), 32),
            start in prop::collection::vec(activation(), 32),
            phases in 1u32..=4,
            wormhole: bool,
        ) {
            if !is_available(false) {
                return Ok(());
            }
            let signs = SignTiles::from_columns(TILE, TILE, &weights).unwrap();
            let mut decoded = SrcATile::zeroed();
            signs.tile(0, 0).decode(&mut decoded);
            let x: [Activation; TILE] = std::array::from_fn(|i| Activation::from_bits(row[i]));
            let groups: [Group; 4] = std::array::from_fn(|g| Group::of(&x.as_chunks().0[g]));
            prop_assume!(groups.iter().all(|group| group.plain));
            let start: [u32; TILE] = std::array::from_fn(|n| start[n] & 0xffff_0000);
            let (mut want, mut got) = ([start], start);
            let arch = if wormhole { Arch::Wormhole } else { Arch::Blackhole };
            let how = Accumulation { phases, fp32_dest: false, arch, tile: Operand::SrcA };
            Lanes::best().accumulate(&decoded, &[&x], &mut want, how);
            accumulate(signs.tile(0, 0), &groups, phases, &mut got);
            prop_assert_eq!(got, want[0]);
        }
    }

    #[test]
    fn both_forms_hold_the_same_weights() {
        let (k, n) = (64, 70);
        let weight = |k: usize, n: usize| ((k * 7 + n * 13 + k * n) % 3) as i8 - 1;
        let columns: Vec<i8> = (0..n).flat_map(|n| (0..k).map(move |k| weight(k, n))).collect();
        let tiled = crate::Tiled::pack_with(crate::Format::Bfp4, k, n, |k, n| f32::from(weight(k, n)));
        let (a, b) = (SignTiles::from_columns(k, n, &columns).unwrap(), SignTiles::from_tiled(tiled.view()).unwrap());
        assert!(a.tiles.iter().zip(&b.tiles).all(|(a, b)| a.positive == b.positive && a.negative == b.negative));
        assert_eq!(a.bytes(), 6 * 256);
        assert!(SignTiles::from_columns(k, n, &vec![2; k * n]).is_err());
        assert!(SignTiles::from_columns(33, 1, &[0; 33]).is_err());
    }
}
