//! Plain loops, compiled for each instruction set.
//!
//! A loop over slices is left to the compiler to vectorise, which it does for the instruction set of the function it stands in. Rust
//! never contracts a product and a sum or reorders floats, so every version gives the same bits.

/// A loop with all it works on.
pub(crate) trait Loop {
    /// Its result.
    type Output;

    /// Runs it. To be `#[inline(always)]`, as is all it calls, or it stays at the baseline.
    fn run(self) -> Self::Output;
}

/// Bytes between what a kernel that streams weights reads and what it asks for: about what memory delivers within its latency.
const AHEAD: usize = 12 << 10;

/// Asks for what lies [`AHEAD`] bytes after `here`, where a stream of weights goes on. Without it processors stop at the end of each
/// page, and memory delivers half of what it can. An address that does not exist does nothing.
#[inline(always)]
pub(crate) fn prefetch<T>(here: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(here).wrapping_byte_add(AHEAD).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = here;
}

/// Runs `work`, compiled for the best instruction set of this machine.
#[inline]
pub(crate) fn vectorised<L: Loop>(work: L) -> L::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            // SAFETY: the machine has the features that `avx512` is compiled for: they were detected above.
            return unsafe { avx512(work) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has AVX2, which `avx2` is compiled for: it was detected above.
            return unsafe { avx2(work) };
        }
    }
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512<L: Loop>(work: L) -> L::Output {
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<L: Loop>(work: L) -> L::Output {
    work.run()
}
