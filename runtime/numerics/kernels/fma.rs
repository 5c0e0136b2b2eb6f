//! The SFPU's multiply-add, bit for bit.
//!
//! It is not quite fused: the product is cut to 26 fraction bits with a sticky one before the addend joins it, which shows where the two
//! cancel, as in a step of Newton's, and Wormhole may round a sum in the wrong direction. Where results are rounded to bf16 that is not
//! seen, and [`super::sfpu`] takes a fused one, which is faster.

use crate::mvmul::Arch;

/// Exponent, and mantissa with its leading one; denormals are zero.
fn unpacked(bits: u32) -> (i32, u32) {
    let exponent = bits >> 23 & 255;
    (exponent as i32, if exponent == 0 { 0 } else { bits & 0x7f_ffff | 0x80_0000 })
}

/// `v` shifted right, what is lost kept in the last bit, unless nothing else is left.
fn shifted(v: u32, by: u32) -> u32 {
    let left = v.checked_shr(by).unwrap_or(0);
    let lost = left != 0 && left << by != v;
    left | u32::from(lost)
}

/// a * b + c of finite numbers (SFPMAD).
pub(crate) fn mad(a: f32, b: f32, c: f32, arch: Arch) -> f32 {
    let [a, b, c] = [a, b, c].map(f32::to_bits);
    let ((a_exponent, a_mantissa), (b_exponent, b_mantissa)) = (unpacked(a), unpacked(b));
    let (c_exponent, c_mantissa) = unpacked(c);
    let (c_sign, p_sign) = (c & 0x8000_0000, (a ^ b) & 0x8000_0000);
    let whole = (u64::from(a_mantissa) * u64::from(b_mantissa)) << 3;
    let product = (whole >> 23) as u32 | u32::from(whole & 0x7f_ffff != 0);
    let p_exponent = a_exponent + b_exponent - 127;
    if product == 0 || p_exponent < 0 {
        return if c_mantissa == 0 { 0.0 } else { f32::from_bits(c) };
    }
    let exponent = p_exponent.max(c_exponent);
    let product = shifted(product, (exponent - p_exponent) as u32);
    let addend = shifted(c_mantissa << 3, (exponent - c_exponent) as u32);
    let sign = if product >= addend { p_sign } else { c_sign };
    let sum = if p_sign == c_sign { product + addend } else { product.abs_diff(addend) };
    if sum == 0 {
        return 0.0;
    }
    let n = 5 - sum.leading_zeros() as i32;
    let sticky = match arch {
        Arch::Wormhole => 1,
        Arch::Blackhole => n as u32 | 1,
    };
    let sum = if n <= 0 { sum << -n } else { sum >> n | u32::from(sum & sticky != 0) };
    let bits = ((exponent + n).max(0) as u32) << 23 | (sum >> 3 & 0x7f_ffff);
    let rounded = bits + u32::from((sum & 7) + (bits & 1) > 4);
    if rounded >> 23 == 0 { 0.0 } else { f32::from_bits(sign | rounded) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_nearly_fused_unless_the_product_and_the_addend_cancel() {
        for arch in [Arch::Wormhole, Arch::Blackhole] {
            for i in 0..4000_u32 {
                let [a, b, c] = [0x9e37, 0x85eb, 0xc2b2]
                    .map(|by| f32::from_bits(i.wrapping_mul(by * 769) & 0x3ff_ffff | 0x3e00_0000));
                let fused = (f64::from(a) * f64::from(b) + f64::from(c)) as f32;
                let off = mad(a, b, c, arch).to_bits().abs_diff(fused.to_bits());
                assert!(off <= u32::from(arch == Arch::Wormhole), "{a} {b} {c}");
            }
            // The product is 1 + 2^-23 + 2^-46 + 2^-25: of the last two a sticky bit is left.
            let x = 1.0 + f32::EPSILON;
            assert_eq!(mad(x, x, -1.0, arch), 2.0 * f32::EPSILON + f32::EPSILON / 8.0);
            assert_eq!([mad(0.0, 3.0, 2.0, arch), mad(2.0, -3.0, 6.0, arch)], [2.0, 0.0]);
        }
    }
}
