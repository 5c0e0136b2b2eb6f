//! The memory that every phase finds: weights and buffers, in the order in which a runtime places them.

use super::Context;
use super::memory::CardMemory;
use crate::allocator::{OutOfMemory, bytes_per_bank};
use crate::defect::{Defects, Invariant, Place};
use crate::units::bytes;
use crate::{Memory, TensorSpec};

/// Weights and buffers of all layers, placed.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    pub memory: CardMemory<'a>,
    /// The address of each weight.
    pub weights: Vec<Option<u64>>,
    /// The address of each buffer.
    pub buffers: Vec<Option<u64>>,
    pub defects: Defects,
}

impl<'a> Ground<'a> {
    /// Places weights, then buffers, each in the order of its list and for all layers at once. As nothing is freed between them, they follow
    /// one another without gaps.
    pub fn new(context: Context<'a>) -> Self {
        let memory = CardMemory::new(context.card);
        let mut ground = Ground { memory, weights: Vec::new(), buffers: Vec::new(), defects: Defects::default() };
        ground.check_sum(context);
        for weight in context.weights {
            let address = ground.place(context, &weight.name, &weight.spec, weight.per_layer);
            ground.weights.push(address.unwrap_or_else(|full| {
                let what = format!("no room for `{}`, {}: {full}", weight.name, weight.spec);
                let place = Place::Weight(weight.name.clone());
                ground.defects.push(Invariant::L1Capacity, place, what, "keep it in DRAM");
                None
            }));
        }
        for buffer in context.buffers {
            // A buffer in L1 breaks the invariant `Placement`, whether it finds room or not.
            let address = ground.place(context, &buffer.name, &buffer.spec, buffer.per_layer);
            ground.buffers.push(address.ok().flatten());
        }
        ground
    }

    fn place(
        &mut self,
        context: Context<'a>,
        name: &str,
        spec: &TensorSpec,
        per_layer: bool,
    ) -> Result<Option<u64>, OutOfMemory> {
        match spec.memory.memory() {
            Memory::L1 => self.memory.make(name, spec).map(Some),
            Memory::Dram => {
                let layers = if per_layer { u64::from(context.layers) } else { 1 };
                self.memory.make_all(bytes_per_bank(spec, context.card), layers).map(Some)
            }
        }
    }

    /// The bytes of DRAM that weights and buffers take are compared with those of a bank before anything is placed.
    fn check_sum(&mut self, context: Context<'a>) {
        let (weights, buffers) = (context.weights_in_dram(), context.buffers_in_dram());
        let (sum, card) = (weights.saturating_add(buffers), context.card);
        if sum > card.dram.bank_bytes {
            let what = format!(
                "weights take {} of every DRAM bank and buffers {}; {} has {}, {} too little",
                bytes(weights),
                bytes(buffers),
                card.name,
                bytes(card.dram.bank_bytes),
                bytes(sum - card.dram.bank_bytes)
            );
            self.defects.push(
                Invariant::DramCapacity,
                Place::Plan,
                what,
                "a smaller batch or context, or narrower weights",
            );
            self.memory.forget_the_end_of_dram();
        }
    }
}
