//! Place: an exact search decides the layout, memory config, shard geometry and program config of every call.
//!
//! The search goes through the calls of a section in their order. Its state is the placement of every live value. A call leads from state
//! to state by an arc for each of its candidates, whose price includes the reshards of its inputs. Of all paths to one state only the
//! cheapest is kept, so the path found at the end is the cheapest of all:
//!
//! **Claim.** Among all choices of one candidate per call, with each operand resharded right before the call or not (and the resharded
//! tensor replacing the original or not), whose live tensors and circular buffers sum to no more than L1, the result has the least
//! time of kernels and gaps in prologue + layers x layer + epilogue; among equals, the least work, then the fewest idle cores, then the first in
//! candidate order.
//!
//! A phase may also wait for the dispatcher. How long depends on the order of all its calls, so the search leaves it out, and it is added to the
//! schedule that was found. That schedule is the fastest of all if it does not wait; otherwise it is slower than the fastest by at most the
//! time that it waits ([`crate::predict`]).
//!
//! The claim does not extend to the following, for which no choice is offered:
//! - the residual stream and the other values of the prologue keep their placements through the layer, which makes them the loop's
//!   invariant: the layer is searched once from every such placement, and counted as often as it repeats;
//! - a reshard goes straight from where a tensor is to where a candidate wants it, never over a third placement, and never earlier than
//!   right before the call;
//! - candidates are what [`crate::ttnn`] enumerates: of ways with the same placements only those that none beats in both time and circular
//!   buffers, and for prompts of more than one tile of rows tensors interleaved in DRAM only;
//! - which TT-NN calls there are is `select`'s decision; decode on disjoint and on shared cores of q and k are placed both, or the second
//!   is shown to be no faster ([`least`]);
//! - the sum over live tensors does not see fragmentation; what it wastes is reserved in every step ([`Reserve`]).

mod arcs;
#[cfg(test)]
mod brute_force;
mod emit;
mod reserve;
mod search;
mod what_if;

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use bitnetc_plan::units::bytes;
use bitnetc_plan::{Buffer, Ref, Step, Weight};

use crate::graph::Section;
use crate::schedule::{Call, ValueId};
use crate::ttnn::cost::Price;
use crate::ttnn::{Candidate, Context, Rejection, Ways, ways};
use arcs::Arc;
pub use reserve::Reserve;
use search::Search;
pub use what_if::{Forced, WhatIf};

/// A phase with all its choices made.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Steps of the prologue.
    pub prologue: Vec<Step>,
    /// Steps of one layer.
    pub layer: Vec<Step>,
    /// Steps of the epilogue.
    pub epilogue: Vec<Step>,
    /// Weights that chosen candidates brought.
    pub weights: Vec<Weight>,
    /// Buffers that chosen candidates brought.
    pub buffers: Vec<Buffer>,
    /// Predicted time of the phase, all layers.
    pub price: Price,
    /// The candidates of each call, and the one chosen.
    pub record: Vec<Record>,
    /// States visited.
    pub states: usize,
    /// Time spent enumerating candidates.
    pub enumerating: Duration,
}

impl Placed {
    /// Whether a step reads a weight. A call may have a weight that the way chosen for it does not read.
    pub fn reads(&self, weight: &Weight) -> bool {
        let steps = [&self.prologue, &self.layer, &self.epilogue].into_iter().flatten();
        steps.flat_map(|step| step.op.operands()).any(|read| matches!(read, Ref::Weight(name) if *name == weight.name))
    }
}

/// The candidates of one call, and the one chosen.
#[derive(Debug, Clone)]
pub struct Record {
    /// The section in which it runs.
    pub section: Section,
    /// The call.
    pub call: Call,
    /// All of its ways.
    pub ways: Ways,
    /// Index of the chosen candidate.
    pub chosen: usize,
    /// The values that were resharded for it, by name, and their new placements.
    pub reshards: Vec<(String, String)>,
}

/// Why a phase cannot be placed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// Every way of a call is refused, the interleaved ones included.
    #[error("{}", .0)]
    NoWay(Box<NoWay>),
    /// Every way of a call needs more L1 than there is beside what is alive.
    #[error("`{call}` does not fit L1: the leanest way needs {} per core of {}", bytes(*needed), bytes(*available))]
    DoesNotFit {
        /// The call.
        call: String,
        /// Bytes the leanest way needs, live tensors included.
        needed: u64,
        /// Bytes there are.
        available: u64,
    },
}

/// A call of which every way is refused.
#[derive(Debug, Clone, PartialEq)]
pub struct NoWay {
    /// The call.
    pub call: String,
    /// The ways that were asked, sharded and interleaved.
    pub ways: usize,
    /// Those of them that break a constraint of TT-NN's; the others go beyond limits of the rules, and what TT-NN says of them is not known.
    pub refused_by_ttnn: usize,
    /// The most promising way, and the constraints that it breaks.
    pub nearest: Option<Rejection>,
}

impl fmt::Display for NoWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoWay { call, ways, refused_by_ttnn, nearest } = self;
        let unknown = ways - refused_by_ttnn;
        match unknown {
            0 => write!(f, "TT-NN has no legal way to run `{call}`")?,
            _ => write!(f, "no way to run `{call}` is known to be legal")?,
        }
        let Some((violation, what)) = nearest.as_ref().and_then(|r| Some((r.violations.first()?, &r.what))) else {
            return write!(f, ": none suits its operands");
        };
        write!(f, ": {violation} ({}; {what})", violation.id())?;
        let hint = violation.hint();
        if !hint.is_empty() {
            write!(f, "; expected {hint}")?;
        }
        match unknown {
            0 => write!(f, "; it refuses all {ways} ways, interleaved ones too"),
            _ => write!(
                f,
                "; of {ways} ways, interleaved ones too, TT-NN refuses {refused_by_ttnn}, the others were not studied"
            ),
        }
    }
}

impl PlaceError {
    /// The call that cannot be placed.
    pub fn call(&self) -> &str {
        match self {
            PlaceError::NoWay(no_way) => &no_way.call,
            PlaceError::DoesNotFit { call, .. } => call,
        }
    }
}

/// Places a schedule. `reserved` bytes of L1 per core are left free for the persistent tensors and for the space that fragmentation was
/// found to waste.
///
/// # Errors
/// When a call has no legal way or none fits.
pub fn place(cx: &Context<'_>, layers: u32, reserved: u64) -> Result<Placed, PlaceError> {
    let started = Instant::now();
    let all = enumerate(cx)?;
    let enumerating = started.elapsed();
    let mut search = Search::new(cx, reserved);
    let (choices, price) = search.solve(layers, &all)?;
    let states = search.states;
    let mut placed = emit::steps(cx, search.placements(), &choices, all);
    placed.price = price;
    placed.states = states;
    placed.enumerating = enumerating;
    Ok(placed)
}

/// A lower bound of the price of the schedule: every call takes its cheapest way, without reshards. `known` are the calls of another
/// schedule of the same graph; a call of the same name, kind and results is taken from there instead of being enumerated again. `None` when
/// a call has no way.
pub fn least(cx: &Context<'_>, layers: u32, known: &[Record]) -> Option<Price> {
    let cheapest = |call: &Call| {
        let makes = |c: &Candidate| {
            let shapes = call.outputs.iter().map(|id| &cx.schedule.values[*id].shape);
            shapes.eq(c.produces.iter().map(|spec| &spec.shape))
        };
        let same = known.iter().find(|r| {
            r.call.name == call.name && r.call.kind == call.kind && r.ways.candidates.first().is_some_and(makes)
        });
        let least = |ways: &Ways| ways.candidates.iter().map(|c| c.price).min();
        same.map_or_else(|| least(&ways(call, cx)), |r| least(&r.ways))
    };
    let mut whole = Price::default();
    for section in Section::ALL {
        let times = if section == Section::Layer { u64::from(layers) } else { 1 };
        for call in cx.schedule.section(section) {
            whole = whole + cheapest(call)?.times(times);
        }
    }
    Some(whole)
}

/// The ways of every call, by section.
fn enumerate(cx: &Context<'_>) -> Result<HashMap<Section, Vec<Ways>>, PlaceError> {
    let mut all = HashMap::new();
    for section in Section::ALL {
        let mut found = Vec::new();
        for call in cx.schedule.section(section) {
            let mut ways = ways(call, cx);
            if ways.candidates.is_empty() {
                // Ways that are known to lose are left out at first; all of them are asked before the call is given up.
                ways = crate::ttnn::ways(call, &Context { everything: true, ..*cx });
            }
            if ways.candidates.is_empty() {
                return Err(no_way(call, ways));
            }
            found.push(ways);
        }
        all.insert(section, found);
    }
    Ok(all)
}

/// The refusal of a call, with the most helpful of its reasons: a way that breaks the fewest constraints.
fn no_way(call: &Call, ways: Ways) -> PlaceError {
    let by_ttnn = |r: &&Rejection| r.violations.iter().any(|v| !v.is_narrower());
    let (asked, refused_by_ttnn) = (ways.rejections.len(), ways.rejections.iter().filter(by_ttnn).count());
    let nearest = ways.rejections.into_iter().filter(|r| !r.violations.is_empty()).min_by_key(|r| r.violations.len());
    PlaceError::NoWay(Box::new(NoWay { call: call.name.clone(), ways: asked, refused_by_ttnn, nearest }))
}

/// The arc chosen for each call of a section.
type Choices = HashMap<Section, Vec<Arc>>;

/// Whether a value is still needed after position `at` of a section: the section reads it, or it belongs to the prologue.
fn still_needed(cx: &Context<'_>, section: Section, at: usize, value: ValueId, outer: &[ValueId]) -> bool {
    let calls = cx.schedule.section(section);
    let read_later = calls[at + 1..].iter().any(|c| c.values().any(|v| v == value));
    let result = cx.schedule.results.contains(&value);
    let outlives = match section {
        Section::Prologue => true,
        Section::Layer => outer.contains(&value),
        Section::Epilogue => false,
    };
    read_later || result || outlives
}
