//! One row of each user into both KV caches, in decode.

use super::declare::op;
use crate::Ref;

op! {
    /// `ttnn.experimental.paged_fused_update_cache`: writes one row per user into both caches, in place.
    CacheUpdate = "experimental.paged_fused_update_cache" -> 0 {
        /// Key cache `[blocks, Hkv, block, D]`.
        k_cache: Ref [writes KeyCache],
        /// Keys, one user per core.
        k: Ref [reads TokenRows],
        /// Value cache.
        v_cache: Ref [writes ValueCache],
        /// Values, on cores disjoint from those of `k`.
        v: Ref [reads TokenRows],
        /// `[B]` i32: the row of each user.
        positions: Ref [reads Positions],
        /// `[B, blocks per user]` i32.
        page_table: Ref [reads PageTable],
    }
}
