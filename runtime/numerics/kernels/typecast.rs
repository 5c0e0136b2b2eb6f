//! `typecast` from bf16 to a block format: `copy/typecast`, `eltwise_typecast.cpp`.
//!
//! For bfp8 the packer keeps bf16's 7 fraction bits up to the alignment to the shared exponent and rounds once, half up in magnitude,
//! saturating. A cache update rounds twice ([`cast_through`]): a prompt's rows in a bfp8 cache and decoded ones round differently. For bfp4
//! it rounds twice here too.

use half::bf16;
use rayon::prelude::*;

use crate::error::{NumericsError, check_multiple};
use crate::format::{Format, GROUP};
use crate::typecast::cast_through;
use crate::unpack::code_bits;

/// Rounds rows of `cols` values through `format` in place; groups of 16 run along rows. F32 and Bf16 change nothing.
///
/// # Errors
/// [`NumericsError::Multiple`] if `cols` does not divide x.
pub fn typecast(format: Format, cols: usize, x: &mut [bf16]) -> Result<(), NumericsError> {
    match format {
        Format::F32 | Format::Bf16 | Format::Bfp4 => cast_through(format, cols, x),
        Format::Bfp8 => {
            check_multiple("elements to cast", x.len(), cols)?;
            x.par_chunks_mut(cols).with_min_len(64).for_each(|row| row.chunks_mut(GROUP).for_each(round_once));
            Ok(())
        }
    }
}

/// Rounds a group to bfp8.
fn round_once(group: &mut [bf16]) {
    let exponent_of = |v: bf16| u32::from(v.to_bits() >> 7 & 255);
    let shared = group.iter().fold(0, |e, &v| e.max(exponent_of(v)));
    for v in group {
        let (exponent, h) = (exponent_of(*v), u32::from(v.to_bits()));
        let shift = shared - exponent;
        let significand = if exponent == 0 { 0 } else { 128 | h & 127 };
        let magnitude = if shift >= 8 { 0 } else { ((significand + (1 << shift)) >> (shift + 1)).min(127) };
        let sign = if magnitude == 0 { 0 } else { h >> 15 };
        let code = (sign << 7 | magnitude) as u8;
        *v = bf16::from_bits(code_bits(code, shared as u8));
    }
}
