//! Invariant `Address` of weights and buffers, and the room that they find.

use super::phases::address_text;
use crate::defect::Defects;
use crate::walk::Walks;
use crate::{Invariant, Place, Plan};

pub fn check(plan: &Plan, walks: &Walks, defects: &mut Defects) {
    defects.0.extend(walks.defects.iter().cloned());
    let weights = plan.weights.iter().map(|w| (Place::Weight(w.name.clone()), w.address)).zip(&walks.weights);
    let buffers = plan.buffers.iter().map(|b| (Place::Buffer(b.name.clone()), b.address)).zip(&walks.buffers);
    for ((place, address), found) in weights.chain(buffers) {
        if address != *found {
            defects.push(Invariant::Address, place, address_text(address, *found), "");
        }
    }
}
