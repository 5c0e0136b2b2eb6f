//! The ops on the host, one file each, named as the variants of [`Op`].
//!
//! Each file has an `execute` that says which operands the op reads and what becomes of its result; [`Run`] knows how results get their
//! storage and their slots. What several ops share is beside this folder.

mod abs;
mod add_integers;
mod add_rows;
mod arg_max;
mod best_column;
pub mod binary;
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

use bitnetc_plan::{Op, for_each_op};

use super::run::Run;
use crate::DeviceError;

/// Makes of the list of ops the match that has each op executed by the file of its name.
macro_rules! execute_each {
    ($($(#[$doc:meta])* $variant:ident($args:ident) in $file:ident;)*) => {
        /// Executes the step of `run`.
        pub fn execute(run: &mut Run<'_>) -> Result<(), DeviceError> {
            match &run.step.op {
                $(Op::$variant(args) => $file::execute(args, run),)*
            }
        }
    };
}

for_each_op!(execute_each);
