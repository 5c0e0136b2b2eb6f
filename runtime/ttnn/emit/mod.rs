//! Emit: a plan as a standalone Python program of exactly the calls that [`crate::replay()`] executes.
//!
//! The program needs ttnn and numpy. It takes weights from a packed file or makes them up, runs one prefill, then decode steps, which it
//! captures as a trace on a real card. Its calls are printed from [`crate::lower`]; around them stand a fixed prelude (loading, printing)
//! and the loops over layers.

use std::fmt::Write as _;

use bitnetc_plan::{Buffer, BufferRole, Layout, Op, Phase, PhaseKind, Plan, Ref, Scalar, Step, TensorSpec, Weight};

use crate::call::Expr;
use crate::lower::{self, Open, buffer_name, value_name, weight_name};
use crate::tensor::{layout_path, memory_config};

const PRELUDE: &str = include_str!("prelude.py");
const MAIN: &str = include_str!("main.py");

/// The program of a plan.
pub fn python(plan: &Plan) -> String {
    let mut text = format!(
        "\"\"\"{} for {}, {} policy, batch {}, context {}: emitted by bitnetc.\"\"\"\n\n",
        plan.model.name, plan.card.name, plan.options.policy, plan.options.batch, plan.options.context
    );
    text.push_str(PRELUDE);
    let _ = write!(text, "\n\nDIGEST = \"{}\"\nLAYERS = {}\n", plan.model.digest, plan.model.layers);
    let _ = writeln!(
        text,
        "BATCH = {}\nCONTEXT = {}\nBLOCK = {}",
        plan.options.batch, plan.options.context, plan.options.block
    );
    weights(plan, &mut text);
    buffers(plan, &mut text);
    scalars(plan, &mut text);
    for phase in &plan.phases {
        function(plan, phase, &mut text);
    }
    let buckets: Vec<String> =
        plan.phases.iter().filter_map(|p| bucket(p.kind)).map(|t| format!("{t}: prefill_{t}")).collect();
    let _ = write!(text, "\n\nPREFILL = {{{}}}\n\n\n", buckets.join(", "));
    text.push_str(MAIN);
    text
}

const fn bucket(kind: PhaseKind) -> Option<u32> {
    match kind {
        PhaseKind::Prefill { tokens } => Some(tokens),
        PhaseKind::Decode { .. } => None,
    }
}

fn function_name(kind: PhaseKind) -> String {
    bucket(kind).map_or_else(|| "decode".to_string(), |tokens| format!("prefill_{tokens}"))
}

/// `(name, layer count or 0, dtype, tiled, shape, layout, memory config)` of a tensor.
fn tensor_row(name: &str, per_layer: bool, spec: &TensorSpec) -> String {
    let tiled = if spec.layout == Layout::Tile { "True" } else { "False" };
    let layout = layout_path(spec.layout);
    let per_layer = if per_layer { "True" } else { "False" };
    let memory = memory_config(&spec.memory);
    format!("    (\"{name}\", {per_layer}, \"{}\", {tiled}, {:?}, ttnn.{layout}, {memory}),\n", spec.dtype, spec.shape)
}

fn weights(plan: &Plan, text: &mut String) {
    text.push_str("\n# name, one per layer, data type, tiled, shape, layout, placement; those in L1 are there first\nWEIGHTS = [\n");
    for Weight { name, per_layer, spec, .. } in &plan.weights {
        text.push_str(&tensor_row(name, *per_layer, spec));
    }
    text.push_str("]\n");
}

fn buffers(plan: &Plan, text: &mut String) {
    text.push_str("\nBUFFERS = [\n");
    for Buffer { name, per_layer, spec, .. } in &plan.buffers {
        text.push_str(&tensor_row(name, *per_layer, spec));
    }
    text.push_str("]\n");
    for (constant, role) in [
        ("TOKENS", BufferRole::Tokens),
        ("POSITIONS", BufferRole::Positions),
        ("ROTARY_POSITIONS", BufferRole::RotaryPositions),
        ("PAGE_TABLE", BufferRole::PageTable),
        ("FIRST_TOKENS", BufferRole::FirstTokens),
    ] {
        let name = plan.buffer_for(role).map_or_else(|| "None".to_string(), |b| format!("\"{}\"", b.name));
        let _ = writeln!(text, "{constant} = {name}");
    }
}

fn scalar_name(step: &Step, at: usize) -> String {
    format!("s_{}_{at}", value_name(&step.name))
}

/// Numbers that depend on weight scales: `name: (value, [(tensor, power), ...])`.
fn scalars(plan: &Plan, text: &mut String) {
    text.push_str("\n# numbers of a layer: a constant times powers of weight scales\nSCALARS = {\n");
    let mut seen = Vec::new();
    for phase in &plan.phases {
        for step in phase.steps() {
            for (at, scalar) in step.op.scalars().into_iter().enumerate().filter(|(_, s)| !s.is_constant()) {
                let name = scalar_name(step, at);
                if !seen.contains(&name) {
                    let powers: Vec<_> = scalar.scales.iter().map(|(t, p)| format!("(\"{t}\", {p})")).collect();
                    let _ = writeln!(text, "    \"{name}\": ({:?}, [{}]),", scalar.value, powers.join(", "));
                    seen.push(name);
                }
            }
        }
    }
    text.push_str("}\n");
}

/// What the program fills in by names of its own.
struct Named;

impl Open for Named {
    fn scalar(&self, step: &Step, at: usize, scalar: &Scalar) -> Expr {
        if scalar.is_constant() { Expr::Float(scalar.value) } else { Expr::Name(scalar_name(step, at)) }
    }

    fn user(&self) -> Expr {
        Expr::name("user")
    }

    fn last_tile(&self, columns: u32) -> (Expr, Expr) {
        let corner =
            |row: &str, column: u32| Expr::List(vec![Expr::Int(0), Expr::Int(0), Expr::name(row), column.into()]);
        let end = Expr::List(vec![Expr::Int(1), Expr::Int(1), Expr::name("tile_end"), columns.into()]);
        (corner("tile_start", 0), end)
    }
}

fn function(plan: &Plan, phase: &Phase, text: &mut String) {
    let name = function_name(phase.kind);
    let arguments = if bucket(phase.kind).is_some() { ", user, tile_start" } else { "" };
    let _ = write!(text, "\n\ndef {name}(weights, buffers, scalars, show{arguments}):\n");
    if bucket(phase.kind).is_some() {
        text.push_str("    tile_end = tile_start + 32\n");
    }
    section(plan, &name, &phase.prologue, 4, "None", text);
    text.push_str("    for layer in range(LAYERS):\n");
    section(plan, &name, &phase.layer, 8, "layer", text);
    section(plan, &name, &phase.epilogue, 4, "None", text);
    let results: Vec<_> = phase.results.iter().map(|r| value_name(r)).collect();
    let _ = writeln!(text, "    return {}", if results.is_empty() { "None".to_string() } else { results.join(", ") });
}

fn section(plan: &Plan, phase: &str, steps: &[Step], indent: usize, layer: &str, text: &mut String) {
    let pad = " ".repeat(indent);
    let mut bound = Vec::new();
    for step in steps {
        for line in bindings(plan, step, layer) {
            if !bound.contains(&line) {
                let _ = writeln!(text, "{pad}{line}");
                bound.push(line);
            }
        }
        if !step.note.is_empty() {
            let _ = writeln!(text, "{pad}# {}", step.note);
        }
        text.push_str(&lower::lower(step, &Named).to_python(indent));
        text.push('\n');
        let made: Vec<_> = step.outputs.iter().map(|v| value_name(&v.name)).collect();
        if !matches!(step.op, Op::Deallocate(_)) && !made.is_empty() {
            let _ = writeln!(
                text,
                "{pad}show(\"{phase}\", {layer}, \"{}\", \"{}\", [{}])",
                step.name,
                step.op.call(),
                made.join(", ")
            );
        }
    }
}

/// The lines that give a step's weights, buffers and scalars their names.
fn bindings(plan: &Plan, step: &Step, layer: &str) -> Vec<String> {
    let at = |per_layer: bool| if per_layer { format!("[{layer}]") } else { "[0]".to_string() };
    let mut lines: Vec<String> = step
        .op
        .operands()
        .into_iter()
        .filter_map(|operand| match operand {
            Ref::Value(_) => None,
            Ref::Weight(name) => {
                let per_layer = plan.weight(name).is_some_and(|w| w.per_layer);
                Some(format!("{} = weights[\"{name}\"]{}", weight_name(name), at(per_layer)))
            }
            Ref::Buffer(name) => {
                let per_layer = plan.buffer(name).is_some_and(|b| b.per_layer);
                Some(format!("{} = buffers[\"{name}\"]{}", buffer_name(name), at(per_layer)))
            }
        })
        .collect();
    for (number, scalar) in step.op.scalars().into_iter().enumerate() {
        if !scalar.is_constant() {
            let name = scalar_name(step, number);
            lines.push(format!("{name} = scalars[\"{name}\"][{layer}]"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use bitnetc_plan::Scalar;

    use super::*;

    #[test]
    fn open_numbers_become_names() {
        let step = Step {
            name: "attn.norm".into(),
            op: bitnetc_plan::op::PlusOne { buffer: Ref::Buffer("p".into()) }.into(),
            outputs: vec![],
            l1: Default::default(),
            cost: Default::default(),
            note: String::new(),
        };
        let folded = Scalar { value: 1e-5, scales: vec![("w".into(), -2)] };
        assert_eq!(Named.scalar(&step, 0, &folded), Expr::name("s_attn_norm_0"));
        assert_eq!(Named.scalar(&step, 0, &Scalar::constant(0.5)), Expr::Float(0.5));
        let (start, end) = Named.last_tile(64);
        assert_eq!(format!("{start} {end}"), "[0, 0, tile_start, 0] [1, 1, tile_end, 64]");
    }
}
