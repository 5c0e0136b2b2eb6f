//! Releases of TT-NN, and what each of them fixes.
//!
//! TT-NN's behaviour changes from release to release: where circular buffers begin, how much of L1 and DRAM a card has left under it, which
//! calls there are, what a sum keeps between two blocks of a matmul. All of that is data of a [`TtnnRelease`]. The op rules
//! ([`crate::ttnn`]), the allocator ([`crate::allocator`]) and the numbers in their tests were read from the [latest](TtnnRelease::latest) of the
//! releases that are known here; comments call it "the release the figures were read from".
//!
//! A plan names the release it was made for ([`crate::Plan::release`]). Addresses and sizes in it are that release's, so nothing may execute
//! it under another one: [`crate::verify()`] refuses a plan of a release that is not known, and whoever starts TT-NN compares versions.
//!
//! A release is added by a file beside this one and a line in [`TtnnRelease::ALL`]. `bitnetc ttnn oracle --any-release` tells which rules
//! would have to change for it.

mod v0_81_1;

use std::fmt;

use crate::card::{Arch, L1};

/// The facts that a release of TT-NN fixes.
#[derive(Debug, PartialEq, Eq)]
pub struct TtnnRelease {
    /// The version of the wheel `ttnn`.
    pub version: &'static str,
    /// Versions of Python, major and minor, that it has wheels for.
    pub python: &'static [(u32, u32)],
    /// Memory of a Wormhole chip.
    pub wormhole: Chip,
    /// Memory of a Blackhole chip.
    pub blackhole: Chip,
    /// The precision that sums keep between two K-blocks of a matmul.
    pub spills: Spills,
    /// Most bytes that the kernels of one program take in DRAM.
    pub kernel_bytes: u64,
    /// Functions of TT-NN that the stand-in for a mock card's command queue (`cpp/queue.cpp`) replaces or calls, by their mangled names. With
    /// it a mock captures and replays traces; empty for a release that it was not made for.
    pub mock_queue: &'static [&'static str],
    /// Every call a plan may make, by its path below `ttnn`, in alphabetical order.
    pub calls: &'static [&'static str],
}

/// A chip's memory under a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chip {
    /// The part of a worker core's L1 that tensors and circular buffers share.
    pub l1: L1,
    /// First address of a DRAM bank that the allocator hands out.
    pub dram_base: u64,
    /// Bytes of a DRAM bank from there that it hands out, when no trace region is set apart.
    pub bank_bytes: u64,
    /// Alignment in bytes of pages in DRAM, and of whole buffers in L1.
    pub dram_alignment: u64,
    /// Most worker cores a DRAM-sharded matmul may read one bank with.
    pub readers_per_bank: u32,
    /// Bytes that a device program of decode takes of a trace, from above: its commands, of which there are more on a larger grid.
    pub decode_trace_bytes: u64,
    /// The same of prefill, whose tensors are mostly interleaved: such programs have fewer arguments for each core.
    pub prefill_trace_bytes: u64,
}

/// How matmuls with an fp32 destination keep their sums in L1 from one K-block to the next. With a bf16 destination sums are bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spills {
    /// Fp32 is loaded straight into the destination, unless a bias is fused in; otherwise it goes through TF32.
    pub reloads_fp32: bool,
    /// A DRAM-sharded matmul keeps fp32 as others do; otherwise its sums are bf16 whatever its destination.
    pub dram_sharded_keeps_fp32: bool,
}

/// A version that names none of [`TtnnRelease::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("TT-NN {0:?} is no release that bitnetc knows: there is {known}", known = TtnnRelease::known())]
pub struct UnknownRelease(pub String);

impl TtnnRelease {
    /// Every release that can be planned for, the latest first.
    pub const ALL: &'static [TtnnRelease] = &[v0_81_1::RELEASE];

    /// The release that is planned for unless another one is asked for.
    pub const fn latest() -> &'static TtnnRelease {
        &TtnnRelease::ALL[0]
    }

    /// The release of a version.
    ///
    /// # Errors
    /// [`UnknownRelease`] lists those there are.
    pub fn find(version: &str) -> Result<&'static TtnnRelease, UnknownRelease> {
        TtnnRelease::ALL.iter().find(|r| r.version == version).ok_or_else(|| UnknownRelease(version.to_owned()))
    }

    /// The versions there are, for messages.
    pub fn known() -> String {
        TtnnRelease::ALL.iter().map(|r| r.version).collect::<Vec<_>>().join(", ")
    }

    /// Memory of a chip.
    pub const fn chip(&self, arch: Arch) -> &Chip {
        match arch {
            Arch::Wormhole => &self.wormhole,
            Arch::Blackhole => &self.blackhole,
        }
    }

    /// Whether it has a call of this path below `ttnn`.
    pub fn has(&self, call: &str) -> bool {
        self.calls.binary_search(&call).is_ok()
    }

    /// The versions of Python it has wheels for, for messages: `3.10 or 3.12`.
    pub fn pythons(&self) -> String {
        self.python.iter().map(|(major, minor)| format!("{major}.{minor}")).collect::<Vec<_>>().join(" or ")
    }
}

impl fmt::Display for TtnnRelease {
    /// The version.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_found_by_its_version_only() {
        for release in TtnnRelease::ALL {
            assert_eq!(TtnnRelease::find(release.version), Ok(release));
        }
        let error = TtnnRelease::find("0.1").unwrap_err().to_string();
        assert!(error.contains("\"0.1\"") && error.contains(TtnnRelease::latest().version), "{error}");
    }

    #[test]
    fn lists_are_in_order_and_name_each_thing_once() {
        for release in TtnnRelease::ALL {
            assert!(release.calls.is_sorted_by(|a, b| a < b), "{release}");
        }
    }
}
