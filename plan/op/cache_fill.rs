//! The rows of a chunk of a prompt into a KV cache, in prefill.

use super::declare::op;
use crate::Ref;

op! {
    /// `ttnn.experimental.paged_fill_cache` with `batch_idx=0`: writes the rows of one chunk, in place. Whose they are, and where in the
    /// context they start, shows in the page table, which is a tensor: so the call is the same for every user and offset.
    CacheFill = "experimental.paged_fill_cache" -> 0 {
        /// Key or value cache.
        cache: Ref [writes Cache],
        /// `[1,Hkv,S,D]` in the cache's data type.
        input: Ref [reads PromptRows],
        /// `[1, blocks]` i32: the blocks that the rows go to, in order. Rows of a block -1 are not written.
        pages: Ref [reads ChunkPages],
    }
}
