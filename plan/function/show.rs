//! Terms as text for people: what is computed, of what was named before.

use std::collections::HashMap;

use super::Function;
use super::node::{Entry, Node, Term};
use super::scale::{Factor, Scale};

/// Writes the terms of a function.
pub(super) struct Shown<'f> {
    function: &'f Function,
    names: HashMap<Term, &'f str>,
}

/// Operations that are written out of one inside another; deeper ones are dots.
const DEPTH: u32 = 3;

impl<'f> Shown<'f> {
    pub fn new(function: &'f Function) -> Self {
        let named =
            function.made.iter().flat_map(|made| made.terms.iter().map(move |term| (*term, made.name.as_str())));
        Shown { function, names: named.collect() }
    }

    /// The outermost operation of a term, with the names of what it is made of.
    pub fn term(&self, term: Term) -> String {
        self.node(term, DEPTH)
    }

    fn of(&self, term: Term, depth: u32) -> String {
        match (self.names.get(&term), depth) {
            (Some(name), _) => format!("`{name}`"),
            (None, 0) => "..".into(),
            (None, _) => self.node(term, depth - 1),
        }
    }

    fn node(&self, term: Term, depth: u32) -> String {
        let of = |term: &Term| self.of(*term, depth);
        let scaled = |term: &Term, scale: &Scale| times(scale, of(term));
        let Some(node) = self.function.terms.node(term) else { return "..".into() };
        match node {
            Node::One => "1".into(),
            Node::Carry => "the residual stream".into(),
            Node::Lookup { table, .. } => format!("the token's row of `{}`", table.tensor),
            Node::Constant { tensor } => format!("`{tensor}`"),
            Node::Vector(entries) | Node::Set(entries) => self.entries(entries, depth),
            Node::Product { matrix, input } => format!("`{}` times {}", matrix.tensor, of(input)),
            Node::Norm { over, epsilon, of: what } => {
                let over = if self.is_whole(*over, *what) { String::new() } else { format!(" by {}", of(over)) };
                format!("{} normalised{over} with epsilon {}", of(what), number(epsilon))
            }
            Node::Negative(x) => format!("-{}", of(x)),
            Node::Relu(x) => format!("relu({})", of(x)),
            Node::Square(x) => format!("{}^2", of(x)),
            Node::Abs(x) => format!("|{}|", of(x)),
            Node::Recip(x) => format!("1/{}", of(x)),
            Node::Silu(x, scale) => format!("silu({})", scaled(x, scale)),
            Node::Round(x, scale) => format!("round({})", scaled(x, scale)),
            Node::Max(x, bound) => format!("max({}, {})", of(x), number(bound)),
            Node::Clamp(x, scale, [low, high]) => format!("clamp({}, {low}, {high})", scaled(x, scale)),
            Node::RowMax(x) => format!("the largest of {}", of(x)),
            Node::Sum { a, b, scale, .. } => format!("{} + {}", of(a), scaled(b, scale)),
            Node::Mul { a, b, .. } => format!("{} * {}", of(a), of(b)),
            Node::TimesRow { of: x, row, .. } => format!("{} * {}", of(x), of(row)),
            Node::Turn { a, b, shift, .. } if a == b => format!("{} turned in pairs {shift} apart", of(a)),
            Node::Turn { a, b, .. } => format!("{} and {} turned", of(a), of(b)),
            Node::Rates(rates) => format!("{} frequencies", rates.len()),
            Node::RatesByLength { short, beyond, .. } => format!("{} up to {beyond} tokens", of(short)),
            Node::Scaled(x, _) => of(x),
            Node::Scores { pairs, scale } => {
                let first = pairs.first().map(|pair| (of(&pair.query.0), of(&pair.key.0)));
                let (query, key) = first.unwrap_or_else(|| ("nothing".into(), "nothing".into()));
                format!("the scores of {query} with {key}, times {}", number(scale))
            }
            Node::Attend { scores, of: what } => format!("{} by {}", of(what), self.of(*scores, depth.max(1))),
        }
    }

    /// Whether a set is one term and nothing else.
    fn is_whole(&self, set: Term, of: Term) -> bool {
        let entries = match self.function.terms.node(set) {
            Some(Node::Set(entries)) => entries.as_slice(),
            Some(_) | None => &[],
        };
        entries.iter().all(|entry| entry.of == Some(of))
    }

    fn entries(&self, entries: &[Entry], depth: u32) -> String {
        let mut texts: Vec<String> = Vec::new();
        for entry in entries {
            let text = match entry.of {
                Some(of) => times(&entry.scale, self.of(of, depth)),
                None => continue,
            };
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        match texts.len() {
            0..4 => texts.join(" | "),
            more => format!("{} | {} | .. ({more} in all)", texts[0], texts[1]),
        }
    }
}

fn times(scale: &Scale, of: String) -> String {
    if scale.is_one() { of } else { format!("{} * {of}", number(scale)) }
}

fn number(scale: &Scale) -> String {
    let power_of = |(factor, power): (&Factor, i32)| {
        let name = match factor {
            Factor::Weight(tensor) => format!("scale of `{tensor}`"),
            Factor::Row(_) => "a number of the row".into(),
        };
        if power == 1 { name } else { format!("({name})^{power}") }
    };
    let mut factors: Vec<String> = scale.powers().map(power_of).collect();
    if factors.is_empty() || scale.value() != 1.0 {
        factors.insert(0, format!("{:?}", scale.value()));
    }
    factors.join(" * ")
}
