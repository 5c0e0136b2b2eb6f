//! The rows of one user's prompt into a KV cache, in prefill.

use super::declare::op;
use crate::Ref;

op! {
    /// `ttnn.experimental.paged_fill_cache`: writes the prompt's rows of one user, in place. The user is the call's own argument.
    CacheFill = "experimental.paged_fill_cache"(user) -> 0 {
        /// Key or value cache.
        cache: Ref [writes Cache],
        /// `[1,Hkv,S,D]` in the cache's data type.
        input: Ref [reads PromptRows],
        /// `[B, blocks per user]` i32.
        page_table: Ref [reads PageTable],
    }
}
