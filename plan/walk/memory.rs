//! Memory during a walk: the L1 allocator with the names of what lies in it, and the bytes of DRAM that values take.

use super::Resident;
use crate::l1::{Allocator, OutOfMemory, buffer_bytes, dram_bytes_per_bank};
use crate::{Card, Footprint, Memory, TensorSpec};

/// The memory of a card at one moment of a phase.
pub(super) struct CardMemory<'a> {
    card: &'a Card,
    allocator: Allocator,
    residents: Vec<Resident>,
    /// Bytes of one DRAM bank that values take.
    dram: u64,
}

impl<'a> CardMemory<'a> {
    pub fn new(card: &'a Card) -> Self {
        CardMemory { card, allocator: Allocator::new(card), residents: Vec::new(), dram: 0 }
    }

    /// Memory for a value; its address when that is L1.
    ///
    /// # Errors
    /// L1 is full.
    pub fn make(&mut self, name: &str, spec: &TensorSpec) -> Result<Option<u64>, OutOfMemory> {
        match spec.memory.memory() {
            Memory::L1 => self.allocate(name, spec).map(Some),
            Memory::Dram => {
                self.dram = self.dram.saturating_add(dram_bytes_per_bank(spec, self.card));
                Ok(None)
            }
        }
    }

    /// L1 for a tensor.
    ///
    /// # Errors
    /// L1 is full.
    pub fn allocate(&mut self, name: &str, spec: &TensorSpec) -> Result<u64, OutOfMemory> {
        let address = self.allocator.allocate(spec)?;
        self.residents.push(Resident { name: name.to_owned(), address, bytes: buffer_bytes(spec, self.card) });
        Ok(address)
    }

    /// Gives back what [`CardMemory::make`] gave.
    pub fn drop(&mut self, spec: &TensorSpec, address: Option<u64>) {
        match (spec.memory.memory(), address) {
            (Memory::L1, Some(address)) => self.release(address),
            // It found no room.
            (Memory::L1, None) => {}
            (Memory::Dram, _) => self.dram = self.dram.saturating_sub(dram_bytes_per_bank(spec, self.card)),
        }
    }

    /// Gives back L1.
    pub fn release(&mut self, address: u64) {
        self.allocator.free(address);
        self.residents.retain(|r| r.address != address);
    }

    /// The tensor called `from` is called `to` from here on.
    pub fn rename(&mut self, from: &str, to: &str) {
        for resident in self.residents.iter_mut().filter(|r| r.name == from) {
            resident.name = to.to_owned();
        }
    }

    /// The tensors in L1, lowest address first.
    pub fn live(&self) -> Vec<Resident> {
        let mut live = self.residents.clone();
        live.sort_by_key(|r| r.address);
        live
    }

    /// Bytes of one DRAM bank that values take.
    pub const fn dram(&self) -> u64 {
        self.dram
    }

    /// L1 taken by a program with circular buffers of this size.
    pub fn footprint(&self, circular_buffers: u64) -> Footprint {
        let end = self.card.l1.end;
        let lowest = self.allocator.lowest().unwrap_or(end);
        Footprint { circular_buffers, tensors: end.saturating_sub(lowest) }
    }
}
