//! The search for the cheapest path through the states of each section, section by section.

use std::collections::HashMap;
use std::ops::Range;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::arcs::{Arc, CallInputs, Located, PlacementId, Placements, Way, arcs};
use super::{Choices, PlaceError, still_needed};
use crate::graph::Section;
use crate::schedule::{Call, ValueId};
use crate::ttnn::cost::Price;
use crate::ttnn::{Context, Ways};

/// A state: the live values with their placements, ordered by value.
type State = SmallVec<[Located; 8]>;

/// The cheapest known path to a state.
#[derive(Debug, Clone, Copy)]
struct Reached {
    price: Price,
    /// Index of the last hop, `None` at the start.
    hop: Option<usize>,
    /// The index of the start state at which the path begins.
    start: usize,
}

/// The states that can be reached, in a fixed order.
type Frontier = Vec<(State, Reached)>;

/// One arc taken, by its place in [`Known::arcs`] of its call, and the hop before it.
#[derive(Debug, Clone, Copy)]
struct Hop {
    arc: usize,
    before: Option<usize>,
}

/// The ways of a call and the arcs found so far, by the placements of its inputs. They do not depend on the ways of other calls.
#[derive(Debug, Default)]
struct Known {
    ways: Vec<Way>,
    arcs: Vec<Arc>,
    at: FxHashMap<SmallVec<[PlacementId; 4]>, Range<usize>>,
}

/// The result of searching one section: its end states in a fixed order, and the hops from which the paths are read.
struct Solved {
    section: Section,
    ends: Frontier,
    hops: Vec<Hop>,
}

/// A search that is remembered, so that one that differs from it late can begin late.
#[derive(Debug, Default)]
struct Trodden {
    /// The frontier before a call, and the number of hops until there.
    before: FxHashMap<(Section, usize), (Frontier, usize)>,
    /// The hops of each section.
    hops: FxHashMap<Section, Vec<Hop>>,
}

/// State of the search.
pub struct Search<'a> {
    cx: &'a Context<'a>,
    placements: Placements<'a>,
    budget: u64,
    known: FxHashMap<(Section, usize), Known>,
    trodden: Option<Trodden>,
    /// States visited so far.
    pub states: usize,
}

impl<'a> Search<'a> {
    /// A search that leaves `reserved` bytes of L1 per core free.
    pub fn new(cx: &'a Context<'a>, reserved: u64) -> Self {
        let budget = cx.target.card.l1_bytes().saturating_sub(reserved);
        Search { cx, placements: Placements::new(cx), budget, known: FxHashMap::default(), trodden: None, states: 0 }
    }

    /// The placements by the numbers arcs use.
    pub fn placements(&self) -> &Placements<'a> {
        &self.placements
    }

    /// Searches and remembers how, for [`Search::solve_with`].
    ///
    /// # Errors
    /// When no path fits L1.
    pub fn remember(&mut self, layers: u32, ways: &HashMap<Section, Vec<Ways>>) -> Result<(), PlaceError> {
        self.trodden = Some(Trodden::default());
        self.solve(layers, ways).map(|_| ())
    }

    /// The same as [`Search::solve`], where only the call `changed` has other ways than in the search that was remembered. The search
    /// begins there, and knows the arcs of all other calls.
    ///
    /// # Errors
    /// When no path fits L1.
    pub fn solve_with(
        &mut self,
        layers: u32,
        ways: &HashMap<Section, Vec<Ways>>,
        changed: (Section, usize),
    ) -> Result<(Choices, Price), PlaceError> {
        let own = self.known.remove(&changed);
        let answer = self.search(layers, ways, Some(changed));
        self.known.remove(&changed);
        self.known.extend(own.map(|own| (changed, own)));
        answer
    }

    /// The cheapest arcs for all sections and their price.
    ///
    /// # Errors
    /// When no path fits L1.
    pub fn solve(&mut self, layers: u32, ways: &HashMap<Section, Vec<Ways>>) -> Result<(Choices, Price), PlaceError> {
        self.search(layers, ways, None)
    }

    fn search(
        &mut self,
        layers: u32,
        ways: &HashMap<Section, Vec<Ways>>,
        from: Option<(Section, usize)>,
    ) -> Result<(Choices, Price), PlaceError> {
        let empty = vec![(State::new(), Price::default())];
        let prologue = self.section(Section::Prologue, from, empty, &ways[&Section::Prologue], &[])?;
        let outer: Vec<ValueId> =
            prologue.ends.first().map(|(s, _)| s.iter().map(|l| l.0).collect()).unwrap_or_default();

        let starts = prologue.ends.iter().map(|(state, _)| (state.clone(), Price::default())).collect();
        let layer = self.section(Section::Layer, from, starts, &ways[&Section::Layer], &outer)?;

        // A layer ends in the state in which it began, so its end state identifies the end state of the prologue before it.
        let starts: Vec<_> = layer
            .ends
            .iter()
            .map(|(state, reached)| {
                let before = prologue.ends[reached.start].1.price;
                (self.without_dead(state), before + reached.price.times(u64::from(layers)))
            })
            .collect();
        let epilogue = self.section(Section::Epilogue, from, starts, &ways[&Section::Epilogue], &[])?;

        let Some((_, best)) = epilogue.ends.iter().min_by_key(|(_, r)| r.price) else {
            return Err(PlaceError::DoesNotFit { call: "the epilogue".into(), needed: 0, available: self.budget });
        };
        let (_, in_layer) = &layer.ends[best.start];
        let (_, in_prologue) = &prologue.ends[in_layer.start];
        let choices = HashMap::from([
            (Section::Prologue, self.path(&prologue, in_prologue.hop)),
            (Section::Layer, self.path(&layer, in_layer.hop)),
            (Section::Epilogue, self.path(&epilogue, best.hop)),
        ]);
        Ok((choices, best.price))
    }

    /// The state at the start of the epilogue, without the values that it does not read.
    fn without_dead(&self, state: &State) -> State {
        let calls = self.cx.schedule.section(Section::Epilogue);
        state.iter().copied().filter(|(v, _)| calls.iter().any(|c| c.values().any(|r| r == *v))).collect()
    }

    fn section(
        &mut self,
        section: Section,
        from: Option<(Section, usize)>,
        starts: Vec<(State, Price)>,
        ways: &[Ways],
        outer: &[ValueId],
    ) -> Result<Solved, PlaceError> {
        let mut frontier: Frontier = starts
            .into_iter()
            .enumerate()
            .map(|(start, (state, price))| (state, Reached { price, hop: None, start }))
            .collect();
        let mut hops = Vec::new();
        let calls: &'a [Call] = self.cx.schedule.section(section);
        let mut first = match from {
            Some((other, at)) if other == section => at,
            Some((other, _)) if other > section => calls.len(),
            Some(_) | None => 0,
        };
        let trodden = self.trodden.as_ref().filter(|_| first > 0);
        match trodden.and_then(|known| known.before.get(&(section, first)).zip(known.hops.get(&section))) {
            Some(((known, count), all)) => (frontier, hops) = (known.clone(), all[..*count].to_vec()),
            None => first = 0,
        }
        for (at, call) in calls.iter().enumerate().skip(first) {
            frontier = self.advance(section, at, call, &ways[at], frontier, &mut hops, outer)?;
            if let (None, Some(trodden)) = (from, &mut self.trodden) {
                trodden.before.insert((section, at + 1), (frontier.clone(), hops.len()));
            }
        }
        if let (None, Some(trodden)) = (from, &mut self.trodden) {
            trodden.hops.insert(section, hops.clone());
        }
        Ok(Solved { section, ends: frontier, hops })
    }

    #[allow(clippy::too_many_arguments)]
    fn advance(
        &mut self,
        section: Section,
        at: usize,
        call: &Call,
        ways: &Ways,
        frontier: Frontier,
        hops: &mut Vec<Hop>,
        outer: &[ValueId],
    ) -> Result<Frontier, PlaceError> {
        let values: Vec<ValueId> = call.values().collect();
        let survives: Vec<bool> = values.iter().map(|v| still_needed(self.cx, section, at, *v, outer)).collect();
        let pinned: Vec<bool> = values.iter().map(|v| outer.contains(v)).collect();
        let written: Vec<bool> = (0..values.len()).map(|at| call.kind.writes(at)).collect();
        let inputs = CallInputs { values: &values, survives: &survives, pinned: &pinned, written: &written };
        let unread: Vec<ValueId> =
            call.outputs.iter().copied().filter(|v| !still_needed(self.cx, section, at, *v, outer)).collect();

        let mut known = self.known.remove(&(section, at)).unwrap_or_else(|| Known {
            ways: Way::all(&mut self.placements, &ways.candidates, &call.outputs),
            ..Known::default()
        });
        let mut next: Frontier = Vec::new();
        let mut index: FxHashMap<State, usize> = FxHashMap::default();
        let mut leanest = u64::MAX;
        for (state, reached) in frontier {
            let placed: SmallVec<[PlacementId; 4]> = values.iter().map(|v| placement_of(&state, *v)).collect();
            let live: u64 = state.iter().map(|l| self.placements.bytes(*l)).sum();
            let Known { ways, arcs: found, at: places } = &mut known;
            let range = places
                .entry(placed)
                .or_insert_with_key(|placed| {
                    let first = found.len();
                    found.extend(arcs(&mut self.placements, ways, &inputs, placed));
                    first..found.len()
                })
                .clone();
            for number in range {
                let arc = &found[number];
                leanest = leanest.min(live + arc.peak);
                if live + arc.peak > self.budget {
                    continue;
                }
                let after = successor(&state, arc, &inputs, &unread);
                let price = reached.price + arc.price;
                let known_at = index.get(&after).copied();
                if known_at.is_some_and(|i| next[i].1.price <= price) {
                    continue;
                }
                hops.push(Hop { arc: number, before: reached.hop });
                let better = Reached { price, hop: Some(hops.len() - 1), start: reached.start };
                match known_at {
                    Some(i) => next[i].1 = better,
                    None => {
                        index.insert(after.clone(), next.len());
                        next.push((after, better));
                    }
                }
            }
        }
        self.known.insert((section, at), known);
        self.states += next.len();
        if next.is_empty() {
            return Err(PlaceError::DoesNotFit { call: call.name.clone(), needed: leanest, available: self.budget });
        }
        Ok(next)
    }

    /// The arcs along the hops of a section that end with `last`.
    fn path(&self, solved: &Solved, last: Option<usize>) -> Vec<Arc> {
        let mut numbers = Vec::new();
        let mut at = last;
        while let Some(hop) = at.map(|h| solved.hops[h]) {
            numbers.push(hop.arc);
            at = hop.before;
        }
        let arc = |(at, number): (usize, &usize)| self.known[&(solved.section, at)].arcs[*number].clone();
        numbers.iter().rev().enumerate().map(arc).collect()
    }
}

fn placement_of(state: &State, value: ValueId) -> PlacementId {
    state.iter().find(|(v, _)| *v == value).map_or(PlacementId::MAX, |(_, p)| *p)
}

/// The state after an arc: values that end are removed, moved ones have their new placements, and outputs are added.
fn successor(state: &State, arc: &Arc, inputs: &CallInputs<'_>, unread: &[ValueId]) -> State {
    let mut after = State::new();
    for (value, placement) in state {
        let operand = inputs.values.iter().position(|v| v == value);
        if operand.is_some_and(|o| !inputs.survives[o]) {
            continue;
        }
        let moved = arc.moved.iter().find(|(v, _)| v == value).map(|(_, p)| *p);
        after.push((*value, moved.unwrap_or(*placement)));
    }
    after.extend(arc.made.iter().copied().filter(|(v, _)| !unread.contains(v)));
    after.sort_unstable();
    after
}
