//! Emit: a plan as a standalone Python program of exactly the calls that [`crate::replay()`] executes.
//!
//! The program needs ttnn and numpy. It takes weights from `.tensorbin` files or a packed file or makes them up, runs one prefill, then decode steps, which it
//! captures as a trace on a real card. Its calls are printed from [`crate::lower`]; around them stand a fixed prelude (loading, printing)
//! and the loops over layers.
//!
//! Names and notes of a plan are any text: they are printed as Python string literals or as comments of one line, and become identifiers
//! only through a table of each phase.

mod names;

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use bitnetc_plan::{
    Arch, Buffer, BufferRole, Layout, Op, Phase, PhaseKind, Plan, Ref, Scalar, Step, TensorSpec, Weight,
};

use crate::call::Expr;
use crate::kernels;
use crate::lower::{self, Open};
use crate::setup;
use crate::tensor::{layout_path, memory_config};
use names::{Names, scalar_key};

const PRELUDE: &str = include_str!("prelude.py");
const MAIN: &str = include_str!("main.py");

/// The program of a plan.
pub fn python(plan: &Plan) -> String {
    let options = &plan.options;
    let title = literal(&format!(
        "{} for {}, {} policy, batch {}, context {}: emitted by bitnetc.",
        plan.model.name, plan.card.name, options.policy, options.batch, options.context
    ));
    // A literal's own quotes, tripled.
    let mut text = format!("\"\"{title}\"\"\n\n{PRELUDE}");
    let _ = write!(text, "\n\nDIGEST = {}\nLAYERS = {}\n", literal(&plan.model.digest), plan.model.layers);
    let _ = writeln!(text, "VOCAB = {}\nWIDTH = {}", plan.model.vocab, width(plan));
    let arch = match plan.card.arch {
        Arch::Wormhole => "WORMHOLE_B0",
        Arch::Blackhole => "BLACKHOLE",
    };
    let _ = writeln!(text, "RELEASE = {}\nARCH = \"{arch}\"\nGRID = {:?}", literal(&plan.release), plan.card.grid);
    let _ = writeln!(text, "COMPILER = \"{}\"\nSTAND_IN = \"{}\"", setup::COMPILER_BELOW_TTNN, setup::MARK);
    let _ = writeln!(text, "BATCH = {}\nCONTEXT = {}\nBLOCK = {}", options.batch, options.context, options.block);
    if plan.phases.iter().flat_map(Phase::steps).any(|step| step.op.has_own_kernels()) {
        let _ = write!(text, "\n\n# Kernels of bitnetc's own.\n{}\n", kernels::python());
    }
    weights(plan, &mut text);
    buffers(plan, &mut text);
    scalars(plan, &mut text);
    for phase in &plan.phases {
        function(plan, phase, &mut text);
    }
    let buckets: Vec<String> =
        plan.phases.iter().filter_map(|p| bucket(p.kind)).map(|t| format!("{t}: prefill_{t}")).collect();
    let strides = plan.phases.iter().filter_map(|p| Some(format!("{}: {}", bucket(p.kind)?, p.stride(options.block))));
    let strides = strides.collect::<Vec<_>>().join(", ");
    let short = plan.short_sequence().map_or_else(|| "None".to_string(), |short| short.to_string());
    let decode = if plan.decode().is_some() { "decode" } else { "None" };
    let _ = write!(text, "\n\nDECODE = {decode}\nPREFILL = {{{}}}\n", buckets.join(", "));
    let _ = write!(
        text,
        "# A chunk of a prompt starts at a multiple of its bucket's.\nSTRIDES = {{{strides}}}\nSHORT = {short}\n\n\n"
    );
    text.push_str(MAIN);
    text
}

/// The role of the buffer that a bucket of so many tokens has for a purpose.
type RoleOf = fn(u32) -> BufferRole;

/// Columns of the rows of which prefill takes the last token's tile.
fn width(plan: &Plan) -> u32 {
    let mut slices =
        plan.phases.iter().flat_map(|phase| phase.steps()).filter(|step| matches!(step.op, Op::SliceAt(_)));
    slices.find_map(|step| step.outputs.first()).map_or(0, |tile| tile.spec.columns())
}

/// Text as a Python string literal.
fn literal(text: &str) -> String {
    Expr::Str(text.to_owned()).to_string()
}

/// Text as what may follow `#`: one line.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
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
    let name = literal(name);
    format!("    ({name}, {per_layer}, \"{}\", {tiled}, {:?}, ttnn.{layout}, {memory}),\n", spec.dtype, spec.shape)
}

fn weights(plan: &Plan, text: &mut String) {
    text.push_str("\n# name, one per layer, data type, tiled, shape, layout, placement\nWEIGHTS = [\n");
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
        ("CONTEXT_PAGES", BufferRole::ContextPages),
        ("CHUNK_START", BufferRole::ChunkStart),
        ("LAST_TILE_STARTS", BufferRole::LastTileStarts),
        ("LAST_TILE_ENDS", BufferRole::LastTileEnds),
        ("FIRST_TOKENS", BufferRole::FirstTokens),
        ("TOP_K", BufferRole::TopK),
        ("TOP_P", BufferRole::TopP),
        ("INVERSE_TEMPERATURE", BufferRole::InverseTemperature),
        ("SEEDS", BufferRole::Seeds),
        ("GENERATORS", BufferRole::Generators),
    ] {
        let name = plan.buffer_for(role).map_or_else(|| "None".to_string(), |b| literal(&b.name));
        let _ = writeln!(text, "{constant} = {name}");
    }
    let buckets = || plan.phases.iter().filter_map(|phase| bucket(phase.kind));
    let by_bucket: [(&str, RoleOf); 3] = [
        ("PROMPTS", BufferRole::Prompt),
        ("PROMPT_POSITIONS", BufferRole::PromptPositions),
        ("CHUNK_PAGES", BufferRole::ChunkPages),
    ];
    for (constant, role) in by_bucket {
        let named = buckets().filter_map(|tokens| {
            let buffer = plan.buffer_for(role(tokens))?;
            Some(format!("{tokens}: {}", literal(&buffer.name)))
        });
        let _ = writeln!(text, "{constant} = {{{}}}", named.collect::<Vec<_>>().join(", "));
    }
}

/// The key of a scalar in the program: phase, step, and which of the step's.
fn scalar_index(phase: &str, step: &Step, at: usize) -> String {
    format!("\"{phase}\", {}, {at}", literal(&step.name))
}

/// Numbers that depend on weight scales: `(phase, step, which): (value, [(tensor, power), ...])`.
fn scalars(plan: &Plan, text: &mut String) {
    text.push_str("\n# numbers of a layer: a constant times powers of weight scales\nSCALARS = {\n");
    for phase in &plan.phases {
        let function = function_name(phase.kind);
        for step in phase.steps() {
            for (at, scalar) in step.op.scalars().into_iter().enumerate().filter(|(_, s)| !s.is_constant()) {
                let powers: Vec<_> = scalar.scales.iter().map(|(t, p)| format!("({}, {p})", literal(t))).collect();
                let index = scalar_index(&function, step, at);
                let _ = writeln!(text, "    ({index}): ({:?}, [{}]),", scalar.value, powers.join(", "));
            }
        }
    }
    text.push_str("}\n");
}

/// The operands of a phase by the identifiers that its function gives them.
pub fn identifiers(phase: &Phase) -> HashMap<String, Ref> {
    let names = Names::of(phase);
    let operands = phase.steps().flat_map(|step| step.op.operands());
    operands.map(|operand| (names.get(&lower::key(operand)).to_owned(), operand.clone())).collect()
}

/// The numbers of a call that the program fills in with variables of its own.
struct Named;

impl Open for Named {
    fn scalar(&self, step: &Step, at: usize, scalar: &Scalar) -> Expr {
        if scalar.is_constant() { Expr::Float(scalar.value) } else { Expr::Name(scalar_key(step, at)) }
    }
}

fn function(plan: &Plan, phase: &Phase, text: &mut String) {
    let name = function_name(phase.kind);
    let _ = write!(text, "\n\ndef {name}(weights, buffers, scalars, show):\n");
    let names = Names::of(phase);
    let writer = Writer { plan, phase: &name, names: &names };
    writer.section(&phase.prologue, None, text);
    text.push_str("    for layer in range(LAYERS):\n");
    writer.section(&phase.layer, Some("layer"), text);
    if phase.layer.is_empty() {
        text.push_str("        pass\n");
    }
    writer.section(&phase.epilogue, None, text);
    let results: Vec<_> = phase.results.iter().map(|r| names.get(&lower::value_key(r)).to_owned()).collect();
    let _ = writeln!(text, "    return [{}]", results.join(", "));
}

/// Writes the steps of one phase.
struct Writer<'a> {
    plan: &'a Plan,
    phase: &'a str,
    names: &'a Names,
}

impl Writer<'_> {
    /// Steps outside of the layers, or those of the layer that `layer` numbers.
    fn section(&self, steps: &[Step], layer: Option<&str>, text: &mut String) {
        let indent = if layer.is_some() { 8 } else { 4 };
        let pad = " ".repeat(indent);
        let mut bound = HashSet::new();
        for step in steps {
            for line in self.bindings(step, layer) {
                if !bound.contains(&line) {
                    let _ = writeln!(text, "{pad}{line}");
                    bound.insert(line);
                }
            }
            if !step.note.is_empty() {
                let _ = writeln!(text, "{pad}# {}", comment(&step.note));
            }
            text.push_str(&self.names.rename(&lower::lower(step, &Named)).to_python(indent));
            text.push('\n');
            if !step.outputs.is_empty() {
                let _ = writeln!(text, "{pad}{}", self.show(step, layer));
            }
        }
    }

    /// The line that shows a step's results.
    fn show(&self, step: &Step, layer: Option<&str>) -> String {
        let output = |name: &str| format!("{}: {}", literal(name), self.names.get(&lower::value_key(name)));
        let outputs: Vec<_> = step.outputs.iter().map(|v| output(&v.name)).collect();
        let (layer, name, call) = (layer.unwrap_or("None"), literal(&step.name), step.op.call());
        format!("show(\"{}\", {layer}, {name}, \"{call}\", {{{}}})", self.phase, outputs.join(", "))
    }

    /// The lines that give a step's weights, buffers and scalars their names.
    fn bindings(&self, step: &Step, layer: Option<&str>) -> Vec<String> {
        let at = |per_layer: bool| if per_layer { layer.unwrap_or("0") } else { "0" };
        let mut lines = Vec::new();
        for operand in step.op.operands() {
            let (table, per_layer) = match operand {
                Ref::Value(_) => continue,
                Ref::Weight(name) => ("weights", self.plan.weight(name).is_some_and(|w| w.per_layer)),
                Ref::Buffer(name) => ("buffers", self.plan.buffer(name).is_some_and(|b| b.per_layer)),
            };
            let name = self.names.get(&lower::key(operand)).to_owned();
            lines.push(format!("{name} = {table}[{}][{}]", literal(operand.name()), at(per_layer)));
        }
        for (number, _) in step.op.scalars().into_iter().enumerate().filter(|(_, s)| !s.is_constant()) {
            let key = scalar_key(step, number);
            let index = scalar_index(self.phase, step, number);
            // Outside of the layers a number is the same for all of them.
            lines.push(format!("{} = scalars[{index}][{}]", self.names.get(&key), layer.unwrap_or("0")));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use bitnetc_plan::Scalar;

    use super::*;

    #[test]
    fn open_numbers_become_names() {
        let step = Step {
            name: "attn.norm".into(),
            op: bitnetc_plan::op::PlusOne { buffer: Ref::Buffer("p".into()), skip_negative: true }.into(),
            outputs: vec![],
            l1: Default::default(),
            cost: Default::default(),
            note: String::new(),
        };
        let folded = Scalar { value: 1e-5, scales: vec![("w".into(), -2)] };
        assert_eq!(Named.scalar(&step, 0, &folded), Expr::name("scalar attn.norm 0"));
        assert_eq!(Named.scalar(&step, 0, &Scalar::constant(0.5)), Expr::Float(0.5));
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(comment("a\nb\r\u{c}\0c"), "a b   c");
        assert_eq!(literal("t\"\"\"\nprint(1)"), r#""t\"\"\"\nprint(1)""#);
    }
}
