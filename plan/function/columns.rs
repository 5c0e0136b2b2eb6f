//! The columns of a tensor, each an element of a term times a factor, kept as runs of consecutive elements.

use std::rc::Rc;

use super::Unclear;
use super::node::{Entry, Node, Term, Terms};
use super::scale::Scale;

/// Most runs of one tensor. Queries and keys whose pairs are reordered have a run for each column; nothing that a model has comes near.
const MOST_RUNS: usize = 1 << 18;

/// Consecutive columns that are consecutive elements of a term, or zeros.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Multiplies the elements.
    pub scale: Rc<Scale>,
    /// The term; `None` for zeros.
    pub of: Option<Term>,
    /// The first element.
    pub start: i64,
    /// Columns.
    pub len: u32,
}

impl Run {
    /// The same elements without the first `skip` and all after `len`.
    fn part(&self, skip: u32, len: u32) -> Run {
        Run { start: self.start + i64::from(skip), len, ..self.clone() }
    }

    /// The run with its factor, as part of a term.
    fn as_entry(&self) -> Entry {
        self.entry(&Scale::one())
    }

    fn entry(&self, unit: &Scale) -> Entry {
        let scale = if self.of.is_some() { self.scale.over(unit) } else { Scale::one() };
        Entry { scale, of: self.of, start: if self.of.is_some() { self.start } else { 0 }, len: self.len }
    }
}

/// The columns of a tensor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Columns(Vec<Run>);

impl Columns {
    /// The first `len` elements of a term.
    pub fn of(term: Term, len: u32) -> Self {
        Columns(vec![Run { scale: Rc::new(Scale::one()), of: Some(term), start: 0, len }])
    }

    /// Zeros.
    pub fn zeros(len: u32) -> Self {
        Columns(vec![Run { scale: Rc::new(Scale::one()), of: None, start: 0, len }])
    }

    /// The runs.
    pub fn runs(&self) -> &[Run] {
        &self.0
    }

    /// Columns.
    pub fn len(&self) -> u32 {
        self.0.iter().fold(0, |len, run| len.saturating_add(run.len))
    }

    /// True when there is no column.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds columns, as part of the last run where they continue it.
    pub fn push(&mut self, run: Run) {
        if run.len == 0 {
            return;
        }
        if let Some(last) = self.0.last_mut() {
            let continues = match (last.of, run.of) {
                (None, None) => true,
                (Some(a), Some(b)) => {
                    let scaled = Rc::ptr_eq(&last.scale, &run.scale) || last.scale.is_close(&run.scale);
                    a == b && last.start + i64::from(last.len) == run.start && scaled
                }
                (None, Some(_)) | (Some(_), None) => false,
            };
            if continues {
                last.len = last.len.saturating_add(run.len);
                return;
            }
        }
        self.0.push(run);
    }

    /// Adds the columns of another tensor on the right.
    pub fn append(&mut self, other: &Columns) {
        other.0.iter().cloned().for_each(|run| self.push(run));
    }

    /// Columns `start..start + len`.
    ///
    /// # Errors
    /// There are not so many.
    pub fn slice(&self, start: u32, len: u32) -> Result<Columns, Unclear> {
        let mut found = Columns::default();
        let (mut at, end) = (0u32, start.saturating_add(len));
        for run in &self.0 {
            let (first, last) = (at.max(start), at.saturating_add(run.len).min(end));
            if first < last {
                found.push(run.part(first - at, last - first));
            }
            at = at.saturating_add(run.len);
        }
        if at < end { Err(Unclear::new(format!("columns {start}..{end} of {at}"), "")) } else { Ok(found) }
    }

    /// Each run with what `change` makes of it.
    ///
    /// # Errors
    /// The first error of `change`.
    pub fn map(&self, mut change: impl FnMut(&Run) -> Result<Run, Unclear>) -> Result<Columns, Unclear> {
        let mut changed = Columns::default();
        for run in &self.0 {
            changed.push(change(run)?);
        }
        Ok(changed)
    }

    /// All columns times a factor.
    #[must_use]
    pub fn scaled(&self, scale: &Scale) -> Columns {
        let mut last: Option<(Rc<Scale>, Rc<Scale>)> = None;
        let mut scaled = Columns::default();
        for run in &self.0 {
            let by = match &last {
                Some((from, to)) if Rc::ptr_eq(from, &run.scale) => Rc::clone(to),
                Some(_) | None => Rc::new(run.scale.times(scale)),
            };
            last = Some((Rc::clone(&run.scale), Rc::clone(&by)));
            scaled.push(Run { scale: by, ..run.clone() });
        }
        scaled
    }

    /// Runs of both tensors that lie side by side, cut to equal lengths.
    ///
    /// # Errors
    /// Tensors of different widths.
    pub fn zip(&self, other: &Columns) -> Result<Vec<(Run, Run)>, Unclear> {
        if self.len() != other.len() {
            return Err(Unclear::new(format!("{} columns beside {}", self.len(), other.len()), "equally many"));
        }
        let mut pairs = Vec::new();
        let (mut left, mut right) = (self.0.iter(), other.0.iter());
        let (mut a, mut b) = (left.next().cloned(), right.next().cloned());
        while let (Some(x), Some(y)) = (&a, &b) {
            let len = x.len.min(y.len);
            pairs.push((x.part(0, len), y.part(0, len)));
            let rest = |run: &Run| (run.len > len).then(|| run.part(len, run.len - len));
            let (x, y) = (rest(x), rest(y));
            a = x.or_else(|| left.next().cloned());
            b = y.or_else(|| right.next().cloned());
        }
        Ok(pairs)
    }

    /// The factor of the first column that is not zero.
    fn unit(&self) -> Option<&Scale> {
        self.0.iter().find(|run| run.of.is_some()).map(|run| &*run.scale)
    }

    /// The columns in their order as one term, times the factor of the first that is not zero. `None` of zeros.
    pub fn vector(&self, terms: &mut Terms) -> Option<(Scale, Term)> {
        let unit = self.unit()?.clone();
        let term = terms.make(Node::Vector(self.0.iter().map(|run| run.entry(&unit)).collect()));
        Some((unit, term))
    }

    /// The columns in their order as one term, with their factors, and without the zeros between them.
    pub fn as_they_are(&self, terms: &mut Terms) -> Term {
        let entries = self.0.iter().filter(|run| run.of.is_some()).cloned();
        let mut real = Columns::default();
        entries.for_each(|run| real.push(run));
        terms.make(Node::Vector(real.0.iter().map(Run::as_entry).collect()))
    }

    /// Whether both have the same columns in the same order, but for the rounding of their factors.
    pub fn is_like(&self, other: &Columns) -> bool {
        let like = |(a, b): (&Run, &Run)| match (a.of, b.of) {
            (Some(x), Some(y)) => (x, a.start, a.len) == (y, b.start, b.len) && a.scale.is_close(&b.scale),
            (None, None) => a.len == b.len,
            (Some(_), None) | (None, Some(_)) => false,
        };
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(like)
    }

    /// The columns that are not zero, in any order, as one term, times a factor that they have in common; and how many they are. `None` of
    /// zeros.
    pub fn set(&self, terms: &mut Terms) -> Option<(Scale, Term, u32)> {
        let mut runs: Vec<&Run> = self.0.iter().filter(|run| run.of.is_some()).collect();
        runs.sort_by_key(|run| (run.of, run.start));
        let mut sorted = Columns::default();
        runs.into_iter().cloned().for_each(|run| sorted.push(run));
        let unit = sorted.unit()?.clone();
        let term = terms.make(Node::Set(sorted.0.iter().map(|run| run.entry(&unit)).collect()));
        Some((unit, term, sorted.len()))
    }

    /// An error when there are more runs than any model has.
    ///
    /// # Errors
    /// See above.
    pub fn bounded(self) -> Result<Columns, Unclear> {
        if self.0.len() <= MOST_RUNS {
            return Ok(self);
        }
        Err(Unclear::new(format!("a tensor of {} pieces", self.0.len()), "columns that lie together"))
    }
}
