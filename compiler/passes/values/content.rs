//! Bounds of the numbers of a value, and how they change under arithmetic and rounding.

use bitnetc_plan::DType;

use crate::graph::{Activation, MulInput, Scalar};

/// Exponents that the grid of a stored value may have. Within them a product of two bf16 numbers neither overflows nor underflows, so a
/// grid outside them is forgotten.
const EXPONENTS: std::ops::RangeInclusive<i32> = -64..=63;

/// A set of equally spaced numbers: the whole multiples of a power of two from a least to a largest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// The numbers are multiples of `2^exponent`.
    pub exponent: i32,
    /// The least number, as a multiple of `2^exponent`.
    pub min: i64,
    /// The largest number, as a multiple of `2^exponent`.
    pub max: i64,
}

impl Grid {
    /// The largest magnitude of a number, as a multiple of `2^exponent`.
    pub const fn magnitude(self) -> u64 {
        let (low, high) = (self.min.unsigned_abs(), self.max.unsigned_abs());
        if low > high { low } else { high }
    }

    /// The most significant bits that any number of the grid needs. A power of two needs one, so the numbers from -128 to 127 need seven.
    const fn significant_bits(self) -> u32 {
        let largest = self.magnitude();
        let length = u64::BITS - largest.leading_zeros();
        if largest > 1 && largest.is_power_of_two() { length - 1 } else { length }
    }

    /// The grid after rounding to `bits` bits below the leading bit of the largest magnitude. Rounded numbers are still multiples of
    /// `2^exponent`, so only the range can grow.
    fn rounded(self, bits: u32) -> Option<Self> {
        let drop = (u64::BITS - self.magnitude().leading_zeros()).saturating_sub(bits);
        let unit = 1_i64.checked_shl(drop)?;
        let out = |n: i64| n.div_euclid(unit).checked_add(i64::from(n.rem_euclid(unit) != 0))?.checked_mul(unit);
        Some(Grid { min: -out(self.min.checked_neg()?)?, max: out(self.max)?, ..self })
    }

    /// Both grids with the finer of their units.
    fn aligned(self, other: Self) -> Option<(Self, Self)> {
        let exponent = self.exponent.min(other.exponent);
        let to = |grid: Grid| {
            let factor = 1_i64.checked_shl(u32::try_from(grid.exponent.checked_sub(exponent)?).ok()?)?;
            Some(Grid { exponent, min: grid.min.checked_mul(factor)?, max: grid.max.checked_mul(factor)? })
        };
        to(self).zip(to(other))
    }

    fn plus(self, other: Self) -> Option<Self> {
        let (a, b) = self.aligned(other)?;
        Some(Grid { exponent: a.exponent, min: a.min.checked_add(b.min)?, max: a.max.checked_add(b.max)? })
    }

    fn times(self, other: Self) -> Option<Self> {
        let corners = [(self.min, other.min), (self.min, other.max), (self.max, other.min), (self.max, other.max)];
        let products: Vec<i64> = corners.into_iter().map(|(a, b)| a.checked_mul(b)).collect::<Option<_>>()?;
        let (min, max) = (products.iter().min()?, products.iter().max()?);
        Some(Grid { exponent: self.exponent.checked_add(other.exponent)?, min: *min, max: *max })
    }

    fn join(self, other: Self) -> Option<Self> {
        let (a, b) = self.aligned(other)?;
        Some(Grid { exponent: a.exponent, min: a.min.min(b.min), max: a.max.max(b.max) })
    }
}

/// The properties that all numbers of a value are known to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The most significant bits that any of the numbers has.
    pub significant_bits: u32,
    /// The grid on which all of the numbers lie; `None` when none is known.
    pub grid: Option<Grid>,
}

impl Content {
    /// Any f32 number.
    pub const F32: Content = Content { significant_bits: 24, grid: None };
    /// Any bf16 number.
    pub const BF16: Content = Content { significant_bits: 8, grid: None };
    /// Any bfp8 number.
    pub const BFP8: Content = Content { significant_bits: 7, grid: None };
    /// A row quantised to int8, as far as it is clamped.
    pub const INT8: Content = Content::whole(-128, 127);
    /// A ternary weight.
    pub const TERNARY: Content = Content::whole(-1, 1);

    /// Any integer from `min` to `max`.
    pub const fn whole(min: i64, max: i64) -> Content {
        let grid = Grid { exponent: 0, min, max };
        Content { significant_bits: grid.significant_bits(), grid: Some(grid) }
    }

    /// Any number of a grid, or any f32 number when there is no grid.
    fn on(grid: Option<Grid>) -> Content {
        grid.map_or(Content::F32, |grid| Content { significant_bits: grid.significant_bits(), grid: Some(grid) })
    }

    /// The content after the numbers are rounded to `dtype`; integer types round nothing.
    pub fn stored(self, dtype: DType) -> Content {
        let Some(bits) = precision_of(dtype) else { return self };
        let grid = self.grid.filter(|grid| EXPONENTS.contains(&grid.exponent)).and_then(|grid| grid.rounded(bits));
        Content { significant_bits: self.significant_bits.min(bits), grid }
    }

    /// Whether `dtype` stores every such number without rounding it. In a block format the numbers of a block share the exponent of the
    /// largest, so there the range decides and not the bits of each number.
    pub fn fits(self, dtype: DType) -> bool {
        let Some(bits) = precision_of(dtype) else { return false };
        match (dtype, self.grid) {
            (DType::Bfp8 | DType::Bfp4 | DType::Bfp2, Some(grid)) => grid.magnitude() < 1 << bits,
            (DType::Bfp8 | DType::Bfp4 | DType::Bfp2, None) => false,
            (DType::F32 | DType::Bf16 | DType::U32 | DType::I32 | DType::U16, _) => self.significant_bits <= bits,
        }
    }

    /// The properties that the numbers of both contents have.
    pub(super) fn join(self, other: Self) -> Self {
        Content {
            significant_bits: self.significant_bits.max(other.significant_bits),
            grid: self.grid.zip(other.grid).and_then(|(a, b)| a.join(b)),
        }
    }

    /// The content after multiplying every number by a constant. A power of two moves the grid; after any other factor nothing is known.
    pub(super) fn scaled(self, scale: &Scalar) -> Self {
        let exponent = scale.value.log2();
        let exact = scale.factors.is_empty() && exponent.fract() == 0.0 && exponent.abs() < 64.0;
        if !exact {
            return Content::F32;
        }
        let moved = |g: Grid| Some(Grid { exponent: g.exponent.checked_add(exponent as i32)?, ..g });
        Content { significant_bits: self.significant_bits, grid: self.grid.and_then(moved) }
    }

    pub(super) fn unary(self, unary: Activation) -> Self {
        let relu = |c: Content| Content {
            significant_bits: c.significant_bits,
            grid: c.grid.map(|g| Grid { min: g.min.max(0), max: g.max.max(0), ..g }),
        };
        // `Grid::times` does not know that both factors are the same number and would allow negative squares.
        let square = |c: Content| {
            let magnitude = |g: Grid| Grid { min: 0, max: i64::try_from(g.magnitude()).unwrap_or(i64::MAX), ..g };
            Content::on(c.grid.map(magnitude).and_then(|g| g.times(g)))
        };
        match unary {
            Activation::Relu => relu(self),
            Activation::Square => square(self),
            Activation::Relu2 => square(relu(self)),
            Activation::Silu => Content::F32,
        }
    }

    /// The content of one side of a product, after the scale and the functions that the product applies to that side.
    pub(super) fn as_mul_input(self, input: &MulInput) -> Self {
        input.unary.iter().fold(self.scaled(&input.scale), |content, unary| content.unary(*unary))
    }

    pub(super) fn times(self, other: Self) -> Self {
        Content::on(self.grid.zip(other.grid).and_then(|(a, b)| a.times(b)))
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Content::on(self.grid.zip(other.grid).and_then(|(a, b)| a.plus(b)))
    }

    /// The content of a sum of `terms` such numbers.
    pub(super) fn summed(self, terms: usize) -> Self {
        let count = i64::try_from(terms).ok().map(|terms| Grid { exponent: 0, min: terms, max: terms });
        Content::on(self.grid.zip(count).and_then(|(grid, terms)| grid.times(terms)))
    }
}

/// The significant bits a number of a data type has at most; `None` for integer types, which round nothing.
const fn precision_of(dtype: DType) -> Option<u32> {
    match dtype {
        DType::F32 => Some(24),
        DType::Bf16 => Some(8),
        DType::Bfp8 => Some(7),
        DType::Bfp4 => Some(3),
        DType::Bfp2 => Some(1),
        DType::U32 | DType::I32 | DType::U16 => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(content: Content) -> Option<(i32, i64, i64)> {
        content.grid.map(|g| (g.exponent, g.min, g.max))
    }

    #[test]
    fn bits_of_a_range_are_those_of_its_numbers() {
        for (content, bits) in [
            (Content::whole(0, 0), 0),
            (Content::TERNARY, 1),
            (Content::whole(0, 2), 1),
            (Content::whole(-127, 127), 7),
            (Content::INT8, 7),
            (Content::whole(0, 129), 8),
        ] {
            assert_eq!(content.significant_bits, bits, "{content:?}");
        }
    }

    #[test]
    fn a_block_with_128_takes_the_last_bit_of_the_others() {
        assert!(!Content::INT8.fits(DType::Bfp8) && Content::whole(-127, 127).fits(DType::Bfp8));
        assert_eq!(grid(Content::INT8.stored(DType::Bfp8)), Some((0, -128, 128)));
        assert_eq!(grid(Content::INT8.stored(DType::Bf16)), Some((0, -128, 127)));
        assert_eq!(grid(Content::whole(-300, 301).stored(DType::Bf16)), Some((0, -300, 302)));
        assert_eq!(Content::whole(-300, 301).stored(DType::Bf16).significant_bits, 8);
    }

    #[test]
    fn elementwise_rules_bound_what_they_make() {
        let relu2 = Content::INT8.unary(Activation::Relu2);
        assert_eq!(grid(relu2), Some((0, 0, 127 * 127)));
        assert_eq!(grid(Content::INT8.unary(Activation::Square)), Some((0, 0, 128 * 128)));
        assert_eq!(grid(relu2.times(Content::whole(-3, 2))), Some((0, -3 * 127 * 127, 2 * 127 * 127)));
        let half = Content::INT8.scaled(&Scalar::number(0.5));
        assert_eq!(grid(half), Some((-1, -128, 127)));
        assert_eq!(grid(half.plus(Content::TERNARY)), Some((-1, -130, 129)));
        assert_eq!(Content::INT8.scaled(&Scalar::number(0.3)).grid, None);
        assert_eq!(Content::INT8.unary(Activation::Silu).grid, None);
        assert_eq!(Content::whole(0, i64::MAX).times(Content::whole(0, 2)).grid, None, "no range, no wrong one");
    }
}
