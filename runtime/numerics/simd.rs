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
            // SAFETY: the features are there.
            return unsafe { avx512(work) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature is there.
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
