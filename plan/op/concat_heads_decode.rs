//! Heads set side by side as columns, in decode.

use super::declare::op;
use crate::{Cores, Ref};

op! {
    /// `ttnn.experimental.nlp_concat_heads_decode`: `[1,B,H,D]` -> `[1,1,32,H*D]`, width-sharded over `cores`, one head per core.
    ConcatHeadsDecode = "experimental.nlp_concat_heads_decode" -> 1 {
        /// One user per core.
        input: Ref [reads Tensor],
        /// Query heads.
        heads: u32,
        /// `sub_core_grids`.
        cores: Cores,
    }
}
