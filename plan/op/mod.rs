//! The TT-NN calls a plan may make, each with its full arguments.
//!
//! Each op is declared once, in a file of its name: the call's path, the arguments, the [`Role`] of each operand and what the call does to
//! it ([`Access`]). [`for_each_op!`](crate::for_each_op) lists the ops; [`Op`] is made of that list, one variant for one call. Whatever can
//! be said of all ops alike is derived from the declarations by the methods of [`Op`], so that a new op cannot be forgotten there. What an
//! op accepts and returns is in [`crate::ttnn`]; nothing here is checked.

mod argument;
mod declare;
mod role;

mod abs;
mod add_integers;
mod add_rows;
mod arg_max;
mod best_column;
mod binary;
mod cache_fill;
mod cache_update;
mod cache_update_one;
mod concat;
mod concat_heads;
mod concat_heads_decode;
mod copy_into;
mod create_heads;
mod create_heads_decode;
mod deallocate;
mod embedding;
mod gather_rows;
mod manual_seed;
mod matmul;
mod plus_one;
mod quantize_rows;
mod reshape;
mod rms_norm;
mod rotary;
mod rotary_decode;
mod rotary_fused;
mod row_max;
mod sampling;
mod sdpa;
mod sdpa_decode;
mod slice;
mod slice_at;
mod ternary_gated;
mod ternary_linear;
mod times_integer;
mod to_layout;
mod to_memory_config;
mod top_k;
mod transpose;
mod typecast;
mod view;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ComputeKernel, Scalar, Unary};
pub use argument::{Argument, Slot, Visit};
pub use binary::{BinaryKind, Destination};
use declare::Declaration;
pub use role::{Access, Role, Use};
pub use slice::Kept;

/// A tensor by the name that a plan gives it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
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

/// Hands the list of ops to the macro `$then`: of each op its documentation, its variant of [`Op`], the struct of its arguments, and the
/// name of the file that is about it in every crate. A crate that has something to say of every op makes its match from this list,
/// and then does not compile until a new op has its file there.
#[macro_export]
macro_rules! for_each_op {
    ($then:ident) => {
        $then! {
            /// Rows of a table.
            Embedding(Embedding) in embedding;
            /// RMS norm.
            RmsNorm(RmsNorm) in rms_norm;
            /// Matrix product.
            Matmul(Matmul) in matmul;
            /// Matrix product by weights of two bits.
            TernaryLinear(TernaryLinear) in ternary_linear;
            /// Gate and up of an MLP by weights of two bits, and their product.
            TernaryGated(TernaryGated) in ternary_gated;
            /// Rows as integers.
            QuantizeRows(QuantizeRows) in quantize_rows;
            /// Sum with rows that are multiplied by a number each.
            AddRows(AddRows) in add_rows;
            /// Decode: fused projection to heads.
            CreateHeadsDecode(CreateHeadsDecode) in create_heads_decode;
            /// Prefill: fused projection to heads.
            CreateHeads(CreateHeads) in create_heads;
            /// Decode: rotary embedding of q and k at once.
            RotaryFused(RotaryFused) in rotary_fused;
            /// Decode: rotary embedding of q or of k.
            RotaryDecode(RotaryDecode) in rotary_decode;
            /// Prefill: rotary embedding.
            Rotary(Rotary) in rotary;
            /// Decode: one row per user into the KV cache.
            CacheUpdate(CacheUpdate) in cache_update;
            /// Decode: one row per user into one of the KV caches.
            CacheUpdateOne(CacheUpdateOne) in cache_update_one;
            /// Prefill: a chunk of a prompt into the KV cache.
            CacheFill(CacheFill) in cache_fill;
            /// Decode: attention over the paged KV cache.
            SdpaDecode(SdpaDecode) in sdpa_decode;
            /// Prefill: causal attention of a chunk over the paged KV cache.
            Sdpa(Sdpa) in sdpa;
            /// Decode: heads to rows.
            ConcatHeadsDecode(ConcatHeadsDecode) in concat_heads_decode;
            /// Prefill: heads to rows.
            ConcatHeads(ConcatHeads) in concat_heads;
            /// Another placement.
            ToMemoryConfig(ToMemoryConfig) in to_memory_config;
            /// Another layout.
            ToLayout(ToLayout) in to_layout;
            /// Another data type.
            Typecast(Typecast) in typecast;
            /// Another shape of the same bytes.
            View(View) in view;
            /// Two dimensions exchanged.
            Transpose(Transpose) in transpose;
            /// Some rows or columns.
            Slice(Slice) in slice;
            /// Some rows, from where a tensor says.
            SliceAt(SliceAt) in slice_at;
            /// Columns side by side.
            Concat(Concat) in concat;
            /// Sum or product.
            Binary(Binary) in binary;
            /// Absolute value.
            Abs(AbsOp) in abs;
            /// Largest element of each row.
            RowMax(RowMax) in row_max;
            /// Index of the largest element of each row.
            ArgMax(ArgMax) in arg_max;
            /// Largest elements of each row.
            TopK(TopK) in top_k;
            /// Seeds of random numbers.
            ManualSeed(ManualSeed) in manual_seed;
            /// Token drawn among the likeliest.
            Sampling(Sampling) in sampling;
            /// Index of the largest element of each row, as a tensor.
            BestColumn(BestColumn) in best_column;
            /// Rows of another length.
            Reshape(Reshape) in reshape;
            /// Rows of a value.
            GatherRows(GatherRows) in gather_rows;
            /// Sum of integers.
            AddIntegers(AddIntegers) in add_integers;
            /// Integers times a number.
            TimesInteger(TimesInteger) in times_integer;
            /// Into a buffer.
            CopyInto(CopyInto) in copy_into;
            /// Increment.
            PlusOne(PlusOne) in plus_one;
            /// End of a value.
            Deallocate(Deallocate) in deallocate;
        }
    };
}

macro_rules! define {
    ($($(#[$doc:meta])* $variant:ident($args:ident) in $file:ident;)*) => {
        $(pub use $file::$args;)*

        /// One TT-NN call.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
        pub enum Op {
            $($(#[$doc])* $variant($args),)*
        }

        impl Op {
            /// The name of every op, in the order of the variants.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($file)),*];

            /// The op's name, which the file about it has in every crate: `rms_norm`.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Op::$variant(_) => stringify!($file),)*
                }
            }

            fn declaration(&self) -> &dyn Declaration {
                match self {
                    $(Op::$variant(args) => args,)*
                }
            }

            fn declaration_mut(&mut self) -> &mut dyn Declaration {
                match self {
                    $(Op::$variant(args) => args,)*
                }
            }
        }

        $(impl From<$args> for Op {
            fn from(args: $args) -> Op {
                Op::$variant(args)
            }
        })*
    };
}

for_each_op!(define);

impl Op {
    /// The call's path below `ttnn`.
    pub fn call(&self) -> &'static str {
        self.declaration().call()
    }

    /// True of calls that run kernels of bitnetc's own.
    pub fn has_own_kernels(&self) -> bool {
        self.call() == "generic_op"
    }

    /// Shows every argument with its name, operands in the order in which [`crate::ttnn::check`] takes them.
    pub fn arguments<'a>(&'a self, visit: &mut Visit<'_, 'a>) {
        self.declaration().arguments(visit);
    }

    /// Every tensor the call is given, with its role and what becomes of it, in the order in which [`crate::ttnn::check`] takes them.
    pub fn uses(&self) -> Vec<Use<'_>> {
        let mut uses = Vec::new();
        self.each_use(&mut |found| uses.push(found));
        uses
    }

    /// Shows every one of [`Op::uses`].
    fn each_use<'a>(&'a self, visit: &mut dyn FnMut(Use<'a>)) {
        self.arguments(&mut |_, argument| {
            if let Argument::Operand(found) = argument {
                visit(found);
            }
        });
    }

    /// The tensors of [`Op::uses`].
    pub fn operands(&self) -> Vec<&Ref> {
        let mut operands = Vec::new();
        self.each_use(&mut |found| operands.push(found.tensor));
        operands
    }

    /// The operands of [`Op::operands`], to rename them.
    pub fn operands_mut(&mut self) -> Vec<&mut Ref> {
        let mut operands = Vec::new();
        self.declaration_mut().slots(&mut |slot| match slot {
            Slot::Operand(operand) => operands.push(operand),
            Slot::Scalar(_) => {}
        });
        operands
    }

    /// The first operand of a role.
    pub fn operand(&self, role: Role) -> Option<&Ref> {
        self.first(|found| found.role == role)
    }

    fn first(&self, wanted: impl Fn(&Use<'_>) -> bool) -> Option<&Ref> {
        let mut first = None;
        self.each_use(&mut |found| {
            if first.is_none() && wanted(&found) {
                first = Some(found.tensor);
            }
        });
        first
    }

    /// The operands whose contents the call replaces: caches, output tensors, the left operand of an in-place [`Binary`].
    pub fn written(&self) -> Vec<&Ref> {
        let mut written = Vec::new();
        self.each_use(&mut |found| {
            if found.access == Access::Write {
                written.push(found.tensor);
            }
        });
        written
    }

    /// The value that the call frees.
    pub fn freed(&self) -> Option<&Ref> {
        self.first(|found| found.access == Access::Free)
    }

    /// The value whose memory the call's result takes over.
    pub fn renamed(&self) -> Option<&Ref> {
        self.first(|found| found.access == Access::Rename)
    }

    /// True when the call runs on the device; false when it only frees or renames.
    pub fn launches(&self) -> bool {
        self.freed().is_none() && self.renamed().is_none()
    }

    /// Number of tensors the call returns; what it writes in place it does not return.
    pub fn results(&self) -> usize {
        if self.written().is_empty() { self.declaration().results() } else { 0 }
    }

    /// Every number that depends on weight scales.
    pub fn scalars(&self) -> Vec<&Scalar> {
        let mut scalars = Vec::new();
        self.arguments(&mut |_, argument| match argument {
            Argument::Scalar(scalar) => scalars.push(scalar),
            Argument::Functions(functions) => scalars.extend(functions.iter().filter_map(Unary::scalar)),
            Argument::Operand(_) | Argument::Compute(_) | Argument::Memory(_) | Argument::Cores(_) => {}
            Argument::MatmulProgram(_) | Argument::TernaryProgram(_) => {}
            Argument::NormProgram(_) | Argument::SdpaProgram(_) => {}
            Argument::Count(_)
            | Argument::Shape(_)
            | Argument::Dimensions(..)
            | Argument::Range(..)
            | Argument::Choice => {}
        });
        scalars
    }

    /// The numbers of [`Op::scalars`], to evaluate them.
    pub fn scalars_mut(&mut self) -> Vec<&mut Scalar> {
        let mut scalars = Vec::new();
        self.declaration_mut().slots(&mut |slot| match slot {
            Slot::Scalar(scalar) => scalars.push(scalar),
            Slot::Operand(_) => {}
        });
        scalars
    }

    /// Fidelity and accumulation, of a call that has the choice.
    pub fn compute(&self) -> Option<ComputeKernel> {
        let mut found = None;
        self.arguments(&mut |_, argument| {
            if let Argument::Compute(compute) = argument {
                found = Some(compute);
            }
        });
        found
    }
}

#[cfg(test)]
mod tests;
