//! The block types of ggml that are read here: how many elements a block has, in how many bytes, and what they are.
//!
//! | type | elements | bytes | holds |
//! |---|---|---|---|
//! | I2_S | 128 | 32 | ternary codes; one scale behind the whole tensor |
//! | TQ1_0 | 256 | 54 | ternary codes, five to a byte, and a scale |
//! | TQ2_0 | 256 | 66 | ternary codes, four to a byte, and a scale |
//! | Q4_0 | 32 | 18 | 4-bit integers and a scale |
//! | Q4_K | 256 | 144 | 4-bit integers, scales and offsets of 32 elements, a scale of each kind |
//! | Q6_K | 256 | 210 | 6-bit integers, scales of 16 elements, a scale of scales |
//! | Q8_0 | 32 | 34 | 8-bit integers and a scale |
//!
//! Scales within blocks are f16. A block never crosses the end of a row; I2_S, whose blocks are counted over the whole tensor, is the
//! exception. The layouts are those of `ggml-quants.c` of llama.cpp and of `quantize_i2_s` of bitnet.cpp.

mod i2_s;
mod q4_0;
mod q4_k;
mod q6_k;
mod q8_0;
mod tq1_0;
mod tq2_0;

use half::f16;

/// A block type of ggml.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "ggml's own names")]
pub enum Blocks {
    /// bitnet.cpp's ternary codes with one scale.
    I2_S,
    /// Ternary codes, five to a byte.
    TQ1_0,
    /// Ternary codes, four to a byte.
    TQ2_0,
    /// 4-bit integers.
    Q4_0,
    /// 4-bit integers with offsets.
    Q4_K,
    /// 6-bit integers.
    Q6_K,
    /// 8-bit integers.
    Q8_0,
}

impl Blocks {
    /// Elements of a block.
    pub fn elements(self) -> usize {
        match self {
            Blocks::I2_S => i2_s::ELEMENTS,
            Blocks::TQ1_0 | Blocks::TQ2_0 | Blocks::Q4_K | Blocks::Q6_K => 256,
            Blocks::Q4_0 | Blocks::Q8_0 => 32,
        }
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        match self {
            Blocks::I2_S => i2_s::BYTES,
            Blocks::TQ1_0 => tq1_0::BYTES,
            Blocks::TQ2_0 => tq2_0::BYTES,
            Blocks::Q4_0 => q4_0::BYTES,
            Blocks::Q4_K => q4_k::BYTES,
            Blocks::Q6_K => q6_k::BYTES,
            Blocks::Q8_0 => q8_0::BYTES,
        }
    }

    /// True where every element is -1, 0 or 1 times one scale.
    pub fn is_ternary(self) -> bool {
        match self {
            Blocks::I2_S | Blocks::TQ1_0 | Blocks::TQ2_0 => true,
            Blocks::Q4_0 | Blocks::Q4_K | Blocks::Q6_K | Blocks::Q8_0 => false,
        }
    }

    /// Bytes of a tensor of rows of `columns` elements.
    ///
    /// # Errors
    /// Rows that are no whole blocks; more bytes than can be counted.
    pub fn tensor_bytes(self, rows: usize, columns: usize) -> Result<usize, String> {
        let elements = rows.checked_mul(columns).ok_or("more elements than can be counted")?;
        let whole = if self == Blocks::I2_S { elements } else { columns };
        if !whole.is_multiple_of(self.elements()) {
            let unit = if self == Blocks::I2_S { "" } else { " a row" };
            return Err(format!("{whole} elements{unit} are no whole {self:?} blocks of {}", self.elements()));
        }
        let tail = if self == Blocks::I2_S { i2_s::TAIL } else { 0 };
        let bytes = (elements / self.elements()).checked_mul(self.bytes()).and_then(|bytes| bytes.checked_add(tail));
        bytes.ok_or_else(|| "more bytes than can be counted".into())
    }

    /// Element `index` of a tensor that is not ternary.
    #[inline]
    pub fn float(self, data: &[u8], index: usize) -> f32 {
        let (block, at) = (&data[index / self.elements() * self.bytes()..][..self.bytes()], index % self.elements());
        match self {
            Blocks::Q4_0 => q4_0::at(block, at),
            Blocks::Q4_K => q4_k::at(block, at),
            Blocks::Q6_K => q6_k::at(block, at),
            Blocks::Q8_0 => q8_0::at(block, at),
            Blocks::I2_S | Blocks::TQ1_0 | Blocks::TQ2_0 => f32::from(self.ternary(data, index)),
        }
    }

    /// Element `index` of a ternary tensor, without its scale; 0 of one that is not ternary.
    #[inline]
    pub fn ternary(self, data: &[u8], index: usize) -> i8 {
        let (block, at) = (&data[index / self.elements() * self.bytes()..][..self.bytes()], index % self.elements());
        match self {
            Blocks::I2_S => i2_s::at(block, at),
            Blocks::TQ1_0 => tq1_0::at(block, at),
            Blocks::TQ2_0 => tq2_0::at(block, at),
            Blocks::Q4_0 | Blocks::Q4_K | Blocks::Q6_K | Blocks::Q8_0 => 0,
        }
    }

    /// Where a block has its f16 scales.
    fn scales(self) -> &'static [usize] {
        match self {
            Blocks::I2_S => &[],
            Blocks::TQ1_0 => &[tq1_0::SCALE],
            Blocks::TQ2_0 => &[tq2_0::SCALE],
            Blocks::Q4_0 | Blocks::Q8_0 => &[0],
            Blocks::Q4_K => &[0, 2],
            Blocks::Q6_K => &[q6_k::SCALE],
        }
    }

    /// True when no scale of whole blocks is an infinity or NaN, and so no element.
    pub fn all_finite(self, blocks: &[u8]) -> bool {
        blocks.chunks_exact(self.bytes()).all(|block| self.scales().iter().all(|&at| half_at(block, at).is_finite()))
    }

    /// The one number that the elements of a whole ternary tensor are multiplied by.
    ///
    /// # Errors
    /// A code that is none, a scale that is not a positive number, blocks of different scales: not a ternary matrix of BitNet's kind.
    pub fn scale(self, data: &[u8]) -> Result<f32, String> {
        let scale = match self {
            Blocks::I2_S => i2_s::scale(data)?,
            Blocks::TQ1_0 | Blocks::TQ2_0 | Blocks::Q4_0 | Blocks::Q4_K | Blocks::Q6_K | Blocks::Q8_0 => {
                self.common_scale(data)?
            }
        };
        match scale.is_finite() && scale > 0.0 {
            true => Ok(scale),
            false => Err(format!("the scale is {scale}; it must be a positive number")),
        }
    }

    /// The scale of those blocks that have an element other than 0. The others may have any, and have 0 as ggml writes them.
    fn common_scale(self, data: &[u8]) -> Result<f32, String> {
        let mut common = None;
        for (at, block) in data.chunks_exact(self.bytes()).enumerate() {
            if self == Blocks::TQ2_0 {
                tq2_0::check(block).map_err(|why| format!("block {at} {why}"))?;
            }
            if (0..self.elements()).all(|i| self.ternary(block, i) == 0) {
                continue;
            }
            let scale = self.scales().first().map_or(0.0, |&at| half_at(block, at));
            match common {
                None => common = Some(scale),
                Some(common) if common == scale => {}
                Some(common) => {
                    return Err(format!(
                        "block {at} has the scale {scale}, one before it {common}; a ternary matrix has one scale"
                    ));
                }
            }
        }
        Ok(common.unwrap_or(1.0))
    }
}

/// The f16 at byte `at`.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_whole_blocks() {
        assert_eq!(Blocks::I2_S.tensor_bytes(2, 192), Ok(2 * 192 / 4 + 32));
        assert_eq!(Blocks::TQ2_0.tensor_bytes(3, 512), Ok(3 * 2 * 66));
        for (blocks, rows, columns) in
            [(Blocks::I2_S, 1, 192), (Blocks::Q6_K, 2, 128), (Blocks::Q8_0, usize::MAX, 32), (Blocks::Q8_0, 1, 33)]
        {
            assert!(blocks.tensor_bytes(rows, columns).is_err(), "{blocks:?} {rows} {columns}");
        }
    }

    #[test]
    fn one_scale_is_found_and_two_are_refused() {
        let block = |scale: f32, code: u8| {
            let mut block = vec![code; tq2_0::BYTES];
            block[tq2_0::SCALE..].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
            block
        };
        // 0x55 is four zeros, 0x56 three and a one, 0x57 has a code that is none.
        let scale = |blocks: &[Vec<u8>]| Blocks::TQ2_0.scale(&blocks.concat());
        assert_eq!(scale(&[block(0.0, 0x55), block(0.5, 0x56), block(0.5, 0x56)]), Ok(0.5));
        assert_eq!(scale(&[block(0.0, 0x55)]), Ok(1.0));
        assert!(scale(&[block(0.5, 0x56), block(0.25, 0x56)]).unwrap_err().contains("block 1"));
        assert!(scale(&[block(0.5, 0x57)]).unwrap_err().contains("code 3"));
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(scale(&[block(bad, 0x56)]).unwrap_err().contains("positive"), "{bad}");
        }
    }
}
