//! The allocator model: the exact address TT-NN gives every tensor, in L1 and in DRAM.
//!
//! TT-NN runs one allocator for the L1 of all worker cores together and one for all DRAM banks (lock-step): a buffer takes the same range
//! of addresses in every bank, whether the bank holds a part of it or not. One list of free ranges therefore describes a whole memory:
//!
//! | | L1 | DRAM |
//! |---|---|---|
//! | the range | `[card.l1.base, card.l1.end)`; circular buffers grow upwards from its base, outside of the allocator's knowledge | `bank_bytes` from `card.dram.base` |
//! | a buffer lies | at the top of the highest free range that holds it | at the bottom of the lowest free range that holds it |
//!
//! - A buffer takes [`bytes_per_bank`] of each bank, rounded up to the alignment of DRAM.
//! - The first range that holds it is taken (`FreeListOpt` with `SearchPolicy::FIRST`: the size classes of its free list only speed up that
//!   search), so a buffer can be refused although there are enough free bytes in several ranges.
//! - A freed range joins its free neighbours.
//!
//! The circular buffers of a call's program have to end below [`Allocator::lowest`] of L1 while it runs. In DRAM, the commands of captured
//! traces and the kernels of programs are laid from the top downwards: tensors have to end below them.
//!
//! Sources: `tt_metal/impl/allocator/{l1_banking_allocator,bank_manager}.cpp`, `algorithms/free_list_opt.cpp`; the tests replay sequences
//! whose addresses were read from [TT-NN](crate::release) on mock cards.

mod bytes;

pub use bytes::bytes_per_bank;

use crate::{Card, Memory, TensorSpec, units};
use thiserror::Error;

/// No free range holds the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "Out of Memory: {} of each bank asked, {} free, the largest free range has {}",
    units::bytes(*asked), units::bytes(*free), units::bytes(*largest)
)]
pub struct OutOfMemory {
    /// Bytes of each bank asked for.
    pub asked: u64,
    /// Bytes of each bank free in all ranges together.
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

/// One memory of a card at one moment. Cloning copies a few dozen words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocator {
    memory: Memory,
    /// Bytes that the size of a buffer is rounded up to a multiple of.
    alignment: u64,
    /// Bytes that the size of a page is rounded up to a multiple of.
    page_alignment: u64,
    /// Worker cores or DRAM banks, over which interleaved pages are dealt.
    banks: u64,
    /// Free ranges, ascending, never adjacent.
    free: Vec<Range>,
    /// Allocated ranges, ascending.
    used: Vec<Range>,
}

impl Allocator {
    /// A memory of `card`, empty.
    pub fn new(memory: Memory, card: &Card) -> Self {
        let (banks, page_alignment) = bytes::banks(memory, card);
        let whole = match memory {
            Memory::L1 => Range { start: card.l1.base, end: card.l1.end },
            Memory::Dram => Range { start: card.dram.base, end: card.dram.base.saturating_add(card.dram.bank_bytes) },
        };
        let alignment = card.dram.alignment;
        Allocator { memory, alignment, page_alignment, banks, free: vec![whole], used: Vec::new() }
    }

    /// Allocates `spec`, which is in this memory, and returns its address.
    ///
    /// # Errors
    /// [`OutOfMemory`] when no free range is large enough; nothing has changed then.
    pub fn allocate(&mut self, spec: &TensorSpec) -> Result<u64, OutOfMemory> {
        debug_assert_eq!(spec.memory.memory(), self.memory);
        self.allocate_bytes(bytes::per_bank(spec, self.banks, self.page_alignment))
    }

    /// Allocates `bytes` of each bank and returns their address.
    ///
    /// # Errors
    /// As [`Allocator::allocate`].
    pub fn allocate_bytes(&mut self, bytes: u64) -> Result<u64, OutOfMemory> {
        let asked = bytes.max(1).checked_next_multiple_of(self.alignment).unwrap_or(u64::MAX);
        let holds = |r: &Range| r.end - r.start >= asked;
        let found = match self.memory {
            Memory::L1 => self.free.iter().rposition(holds),
            Memory::Dram => self.free.iter().position(holds),
        };
        let Some(found) = found else {
            return Err(OutOfMemory { asked, free: self.free_bytes(), largest: self.largest_free() });
        };
        let whole = self.free[found];
        let start = match self.memory {
            Memory::L1 => whole.end - asked,
            Memory::Dram => whole.start,
        };
        let taken = Range { start, end: start + asked };
        let rest = Range {
            start: if whole.start == start { taken.end } else { whole.start },
            end: if whole.start == start { whole.end } else { start },
        };
        if rest.start == rest.end {
            self.free.remove(found);
        } else {
            self.free[found] = rest;
        }
        let at = self.used.partition_point(|r| r.start < start);
        self.used.insert(at, taken);
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

    /// The lowest address in use: in L1, what circular buffers may grow up to. `None` when nothing is allocated.
    pub fn lowest(&self) -> Option<u64> {
        self.used.first().map(|r| r.start)
    }

    /// The address after the highest in use. `None` when nothing is allocated.
    pub fn highest(&self) -> Option<u64> {
        self.used.last().map(|r| r.end)
    }

    /// Bytes of each bank that are free, in all ranges together.
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
