//! Typecasts on the device between bf16 and the block formats.
//!
//! The values of a block-format tile are exact in bf16, so a row-major bf16 buffer can stand for it: a cast to bfp8_b
//! or bfp4_b is the device packer's rounding (from a bf16 Dst), a cast back changes nothing.

use half::bf16;
use rayon::prelude::*;

use crate::device_pack::pack_group;
use crate::error::{NumericsError, check_multiple};
use crate::format::{Format, GROUP};
use crate::unpack::{code_bits, widen_code};

/// Rounds rows of `cols` values through `format` in place; groups of 16 run along rows, a last short one is
/// padded with zeros. F32 and Bf16 change nothing.
///
/// # Errors
/// [`NumericsError::Multiple`] if `cols` does not divide x.
pub fn cast_through(format: Format, cols: usize, x: &mut [bf16]) -> Result<(), NumericsError> {
    check_multiple("elements to cast", x.len(), cols)?;
    if format.code_bits().is_some() {
        x.par_chunks_mut(cols).for_each(|row| {
            for part in row.chunks_mut(GROUP) {
                let mut group = [0u32; GROUP];
                for (g, v) in group.iter_mut().zip(part.iter()) {
                    *g = u32::from(v.to_bits()) << 16;
                }
                let (shared, codes) = pack_group(&group, false, format);
                for (v, code) in part.iter_mut().zip(codes) {
                    let code = if format == Format::Bfp4 { widen_code(code) } else { code };
                    *v = bf16::from_bits(code_bits(code, shared));
                }
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounding::{bf16_host, widen};

    #[test]
    fn a_cast_is_idempotent_and_close() {
        let x: Vec<bf16> = (0..96).map(|i| bf16_host((i as f32 - 50.0) * 0.173)).collect();
        for (format, step) in [(Format::Bfp8, 1.0 / 64.0), (Format::Bfp4, 1.0 / 4.0)] {
            let mut once = x.clone();
            cast_through(format, 24, &mut once).unwrap();
            let mut twice = once.clone();
            cast_through(format, 24, &mut twice).unwrap();
            assert_eq!(once, twice);
            assert_ne!(once, x);
            for (row, cast) in x.chunks(24).zip(once.chunks(24)) {
                for (group, cast) in row.chunks(16).zip(cast.chunks(16)) {
                    let max = group.iter().fold(0f32, |m, v| m.max(widen(*v).abs()));
                    for (v, c) in group.iter().zip(cast) {
                        assert!((widen(*v) - widen(*c)).abs() <= max * step);
                    }
                }
            }
        }
        let mut same = x.clone();
        cast_through(Format::Bf16, 96, &mut same).unwrap();
        assert_eq!(same, x);
        assert!(cast_through(Format::Bfp8, 36, &mut same).is_err());
    }
}
