//! A phase as a graph: its calls with one layer for all, the weights and buffers they are given, and an edge for each tensor.
//!
//! A call that writes into a tensor stands between those who read it before and those who read it after. What a layer hands on to the next
//! one is no edge, so that the graph has no circle.

use std::collections::HashMap;

use bitnetc_plan::op::{Access, Argument};
use bitnetc_plan::{Buffer, Phase, Plan, Ref, Section, Step, TensorSpec, Weight};

/// What a node stands for.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// A call; the number is its place in the walk.
    Step(&'a Step, usize),
    /// A constant tensor.
    Weight(&'a Weight),
    /// A persistent tensor.
    Buffer(&'a Buffer),
}

/// A tensor on its way into a call.
#[derive(Debug, Clone, Copy)]
pub struct Edge<'a> {
    /// The node it comes from.
    pub from: usize,
    /// Which of that node's results it is.
    pub output: usize,
    /// The argument that it is.
    pub argument: &'static str,
    /// Its name.
    pub name: &'a str,
    /// Its form and place.
    pub spec: &'a TensorSpec,
}

/// A call, a weight or a buffer.
#[derive(Debug, Clone)]
pub struct Node<'a> {
    /// The part of the phase it is in; a weight or a buffer is in that of its first use.
    pub section: Section,
    /// What it is.
    pub content: Content<'a>,
    /// What it is given.
    pub inputs: Vec<Edge<'a>>,
}

impl Node<'_> {
    /// Its name: that of the step, the weight or the buffer.
    pub fn name(&self) -> &str {
        match self.content {
            Content::Step(step, _) => &step.name,
            Content::Weight(weight) => &weight.name,
            Content::Buffer(buffer) => &buffer.name,
        }
    }

    /// A name that no other node of the graph has: steps and tensors may be called alike.
    pub fn id(&self) -> String {
        match self.content {
            Content::Step(step, _) => step.name.clone(),
            Content::Weight(weight) => format!("weight {}", weight.name),
            Content::Buffer(buffer) => format!("buffer {}", buffer.name),
        }
    }
}

/// A section as people read it: `layer (30 times)`.
pub fn title(section: Section, layers: u32) -> String {
    match section {
        Section::Prologue => "prologue".into(),
        Section::Layer => format!("layer ({layers} times)"),
        Section::Epilogue => "epilogue".into(),
    }
}

/// The nodes of a phase, each after those that it is given something of.
pub fn of<'a>(plan: &'a Plan, phase: &'a Phase) -> Vec<Node<'a>> {
    let mut growing = Growing { plan, specs: plan.specs(phase), nodes: Vec::new(), sources: HashMap::new() };
    let mut at = 0;
    for section in Section::ALL {
        for step in phase.section(section) {
            // What is freed needs no picture.
            if step.op.freed().is_none() {
                growing.step(section, step, at);
            }
            at += 1;
        }
    }
    growing.nodes
}

struct Growing<'a> {
    plan: &'a Plan,
    specs: HashMap<Ref, &'a TensorSpec>,
    nodes: Vec<Node<'a>>,
    /// The node that has each tensor as it is now, and which of its results it is.
    sources: HashMap<Ref, (usize, usize)>,
}

impl<'a> Growing<'a> {
    fn step(&mut self, section: Section, step: &'a Step, at: usize) {
        let mut uses = Vec::new();
        step.op.arguments(&mut |name, argument| {
            if let Argument::Operand(found) = argument {
                uses.push((name, found));
            }
        });
        let (mut inputs, mut written) = (Vec::new(), Vec::new());
        for (argument, found) in uses {
            let (Some(spec), Some((from, output))) =
                (self.specs.get(found.tensor).copied(), self.source(section, found.tensor))
            else {
                continue;
            };
            inputs.push(Edge { from, output, argument, name: found.tensor.name(), spec });
            if found.access == Access::Write {
                written.push(found.tensor.clone());
            }
        }
        let node = self.nodes.len();
        self.nodes.push(Node { section, content: Content::Step(step, at), inputs });
        let made = step.outputs.iter().map(|value| Ref::Value(value.name.clone()));
        for (output, tensor) in written.into_iter().chain(made).enumerate() {
            self.sources.insert(tensor, (node, output));
        }
    }

    /// Where a tensor comes from; a weight or a buffer that nobody wrote yet gets its node here.
    fn source(&mut self, section: Section, tensor: &Ref) -> Option<(usize, usize)> {
        if let Some(found) = self.sources.get(tensor) {
            return Some(*found);
        }
        let content = match tensor {
            Ref::Value(_) => return None,
            Ref::Weight(name) => Content::Weight(self.plan.weight(name)?),
            Ref::Buffer(name) => Content::Buffer(self.plan.buffer(name)?),
        };
        self.nodes.push(Node { section, content, inputs: Vec::new() });
        self.sources.insert(tensor.clone(), (self.nodes.len() - 1, 0));
        Some((self.nodes.len() - 1, 0))
    }
}
