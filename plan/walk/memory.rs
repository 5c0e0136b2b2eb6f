//! Memory during a walk: the allocators of L1 and DRAM, and the names of what lies in L1.

use super::Resident;
use crate::allocator::{Allocator, OutOfMemory, bytes_per_bank};
use crate::{Card, Footprint, Memory, TensorSpec};

/// The memory of a card at one moment of a phase.
#[derive(Debug, Clone)]
pub(super) struct CardMemory<'a> {
    card: &'a Card,
    l1: Allocator,
    dram: Allocator,
    residents: Vec<Resident>,
}

impl<'a> CardMemory<'a> {
    /// The empty memory of `card`.
    pub fn new(card: &'a Card) -> Self {
        let (l1, dram) = (Allocator::new(Memory::L1, card), Allocator::new(Memory::Dram, card));
        CardMemory { card, l1, dram, residents: Vec::new() }
    }

    /// Takes all DRAM for unlimited from here on, so that what does not fit is told once.
    pub fn forget_the_end_of_dram(&mut self) {
        let mut endless = self.card.clone();
        endless.dram.bank_bytes = u64::MAX / 2;
        self.dram = Allocator::new(Memory::Dram, &endless);
    }

    /// Memory for a tensor; its address.
    ///
    /// # Errors
    /// Its memory is full, or what is free is in too small pieces.
    pub fn make(&mut self, name: &str, spec: &TensorSpec) -> Result<u64, OutOfMemory> {
        match spec.memory.memory() {
            Memory::L1 => {
                let address = self.l1.allocate(spec)?;
                self.residents.push(Resident {
                    name: name.to_owned(),
                    address,
                    bytes: bytes_per_bank(spec, self.card),
                });
                Ok(address)
            }
            Memory::Dram => self.dram.allocate(spec),
        }
    }

    /// DRAM for the same tensor of several layers, one after another; the address of the first.
    ///
    /// # Errors
    /// As [`CardMemory::make`].
    pub fn make_all(&mut self, bytes: u64, layers: u64) -> Result<u64, OutOfMemory> {
        self.dram.allocate_bytes(bytes.saturating_mul(layers))
    }

    /// Gives back what [`CardMemory::make`] gave.
    pub fn release(&mut self, spec: &TensorSpec, address: u64) {
        match spec.memory.memory() {
            Memory::L1 => {
                self.l1.free(address);
                self.residents.retain(|r| r.address != address);
            }
            Memory::Dram => {
                self.dram.free(address);
            }
        }
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

    /// The address after the last tensor in DRAM.
    pub fn dram_end(&self) -> u64 {
        self.dram.highest().unwrap_or(self.card.dram.base)
    }

    /// L1 taken by a program with circular buffers of this size.
    pub fn footprint(&self, circular_buffers: u64) -> Footprint {
        let end = self.card.l1.end;
        let lowest = self.l1.lowest().unwrap_or(end);
        Footprint { circular_buffers, tensors: end.saturating_sub(lowest) }
    }
}
