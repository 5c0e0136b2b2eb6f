//! The passes, in the order they run.
//!
//! | pass | decides | leaves true |
//! |---|---|---|
//! | [`prepare`]: fuse, activations, fold scales (or apply them) | one QKV projection, functions fused into operands, weight scales folded | the same function |
//! | [`precision()`] | data type, fidelity, accumulation of each product | whatever is below what was asked is proved to lose nothing |
//! | [`select()`] | the TT-NN calls of each operation | every call has a rule |
//! | [`place`] | layout, memory config, shards, program config | every step is legal, the whole the cheapest |
//! | [`lifetime`] | deallocations; addresses and footprints by [`bitnetc_plan::walk`] | freed once, after the last use |
//! | [`trace`] | what is captured, what the host may write | no host write inside the captured region |

pub mod activations;
mod apply_scales;
pub mod fold_scales;
pub mod fuse;
mod lifetime;
mod place;
pub mod precision;
#[cfg(test)]
mod proofs;
pub mod select;
mod trace;

pub use fold_scales::Fold;
pub use lifetime::lifetime;
pub use place::{Forced, PlaceError, Placed, Record, Reserve, WhatIf, least, place};
pub use precision::precision;
pub use select::{SelectError, Setting, select};
pub use trace::trace;

use crate::graph::{Graph, TypeError};
use crate::policy::Policy;

/// The passes that rewrite the graph; answers which scales were folded where, none without `folding`.
///
/// Fusing comes first because it looks for projections next to the head split; folding last because it follows scales through
/// explicit quantisations.
///
/// # Errors
/// A [`TypeError`] is a defect of the graph before.
pub fn prepare(graph: &mut Graph, policy: Policy, folding: bool) -> Result<Vec<Fold>, TypeError> {
    fuse::fuse(graph)?;
    if policy.int8_activations() {
        activations::explicit(graph)?;
    } else {
        activations::drop_quantisation(graph);
    }
    if folding {
        return Ok(fold_scales::fold_scales(graph));
    }
    apply_scales::apply_scales(graph)?;
    Ok(Vec::new())
}
