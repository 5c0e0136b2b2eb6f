//! The steps of a section as a drawn graph: a card for each call, with its results as fields at the lower edge that say where they lie, and
//! a line from each result to the calls that read it.
//!
//! Deallocations are left out. What a section reads of the sections before it stands as a card without a call above its first reader.

use std::collections::HashMap;

use bitnetc_plan::{Buffer, Memory, Op, Phase, Plan, Ref, Section, Step, TensorSpec};
use serde::Serialize;

use super::layout::{Box, Line, layout};

/// A drawn section. Coordinates are pixels at the size in which the text is meant to be read.
#[derive(Serialize)]
pub struct Graph {
    section: &'static str,
    width: f64,
    height: f64,
    cards: Vec<Card>,
    lines: Vec<Path>,
}

#[derive(Serialize)]
struct Card {
    /// The step's number in its phase; none for a value of an earlier section.
    step: Option<usize>,
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    /// The constant and persistent tensors that it reads.
    reads: Vec<String>,
    ports: Vec<Port>,
}

/// A result, by its [`key`].
#[derive(Serialize, Clone)]
struct Port {
    value: String,
    text: String,
    memory: &'static str,
    x: f64,
    width: f64,
}

/// A line from a result to a reader.
#[derive(Serialize)]
struct Path {
    value: String,
    from: usize,
    to: usize,
    memory: &'static str,
    path: String,
}

/// Width of a character of the page's monospaced text of 11 pixels.
const CHARACTER: f64 = 6.62;
/// Room at the left and right of text.
const PADDING: f64 = 9.0;
/// Height of a line of text.
const LINE: f64 = 15.0;

/// The drawing of a section of a phase.
pub fn graph(plan: &Plan, phase: &Phase, section: Section) -> Graph {
    let before = match section {
        Section::Prologue => 0,
        Section::Layer => phase.prologue.len(),
        Section::Epilogue => phase.prologue.len() + phase.layer.len(),
    };
    let mut drawing =
        Drawing { plan, phase, cards: Vec::new(), boxes: Vec::new(), lines: Vec::new(), made: HashMap::new() };
    for (at, step) in phase.section(section).iter().enumerate() {
        if step.op.freed().is_none() {
            drawing.step(before + at, step);
        }
    }
    drawing.finish(section)
}

struct Drawing<'a> {
    plan: &'a Plan,
    phase: &'a Phase,
    cards: Vec<Card>,
    boxes: Vec<Box>,
    lines: Vec<(Line, String)>,
    /// The card and the field that a tensor comes from, by its key.
    made: HashMap<String, (usize, usize)>,
}

impl<'a> Drawing<'a> {
    fn step(&mut self, number: usize, step: &'a Step) {
        let mut reads = Vec::new();
        let mut sources: Vec<((usize, usize), String)> = Vec::new();
        for operand in step.op.uses() {
            let key = key(operand.tensor);
            match (operand.tensor, self.made.get(&key)) {
                (Ref::Weight(name), _) => reads.push(self.constant(name)),
                (Ref::Buffer(_) | Ref::Value(_), Some(source)) => sources.push((*source, key)),
                (Ref::Buffer(name), None) => reads.push(self.buffer(name)),
                (Ref::Value(name), None) => sources.push((self.earlier(name), key)),
            }
        }
        sources.dedup();
        let ports = self.ports(step);
        let title = step.name.chars().count() + call(&step.op).chars().count() + 10;
        let texts = reads.iter().map(|text| text.chars().count()).chain([title]);
        let card = self.cards.len();
        self.card(Some(number), texts.max().unwrap_or(0), reads, ports);
        self.lines.extend(sources.into_iter().map(|((from, port), value)| (Line { from, port, to: card }, value)));
        let outputs = step.outputs.iter().map(|output| of_value(&output.name));
        for (port, key) in outputs.chain(step.op.written().into_iter().map(key)).enumerate() {
            self.made.insert(key, (card, port));
        }
    }

    /// A card for a value that an earlier section made.
    fn earlier(&mut self, name: &'a str) -> (usize, usize) {
        let port = self.spec(name).map(|spec| port(of_value(name), name, "", "", spec));
        let source = (self.cards.len(), 0);
        let missing = Port { value: of_value(name), text: name.to_owned(), memory: "l1", x: 0.0, width: room(name) };
        self.card(None, 0, Vec::new(), vec![port.unwrap_or(missing)]);
        self.made.insert(of_value(name), source);
        source
    }

    fn card(&mut self, step: Option<usize>, characters: usize, reads: Vec<String>, mut ports: Vec<Port>) {
        let needed: f64 = ports.iter().map(|port| port.width).sum();
        let width = (characters as f64 * CHARACTER + 2.0 * PADDING).max(needed);
        // Fields share what the text above them needs more than they do.
        let more = (width - needed) / ports.len().max(1) as f64;
        let mut x = 0.0;
        for port in &mut ports {
            port.width += more;
            port.x = x;
            x += port.width;
        }
        let title = if step.is_some() { 1.0 } else { 0.0 };
        let fields = if ports.is_empty() { 0.0 } else { LINE + 4.0 };
        let text = if step.is_some() { LINE.mul_add(title + reads.len() as f64, 8.0) } else { 0.0 };
        let height = text + fields;
        let anchors = ports.iter().map(|port| port.x + port.width / 2.0).collect();
        self.boxes.push(Box { width, height, ports: anchors, is_source: step.is_none() });
        self.cards.push(Card { step, x: 0.0, y: 0.0, width, height, reads, ports });
    }

    fn ports(&self, step: &Step) -> Vec<Port> {
        let made =
            step.outputs.iter().map(|output| port(of_value(&output.name), &output.name, &step.name, "", &output.spec));
        let written = step.op.written().into_iter().filter_map(|tensor| {
            let spec = match tensor {
                Ref::Value(name) => self.spec(name),
                Ref::Buffer(name) => self.plan.buffer(name).map(|buffer| &buffer.spec),
                Ref::Weight(name) => self.plan.weight(name).map(|weight| &weight.spec),
            };
            spec.map(|spec| port(key(tensor), tensor.name(), &step.name, " in place", spec))
        });
        made.chain(written).collect()
    }

    fn spec(&self, value: &str) -> Option<&'a TensorSpec> {
        self.phase.steps().flat_map(|step| &step.outputs).find(|output| output.name == value).map(|output| &output.spec)
    }

    fn constant(&self, name: &str) -> String {
        self.plan.weight(name).map_or_else(|| name.to_owned(), |weight| placed(name, &weight.spec))
    }

    fn buffer(&self, name: &str) -> String {
        self.plan.buffer(name).map_or_else(|| name.to_owned(), |Buffer { spec, .. }| placed(name, spec))
    }

    fn finish(self, section: Section) -> Graph {
        let Drawing { mut cards, boxes, lines, .. } = self;
        let drawn = layout(&boxes, &lines.iter().map(|(line, _)| *line).collect::<Vec<_>>());
        for (card, (x, y)) in cards.iter_mut().zip(drawn.boxes) {
            (card.x, card.y) = (x, y);
        }
        let path = |((line, value), path): ((Line, String), String)| {
            let memory = cards[line.from].ports.get(line.port).map_or("l1", |port| port.memory);
            Path { value, from: line.from, to: line.to, memory, path }
        };
        let lines = lines.into_iter().zip(drawn.lines).map(path).collect();
        let section = match section {
            Section::Prologue => "prologue",
            Section::Layer => "layer",
            Section::Epilogue => "epilogue",
        };
        Graph { section, width: drawn.width, height: drawn.height, cards, lines }
    }
}

/// A tensor by kind and name: a weight and a value may have one name.
fn key(tensor: &Ref) -> String {
    match tensor {
        Ref::Value(name) => of_value(name),
        Ref::Weight(name) => format!("weight:{name}"),
        Ref::Buffer(name) => format!("buffer:{name}"),
    }
}

fn of_value(name: &str) -> String {
    format!("value:{name}")
}

fn call(op: &Op) -> &'static str {
    op.call().rsplit('.').next().unwrap_or_default()
}

fn placed(name: &str, spec: &TensorSpec) -> String {
    format!("{name} {} {}", spec.dtype, spec.memory)
}

/// The field of a result, with as much of its name as its step's does not say.
fn port(value: String, name: &str, step: &str, how: &str, spec: &TensorSpec) -> Port {
    let memory = match spec.memory.memory() {
        Memory::L1 => "l1",
        Memory::Dram => "dram",
    };
    let own = match name.strip_prefix(step) {
        Some(rest) if !step.is_empty() => rest.trim_start_matches('.'),
        Some(_) | None => name,
    };
    let gap = if own.is_empty() && how.is_empty() { "" } else { " " };
    let text = format!("{own}{how}{gap}{} {}", spec.dtype, spec.memory).trim_start().to_owned();
    Port { value, x: 0.0, width: room(&text), text, memory }
}

fn room(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER + 2.0 * PADDING
}
