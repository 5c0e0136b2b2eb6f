//! A sound plan is changed at random in many ways. `verify` must notice every change that does harm, and must never panic.
//!
//! Two kinds of changes to plans of real models: mistakes a compiler or an editor could make (a freed value used, a shard moved, a data type
//! changed, a step dropped, two dependent steps swapped, an address or a size changed), each of which must be caught; and any change at all
//! to the plan's tree, which must be answered.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap fails the test")]

mod draw;
mod function;
mod phases;
mod spot;
mod steps;
mod tensors;
mod tree;

use bitnetc_plan::verify;

use spot::plans;

#[test]
fn the_plans_are_sound_before() {
    for plan in plans() {
        if let Err(defects) = verify(plan) {
            panic!("{defects:#?}");
        }
    }
}
