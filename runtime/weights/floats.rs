//! The float data types of checkpoints, little-endian, as f32.

use half::{bf16, f16};
use safetensors::Dtype;

/// Bytes of an element of a float data type.
pub(super) fn width(dtype: Dtype) -> usize {
    if dtype == Dtype::F32 { 4 } else { 2 }
}

/// Element `index` of `data`.
#[inline]
pub(super) fn at(dtype: Dtype, data: &[u8], index: usize) -> f32 {
    let two = || [data[2 * index], data[2 * index + 1]];
    match dtype {
        Dtype::F32 => f32::from_le_bytes([0, 1, 2, 3].map(|i| data[4 * index + i])),
        Dtype::F16 => f16::from_le_bytes(two()).to_f32(),
        _ => bf16::from_le_bytes(two()).to_f32(),
    }
}

/// Calls `f` with every element of `data`, in order.
pub(super) fn each(dtype: Dtype, data: &[u8], mut f: impl FnMut(f32)) {
    match dtype {
        Dtype::F32 => data.as_chunks::<4>().0.iter().for_each(|b| f(f32::from_le_bytes(*b))),
        Dtype::F16 => data.as_chunks::<2>().0.iter().for_each(|b| f(f16::from_le_bytes(*b).to_f32())),
        _ => data.as_chunks::<2>().0.iter().for_each(|b| f(bf16::from_le_bytes(*b).to_f32())),
    }
}

/// True when no element is an infinity or NaN.
pub(super) fn all_finite(dtype: Dtype, data: &[u8]) -> bool {
    // All bits of the exponent set; without an early end, so that it is a loop of vectors.
    let wide =
        |mask: u32| data.as_chunks::<4>().0.iter().fold(false, |bad, b| bad | (u32::from_le_bytes(*b) & mask == mask));
    let narrow =
        |mask: u16| data.as_chunks::<2>().0.iter().fold(false, |bad, b| bad | (u16::from_le_bytes(*b) & mask == mask));
    !match dtype {
        Dtype::F32 => wide(0x7f80_0000),
        Dtype::F16 => narrow(0x7c00),
        _ => narrow(0x7f80),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_data_type_gives_its_numbers_and_tells_those_that_are_none() {
        let values = [1.0f32, -0.5, 65504.0, 0.0];
        let bytes = |dtype, values: &[f32]| -> Vec<u8> {
            match dtype {
                Dtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                Dtype::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
                _ => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
            }
        };
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            let data = bytes(dtype, &values);
            assert_eq!(data.len(), 4 * width(dtype));
            let mut seen = Vec::new();
            each(dtype, &data, |v| seen.push(v));
            assert_eq!(seen, [0, 1, 2, 3].map(|i| at(dtype, &data, i)));
            assert_eq!([seen[0], seen[1], seen[3]], [1.0, -0.5, 0.0]);
            assert!(all_finite(dtype, &data));
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                assert!(!all_finite(dtype, &bytes(dtype, &[1.0, bad, 2.0])), "{dtype:?} {bad}");
            }
        }
    }
}
