//! Lowering: a plan's step as the one TT-NN call it stands for. Each op has its file, named as its variant of [`Op`].
//!
//! The same lowering is executed through the shim ([`crate::replay()`]) and printed as Python ([`crate::emit`]). Values, weights and buffers
//! are named by [`key`]; what a plan leaves open until the call is made (numbers that depend on weight scales, the user and the last token
//! of a prefill) is [`Open`]'s to fill in.

mod abs;
mod arg_max;
mod binary;
mod cache_fill;
mod cache_update;
mod cache_update_one;
mod concat;
mod concat_heads;
mod concat_heads_decode;
mod config;
mod create_heads;
mod create_heads_decode;
mod deallocate;
mod embedding;
mod matmul;
mod plus_one;
mod rms_norm;
mod rotary;
mod rotary_decode;
mod rotary_fused;
mod row_max;
mod sdpa;
mod sdpa_decode;
mod slice;
mod to_layout;
mod to_memory_config;
mod transpose;
mod typecast;
mod view;

use bitnetc_plan::{DType, Layout, Op, Ref, Scalar, Step, TILE};

use crate::call::{Expr, PyCall, Statement};
use crate::tensor::{dtype_path, layout_path};

/// Fills in what a plan leaves open.
pub trait Open {
    /// The `at`th scalar of a step.
    fn scalar(&self, step: &Step, at: usize, scalar: &Scalar) -> Expr;
    /// The user of a cache fill.
    fn user(&self) -> Expr;
    /// First and last-plus-one index of the last-token tile of a tensor with these columns.
    fn last_tile(&self, columns: u32) -> (Expr, Expr);
}

/// Fixed answers: every weight scale 1, user 0, a last token in the tile that starts at `last_row`. What checking needs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fixed {
    /// First row of the last-token tile.
    pub last_row: u32,
}

impl Open for Fixed {
    fn scalar(&self, _: &Step, _: usize, scalar: &Scalar) -> Expr {
        Expr::Float(scalar.value)
    }

    fn user(&self) -> Expr {
        Expr::Int(0)
    }

    fn last_tile(&self, columns: u32) -> (Expr, Expr) {
        (Expr::ints([0, 0, self.last_row, 0]), Expr::ints([1, 1, self.last_row + TILE, columns]))
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

fn call(step: &Lowering<'_>) -> PyCall {
    match &step.step.op {
        Op::Embedding(args) => embedding::lower(args, step),
        Op::RmsNorm(args) => rms_norm::lower(args, step),
        Op::Matmul(args) => matmul::lower(args, step),
        Op::CreateHeadsDecode(args) => create_heads_decode::lower(args, step),
        Op::CreateHeads(args) => create_heads::lower(args, step),
        Op::RotaryFused(args) => rotary_fused::lower(args, step),
        Op::RotaryDecode(args) => rotary_decode::lower(args, step),
        Op::Rotary(args) => rotary::lower(args, step),
        Op::CacheUpdate(args) => cache_update::lower(args, step),
        Op::CacheUpdateOne(args) => cache_update_one::lower(args, step),
        Op::CacheFill(args) => cache_fill::lower(args, step),
        Op::SdpaDecode(args) => sdpa_decode::lower(args, step),
        Op::Sdpa(args) => sdpa::lower(args, step),
        Op::ConcatHeadsDecode(args) => concat_heads_decode::lower(args, step),
        Op::ConcatHeads(args) => concat_heads::lower(args, step),
        Op::ToMemoryConfig(args) => to_memory_config::lower(args, step),
        Op::ToLayout(args) => to_layout::lower(args, step),
        Op::Typecast(args) => typecast::lower(args, step),
        Op::View(args) => view::lower(args, step),
        Op::Transpose(args) => transpose::lower(args, step),
        Op::Slice(args) => slice::lower(args, step),
        Op::Concat(args) => concat::lower(args, step),
        Op::Binary(args) => binary::lower(args, step),
        Op::Abs(args) => abs::lower(args, step),
        Op::RowMax(args) => row_max::lower(args, step),
        Op::ArgMax(args) => arg_max::lower(args, step),
        Op::PlusOne(args) => plus_one::lower(args, step),
        Op::Deallocate(args) => deallocate::lower(args, step),
    }
}
