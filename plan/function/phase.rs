//! A phase executed on terms.

use std::collections::HashMap;
use std::rc::Rc;

use super::columns::{Columns, Run};
use super::matrices::{ones, vectors};
use super::node::{Node, Term, Terms};
use super::scale::Scale;
use super::value::{Angles, Content, Layout, Rows, RowsOf, Value};
use super::{Function, Record, Unclear, heads, op};
use crate::defect::Defects;
use crate::{BufferRole, Defect, Invariant, Phase, PhaseKind, Place, Plan, Ref, Section, Source, Step};

/// Most runs of all tensors of a phase together.
const MOST_WORK: usize = 1 << 24;

/// A phase's function, and what it leaves in the caches.
#[derive(Debug)]
pub struct Executed {
    /// Its function.
    pub function: Function,
    /// The columns that are written into the key and into the value cache, in their order and with their factors.
    pub caches: Vec<(BufferRole, Columns)>,
}

/// Executes a phase of a plan that keeps all other invariants.
///
/// # Errors
/// Steps that no model needs and that have no meaning here; results that are not the logits of the last token.
pub fn of_phase(plan: &Plan, phase: &Phase) -> Result<Executed, Vec<Defect>> {
    let mut run = Execution::new(plan, phase);
    run.section(Section::Prologue);
    let start = run.enter_layer();
    run.section(Section::Layer);
    let end = run.leave_layer(start.as_ref());
    run.section(Section::Epilogue);
    let logits = run.logits();
    let Execution { terms, record, defects, caches, .. } = run;
    match (start, end, logits) {
        (Some(start), Some(end), Some(logits)) if defects.0.is_empty() => {
            let mut terms = terms;
            let function =
                Function { start: start.columns.as_they_are(&mut terms), end, logits, made: record.finish(), terms };
            Ok(Executed { function, caches: caches.into_iter().map(|cache| (cache.role, cache.columns)).collect() })
        }
        (Some(_) | None, Some(_) | None, Some(_) | None) => Err(defects.0),
    }
}

/// The residual stream before the layers.
struct Stream {
    name: String,
    rows: Rows,
    columns: Columns,
}

/// Content of a cache, as far as the phase has written it.
struct Cache {
    role: BufferRole,
    columns: Columns,
    heads: u32,
}

/// What a step's meaning is made with.
pub(super) struct Execution<'p> {
    plan: &'p Plan,
    phase: &'p Phase,
    /// All terms.
    pub terms: Terms,
    /// Values by name. `None` stands for one that an error was reported of.
    values: HashMap<String, Option<Value>>,
    caches: Vec<Cache>,
    /// What the next token was picked of.
    picked: Option<Value>,
    record: Record,
    defects: Defects,
    work: usize,
}

/// The meaning of a step: its results.
pub(super) type Meaning = Result<Vec<Value>, Trouble>;

/// Why a step has no meaning.
#[derive(Debug)]
pub(super) enum Trouble {
    /// An operand has none, of which an error was reported.
    Before,
    /// The step itself.
    Here(Unclear),
}

impl From<Unclear> for Trouble {
    fn from(unclear: Unclear) -> Self {
        Trouble::Here(unclear)
    }
}

impl<'p> Execution<'p> {
    fn new(plan: &'p Plan, phase: &'p Phase) -> Self {
        Execution {
            plan,
            phase,
            terms: Terms::default(),
            values: HashMap::new(),
            caches: Vec::new(),
            picked: None,
            record: Record::default(),
            defects: Defects::default(),
            work: 0,
        }
    }

    fn section(&mut self, section: Section) {
        for step in self.phase.section(section) {
            let results = match op::meaning(step, self) {
                Ok(results) => results.into_iter().map(Some).collect(),
                Err(trouble) => {
                    self.trouble(&step.name, trouble);
                    // What it writes in place is as unknown as what it returns.
                    for written in step.op.written() {
                        self.values.insert(written.name().to_owned(), None);
                    }
                    vec![None; step.outputs.len()]
                }
            };
            for (output, value) in step.outputs.iter().zip(results) {
                if let Some(value) = &value {
                    self.note(&step.name, value);
                }
                self.values.insert(output.name.clone(), value);
            }
        }
    }

    fn trouble(&mut self, step: &str, trouble: Trouble) {
        if let Trouble::Here(Unclear { what, hint }) = trouble {
            self.defects.push(Invariant::Function, Place::Step(self.phase.kind, step.to_owned()), what, hint);
        }
    }

    fn phase_trouble(&mut self, what: impl Into<String>, hint: impl Into<String>) {
        self.defects.push(Invariant::Function, Place::Phase(self.phase.kind), what, hint);
    }

    fn note(&mut self, step: &str, value: &Value) {
        if let Content::Columns(columns) = &value.content {
            self.record.note(step, columns);
            self.work = self.work.saturating_add(columns.runs().len());
            if self.work > MOST_WORK {
                self.phase_trouble("its tensors are made of too many pieces", "columns that lie together");
            }
        }
    }

    /// The phase.
    pub const fn kind(&self) -> PhaseKind {
        self.phase.kind
    }

    /// An operand. A weight that is no table or vector is read by its own [`Execution::source`].
    pub fn value(&mut self, operand: &Ref) -> Result<Value, Trouble> {
        match operand {
            Ref::Value(name) => self.values.get(name).cloned().flatten().ok_or(Trouble::Before),
            Ref::Weight(_) => Ok(self.weight(operand)?),
            Ref::Buffer(name) => Err(Unclear::new(format!("the buffer `{name}` is no operand here"), "a value").into()),
        }
    }

    /// Where a weight's numbers come from.
    pub fn source(&self, operand: &Ref) -> Result<&'p Source, Unclear> {
        let weight = if let Ref::Weight(name) = operand { self.plan.weight(name) } else { None };
        let found = weight.map(|weight| &weight.source);
        found.ok_or_else(|| Unclear::new(format!("`{operand}` is no weight"), "a weight of the model"))
    }

    /// The role of a buffer.
    pub fn role(&self, operand: &Ref) -> Result<BufferRole, Unclear> {
        let buffer = if let Ref::Buffer(name) = operand { self.plan.buffer(name) } else { None };
        let found = buffer.map(|buffer| buffer.role);
        found.ok_or_else(|| Unclear::new(format!("`{operand}` is no buffer"), "a buffer"))
    }

    fn weight(&mut self, operand: &Ref) -> Result<Value, Unclear> {
        let any = Rows::new(RowsOf::Any, 1);
        match self.source(operand)? {
            Source::Columns(_) | Source::Rows(_) => {
                Err(Unclear::new(format!("the matrix `{operand}` is no operand here"), "a value"))
            }
            Source::Vectors(list) => Ok(Value::flat(any, vectors(&mut self.terms, list)?)),
            Source::Ones { len, factor } => {
                let ones = ones(&mut self.terms, *len).scaled(&Scale::number(*factor));
                Ok(Value::flat(any, ones))
            }
            Source::RotaryTable { function, positions, frequencies, amplitude, long } => {
                let prompt = match self.phase.kind {
                    PhaseKind::Prefill { tokens } => tokens,
                    PhaseKind::Decode { .. } => 0,
                };
                if long.as_ref().is_some_and(|long| long.one_sequence != (prompt > long.beyond)) {
                    let what = format!("`{operand}` has the angles of other sequences");
                    let hint = "of one sequence for prompts beyond the first frequencies, else of the sequence that each position ends";
                    return Err(Unclear::new(what, hint));
                }
                let long = long.as_ref().map(|long| (long.beyond, long.frequencies.as_slice()));
                let rates = heads::rates(&mut self.terms, frequencies, long);
                let count = frequencies.len() as u32;
                let angles = Angles { function: *function, rates, count, amplitude: *amplitude };
                let rows = Rows::new(RowsOf::Prompt, *positions);
                Ok(Value { rows, layout: Layout::Flat, content: Content::Angles(angles) })
            }
            Source::RotaryTransform => Ok(Value { rows: any, layout: Layout::Flat, content: Content::Transform }),
        }
    }

    /// Replaces a value that a step writes in place.
    pub fn write(&mut self, step: &Step, operand: &Ref, value: Value) {
        self.note(&step.name, &value);
        self.values.insert(operand.name().to_owned(), Some(value));
    }

    /// Writes heads into a cache.
    ///
    /// # Errors
    /// What is no cache; rows that are not those of the phase's tokens.
    pub fn fill(&mut self, cache: &Ref, rows: &Value) -> Result<(), Unclear> {
        let role = self.role(cache)?;
        let heads = match (rows.layout, self.phase.kind) {
            (Layout::ByRow(heads), PhaseKind::Decode { .. }) | (Layout::ByHead(heads), PhaseKind::Prefill { .. }) => {
                heads
            }
            (Layout::Flat | Layout::ByRow(_) | Layout::ByHead(_), _) => {
                return Err(Unclear::new("a cache is filled with what are no heads", "heads of keys or values"));
            }
        };
        self.all_tokens(rows)?;
        let columns = heads::of_own_row(&mut self.terms, rows.columns()?)?;
        self.caches.push(Cache { role, columns, heads });
        Ok(())
    }

    /// Columns and heads of a cache: those of the tokens of this phase, which it holds at their positions, and of all tokens before.
    ///
    /// # Errors
    /// A cache that this phase has not written.
    pub fn cached(&self, cache: &Ref) -> Result<(Columns, u32), Unclear> {
        let role = self.role(cache)?;
        let written = self.caches.iter().rev().find(|cache| cache.role == role);
        let unwritten = || Unclear::new(format!("`{cache}` is read before it has this token"), "write it first");
        written.map(|cache| (cache.columns.clone(), cache.heads)).ok_or_else(unwritten)
    }

    /// An error for rows that are not those of all tokens of the phase.
    ///
    /// # Errors
    /// See above.
    pub fn all_tokens(&self, value: &Value) -> Result<(), Unclear> {
        let expected = match self.phase.kind {
            PhaseKind::Decode { batch } => Rows::new(RowsOf::Users, batch),
            PhaseKind::Prefill { tokens } => Rows::new(RowsOf::Prompt, tokens),
        };
        if value.rows == expected { Ok(()) } else { Err(Unclear::new(value.rows.to_string(), expected.to_string())) }
    }

    /// Notes what the next token is picked of.
    pub fn pick(&mut self, logits: Value) {
        self.picked = Some(logits);
    }

    /// Lets the residual stream be a term of its own.
    fn enter_layer(&mut self) -> Option<Stream> {
        let prologue: Vec<&str> =
            self.phase.prologue.iter().flat_map(|s| &s.outputs).map(|v| v.name.as_str()).collect();
        let written = self.phase.layer.iter().flat_map(|step| step.op.written());
        let mut carried: Vec<&str> = written.map(Ref::name).filter(|name| prologue.contains(name)).collect();
        carried.sort_unstable();
        carried.dedup();
        let [name] = carried[..] else {
            let what = format!("its layer changes {} of the values before it", carried.len());
            self.phase_trouble(what, "the residual stream, and nothing else");
            return None;
        };
        let value = self.values.get(name).cloned().flatten()?;
        let stream = match value.matrix() {
            Ok(columns) => Stream { name: name.to_owned(), rows: value.rows, columns: columns.clone() },
            Err(Unclear { what, hint }) => {
                self.phase_trouble(what, hint);
                return None;
            }
        };
        let carry = self.carry(&stream.columns);
        self.record.note("the residual stream", &carry);
        self.values.insert(stream.name.clone(), Some(Value::flat(stream.rows, carry)));
        Some(stream)
    }

    /// The elements of the carried stream where `columns` are not padding.
    fn carry(&mut self, columns: &Columns) -> Columns {
        let (term, mut start) = (self.terms.make(Node::Carry), 0);
        let one = Rc::new(Scale::one());
        let mut carry = Columns::default();
        for run in columns.runs() {
            carry.push(Run { scale: Rc::clone(&one), of: run.of.map(|_| term), start, len: run.len });
            start += if run.of.is_some() { i64::from(run.len) } else { 0 };
        }
        carry
    }

    /// The stream at the end of the layer, which the next layer finds as this one found it.
    fn leave_layer(&mut self, start: Option<&Stream>) -> Option<Term> {
        let start = start?;
        let value = self.values.get(&start.name).cloned().flatten()?;
        let Ok(end) = value.matrix() else { return None };
        let fits = value.rows == start.rows
            && start.columns.zip(end).is_ok_and(|runs| runs.iter().all(|(a, b)| a.of.is_some() || b.of.is_none()));
        if !fits {
            self.phase_trouble("a layer leaves another residual stream than it found", "the same rows and padding");
            return None;
        }
        let carry = self.carry(&start.columns);
        let term = end.as_they_are(&mut self.terms);
        self.values.insert(start.name.clone(), Some(Value::flat(start.rows, carry)));
        Some(term)
    }

    /// The logits: what the results are, and what the next token is picked of.
    fn logits(&mut self) -> Option<Term> {
        let mut logits = None;
        for name in &self.phase.results {
            let value = self.values.get(name).cloned().flatten()?;
            let term = self.last_token(&value)?;
            if *logits.get_or_insert(term) != term {
                self.phase_trouble(format!("result `{name}` is not the logits"), "the logits, and nothing else");
            }
        }
        if let Some(value) = self.picked.clone() {
            let term = self.last_token(&value)?;
            if *logits.get_or_insert(term) != term {
                self.phase_trouble("the token is picked of something else than the logits", "the logits");
            }
        }
        if logits.is_none() {
            self.phase_trouble("it has no logits", "a result, or a token that is picked");
        }
        logits
    }

    /// The term of a matrix that has the rows of the last tokens.
    fn last_token(&mut self, value: &Value) -> Option<Term> {
        let Rows { of, first, count } = value.rows;
        let right = match (self.phase.kind, of) {
            (PhaseKind::Decode { batch }, RowsOf::Users) => first == 0 && count == batch,
            (PhaseKind::Prefill { .. }, RowsOf::LastTile) => first == 0 && count == crate::TILE,
            (PhaseKind::Prefill { tokens }, RowsOf::Prompt) => first == 0 && count == tokens && tokens <= crate::TILE,
            (PhaseKind::Decode { .. } | PhaseKind::Prefill { .. }, _) => false,
        };
        if !right {
            self.phase_trouble(format!("its logits are those of {}", value.rows), "those of the last tokens");
            return None;
        }
        match value.matrix() {
            Ok(columns) => Some(columns.as_they_are(&mut self.terms)),
            Err(Unclear { what, hint }) => {
                self.phase_trouble(what, hint);
                None
            }
        }
    }
}
