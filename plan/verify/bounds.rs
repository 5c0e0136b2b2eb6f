//! Invariants `Format`, `Card`, `Options` and `Bounds`. They keep every number of a plan so small that the checks after them can
//! calculate with it without overflow.

use super::check_format;
use crate::Padding;
use crate::defect::Defects;
use crate::op::Argument;
use crate::units::bytes;
use crate::weight::{Matrix, Vector};
use crate::{
    Card, Cores, DType, Invariant, MatmulProgram, MemoryConfig, Op, PhaseKind, Place, Plan, Source, TensorSpec, Unary,
};

/// Largest dimension of a tensor or a shard: a hundred times any vocabulary.
const DIMENSION: u32 = 1 << 24;
/// Most elements of a tensor.
const VOLUME: u64 = 1 << 36;
/// Largest parameter of a program config, in tiles; products of two stay within 32 bits.
const PARAMETER: u32 = 1 << 14;
/// Most columns, rows and banks of any card.
const GRID: u32 = 1 << 8;
/// Most ranges of a core set, and most operands of a call.
const LIST: usize = 1 << 10;
/// Most bytes of memory of any card.
const MEMORY: u64 = 1 << 44;

pub fn check(plan: &Plan, defects: &mut Defects) {
    check_format(plan, defects);
    check_card(&plan.card, defects);
    check_options(plan, defects);
    let spec_of = |spec, place, defects: &mut Defects| {
        if let Some(what) = spec_problem(spec) {
            defects.push(Invariant::Bounds, place, what, "");
        }
    };
    for weight in &plan.weights {
        spec_of(&weight.spec, Place::Weight(weight.name.clone()), defects);
        if let Some(what) = source_problem(&weight.source) {
            defects.push(Invariant::Bounds, Place::Weight(weight.name.clone()), what, "");
        }
    }
    for buffer in &plan.buffers {
        spec_of(&buffer.spec, Place::Buffer(buffer.name.clone()), defects);
    }
    for phase in &plan.phases {
        let count = match phase.kind {
            PhaseKind::Decode { batch } => batch,
            PhaseKind::Prefill { tokens } => tokens,
        };
        if !(1..=DIMENSION).contains(&count) {
            defects.push(Invariant::Bounds, Place::Phase(phase.kind), format!("it is of size {count}"), "");
        }
        for step in phase.steps() {
            let place = || Place::Step(phase.kind, step.name.clone());
            for value in &step.outputs {
                spec_of(&value.spec, place(), defects);
            }
            if let Some(what) = op_problem(&step.op) {
                defects.push(Invariant::Bounds, place(), format!("ttnn.{}: {what}", step.op.call()), "");
            }
            if step.l1.circular_buffers > MEMORY || step.l1.tensors > MEMORY {
                defects.push(Invariant::Bounds, place(), "its L1 footprint is larger than any memory", "");
            }
        }
    }
}

fn check_card(card: &Card, defects: &mut Defects) {
    let mut require = |ok: bool, what: String| {
        if !ok {
            defects.push(Invariant::Card, Place::Plan, format!("card `{}`: {what}", card.name), "");
        }
    };
    let side = 1..=GRID;
    require(side.contains(&card.grid.0) && side.contains(&card.grid.1), format!("a grid of {:?} cores", card.grid));
    let (l1, dram) = (card.l1, card.dram);
    require(l1.base < l1.end && l1.end <= MEMORY, format!("L1 from {} to {}", l1.base, l1.end));
    // No TT-NN card aligns to less than a NoC word.
    let alignment = |a: u64| a.is_power_of_two() && (16..=1 << 16).contains(&a);
    require(alignment(l1.alignment), format!("an L1 alignment of {}", l1.alignment));
    require(alignment(dram.alignment), format!("a DRAM alignment of {}", dram.alignment));
    require(side.contains(&dram.banks), format!("{} DRAM banks", dram.banks));
    require((1..=MEMORY).contains(&dram.bank_bytes), format!("DRAM banks of {}", bytes(dram.bank_bytes)));
    require((1..=32).contains(&dram.readers_per_bank), format!("{} readers per DRAM bank", dram.readers_per_bank));
}

fn check_options(plan: &Plan, defects: &mut Defects) {
    let (model, options) = (&plan.model, &plan.options);
    let mut require = |ok: bool, what: String, hint: &str| {
        if !ok {
            defects.push(Invariant::Options, Place::Plan, what, hint);
        }
    };
    require((1..=32).contains(&options.batch), format!("a batch of {}", options.batch), "1 to 32 users");
    let block = options.block;
    require(matches!(block, 32 | 64 | 128), format!("cache blocks of {block} tokens"), "32, 64 or 128");
    let context = options.context;
    require(
        (block..=DIMENSION).contains(&context),
        format!("a context of {context} tokens"),
        "at least one cache block",
    );
    require(
        options.priced_at < context,
        format!("attention priced at position {}", options.priced_at),
        "a position of the context",
    );
    require((1..=PARAMETER).contains(&model.layers), format!("{} layers", model.layers), "at least one");
    require((1..=DIMENSION).contains(&model.vocab), format!("a vocabulary of {}", model.vocab), "at least one");
    for (what, digest) in [("model", &model.digest), ("function", &model.function)] {
        let hex = digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        require(hex, format!("the {what} digest `{digest}`"), "64 lower-case hex digits");
    }
}

fn spec_problem(spec: &TensorSpec) -> Option<String> {
    if !(1..=4).contains(&spec.shape.len()) {
        return Some(format!("a tensor of {} dimensions; TT-NN's have 1 to 4", spec.shape.len()));
    }
    if spec.shape.iter().any(|d| !(1..=DIMENSION).contains(d)) {
        return Some(format!("shape {:?} has a dimension outside 1 to {DIMENSION}", spec.shape));
    }
    let volume = spec.padded().iter().fold(1u64, |v, &d| v.saturating_mul(u64::from(d)));
    if volume > VOLUME {
        return Some(format!("shape {:?} has more than {VOLUME} elements", spec.shape));
    }
    memory_problem(&spec.memory)
}

fn source_problem(source: &Source) -> Option<String> {
    let lengths = match source {
        Source::Columns(matrices) if matrices.len() > LIST => return Some(format!("{} matrices", matrices.len())),
        Source::Columns(matrices) => matrices.iter().flat_map(matrix_lengths).collect(),
        Source::Rows(matrix) => matrix_lengths(matrix),
        Source::Vectors(parts) if parts.len() > LIST => return Some(format!("{} vectors", parts.len())),
        Source::Vectors(parts) => parts.iter().flat_map(vector_lengths).collect(),
        Source::Ones { len, .. } => vec![*len],
        Source::RotaryTable { positions, .. } => vec![*positions],
        Source::RotaryTransform => Vec::new(),
    };
    let bad = lengths.into_iter().find(|n| !(1..=DIMENSION).contains(n))?;
    Some(format!("its source has a length of {bad}, outside 1 to {DIMENSION}"))
}

fn vector_lengths(vector: &Vector) -> Vec<u32> {
    let scales = vector.scales.iter().flat_map(|(matrix, _)| matrix_lengths(matrix));
    vector.padding.iter().flat_map(padding_lengths).chain([vector.len]).chain(scales).collect()
}

fn matrix_lengths(matrix: &Matrix) -> Vec<u32> {
    let paddings = matrix.outputs.iter().chain(&matrix.inputs).flat_map(padding_lengths);
    paddings.chain(matrix.shape).chain(matrix.rows.map(|(_, end)| end)).collect()
}

fn padding_lengths(padding: &Padding) -> [u32; 3] {
    [padding.groups, padding.from, padding.to]
}

fn memory_problem(memory: &MemoryConfig) -> Option<String> {
    let MemoryConfig::Sharded { cores, shard, .. } = memory else { return None };
    if shard.iter().any(|d| !(1..=DIMENSION).contains(d)) {
        return Some(format!("shard {shard:?} has a side outside 1 to {DIMENSION}"));
    }
    cores_problem(cores)
}

fn cores_problem(Cores(ranges): &Cores) -> Option<String> {
    if ranges.is_empty() || ranges.len() > LIST {
        return Some(format!("a core set of {} ranges", ranges.len()));
    }
    let bad = ranges.iter().find(|r| r.is_empty() || r.end.0 >= GRID || r.end.1 >= GRID)?;
    Some(format!("cores {:?} to {:?} are no rectangle on any card", bad.start, bad.end))
}

fn op_problem(op: &Op) -> Option<String> {
    let operands = op.operands();
    if operands.len() > LIST {
        return Some(format!("{} operands", operands.len()));
    }
    if operands.is_empty() {
        return Some("no operands".into());
    }
    let mut problem = None;
    op.arguments(&mut |name, argument| problem = problem.take().or_else(|| argument_problem(name, argument)));
    problem
}

fn argument_problem(name: &str, argument: Argument<'_>) -> Option<String> {
    match argument {
        Argument::Memory(memory) => memory_problem(memory),
        Argument::Cores(cores) => cores_problem(cores),
        Argument::NormProgram(p) => grid(p.grid)
            .or_else(|| parameters(&[("subblock_w", p.subblock_w), ("block_h", p.block_h), ("block_w", p.block_w)])),
        Argument::MatmulProgram(program) => program_problem(program),
        Argument::TernaryProgram(p) => parameters(&[("in0_block_w", p.in0_block_w), ("readers", p.readers)]),
        Argument::SdpaProgram(p) => {
            grid(p.grid).or_else(|| parameters(&[("q_chunk", p.q_chunk.max(1)), ("k_chunk", p.k_chunk.max(1))]))
        }
        Argument::Count(count) => parameters(&[(name, count)]),
        Argument::Shape(shape) => spec_problem(&TensorSpec::row_major(shape, DType::U32, MemoryConfig::DRAM)),
        Argument::Dimensions(a, b) => (a > 3 || b > 3).then(|| format!("dimensions {:?} of at most four", (a, b))),
        Argument::Range(start, end) => {
            (start >= end || end > DIMENSION).then(|| format!("rows or columns {start} to {end}"))
        }
        Argument::Functions(functions) => functions_problem(functions),
        // Operands are looked up by the walk, and scalars belong to the invariant `Scalar`.
        Argument::Operand(_) | Argument::Scalar(_) => None,
        Argument::Compute(_) | Argument::Choice => None,
    }
}

fn functions_problem(functions: &[Unary]) -> Option<String> {
    if functions.len() > 8 {
        return Some(format!("a chain of {} elementwise functions", functions.len()));
    }
    functions.iter().find_map(|function| match function {
        Unary::MaxScalar(s) => (!s.value.is_finite()).then(|| format!("a maximum with {}", s.value)),
        // A clamp stands after a multiplication of numbers of both signs.
        Unary::Clamp(low, high) => {
            let sound = low.is_finite() && high.is_finite() && *low < 0.0 && *high > 0.0;
            (!sound).then(|| format!("a clamp to {low}..{high}"))
        }
        Unary::Power(power) => (!(2..=8).contains(power)).then(|| format!("a power of {power}")),
        Unary::Relu | Unary::Square | Unary::Silu | Unary::Recip | Unary::MulScalar(_) | Unary::Round | Unary::Abs => {
            None
        }
    })
}

fn program_problem(program: &MatmulProgram) -> Option<String> {
    match *program {
        MatmulProgram::DramSharded { in0_block_w, per_core_m, per_core_n, readers, .. } => parameters(&[
            ("in0_block_w", in0_block_w),
            ("per_core_m", per_core_m),
            ("per_core_n", per_core_n),
            ("readers", readers),
        ]),
        MatmulProgram::Multicast1D { grid: g, in0_block_w, out_subblock, per_core_m, per_core_n, .. } => grid(g)
            .or_else(|| {
                parameters(&[
                    ("in0_block_w", in0_block_w),
                    ("out_subblock_h", out_subblock.0),
                    ("out_subblock_w", out_subblock.1),
                    ("per_core_m", per_core_m),
                    ("per_core_n", per_core_n),
                ])
            }),
        MatmulProgram::Multicast2D {
            grid: g, in0_block_w, out_subblock, out_block, per_core_m, per_core_n, ..
        } => grid(g).or_else(|| {
            parameters(&[
                ("in0_block_w", in0_block_w),
                ("out_subblock_h", out_subblock.0),
                ("out_subblock_w", out_subblock.1),
                ("out_block_h", out_block.0),
                ("out_block_w", out_block.1),
                ("per_core_m", per_core_m),
                ("per_core_n", per_core_n),
            ])
        }),
    }
}

fn grid((columns, rows): (u32, u32)) -> Option<String> {
    let side = 1..=GRID;
    (!side.contains(&columns) || !side.contains(&rows)).then(|| format!("a grid of {columns}x{rows}"))
}

fn parameters(list: &[(&str, u32)]) -> Option<String> {
    let (name, value) = list.iter().find(|(_, v)| !(1..=PARAMETER).contains(v))?;
    Some(format!("{name} is {value}, outside 1 to {PARAMETER}"))
}
