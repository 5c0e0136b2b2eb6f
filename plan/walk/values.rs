//! The tensors a phase knows by name, and what became of them so far.

use std::collections::HashMap;

use super::Context;
use crate::defect::Invariant;
use crate::{Buffer, Ref, Section, TensorSpec, Weight};

/// Where a value is in its life.
pub(super) enum State {
    Alive,
    Freed { by: String },
    TakenOver { by: String },
}

/// A value that a step made.
pub(super) struct Tracked<'a> {
    pub spec: &'a TensorSpec,
    /// `None` when there was no room.
    pub address: Option<u64>,
    /// Where it was made.
    pub section: Section,
    /// The step that made it.
    pub maker: &'a str,
    /// Since it was last written.
    pub used: bool,
    pub state: State,
}

impl Tracked<'_> {
    pub const fn is_alive(&self) -> bool {
        match self.state {
            State::Alive => true,
            State::Freed { .. } | State::TakenOver { .. } => false,
        }
    }
}

/// A broken invariant without its place: which one, what was found, what would be right.
pub(super) type Problem = (Invariant, String, &'static str);

/// Weights, buffers and values by name.
pub(super) struct Values<'a> {
    weights: HashMap<&'a str, &'a Weight>,
    buffers: HashMap<&'a str, &'a Buffer>,
    values: HashMap<&'a str, Tracked<'a>>,
}

impl<'a> Values<'a> {
    pub fn new(context: Context<'a>) -> Self {
        Values {
            weights: context.weights.iter().map(|w| (w.name.as_str(), w)).collect(),
            buffers: context.buffers.iter().map(|b| (b.name.as_str(), b)).collect(),
            values: HashMap::new(),
        }
    }

    /// A second value of a name hides the first; the invariant `Names` reports it.
    pub fn define(&mut self, name: &'a str, value: Tracked<'a>) {
        self.values.insert(name, value);
    }

    pub fn get(&self, name: &str) -> Option<&Tracked<'a>> {
        self.values.get(name)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Tracked<'a>> {
        self.values.get_mut(name)
    }

    /// The value an operand names; weights and buffers are none.
    pub fn value(&self, operand: &Ref) -> Option<&Tracked<'a>> {
        match operand {
            Ref::Value(name) => self.get(name),
            Ref::Weight(_) | Ref::Buffer(_) => None,
        }
    }

    /// As [`Values::value`].
    pub fn value_mut(&mut self, operand: &Ref) -> Option<&mut Tracked<'a>> {
        match operand {
            Ref::Value(name) => self.get_mut(name),
            Ref::Weight(_) | Ref::Buffer(_) => None,
        }
    }

    /// The spec of a call's operand.
    ///
    /// # Errors
    /// There is no such tensor here, or it has ended.
    pub fn operand(&self, section: Section, operand: &Ref) -> Result<&'a TensorSpec, Problem> {
        match operand {
            Ref::Weight(name) => match self.weights.get(name.as_str()) {
                Some(weight) => in_its_section(operand, weight.per_layer, section).map(|()| &weight.spec),
                None => Err((Invariant::Defined, format!("the plan has no weight `{name}`"), "list it in `weights`")),
            },
            Ref::Buffer(name) => match self.buffers.get(name.as_str()) {
                Some(buffer) => in_its_section(operand, buffer.per_layer, section).map(|()| &buffer.spec),
                None => Err((Invariant::Defined, format!("the plan has no buffer `{name}`"), "list it in `buffers`")),
            },
            Ref::Value(name) => match self.get(name) {
                None => Err((
                    Invariant::Defined,
                    format!("`{name}` is used before it is defined"),
                    "an earlier step returns it",
                )),
                Some(Tracked { state: State::Alive, spec, .. }) => Ok(spec),
                Some(Tracked { state: State::Freed { by }, .. }) => Err((
                    Invariant::Alive,
                    format!("`{name}` is used after step `{by}` freed it"),
                    "free it after its last use",
                )),
                Some(Tracked { state: State::TakenOver { by }, .. }) => Err((
                    Invariant::Alive,
                    format!("`{name}` is used after step `{by}` took it over"),
                    "use that step's result",
                )),
            },
        }
    }
}

fn in_its_section(operand: &Ref, per_layer: bool, section: Section) -> Result<(), Problem> {
    if per_layer && section != Section::Layer {
        let what = format!("`{operand}` is one per layer, and this is no layer");
        return Err((Invariant::Defined, what, "use it in the layer"));
    }
    Ok(())
}
