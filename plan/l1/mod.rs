//! The L1 allocator model: the exact address TT-NN gives every L1 tensor.
//!
//! TT-NN runs one allocator for the L1 of all worker cores together (lock-step): a buffer takes the same range of addresses on every core,
//! whether the core holds a part of it or not. One list of free ranges therefore describes the whole card:
//! - the range is `[card.l1.base, card.l1.end)`; circular buffers grow upwards from its base, outside of the allocator's knowledge;
//! - a buffer takes [`buffer_bytes`] on each core, rounded up to the alignment of DRAM;
//! - it is put at the top of the highest free range that holds it (`FreeListOpt` with `SearchPolicy::FIRST`, top-down: the size classes of
//!   its free list only speed up that search);
//! - a freed range joins its free neighbours.
//!
//! The circular buffers of a call's program have to end below [`Allocator::lowest`] while it runs.
//!
//! Sources: `tt_metal/impl/allocator/{l1_banking_allocator,bank_manager}.cpp`, `algorithms/free_list_opt.cpp`; the tests replay sequences
//! whose addresses were read from [TT-NN](crate::release) on mock cards.

mod bytes;

pub use bytes::{buffer_bytes, dram_bytes_per_bank};

use crate::{Card, TensorSpec};
use thiserror::Error;

/// No free range holds the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("Out of Memory: {asked} B per core asked, {free} B free, the largest free range has {largest} B")]
pub struct OutOfMemory {
    /// Bytes per core asked for.
    pub asked: u64,
    /// Bytes per core free in all ranges together.
    pub free: u64,
    /// Bytes of the largest free range.
    pub largest: u64,
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    start: u64,
    end: u64,
}

/// The L1 of one card at one moment. Cloning copies a few dozen words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocator {
    /// Bytes that the size of a buffer is rounded up to a multiple of.
    alignment: u64,
    /// Bytes that the size of a page is rounded up to a multiple of.
    page_alignment: u64,
    /// Worker cores, over which interleaved pages are dealt.
    banks: u64,
    /// Free ranges, ascending, never adjacent.
    free: Vec<Range>,
    /// Allocated ranges, ascending.
    used: Vec<Range>,
}

impl Allocator {
    /// The empty L1 of `card`.
    pub fn new(card: &Card) -> Self {
        Allocator {
            alignment: card.dram.alignment,
            page_alignment: card.l1.alignment,
            banks: u64::from(card.cores()),
            free: vec![Range { start: card.l1.base, end: card.l1.end }],
            used: Vec::new(),
        }
    }

    /// Allocates `spec`, which is in L1, and returns its address.
    ///
    /// # Errors
    /// [`OutOfMemory`] when no free range is large enough; nothing has changed then.
    pub fn allocate(&mut self, spec: &TensorSpec) -> Result<u64, OutOfMemory> {
        self.allocate_bytes(bytes::l1_bytes(spec, self.banks, self.page_alignment))
    }

    /// Allocates `bytes` on each core and returns their address.
    ///
    /// # Errors
    /// As [`Allocator::allocate`].
    pub fn allocate_bytes(&mut self, bytes: u64) -> Result<u64, OutOfMemory> {
        let asked = bytes.max(1).next_multiple_of(self.alignment);
        let Some(found) = self.free.iter().rposition(|r| r.end - r.start >= asked) else {
            return Err(OutOfMemory { asked, free: self.free_bytes(), largest: self.largest_free() });
        };
        let end = self.free[found].end;
        let start = end - asked;
        if start == self.free[found].start {
            self.free.remove(found);
        } else {
            self.free[found].end = start;
        }
        let at = self.used.partition_point(|r| r.start < start);
        self.used.insert(at, Range { start, end });
        Ok(start)
    }

    /// Frees the buffer at `address`; false when there is none (TT-NN then does nothing).
    pub fn free(&mut self, address: u64) -> bool {
        let Ok(found) = self.used.binary_search_by_key(&address, |r| r.start) else {
            return false;
        };
        let mut range = self.used.remove(found);
        let at = self.free.partition_point(|r| r.start < range.start);
        if self.free.get(at).is_some_and(|next| next.start == range.end) {
            range.end = self.free.remove(at).end;
        }
        match at.checked_sub(1).map(|i| &mut self.free[i]) {
            Some(previous) if previous.end == range.start => previous.end = range.end,
            _ => self.free.insert(at, range),
        }
        true
    }

    /// The lowest address in use: what circular buffers may grow up to. `None` when nothing is allocated.
    pub fn lowest(&self) -> Option<u64> {
        self.used.first().map(|r| r.start)
    }

    /// Bytes per core that are free, in all ranges together.
    pub fn free_bytes(&self) -> u64 {
        self.free.iter().map(|r| r.end - r.start).sum()
    }

    /// Bytes of the largest free range.
    pub fn largest_free(&self) -> u64 {
        self.free.iter().map(|r| r.end - r.start).max().unwrap_or(0)
    }

    /// Number of live buffers.
    pub fn live(&self) -> usize {
        self.used.len()
    }
}

#[cfg(test)]
mod tests;
