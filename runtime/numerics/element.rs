//! The elements that elementwise routines read and write: bf16 or f32, computed with in f32.

use half::bf16;

use crate::rounding::{bf16_host, widen};

/// An element of a row-major buffer.
pub trait Element: Copy + Send + Sync {
    /// Its exact f32 value.
    fn get(self) -> f32;
    /// The nearest element to an f32 value (ties to even).
    fn put(value: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    fn get(self) -> f32 {
        self
    }

    #[inline(always)]
    fn put(value: f32) -> Self {
        value
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn get(self) -> f32 {
        widen(self)
    }

    #[inline(always)]
    fn put(value: f32) -> Self {
        bf16_host(value)
    }
}
