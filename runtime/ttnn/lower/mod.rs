//! Lowering: a plan's step as the one TT-NN call it stands for. Each op has its file, named as its variant of [`Op`].
//!
//! The same lowering is executed through the shim ([`crate::replay()`]) and printed as Python ([`crate::emit`]). Values, weights and buffers
//! are named by [`key`]; numbers that depend on weight scales are [`Open`]'s to fill in.

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
mod config;
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

use bitnetc_plan::{DType, Layout, Op, Ref, Scalar, Step, for_each_op};

use crate::call::{Expr, PyCall, Statement};
use crate::tensor::{dtype_path, layout_path};

/// Fills in the numbers that a plan leaves open.
pub trait Open {
    /// The `at`th scalar of a step, an f32 where the caller computes it.
    fn scalar(&self, step: &Step, at: usize, scalar: &Scalar) -> Expr;
}

/// Every weight scale is 1: what checking needs, and executing, where all numbers are plain by then.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Open for Plain {
    fn scalar(&self, _: &Step, _: usize, scalar: &Scalar) -> Expr {
        Expr::Float(scalar.value)
    }
}

/// The name of an operand in a program. Of a weight or a buffer with one per layer it means the current layer's. Different operands have
/// different keys; [`crate::emit`] makes Python identifiers of them.
pub fn key(operand: &Ref) -> String {
    match operand {
        Ref::Value(name) => value_key(name),
        Ref::Weight(name) => format!("weight {name}"),
        Ref::Buffer(name) => format!("buffer {name}"),
    }
}

/// The key of a value.
pub fn value_key(name: &str) -> String {
    format!("value {name}")
}

/// An operand as an expression.
pub(crate) fn operand(reference: &Ref) -> Expr {
    Expr::Name(key(reference))
}

pub(crate) fn dtype(dtype: DType) -> Expr {
    Expr::ttnn(dtype_path(dtype))
}

fn layout(layout: Layout) -> Expr {
    Expr::ttnn(layout_path(layout))
}

/// A step being lowered, and what fills in the numbers that its plan leaves open.
struct Lowering<'a> {
    step: &'a Step,
    open: &'a dyn Open,
}

impl Lowering<'_> {
    /// The step's TT-NN call, without arguments.
    fn call(&self) -> PyCall {
        PyCall::ttnn(self.step.op.call())
    }

    /// The step's TT-NN call on its first operand.
    fn on(&self, input: &Ref) -> PyCall {
        self.call().arg(operand(input))
    }

    /// The `at`th scalar of the step.
    fn scalar(&self, at: usize, scalar: &Scalar) -> Expr {
        self.open.scalar(self.step, at, scalar)
    }
}

/// The statement of a step: its results assigned, or none for a call that writes in place.
pub fn lower(step: &Step, open: &dyn Open) -> Statement {
    let call = call(&Lowering { step, open });
    Statement::new(step.outputs.iter().map(|v| value_key(&v.name)), call)
}

/// Makes of the list of ops the match that has each op lowered by the file of its name.
macro_rules! lower_each {
    ($($(#[$doc:meta])* $variant:ident($args:ident) in $file:ident;)*) => {
        fn call(step: &Lowering<'_>) -> PyCall {
            match &step.step.op {
                $(Op::$variant(args) => $file::lower(args, step),)*
            }
        }
    };
}

for_each_op!(lower_each);
