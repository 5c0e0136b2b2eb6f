//! Lowering: a plan's step as the one TT-NN call it stands for.
//!
//! The same lowering is executed through the shim ([`crate::replay()`]) and printed as Python ([`crate::emit`]). Values, weights and buffers
//! are named by [`key`]; what a plan leaves open until the call is made (numbers that depend on weight scales, the user and the last token
//! of a prefill) is [`Open`]'s to fill in.

mod attention;
mod config;
mod elementwise;

use bitnetc_plan::op::{self, Rows};
use bitnetc_plan::{DType, Layout, MemoryConfig, Op, Ref, Scalar, Step, TILE};

use crate::call::{Expr, PyCall, Statement};
use crate::tensor::{dtype_path, layout_path, memory_config};

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

/// What a program calls an operand: of a weight or a buffer with one per layer, the one of the current layer. Different operands have
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

fn integers(values: impl IntoIterator<Item = u32>) -> Expr {
    Expr::Tuple(values.into_iter().map(|v| Expr::Int(i64::from(v))).collect())
}

/// One call on its first operand with a memory config: the shape of most.
fn on(path: &str, input: &Ref) -> PyCall {
    PyCall::ttnn(path).arg(operand(input))
}

/// The statement of a step: its results assigned, or none for a call that writes in place.
pub fn lower(step: &Step, open: &dyn Open) -> Statement {
    Statement::new(step.outputs.iter().map(|v| value_key(&v.name)), call(step, open))
}

fn call(step: &Step, open: &dyn Open) -> PyCall {
    let scalar = |at: usize, s: &Scalar| open.scalar(step, at, s);
    let path = step.op.call();
    match &step.op {
        Op::Embedding(args) => PyCall::ttnn(path)
            .arg(operand(&args.indices))
            .arg(operand(&args.table))
            .kwarg("layout", layout(args.layout))
            .kwarg("memory_config", memory_config(&args.memory)),
        Op::RmsNorm(args) => on(path, &args.input)
            .kwarg("epsilon", scalar(0, &args.epsilon))
            .kwarg("weight", operand(&args.gamma))
            .maybe("program_config", args.program.as_ref().map(config::norm))
            .kwarg("memory_config", memory_config(&args.memory))
            .kwarg("compute_kernel_config", config::compute(args.compute)),
        Op::Matmul(args) => matmul(path, args),
        Op::ToMemoryConfig(args) => on(path, &args.input).arg(memory_config(&args.memory)),
        Op::ToLayout(args) => {
            on(path, &args.input).arg(layout(args.layout)).kwarg("memory_config", memory_config(&args.memory))
        }
        Op::Typecast(args) => {
            on(path, &args.input).arg(dtype(args.dtype)).kwarg("memory_config", memory_config(&args.memory))
        }
        Op::View(args) => view(path, args),
        Op::Transpose(args) => {
            on(path, &args.input).arg(args.dims.0).arg(args.dims.1).kwarg("memory_config", memory_config(&args.memory))
        }
        Op::Slice(args) => slice(path, step, args, open),
        Op::Concat(args) => PyCall::ttnn(path)
            .arg(Expr::List(args.inputs.iter().map(operand).collect()))
            .kwarg("dim", Expr::Int(-1))
            .kwarg("memory_config", memory_config(&args.memory)),
        Op::Binary(args) => elementwise::binary(args, &scalar),
        Op::Abs(args) => on(path, &args.input).kwarg("memory_config", memory_config(&args.memory)),
        Op::RowMax(args) => on(path, &args.input)
            .kwarg("dim", Expr::Int(-1))
            .kwarg("keepdim", true)
            .kwarg("memory_config", memory_config(&args.memory)),
        Op::ArgMax(args) => on(path, &args.input)
            .kwarg("dim", Expr::Int(3))
            .kwarg("keepdim", false)
            .kwarg("output_tensor", operand(&args.output)),
        Op::PlusOne(args) => on(path, &args.buffer),
        Op::Deallocate(args) => on(path, &args.input),
        Op::CreateHeadsDecode(args) => attention::create_heads_decode(path, args),
        Op::CreateHeads(args) => attention::create_heads(path, args),
        Op::RotaryFused(args) => attention::rotary_fused(path, args),
        Op::RotaryDecode(args) => attention::rotary_decode(path, args),
        Op::Rotary(args) => attention::rotary(path, args),
        Op::CacheUpdate(args) => attention::cache_update(path, args),
        Op::CacheUpdateOne(args) => attention::cache_update_one(path, args),
        Op::CacheFill(args) => attention::cache_fill(path, args, open.user()),
        Op::SdpaDecode(args) => attention::sdpa_decode(path, args, scalar(0, &args.scale)),
        Op::Sdpa(args) => attention::sdpa(path, args, scalar(0, &args.scale)),
        Op::ConcatHeadsDecode(args) => attention::concat_heads_decode(path, args),
        Op::ConcatHeads(args) => attention::concat_heads(path, args),
    }
}

fn matmul(path: &str, args: &op::Matmul) -> PyCall {
    // TT-NN derives the shards of a sharded result from the program config and ignores a shard spec.
    let memory = match &args.memory {
        MemoryConfig::Sharded { .. } => Expr::ttnn("L1_WIDTH_SHARDED_MEMORY_CONFIG"),
        interleaved => memory_config(interleaved),
    };
    PyCall::ttnn(path)
        .arg(operand(&args.a))
        .arg(operand(&args.b))
        .kwarg("program_config", config::matmul(&args.program))
        .kwarg("memory_config", memory)
        .kwarg("dtype", dtype(args.dtype))
        .kwarg("compute_kernel_config", config::compute(args.compute))
}

/// With its padded shape, since TT-NN refuses to change the logical volume without.
fn view(path: &str, args: &op::View) -> PyCall {
    let mut padded = args.shape.clone();
    let sides = padded.len();
    for side in padded.iter_mut().skip(sides.saturating_sub(2)) {
        *side = side.next_multiple_of(TILE);
    }
    on(path, &args.input).arg(integers(args.shape.iter().copied())).arg(integers(padded))
}

fn slice(path: &str, step: &Step, args: &op::Slice, open: &dyn Open) -> PyCall {
    let columns = step.outputs.first().map_or(0, |v| v.spec.columns());
    let (start, end) = match args.rows {
        Rows::Range(start, end) => (Expr::ints([0, 0, start, 0]), Expr::ints([1, 1, end, columns])),
        Rows::LastTokenTile => open.last_tile(columns),
    };
    on(path, &args.input).arg(start).arg(end).kwarg("memory_config", memory_config(&args.memory))
}
