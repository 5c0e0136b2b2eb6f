//! The passes of the compiler, in the order in which they run.
//!
//! | pass | decides | leaves true |
//! |---|---|---|
//! | [`fuse()`] | one QKV projection, functions fused into operands | the same function |
//! | [`activations()`] | whether inputs of ternary projections are rounded to int8, by steps of their own | the same function, or the one without that rounding |
//! | [`scales()`] | weight scales folded into constants, or multiplied where they arise | the same function |
//! | [`precision()`] | data type, fidelity, accumulation of each product | whatever is below what was asked is proved to keep the bits, or the products, of it |
//! | [`pad`] | zeros that make widths whole tiles | the same function |
//! | [`select()`] | the TT-NN calls of each operation | every call has a rule |
//! | [`place`] | layout, memory config, shards, program config | every step is legal, the whole the cheapest |
//! | [`lifetime`] | deallocations; addresses and footprints by [`bitnetc_plan::walk`] | freed once, after the last use |
//! | [`trace`] | what is captured, what the host may write | no host write inside the captured region |
//!
//! Fusing comes first because it looks for projections next to the head split. Scales come after activations because they are followed
//! through explicit quantisations.

pub mod activations;
mod apply_scales;
pub mod fold_scales;
pub mod fuse;
mod lifetime;
pub mod pad;
mod place;
pub mod precision;
#[cfg(test)]
mod proofs;
pub mod select;
mod trace;
pub mod values;

pub use fold_scales::Fold;
pub use fuse::fuse;
pub use lifetime::lifetime;
pub use place::{Forced, NoWay, PlaceError, Placed, Record, Reserve, WhatIf, least, place};
pub use precision::precision;
pub use select::{SelectError, Setting, select};
pub use trace::trace;

use crate::graph::{Graph, Role, TypeError};
use crate::policy::Policy;

/// Turns the rounding of activations to int8 into nodes of its own where the policy asks for it, and leaves it out otherwise.
///
/// # Errors
/// A [`TypeError`] means that the graph was broken before the pass.
pub fn activations(graph: &mut Graph, policy: Policy) -> Result<(), TypeError> {
    if policy.int8_activations() {
        activations::explicit(graph)?;
        if graph.phase.rows() <= activations::MOST_ROWS_OF_F32_PRODUCTS {
            activations::dequantise_products(graph)?;
        }
        return Ok(());
    }
    activations::drop_quantisation(graph);
    Ok(())
}

/// Folds the weight scales and returns where each one went. Without `folding` each scale is multiplied where it arises.
///
/// # Errors
/// A [`TypeError`] means that the graph was broken before the pass.
pub fn scales(graph: &mut Graph, folding: bool) -> Result<Vec<Fold>, TypeError> {
    if folding {
        let folds = fold_scales::fold_scales(graph);
        // Of an LM head whose input no norm makes, the scale is multiplied into that input.
        let heads = graph.nodes().filter(|&node| graph.node(node).role == Role::LmHead);
        heads.collect::<Vec<_>>().into_iter().try_for_each(|head| apply_scales::lm_head(graph, head))?;
        return Ok(folds);
    }
    apply_scales::apply_scales(graph)?;
    Ok(Vec::new())
}

/// Runs all passes that rewrite the graph and returns the scales that were folded.
///
/// # Errors
/// A [`TypeError`] means that the graph was broken before the pass.
pub fn prepare(graph: &mut Graph, policy: Policy, folding: bool) -> Result<Vec<Fold>, TypeError> {
    fuse(graph)?;
    activations(graph, policy)?;
    scales(graph, folding)
}
