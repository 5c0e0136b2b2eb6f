//! The TT-NN calls a plan may make, each with its full arguments.
//!
//! One variant, one call. What each accepts and returns is in [`crate::ttnn`]; nothing here is checked.

mod arguments;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use arguments::*;

use crate::Scalar;
use crate::program::Unary;

/// What an operand names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Ref {
    /// An output of an earlier step of the phase.
    Value(String),
    /// A weight of the plan; inside the repeated layer, the one of that layer.
    Weight(String),
    /// A persistent buffer of the plan; inside the repeated layer, the one of that layer.
    Buffer(String),
}

impl Ref {
    /// The name without its kind.
    pub fn name(&self) -> &str {
        match self {
            Ref::Value(n) | Ref::Weight(n) | Ref::Buffer(n) => n,
        }
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A call's name, or where its arguments tell it.
macro_rules! call {
    ($args:ident, kind) => {
        $args.kind.call()
    };
    ($args:ident, $call:literal) => {
        $call
    };
}

macro_rules! ops {
    ($($(#[$doc:meta])* $variant:ident($args:ty) $call:tt [$($field:ident),*];)*) => {
        /// One TT-NN call.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub enum Op {
            $($(#[$doc])* $variant($args),)*
        }

        impl Op {
            /// The call's path below `ttnn`.
            pub const fn call(&self) -> &'static str {
                match self { $(Op::$variant(_args) => call!(_args, $call),)* }
            }

            /// Every tensor the call reads or writes in place, in the order [`crate::ttnn::check`] takes them.
            pub fn operands(&self) -> Vec<&Ref> {
                match self {
                    $(Op::$variant(_args) => {
                        #[allow(unused_mut)]
                        let mut refs = Vec::new();
                        $(Operand::push(&_args.$field, &mut refs);)*
                        refs
                    })*
                }
            }

            /// The operands of [`Op::operands`], to rename them.
            pub fn operands_mut(&mut self) -> Vec<&mut Ref> {
                match self {
                    $(Op::$variant(_args) => {
                        #[allow(unused_mut)]
                        let mut refs = Vec::new();
                        $(Operand::push_mut(&mut _args.$field, &mut refs);)*
                        refs
                    })*
                }
            }
        }

        $(impl From<$args> for Op {
            fn from(args: $args) -> Op { Op::$variant(args) }
        })*
    };
}

/// One operand or several of a kind.
trait Operand {
    fn push<'a>(&'a self, refs: &mut Vec<&'a Ref>);
    fn push_mut<'a>(&'a mut self, refs: &mut Vec<&'a mut Ref>);
}

impl Operand for Ref {
    fn push<'a>(&'a self, refs: &mut Vec<&'a Ref>) {
        refs.push(self);
    }

    fn push_mut<'a>(&'a mut self, refs: &mut Vec<&'a mut Ref>) {
        refs.push(self);
    }
}

impl Operand for Vec<Ref> {
    fn push<'a>(&'a self, refs: &mut Vec<&'a Ref>) {
        refs.extend(self);
    }

    fn push_mut<'a>(&'a mut self, refs: &mut Vec<&'a mut Ref>) {
        refs.extend(self);
    }
}

ops! {
    /// Rows of a table.
    Embedding(Embedding) "embedding" [indices, table];
    /// RMS norm.
    RmsNorm(RmsNorm) "rms_norm" [input, gamma];
    /// Matrix product.
    Matmul(Matmul) "linear" [a, b];
    /// Decode: fused projection to heads.
    CreateHeadsDecode(CreateHeadsDecode) "experimental.nlp_create_qkv_heads_decode" [input];
    /// Prefill: fused projection to heads.
    CreateHeads(CreateHeads) "experimental.nlp_create_qkv_heads" [input];
    /// Decode: rotary embedding of q and k at once.
    RotaryFused(RotaryFused) "experimental.rotary_embedding_llama_fused_qk" [q, k, cos, sin, trans];
    /// Decode: rotary embedding of q or of k.
    RotaryDecode(RotaryDecode) "experimental.rotary_embedding_llama" [input, cos, sin, trans];
    /// Prefill: rotary embedding.
    Rotary(Rotary) "experimental.rotary_embedding_llama" [input, cos, sin, trans];
    /// Decode: one row per user into the KV cache.
    CacheUpdate(CacheUpdate) "experimental.paged_fused_update_cache" [k_cache, k, v_cache, v, positions, page_table];
    /// Decode: one row per user into one of the KV caches.
    CacheUpdateOne(CacheUpdateOne) "experimental.paged_update_cache" [cache, input, positions, page_table];
    /// Prefill: a prompt into the KV cache.
    CacheFill(CacheFill) "experimental.paged_fill_cache" [cache, input, page_table];
    /// Decode: attention over the paged KV cache.
    SdpaDecode(SdpaDecode) "transformer.paged_scaled_dot_product_attention_decode" [q, k_cache, v_cache, positions, page_table];
    /// Prefill: causal attention.
    Sdpa(Sdpa) "transformer.scaled_dot_product_attention" [q, k, v];
    /// Decode: heads to rows.
    ConcatHeadsDecode(ConcatHeadsDecode) "experimental.nlp_concat_heads_decode" [input];
    /// Prefill: heads to rows.
    ConcatHeads(ConcatHeads) "experimental.nlp_concat_heads" [input];
    /// Another placement.
    ToMemoryConfig(ToMemoryConfig) "to_memory_config" [input];
    /// Another layout.
    ToLayout(ToLayout) "to_layout" [input];
    /// Another data type.
    Typecast(Typecast) "typecast" [input];
    /// Another shape of the same bytes.
    View(View) "reshape" [input];
    /// Two dimensions exchanged.
    Transpose(Transpose) "transpose" [input];
    /// Some rows.
    Slice(Slice) "slice" [input];
    /// Columns side by side.
    Concat(Concat) "concat" [inputs];
    /// Sum or product.
    Binary(Binary) kind [a, b];
    /// Absolute value.
    Abs(AbsOp) "abs" [input];
    /// Largest element of each row.
    RowMax(RowMax) "max" [input];
    /// Index of the largest element of each row.
    ArgMax(ArgMax) "argmax" [input, output];
    /// Increment.
    PlusOne(PlusOne) "plus_one" [buffer];
    /// End of a value.
    Deallocate(Deallocate) "deallocate" [input];
}

/// The scalars of a call, borrowed as the call is.
macro_rules! scalars {
    ($op:expr, $iter:ident) => {
        match $op {
            Op::RmsNorm(RmsNorm { epsilon: scalar, .. })
            | Op::SdpaDecode(SdpaDecode { scale: scalar, .. })
            | Op::Sdpa(Sdpa { scale: scalar, .. }) => vec![scalar],
            Op::Binary(Binary { a_activations, b_activations, activations, .. }) => {
                let unary = a_activations.$iter().chain(b_activations.$iter()).chain(activations.$iter());
                unary
                    .filter_map(|u| if let Unary::MulScalar(s) | Unary::MaxScalar(s) = u { Some(s) } else { None })
                    .collect()
            }
            Op::Embedding(_) | Op::Matmul(_) | Op::CreateHeadsDecode(_) | Op::CreateHeads(_) => Vec::new(),
            Op::RotaryFused(_) | Op::RotaryDecode(_) | Op::Rotary(_) => Vec::new(),
            Op::CacheUpdate(_) | Op::CacheUpdateOne(_) | Op::CacheFill(_) => Vec::new(),
            Op::ConcatHeadsDecode(_) | Op::ConcatHeads(_) | Op::ToMemoryConfig(_) | Op::ToLayout(_) => Vec::new(),
            Op::Typecast(_) | Op::View(_) | Op::Transpose(_) | Op::Slice(_) | Op::Concat(_) => Vec::new(),
            Op::Abs(_) | Op::RowMax(_) | Op::ArgMax(_) | Op::PlusOne(_) | Op::Deallocate(_) => Vec::new(),
        }
    };
}

impl Op {
    /// The operands whose contents the call replaces: caches, output tensors, the left operand of an in-place [`Binary`].
    pub fn written(&self) -> Vec<&Ref> {
        match self {
            Op::CacheUpdate(args) => vec![&args.k_cache, &args.v_cache],
            Op::CacheUpdateOne(args) => vec![&args.cache],
            Op::CacheFill(args) => vec![&args.cache],
            Op::Binary(Binary { a, into: Destination::InPlace, .. }) => vec![a],
            Op::ArgMax(args) => vec![&args.output],
            Op::PlusOne(args) => vec![&args.buffer],
            Op::Binary(Binary { into: Destination::New(_), .. }) | Op::Embedding(_) | Op::RmsNorm(_) => Vec::new(),
            Op::Matmul(_) | Op::CreateHeadsDecode(_) | Op::CreateHeads(_) | Op::RotaryFused(_) => Vec::new(),
            Op::RotaryDecode(_) | Op::Rotary(_) | Op::SdpaDecode(_) | Op::Sdpa(_) => Vec::new(),
            Op::ConcatHeadsDecode(_) | Op::ConcatHeads(_) | Op::ToMemoryConfig(_) | Op::ToLayout(_) => Vec::new(),
            Op::Typecast(_) | Op::View(_) | Op::Transpose(_) | Op::Slice(_) | Op::Concat(_) => Vec::new(),
            Op::Abs(_) | Op::RowMax(_) | Op::Deallocate(_) => Vec::new(),
        }
    }

    /// Every number that depends on weight scales.
    pub fn scalars(&self) -> Vec<&Scalar> {
        scalars!(self, iter)
    }

    /// The numbers of [`Op::scalars`], to evaluate them.
    pub fn scalars_mut(&mut self) -> Vec<&mut Scalar> {
        scalars!(self, iter_mut)
    }

    /// True when an argument of the call is known only when it is made (the user of a cache fill, the prompt's last token), so that no
    /// trace can hold it.
    pub fn is_host_dependent(&self) -> bool {
        matches!(self, Op::CacheFill(_) | Op::Slice(Slice { rows: Rows::LastTokenTile, .. }))
    }
}
