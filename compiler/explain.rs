//! Explanation of a step: the other ways in which it could have run, and what each would have cost.
//!
//! The cost of an alternative is not a guess. The search is run again with that choice fixed ([`WhatIf`]), so it includes the reshards
//! before and after the step and the changes of its neighbours. Refusals are given in TT-NN's words, each constraint once.

mod moves;
mod nearest;
mod remarks;
mod storage;

use std::collections::BTreeMap;

use bitnetc_plan::{MemoryConfig, Op, PhaseKind, Step};

use crate::graph::Section;
use crate::passes::precision::Decision;
use crate::passes::{Fold, Forced, PlaceError, Record, WhatIf};
use crate::schedule::Call;
use crate::target::Target;
use crate::ttnn::cost::Price;
use crate::ttnn::{Candidate, Context, Ways, ways};
use crate::{Compiled, Options, PhaseRecord};
pub use moves::{Maker, Move};

/// The answer for one step.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The call the step belongs to.
    pub call: Call,
    /// The section in which it runs.
    pub section: Section,
    /// How often it runs.
    pub times: u32,
    /// The candidate that was chosen for it.
    pub chosen: Candidate,
    /// Each value it reads.
    pub operands: Vec<Reading>,
    /// The values that were moved for it.
    pub moves: Vec<Move>,
    /// The ways that TT-NN accepts and that the search was asked about, without the chosen one, cheapest phase first.
    pub alternatives: Vec<Alternative>,
    /// Legal ways in all, the chosen one included.
    pub legal: usize,
    /// The constraints that rule ways out, those that most ways break first.
    pub refusals: Vec<Refusal>,
    /// Ways that TT-NN refuses.
    pub refused: usize,
    /// Errors of the kernels of its steps beside the rounding that one expects: the step, and a sentence.
    pub remarks: Vec<(String, String)>,
    /// How its weight is stored, where there is a choice: in two bits for bitnetc's own kernels, once more for prefill, or not at all.
    pub storage: Option<String>,
    /// Precision asked and used, where the call has one.
    pub precision: Option<Decision>,
    /// Weight scales that left this call or went into it.
    pub folds: Vec<Fold>,
    /// Predicted time of the phase.
    pub phase: Price,
    /// Its reshards: prologue, one layer, epilogue.
    pub phase_reshards: usize,
    /// Its calls with what each takes, all runs, reshards before it included.
    pub calls: Vec<(String, Price)>,
}

impl Explanation {
    /// The calls that take longer in a phase with another choice, and the nanoseconds they lose in all runs, largest first. The explained
    /// call is not among them.
    pub fn slower<'a>(&'a self, other: &'a Forced) -> Vec<(&'a str, u64)> {
        let pairs = self.calls.iter().zip(&other.calls).filter(|((name, _), _)| *name != self.call.name);
        let mut slower: Vec<_> = pairs
            .filter(|((_, before), (_, after))| after.ns > before.ns)
            .map(|((name, before), (_, after))| (name.as_str(), after.ns - before.ns))
            .collect();
        slower.sort_by_key(|(_, ns)| std::cmp::Reverse(*ns));
        slower
    }
}

/// The placement in which a call reads a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The value.
    pub value: String,
    /// Where the chosen way wants it.
    pub wants: MemoryConfig,
    /// Whether it had to be moved there.
    pub resharded: bool,
    /// Placements other legal ways want it in.
    pub elsewhere: usize,
}

/// A legal way that was not chosen.
#[derive(Debug, Clone)]
pub struct Alternative {
    /// The way.
    pub candidate: Candidate,
    /// Ways with the same placements that are no better than this one.
    pub dominates: usize,
    /// The cheapest phase with it, or why there is none.
    pub verdict: Result<Forced, PlaceError>,
}

impl Alternative {
    /// Nanoseconds by which a run of the phase would be longer.
    pub fn regret(&self, phase: Price) -> Option<u64> {
        self.verdict.as_ref().ok().map(|forced| forced.price.ns.saturating_sub(phase.ns))
    }
}

/// A constraint in TT-NN's words.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The constraint's id.
    pub constraint: String,
    /// The constraint, with the numbers of its first breach.
    pub what: String,
    /// The value or form that would be accepted.
    pub hint: String,
    /// The first way that breaks it.
    pub example: String,
    /// Ways that break it.
    pub ways: usize,
}

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// The plan has no such phase.
    #[error("the plan has no phase `{0}`")]
    NoPhase(PhaseKind),
    /// The phase has no such step.
    #[error(
        "{phase} has no step `{step}`{}; there are {}",
        .nearest.as_ref().map_or_else(String::new, |n| format!(" (did you mean `{n}`?)")),
        .steps.join(", ")
    )]
    NoStep {
        /// The phase.
        phase: PhaseKind,
        /// The name that was asked for.
        step: String,
        /// The name that was perhaps meant.
        nearest: Option<String>,
        /// The names that the phase has.
        steps: Vec<String>,
    },
    /// Enumerating again failed where it succeeded before: a defect of bitnetc.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

/// The most groups of placements that the search is asked about. At least half of them keep the input or the output of the chosen way where
/// it is.
pub const ASKED: usize = 16;

/// Explains `step` of a phase just compiled with these `options` for this `target`.
///
/// # Errors
/// When there is no such phase or step.
pub fn explain(
    compiled: &Compiled,
    target: &Target,
    options: &Options,
    kind: PhaseKind,
    step: &str,
) -> Result<Explanation, ExplainError> {
    let phase = Asked::new(compiled, target, options, kind)?;
    let (record, steps) = (phase.record, &phase.steps);
    let at = find(record, step).ok_or_else(|| no_step(record, step, steps))?;
    phase.explain(&mut phase.search()?, at)
}

/// Explains every call of a phase, in the order in which they run. It takes less than asking for one after the other, because the phase is
/// enumerated once.
///
/// # Errors
/// When there is no such phase.
pub fn explain_all(
    compiled: &Compiled,
    target: &Target,
    options: &Options,
    kind: PhaseKind,
) -> Result<Vec<Explanation>, ExplainError> {
    let phase = Asked::new(compiled, target, options, kind)?;
    let mut search = phase.search()?;
    (0..phase.record.placed.record.len()).map(|at| phase.explain(&mut search, at)).collect()
}

/// A phase about which is asked.
struct Asked<'a> {
    compiled: &'a Compiled,
    record: &'a PhaseRecord,
    steps: Vec<&'a Step>,
    cx: Context<'a>,
    layers: u32,
}

impl<'a> Asked<'a> {
    fn new(
        compiled: &'a Compiled,
        target: &'a Target,
        options: &Options,
        kind: PhaseKind,
    ) -> Result<Self, ExplainError> {
        let record = compiled.record.iter().find(|r| r.kind == kind).ok_or(ExplainError::NoPhase(kind))?;
        let steps = compiled.plan.phase(kind).map(|p| p.steps().collect()).unwrap_or_default();
        let position = options.priced_at();
        let cx = Context { target, schedule: &record.schedule, phase: record.kind, position, everything: false };
        Ok(Asked { compiled, record, steps, cx, layers: compiled.plan.model.layers })
    }

    fn search(&self) -> Result<WhatIf<'_>, PlaceError> {
        WhatIf::new(&self.cx, self.layers, self.record.reserved)
    }

    /// Explains the call that stands at `number` in the record.
    fn explain(&self, search: &mut WhatIf<'_>, number: usize) -> Result<Explanation, ExplainError> {
        let Asked { compiled, record, steps, cx, layers } = self;
        let chosen = &record.placed.record[number];
        let at = record.placed.record[..number].iter().filter(|r| r.section == chosen.section).count();
        let all = ways(&chosen.call, &Context { everything: true, ..*cx });
        let way = &chosen.ways.candidates[chosen.chosen];
        let base = search.with(chosen.section, at, way.clone())?;
        let drafts = &way.drafts;
        let remarks = (0..drafts.len()).filter_map(|at| Some((drafts[at].name.clone(), remarks::remark(drafts, at)?)));
        let mut alternatives: Vec<Alternative> = leaders(&all, way)
            .into_iter()
            .map(|(candidate, dominates)| {
                let verdict = search.with(chosen.section, at, candidate.clone());
                Alternative { candidate: candidate.clone(), dominates, verdict }
            })
            .collect();
        alternatives.sort_by_key(|a| a.verdict.as_ref().map_or((true, Price::default()), |f| (false, f.price)));
        let name = &chosen.call.name;
        Ok(Explanation {
            call: chosen.call.clone(),
            section: chosen.section,
            times: if chosen.section == Section::Layer { *layers } else { 1 },
            chosen: way.clone(),
            operands: readings(record, chosen, &all),
            moves: moves::moves(cx, record, chosen, &all, steps),
            alternatives,
            legal: all.candidates.len(),
            refusals: refusals(&all),
            refused: all.rejections.len(),
            remarks: remarks.collect(),
            storage: storage::sentence(compiled, &chosen.call, way),
            precision: record.precision.iter().find(|(node, _)| node == name).map(|(_, d)| d.clone()),
            folds: record.folds.iter().filter(|f| source(&f.from) == name || f.into.contains(name)).cloned().collect(),
            phase: base.price,
            phase_reshards: base.reshard_count,
            calls: base.calls,
        })
    }
}

/// `qkv` of `qkv[2]`.
fn source(from: &str) -> &str {
    from.split('[').next().unwrap_or(from)
}

/// Where in the record the call of a step stands.
fn find(record: &PhaseRecord, step: &str) -> Option<usize> {
    record.placed.record.iter().position(|r| belongs(r, step))
}

fn belongs(record: &Record, step: &str) -> bool {
    let call = &record.call.name;
    let moved = !record.reshards.is_empty() && step.strip_prefix(call.as_str()).is_some_and(moves::is_reshard);
    call == step || moved || record.ways.candidates[record.chosen].drafts.iter().any(|d| d.name == step)
}

fn no_step(record: &PhaseRecord, step: &str, steps: &[&Step]) -> ExplainError {
    let nearest = nearest::nearest(step, steps.iter().map(|s| s.name.as_str())).map(String::from);
    let steps = record.placed.record.iter().map(|r| r.call.name.clone()).collect();
    ExplainError::NoStep { phase: record.kind, step: step.to_string(), nearest, steps }
}

/// The cheapest way of each pair of input and output placements, without the chosen way, and the number of other ways that each stands for.
/// Kept are the pairs with the least price of their own and those that leave a neighbour of the chosen way unchanged. For the placements of
/// the chosen way itself the second best way is taken. Where kernels of bitnetc's own come into question, the best way of the others, TT-NN's
/// or these, is kept in any case.
fn leaders<'a>(all: &'a Ways, chosen: &Candidate) -> Vec<(&'a Candidate, usize)> {
    let mut groups: Vec<(&Candidate, usize)> = Vec::new();
    for candidate in all.candidates.iter().filter(|c| !same(c, chosen)) {
        let places = |c: &Candidate| {
            c.requires == candidate.requires && c.produces == candidate.produces && own(c) == own(candidate)
        };
        match groups.iter_mut().find(|(leader, _)| places(leader)) {
            Some((leader, count)) => {
                *count += 1;
                if candidate.price < leader.price {
                    *leader = candidate;
                }
            }
            None => groups.push((candidate, 0)),
        }
    }
    groups.sort_by_key(|(c, _)| c.price);
    let other_kernels = groups.iter().find(|(c, _)| own(c) != own(chosen)).copied();
    let near = |c: &Candidate| c.requires == chosen.requires || c.produces == chosen.produces;
    let (mut asked, mut others): (Vec<_>, Vec<_>) = groups.into_iter().partition(|(c, _)| near(c));
    asked.truncate(ASKED.saturating_sub(others.len()).max(ASKED / 2));
    others.truncate(ASKED - asked.len());
    asked.extend(others);
    if !asked.iter().any(|(c, _)| own(c) != own(chosen)) {
        asked.extend(other_kernels);
    }
    asked
}

/// Whether a way runs kernels of bitnetc's own.
fn own(candidate: &Candidate) -> bool {
    candidate.drafts.iter().any(|draft| matches!(draft.op, Op::TernaryLinear(_) | Op::TernaryGated(_)))
}

/// Whether two calls are the same.
fn same(a: &Candidate, b: &Candidate) -> bool {
    a.requires == b.requires && a.drafts.iter().map(|d| &d.op).eq(b.drafts.iter().map(|d| &d.op))
}

fn readings(record: &PhaseRecord, chosen: &Record, all: &Ways) -> Vec<Reading> {
    let way = &chosen.ways.candidates[chosen.chosen];
    let read = chosen.call.values().zip(&way.requires).enumerate();
    read.map(|(at, (value, wants))| {
        let mut elsewhere: Vec<_> =
            all.candidates.iter().filter_map(|c| c.requires.get(at)).filter(|m| *m != wants).collect();
        elsewhere.sort_by_cached_key(ToString::to_string);
        elsewhere.dedup();
        let to = wants.to_string();
        let value = record.schedule.values[value].name.clone();
        // The value may have been moved for an earlier call, whose name the moving step then has.
        let resharded = chosen.reshards.iter().any(|(_, moved)| *moved == to);
        Reading { value, wants: wants.clone(), resharded, elsewhere: elsewhere.len() }
    })
    .collect()
}

fn refusals(all: &Ways) -> Vec<Refusal> {
    let mut found: BTreeMap<String, Refusal> = BTreeMap::new();
    for rejection in &all.rejections {
        for violation in &rejection.violations {
            let entry = found.entry(violation.id()).or_insert_with(|| Refusal {
                constraint: violation.id(),
                what: violation.what(),
                hint: violation.hint(),
                example: rejection.what.clone(),
                ways: 0,
            });
            entry.ways += 1;
        }
    }
    let mut refusals: Vec<_> = found.into_values().collect();
    refusals.sort_by(|a, b| b.ways.cmp(&a.ways).then_with(|| a.what.cmp(&b.what)));
    refusals
}
