//! Seeds the random numbers of cores.

use super::declare::op;
use crate::Ref;

op! {
    /// `ttnn.manual_seed`: core number `generators[i]` of the grid starts its random numbers anew from `seeds[i]`, unless
    /// that is [`crate::LEAVE`].
    ManualSeed = "manual_seed" -> 0 {
        /// `[B]` u32.
        seeds: Ref [reads Seeds],
        /// `[B]` u32: the core of each user, which is the user's number.
        generators: Ref [reads Generators],
    }
}
