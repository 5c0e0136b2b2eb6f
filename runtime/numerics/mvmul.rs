//! MVMUL, one output element at a time: the specification the vectorised kernel is tested against.
//!
//! An MVMUL adds 16 products to an element of Dst. A product takes 5 bits of SrcA's significand and 7 of
//! SrcB's, chosen by the fidelity phase; each group of 8 products is aligned to its largest exponent and
//! summed as integers; the two sums and Dst are then aligned to the largest of the three and added.
//! Exponent 255 is an ordinary number, exponent 0 is zero. Wormhole and Blackhole differ only in how they round negative sums of one unit.
//!
//! | phase | SrcA bits | SrcB bits | exponent |
//! |---|---|---|---|
//! | 0 | top 5 | top 7 | 0 |
//! | 1 | next 5 | top 7 | -5 |
//! | 2 | top 5 | last 4, times 8 | -7 |
//! | 3 | next 5 | last 4, times 8 | -12 |

pub use bitnetc_plan::{Arch, Fidelity};

/// A value as SrcA and SrcB hold it: sign, 8-bit exponent, 10 fraction bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Src {
    /// Sign.
    pub negative: bool,
    /// Biased by 127; 0 is zero.
    pub exponent: u32,
    /// 11 bits, the leading one included (set even if the exponent is 0; such a value counts as zero).
    pub significand: u32,
}

impl Src {
    /// From fp32 bits, truncated to TF32 as the unpacker does.
    #[inline]
    pub fn from_bits(bits: u32) -> Self {
        Src { negative: bits >> 31 != 0, exponent: (bits >> 23) & 255, significand: 1024 | ((bits >> 13) & 1023) }
    }

    /// The 5 bits SrcA gives to a phase.
    #[inline]
    pub fn a_bits(self, phase: u32) -> u32 {
        if phase & 1 == 0 { self.significand >> 6 } else { (self.significand >> 1) & 31 }
    }

    /// The 7 bits SrcB gives to a phase.
    #[inline]
    pub fn b_bits(self, phase: u32) -> u32 {
        if phase & 2 == 0 { self.significand >> 4 } else { (self.significand & 15) << 3 }
    }
}

/// The correction of the sum of products' exponents in a phase.
#[inline]
pub(crate) const fn exponent_bias(phase: u32) -> i32 {
    -127 - if phase & 1 != 0 { 5 } else { 0 } - if phase & 2 != 0 { 7 } else { 0 }
}

/// A sign-magnitude term of the final sum, 2^(exponent-127) times magnitude / 2^23.
#[derive(Clone, Copy)]
struct Term {
    negative: bool,
    exponent: i32,
    magnitude: u32,
}

fn group_sum(a: &[Src], b: &[Src], phase: u32) -> Term {
    let products: Vec<(i32, u32, bool)> = a
        .iter()
        .zip(b)
        .map(|(a, b)| {
            if a.exponent == 0 || b.exponent == 0 {
                (0, 0, a.negative ^ b.negative)
            } else {
                let e = (a.exponent + b.exponent) as i32 + exponent_bias(phase);
                (e, a.a_bits(phase) * b.b_bits(phase), a.negative ^ b.negative)
            }
        })
        .collect();
    let largest = products.iter().map(|p| p.0).max().unwrap_or(0);
    if largest <= 0 {
        return Term { negative: false, exponent: 0, magnitude: 0 };
    }
    let mut sum = 0i32;
    for &(e, m, negative) in &products {
        let d = (largest - e).min(30);
        let aligned = if d > 0 { (m + (1 << (d - 1))) >> d } else { m } as i32;
        sum += if negative { -aligned } else { aligned };
    }
    Term { negative: sum < 0, exponent: largest, magnitude: sum.unsigned_abs() << 13 }
}

/// One element of MVMUL: `a` a column of SrcA, `b` a row of SrcB, `dst` fp32 bits. Returns the new Dst.
pub fn mvmul(a: &[Src; 16], b: &[Src; 16], dst: u32, phase: u32, fp32_dest: bool, arch: Arch) -> u32 {
    let dst_exponent = ((dst >> 23) & 255) as i32;
    let mut terms = [
        group_sum(&a[..8], &b[..8], phase),
        group_sum(&a[8..], &b[8..], phase),
        Term {
            negative: dst >> 31 != 0,
            exponent: dst_exponent,
            magnitude: if dst_exponent == 0 { 0 } else { 0x80_0000 | (dst & 0x7f_ffff) },
        },
    ];
    let largest = terms.iter().map(|t| t.exponent).max().unwrap_or(0);
    if largest <= 0 {
        return 0;
    }
    let mut sum = 0i32;
    for (i, t) in terms.iter_mut().enumerate() {
        let tie_down = u32::from(i < 2 && t.negative);
        let d = largest - t.exponent;
        if d > 0 {
            t.magnitude = if d < 31 { (t.magnitude + (1 << (d - 1)) - tie_down) >> d } else { 0 };
        }
        if !fp32_dest {
            t.magnitude = (t.magnitude + 4096 - tie_down) & !0x1fff;
        }
        sum += if t.negative { -(t.magnitude as i32) } else { t.magnitude as i32 };
    }
    if sum == 0 {
        return 0;
    }
    let negative = sum < 0;
    let mut g = sum.unsigned_abs();
    let mut shift = g.leading_zeros() as i32 - 8;
    if arch == Arch::Wormhole && negative && g == 1 {
        shift -= 27;
    }
    let mut exponent = largest - shift;
    if !fp32_dest {
        shift -= 16;
    }
    g = if shift < 0 { (g + (1 << (-shift - 1))) >> -shift } else { g << shift };
    if !fp32_dest {
        g <<= 16;
    }
    if g & (1 << 24) != 0 {
        exponent += 1;
    }
    let sign = u32::from(negative) << 31;
    match exponent {
        ..=0 => 0,
        255.. => sign | 0x7f80_0000,
        e => sign | (e as u32) << 23 | (g & 0x7f_ffff),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pairs: &[(f32, f32)], dst: f32, phases: u32, fp32: bool) -> f32 {
        let mut a = [Src::default(); 16];
        let mut b = [Src::default(); 16];
        for (i, &(x, w)) in pairs.iter().enumerate() {
            a[i] = Src::from_bits(w.to_bits());
            b[i] = Src::from_bits(x.to_bits());
        }
        let mut d = dst.to_bits();
        for p in 0..phases {
            d = mvmul(&a, &b, d, p, fp32, Arch::Wormhole);
        }
        f32::from_bits(d)
    }

    #[test]
    fn small_integers_are_exact_with_fp32_dest() {
        let pairs: Vec<(f32, f32)> = (0..16).map(|i| (i as f32 * 7.0 - 50.0, 1.0)).collect();
        let want: f32 = pairs.iter().map(|p| p.0).sum();
        assert_eq!(run(&pairs, 1000.0, 1, true), 1000.0 + want);
    }

    #[test]
    fn bf16_dest_rounds_past_256() {
        assert_eq!(run(&[(127.0, 1.0), (127.0, 1.0), (3.0, 1.0)], 0.0, 1, false), 258.0);
    }

    #[test]
    fn lofi_drops_the_last_bit_of_a_bf16_activation_and_hifi3_does_not() {
        let x = 1.0 + 1.0 / 128.0;
        assert_eq!(run(&[(x, 1.0)], 0.0, 1, true), 1.0);
        assert_eq!(run(&[(x, 1.0)], 0.0, 2, true), 1.0);
        assert_eq!(run(&[(x, 1.0)], 0.0, 3, true), x);
    }

    #[test]
    fn the_architectures_differ_only_on_a_negative_unit() {
        let a = [Src::from_bits(1f32.to_bits()); 16];
        let mut b = [Src::default(); 16];
        b[0] = Src::from_bits((-1f32).to_bits());
        let dst = f32::from_bits(1f32.to_bits() - 2).to_bits();
        let wh = mvmul(&a, &b, dst, 0, true, Arch::Wormhole);
        let bh = mvmul(&a, &b, dst, 0, true, Arch::Blackhole);
        assert_ne!(wh, bh);
        assert_eq!(f32::from_bits(bh), -1.0 / (1u32 << 23) as f32);
    }
}
