//! The data types of checkpoints: what elements are stored as, and float ones as f32, little-endian.

use std::ops::Range;

use half::{bf16, f16};

use super::gguf::Blocks;

/// How a tensor's elements are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// f32.
    F32,
    /// f16.
    F16,
    /// bf16.
    BF16,
    /// Bytes: four ternary codes each.
    U8,
    /// Blocks of a GGUF file.
    Blocks(Blocks),
    /// Another type of safetensors, which no weight is read from.
    Other(safetensors::Dtype),
}

impl From<safetensors::Dtype> for Dtype {
    fn from(dtype: safetensors::Dtype) -> Self {
        match dtype {
            safetensors::Dtype::F32 => Dtype::F32,
            safetensors::Dtype::F16 => Dtype::F16,
            safetensors::Dtype::BF16 => Dtype::BF16,
            safetensors::Dtype::U8 => Dtype::U8,
            other => Dtype::Other(other),
        }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Dtype::F32 => f.write_str("f32"),
            Dtype::F16 => f.write_str("f16"),
            Dtype::BF16 => f.write_str("bf16"),
            Dtype::U8 => f.write_str("u8"),
            Dtype::Blocks(blocks) => write!(f, "{blocks:?}"),
            Dtype::Other(other) => f.write_str(&format!("{other:?}").to_lowercase()),
        }
    }
}

impl Dtype {
    /// True for elements that are read as f32.
    pub fn is_float(self) -> bool {
        match self {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => true,
            Dtype::Blocks(blocks) => !blocks.is_ternary(),
            Dtype::U8 | Dtype::Other(_) => false,
        }
    }
}

/// The bytes of the elements `range` of a tensor, which begin and end with whole blocks.
pub(super) fn span(dtype: Dtype, range: Range<usize>) -> Range<usize> {
    let (elements, bytes) = match dtype {
        Dtype::F32 => (1, 4),
        Dtype::F16 | Dtype::BF16 => (1, 2),
        Dtype::U8 | Dtype::Other(_) => (1, 1),
        Dtype::Blocks(blocks) => (blocks.elements(), blocks.bytes()),
    };
    range.start / elements * bytes..range.end / elements * bytes
}

/// Element `index` of float `data`.
#[inline]
pub(super) fn at(dtype: Dtype, data: &[u8], index: usize) -> f32 {
    let two = || [data[2 * index], data[2 * index + 1]];
    match dtype {
        Dtype::F32 => f32::from_le_bytes([0, 1, 2, 3].map(|i| data[4 * index + i])),
        Dtype::F16 => f16::from_le_bytes(two()).to_f32(),
        Dtype::BF16 => bf16::from_le_bytes(two()).to_f32(),
        Dtype::Blocks(blocks) => blocks.float(data, index),
        Dtype::U8 | Dtype::Other(_) => 0.0,
    }
}

/// Calls `f` with every element of float `data`, in order.
pub(super) fn each(dtype: Dtype, data: &[u8], mut f: impl FnMut(f32)) {
    match dtype {
        Dtype::F32 => data.as_chunks::<4>().0.iter().for_each(|b| f(f32::from_le_bytes(*b))),
        Dtype::F16 => data.as_chunks::<2>().0.iter().for_each(|b| f(f16::from_le_bytes(*b).to_f32())),
        Dtype::BF16 => data.as_chunks::<2>().0.iter().for_each(|b| f(bf16::from_le_bytes(*b).to_f32())),
        Dtype::Blocks(blocks) => {
            (0..data.len() / blocks.bytes() * blocks.elements()).for_each(|i| f(blocks.float(data, i)))
        }
        Dtype::U8 | Dtype::Other(_) => {}
    }
}

/// True when no element is an infinity or NaN.
pub(super) fn all_finite(dtype: Dtype, data: &[u8]) -> bool {
    // All bits of the exponent set; without an early end, so that it is a loop of vectors.
    let wide =
        |mask: u32| data.as_chunks::<4>().0.iter().fold(false, |bad, b| bad | (u32::from_le_bytes(*b) & mask == mask));
    let narrow =
        |mask: u16| data.as_chunks::<2>().0.iter().fold(false, |bad, b| bad | (u16::from_le_bytes(*b) & mask == mask));
    match dtype {
        Dtype::F32 => !wide(0x7f80_0000),
        Dtype::F16 => !narrow(0x7c00),
        Dtype::BF16 => !narrow(0x7f80),
        Dtype::Blocks(blocks) => blocks.all_finite(data),
        Dtype::U8 | Dtype::Other(_) => true,
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
            assert_eq!(data.len(), span(dtype, 0..4).end);
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
