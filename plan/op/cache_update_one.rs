//! One row of each user into one of the KV caches, in decode.

use super::declare::op;
use crate::Ref;

op! {
    /// `ttnn.experimental.paged_update_cache`: writes one row per user into one cache, in place.
    CacheUpdateOne = "experimental.paged_update_cache" -> 0 {
        /// Key or value cache `[blocks, Hkv, block, D]`.
        cache: Ref [writes Cache],
        /// Keys or values, one user per core.
        input: Ref [reads TokenRows],
        /// `[B]` i32: the row of each user.
        positions: Ref [reads Positions],
        /// `[B, blocks per user]` i32.
        page_table: Ref [reads PageTable],
    }
}
