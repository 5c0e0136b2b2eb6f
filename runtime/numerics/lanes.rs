//! MVMUL on 32 output columns at once.
//!
//! Products take at most 12 bits and sums of 8 of them 16 with the sign, so a group is summed in 16-bit lanes.
//! Rounding `(m + (1 << (d-1))) >> d`, or `m` if `d == 0`, is `((2m >> d) + 1) >> 1` for every d, and 0 from
//! d = 14 on. The exponents of a group's products do not depend on the phase except through its bias.
//!
//! One source serves every instruction set: the functions here are compiled once for the baseline and once
//! with AVX2; with AVX-512 the group sums are written with intrinsics, since the variable 16-bit shift, the
//! rounding average and the masked negation are what makes them fast.

use crate::format::TILE;
use crate::mvmul::{Arch, exponent_bias};
use crate::operands::{Activation, SrcATile};
use crate::tiled::TiledView;

/// The sums of a group of 8 products over 32 columns, and the exponent they are aligned to (0 if none is
/// above 0; the sum is then 0 as well).
#[derive(Clone, Copy)]
#[repr(align(64))]
struct GroupSum {
    exponent: [i16; TILE],
    sum: [i16; TILE],
}

/// How the kernel accumulates: fixed for a whole matmul.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accumulation {
    pub phases: u32,
    pub fp32_dest: bool,
    pub arch: Arch,
    /// Which operand the tile is.
    pub tile: Operand,
}

/// The operand that a decoded tile holds; the rows hold the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operand {
    SrcA,
    SrcB,
}

/// A phase: which bits of the tile and of the row it takes, upper (0) or lower (1).
#[derive(Clone, Copy)]
struct Phase {
    tile: usize,
    row: usize,
    bias: i16,
}

impl Phase {
    #[inline(always)]
    fn of(phase: u32, tile: Operand) -> Self {
        let (a, b) = ((phase & 1) as usize, (phase >> 1) as usize);
        let (tile, row) = match tile {
            Operand::SrcA => (a, b),
            Operand::SrcB => (b, a),
        };
        Phase { tile, row, bias: exponent_bias(phase) as i16 }
    }
}

/// Instruction set the emulated matmul runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lanes {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Lanes {
    /// Every instruction set this machine has, best first.
    pub fn available() -> Vec<Lanes> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512cd")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
            {
                all.push(Lanes::Avx512);
            }
            if is_x86_feature_detected!("avx2") {
                all.push(Lanes::Avx2);
            }
        }
        all.push(Lanes::Portable);
        all
    }

    /// The best instruction set of this machine.
    pub fn best() -> Lanes {
        static BEST: std::sync::LazyLock<Lanes> =
            std::sync::LazyLock::new(|| Lanes::available().first().copied().unwrap_or(Lanes::Portable));
        *BEST
    }

    /// Decodes weight tile (down, across) of `weights`.
    pub fn load(self, tile: &mut SrcATile, weights: TiledView<'_>, down: usize, across: usize) {
        match self {
            // SAFETY: the variant exists only where `available` has detected the features.
            #[cfg(target_arch = "x86_64")]
            Lanes::Avx512 => unsafe { avx512::load_tile(tile, weights, down, across) },
            // SAFETY: the variant exists only where `available` has detected the features.
            #[cfg(target_arch = "x86_64")]
            Lanes::Avx2 => unsafe { avx2_load(tile, weights, down, across) },
            Lanes::Portable => tile.load(weights, down, across),
        }
    }

    /// Adds one k-tile's products to the Dst rows of `rows`, all phases in order.
    ///
    /// `rows[i]` is the 32 activations of the k-tile in row i, `dst[i]` that row's 32 columns.
    pub fn accumulate(self, tile: &SrcATile, rows: &[&[Activation; TILE]], dst: &mut [[u32; TILE]], how: Accumulation) {
        match self {
            // SAFETY: the variant exists only where `available` has detected the features.
            #[cfg(target_arch = "x86_64")]
            Lanes::Avx512 => unsafe { avx512::accumulate(tile, rows, dst, how) },
            // SAFETY: the variant exists only where `available` has detected the features.
            #[cfg(target_arch = "x86_64")]
            Lanes::Avx2 => unsafe { avx2_accumulate(tile, rows, dst, how) },
            Lanes::Portable => accumulate_generic(tile, rows, dst, how, group_sum),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2_load(tile: &mut SrcATile, weights: TiledView<'_>, down: usize, across: usize) {
    tile.load(weights, down, across);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2_accumulate(tile: &SrcATile, rows: &[&[Activation; TILE]], dst: &mut [[u32; TILE]], how: Accumulation) {
    accumulate_generic(tile, rows, dst, how, group_sum);
}

#[inline(always)]
fn accumulate_generic(
    tile: &SrcATile,
    rows: &[&[Activation; TILE]],
    dst: &mut [[u32; TILE]],
    how: Accumulation,
    sums: impl Fn(&SrcATile, &[Activation; TILE], usize, Phase) -> GroupSum,
) {
    for (x, d) in rows.iter().zip(dst) {
        for phase in 0..how.phases {
            let phase = Phase::of(phase, how.tile);
            for k0 in [0, 16] {
                let first = sums(tile, x, k0, phase);
                let second = sums(tile, x, k0 + 8, phase);
                match (how.fp32_dest, how.arch) {
                    (true, Arch::Wormhole) => combine::<true, true>(d, &first, &second),
                    (true, Arch::Blackhole) => combine::<true, false>(d, &first, &second),
                    (false, Arch::Wormhole) => combine::<false, true>(d, &first, &second),
                    (false, Arch::Blackhole) => combine::<false, false>(d, &first, &second),
                }
            }
        }
    }
}

#[inline(always)]
fn group_sum(tile: &SrcATile, x: &[Activation; TILE], k0: usize, phase: Phase) -> GroupSum {
    let mut largest = [i16::MIN; TILE];
    for k in k0..k0 + 8 {
        for n in 0..TILE {
            largest[n] = largest[n].max(tile.exponent[k][n] + x[k].exponent);
        }
    }
    let bits = &tile.bits[phase.tile];
    let mut sum = [0i16; TILE];
    for k in k0..k0 + 8 {
        let xb = if phase.row == 0 { x[k].high } else { x[k].low };
        for n in 0..TILE {
            let d = (largest[n] - tile.exponent[k][n] - x[k].exponent).min(15);
            let twice = bits[k][n].wrapping_mul(xb);
            let m = ((twice >> d) + 1) >> 1;
            let sign = tile.sign[k][n] ^ x[k].sign;
            sum[n] += (m ^ sign) - sign;
        }
    }
    for n in 0..TILE {
        let e = largest[n] + phase.bias;
        sum[n] = if e > 0 { sum[n] } else { 0 };
        largest[n] = e.max(0);
    }
    GroupSum { exponent: largest, sum }
}

#[inline(always)]
fn combine<const FP32: bool, const WORMHOLE: bool>(dst: &mut [u32; TILE], first: &GroupSum, second: &GroupSum) {
    for n in 0..TILE {
        dst[n] = combine_lane::<FP32, WORMHOLE>(
            dst[n],
            (i32::from(first.exponent[n]), i32::from(first.sum[n])),
            (i32::from(second.exponent[n]), i32::from(second.sum[n])),
        );
    }
}

/// Aligns Dst and two group sums (exponent, signed sum) and adds them. No branch depends on a value.
#[inline(always)]
pub(crate) fn combine_lane<const FP32: bool, const WORMHOLE: bool>(
    dst: u32,
    first: (i32, i32),
    second: (i32, i32),
) -> u32 {
    let dst_exponent = (dst >> 23 & 255) as i32;
    let dst_magnitude = if dst_exponent == 0 { 0 } else { dst & 0x7f_ffff | 0x80_0000 };
    let largest = first.0.max(second.0).max(dst_exponent);

    // Magnitudes are below 2^28: shifting by 31 after adding half leaves 0, as 31 and more should.
    let align = |exponent: i32, magnitude: u32, tie_down: u32| {
        let d = (largest - exponent).min(31) as u32;
        let tie = if d == 0 { 0 } else { tie_down };
        let m = (magnitude + (1u32.wrapping_shl(d) >> 1) - tie).wrapping_shr(d);
        if FP32 { m } else { (m + 4096 - tie_down) & !0x1fff }
    };
    let sum_term = |(exponent, sum): (i32, i32)| {
        let negative = (sum < 0) as i32;
        let m = align(exponent, sum.unsigned_abs() << 13, negative as u32) as i32;
        (m ^ -negative) + negative
    };
    let dst_sign = (dst >> 31) as i32;
    let d = align(dst_exponent, dst_magnitude, 0) as i32;
    let sum = sum_term(first) + sum_term(second) + ((d ^ -dst_sign) + dst_sign);

    let negative = sum < 0;
    let g = sum.unsigned_abs();
    let mut shift = g.leading_zeros() as i32 - 8;
    if WORMHOLE {
        shift -= if negative && g == 1 { 27 } else { 0 };
    }
    let mut exponent = largest - shift;
    let shift = if FP32 { shift } else { shift - 16 };
    let right = (-shift).max(0) as u32;
    let left = shift.max(0) as u32;
    let rounded = (g + (1u32.wrapping_shl(right) >> 1)).wrapping_shr(right).wrapping_shl(left);
    let rounded = if FP32 { rounded } else { rounded << 16 };
    exponent += (rounded >> 24 & 1) as i32;
    let sign = (negative as u32) << 31;
    let normal = sign | (exponent as u32) << 23 | rounded & 0x7f_ffff;
    let bounded = if exponent >= 255 { sign | 0x7f80_0000 } else { normal };
    if exponent <= 0 || sum == 0 { 0 } else { bounded }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::*;

    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512vl,avx512dq")]
    pub(super) fn load_tile(tile: &mut SrcATile, weights: TiledView<'_>, down: usize, across: usize) {
        tile.load(weights, down, across);
        for (mask, sign) in tile.negative.iter_mut().zip(&tile.sign) {
            *mask = _mm512_movepi16_mask(load(sign));
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512vl,avx512dq")]
    pub(super) fn accumulate(
        tile: &SrcATile,
        rows: &[&[Activation; TILE]],
        dst: &mut [[u32; TILE]],
        how: Accumulation,
    ) {
        accumulate_generic(tile, rows, dst, how, |t, x, k0, p| group_sum(t, x, k0, p));
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512vl,avx512dq")]
    fn load(lanes: &[i16; TILE]) -> __m512i {
        // SAFETY: 32 lanes of 16 bits are 64 bytes; the load needs no alignment.
        unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512vl,avx512dq")]
    fn group_sum(tile: &SrcATile, x: &[Activation; TILE], k0: usize, phase: Phase) -> GroupSum {
        let zero = _mm512_setzero_si512();
        let mut exponents = [zero; 8];
        let mut largest = _mm512_set1_epi16(i16::MIN);
        for (i, e) in exponents.iter_mut().enumerate() {
            let k = k0 + i;
            *e = _mm512_add_epi16(load(&tile.exponent[k]), _mm512_set1_epi16(x[k].exponent));
            largest = _mm512_max_epi16(largest, *e);
        }
        let bits = &tile.bits[phase.tile];
        let mut sum = zero;
        for (i, &e) in exponents.iter().enumerate() {
            let k = k0 + i;
            let xb = if phase.row == 0 { x[k].high } else { x[k].low };
            let twice = _mm512_mullo_epi16(load(&bits[k]), _mm512_set1_epi16(xb));
            let aligned = _mm512_srlv_epi16(twice, _mm512_sub_epi16(largest, e));
            let m = _mm512_avg_epu16(aligned, zero);
            let negative = tile.negative[k] ^ i32::from(x[k].sign) as u32;
            sum = _mm512_add_epi16(sum, _mm512_mask_sub_epi16(m, negative, zero, m));
        }
        let exponent = _mm512_add_epi16(largest, _mm512_set1_epi16(phase.bias));
        let live = _mm512_cmpgt_epi16_mask(exponent, zero);
        let mut out = GroupSum { exponent: [0; TILE], sum: [0; TILE] };
        // SAFETY: each array is 64 bytes; the stores need no alignment.
        unsafe {
            _mm512_storeu_si512(out.exponent.as_mut_ptr().cast(), _mm512_maskz_mov_epi16(live, exponent));
            _mm512_storeu_si512(out.sum.as_mut_ptr().cast(), _mm512_maskz_mov_epi16(live, sum));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::Format;
    use crate::mvmul::{Src, mvmul};
    use crate::operands::SrcB;
    use crate::tiled::Tiled;

    /// fp32 bits over the whole range, crowded where exponents nearly meet.
    fn value() -> impl Strategy<Value = u32> {
        prop_oneof![
            3 => (any::<u32>(), 120u32..136).prop_map(|(b, e)| b & 0x807f_ffff | e << 23),
            1 => (any::<u32>(), 60u32..70).prop_map(|(b, e)| b & 0x807f_ffff | e << 23),
            1 => any::<u32>(),
            1 => Just(0u32),
            1 => prop_oneof![Just(0x3f80_0000u32), Just(0xbf80_0000u32)],
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn every_instruction_set_equals_the_specification(
            weights in prop::collection::vec(value(), 1024),
            row in prop::collection::vec(value(), 32),
            start in prop::collection::vec(value(), 32),
            phases in 1u32..=4,
            fp32_dest: bool,
            wormhole: bool,
        ) {
            let arch = if wormhole { Arch::Wormhole } else { Arch::Blackhole };
            let floats = |v: &[u32]| v.iter().map(|&b| f32::from_bits(b)).collect::<Vec<_>>();
            let tiled = Tiled::pack(Format::F32, 32, 32, &floats(&weights)).unwrap();
            let mut tile = SrcATile::zeroed();
            let mut b = SrcB::new();
            b.load_f32(1, 32, &floats(&row)).unwrap();
            let x = b.tile_of(0, 0);
            let mask = if fp32_dest { !0 } else { 0xffff_0000 };
            let start: [u32; TILE] = std::array::from_fn(|n| start[n] & mask);

            let mut want = start;
            for phase in 0..phases {
                for half in [0, 16] {
                    for (n, d) in want.iter_mut().enumerate() {
                        let a: [Src; 16] =
                            std::array::from_fn(|k| Src::from_bits(weights[(half + k) * 32 + n]));
                        let b: [Src; 16] = std::array::from_fn(|k| Src::from_bits(row[half + k]));
                        *d = mvmul(&a, &b, *d, phase, fp32_dest, arch);
                    }
                }
            }
            // The other way round: the weights are rows of SrcB, the row a column of SrcA.
            let mut exchanged = start;
            for phase in 0..phases {
                for half in [0, 16] {
                    for (n, d) in exchanged.iter_mut().enumerate() {
                        let a: [Src; 16] = std::array::from_fn(|k| Src::from_bits(row[half + k]));
                        let b: [Src; 16] = std::array::from_fn(|k| Src::from_bits(weights[(half + k) * 32 + n]));
                        *d = mvmul(&a, &b, *d, phase, fp32_dest, arch);
                    }
                }
            }
            let mut activations = SrcATile::zeroed();
            activations.set_activations(|k| std::array::from_fn(|n| weights[k * 32 + n]));
            let column: [Activation; TILE] = std::array::from_fn(|k| Activation::of_src_a(row[k]));
            for lanes in Lanes::available() {
                let mut got = [start];
                let how = Accumulation { phases, fp32_dest, arch, tile: Operand::SrcB };
                lanes.accumulate(&activations, &[&column], &mut got, how);
                prop_assert_eq!(got[0], exchanged, "{:?}, exchanged", lanes);
            }
            for lanes in Lanes::available() {
                let mut got = [start];
                lanes.load(&mut tile, tiled.view(), 0, 0);
                lanes.accumulate(&tile, &[x], &mut got, Accumulation { phases, fp32_dest, arch, tile: Operand::SrcA });
                prop_assert_eq!(got[0], want, "{:?}", lanes);
            }
        }
    }
}
