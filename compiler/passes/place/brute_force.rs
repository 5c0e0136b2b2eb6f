//! A test of the search's claim: the cheapest plan is computed a second time by trying every choice, without states, arcs or fronts.
//!
//! This test shares only the inputs of the search: the ways of each call with their prices, and the cost of reshards. The lifetimes of
//! values and the L1 that a call takes are worked out here from the calls themselves.
//!
//! A case is a real phase of a shipped model with a few ways of each call, chosen at random, and with a random part of L1. All paths of a
//! section are walked. Since the layer ends where it began, the cheapest whole is the least sum, over the end states of the prologue, of
//! prologue + layers x least layer + least epilogue.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use proptest::prelude::*;

use super::arcs::reshard_cost;
use super::enumerate;
use super::search::Search;
use crate::graph::{PhaseKind, Section};
use crate::policy::Policy;
use crate::schedule::{Call, Input, Schedule, ValueId};
use crate::target::Target;
use crate::ttnn::cost::Price;
use crate::ttnn::{Candidate, Context, Ways, reference};
use crate::{Options, compile, model};
use bitnetc_plan::ttnn::check;
use bitnetc_plan::{MemoryConfig, Ref, TensorSpec};

/// The placement of every live value.
type Places = BTreeMap<ValueId, MemoryConfig>;

/// A reshard's price, circular buffers and new bytes; `None` when TT-NN refuses it.
type Move = Option<(Price, u64, u64)>;

struct Brute<'a> {
    cx: &'a Context<'a>,
    budget: u64,
    ways: &'a HashMap<Section, Vec<Ways>>,
    outer: Vec<ValueId>,
    moves: RefCell<HashMap<(ValueId, MemoryConfig, MemoryConfig), Move>>,
    paths: RefCell<usize>,
}

impl<'a> Brute<'a> {
    fn new(cx: &'a Context<'a>, budget: u64, ways: &'a HashMap<Section, Vec<Ways>>) -> Self {
        Brute { cx, budget, ways, outer: vec![], moves: RefCell::default(), paths: RefCell::default() }
    }

    fn bytes(&self, value: ValueId, memory: &MemoryConfig) -> u64 {
        self.cx.l1_bytes(&self.cx.spec(value, memory.clone()))
    }

    fn reshard(&self, value: ValueId, from: &MemoryConfig, to: &MemoryConfig) -> Move {
        let key = (value, from.clone(), to.clone());
        if let Some(known) = self.moves.borrow().get(&key) {
            return *known;
        }
        let found = reshard_cost(self.cx, value, from, to)
            .map(|(cost, buffers)| (Price::of(&cost), buffers, self.bytes(value, to)));
        self.moves.borrow_mut().insert(key, found);
        found
    }

    /// Calls `end` with the placements and the price of every path from the `at`th call of a section to its end.
    fn walk(&self, section: Section, at: usize, places: &Places, price: Price, end: &mut dyn FnMut(&Places, Price)) {
        let Some(call) = self.cx.schedule.section(section).get(at) else {
            *self.paths.borrow_mut() += 1;
            return end(places, price);
        };
        for way in &self.ways[&section][at].candidates {
            let wants: Vec<(ValueId, &MemoryConfig)> = call.values().zip(&way.requires).collect();
            let moving: Vec<usize> = (0..wants.len()).filter(|i| places[&wants[*i].0] != *wants[*i].1).collect();
            if moving.iter().any(|i| call.kind.writes(*i)) {
                continue;
            }
            for replaced in 0..1_u32 << moving.len() {
                let step = Step { section, at, call, way, wants: &wants, moving: &moving, replaced };
                if let Some((after, cost)) = self.step(&step, places) {
                    self.walk(section, at + 1, &after, price + cost, end);
                }
            }
        }
    }

    /// Runs one call in one way; `None` when that is not legal or does not fit.
    fn step(&self, step: &Step<'_>, places: &Places) -> Option<(Places, Price)> {
        let alive = |value| self.is_read_again(step.section, step.at, value);
        let live: u64 = places.iter().map(|(v, m)| self.bytes(*v, m)).sum();
        let (mut price, mut copies, mut after) = (step.way.price, 0, places.clone());
        for (bit, operand) in step.moving.iter().enumerate() {
            let (value, to) = step.wants[*operand];
            let (cost, buffers, bytes) = self.reshard(value, &places[&value], to)?;
            if live + copies + buffers + bytes > self.budget {
                return None;
            }
            (price, copies) = (price + cost, copies + bytes);
            if step.replaced >> bit & 1 == 1 {
                // A value that ends here, or that the layer must leave where it was, is not replaced.
                if !alive(value) || self.outer.contains(&value) {
                    return None;
                }
                after.insert(value, to.clone());
            }
        }
        if live + copies + self.high_water(step.call, step.way) > self.budget {
            return None;
        }
        for (value, spec) in step.call.outputs.iter().zip(&step.way.produces) {
            after.insert(*value, spec.memory.clone());
        }
        for value in step.call.values().chain(step.call.outputs.iter().copied()) {
            if !alive(value) {
                after.remove(&value);
            }
        }
        Some((after, price))
    }

    /// Whether what a value holds after a call is read before it is made anew, as the calls run: a layer is followed by itself, the last
    /// one by the epilogue.
    fn is_read_again(&self, section: Section, at: usize, value: ValueId) -> bool {
        let of = |section| self.cx.schedule.section(section);
        let rest = &of(section)[at + 1..];
        let then: &[Section] = match section {
            Section::Prologue => &[Section::Layer, Section::Epilogue],
            Section::Layer => &[Section::Layer],
            Section::Epilogue => &[],
        };
        let follows = is_read_first(rest.iter().chain(then.iter().flat_map(|s| of(*s))), value);
        let ends = section == Section::Layer && is_read_first(rest.iter().chain(of(Section::Epilogue)), value);
        follows || ends || self.cx.schedule.results.contains(&value)
    }

    /// L1 bytes per core at the worst of a way's steps, its inputs left out: what the step allocates beside the results made before it that
    /// are read by it or later, or are the call's own.
    fn high_water(&self, call: &Call, way: &Candidate) -> u64 {
        let mut known: Vec<(Ref, TensorSpec)> = Vec::new();
        let mut wants = way.requires.iter();
        for input in &call.inputs {
            let spec = match input {
                Input::Value(id) => Some(self.cx.spec(*id, wants.next().unwrap().clone())),
                fixed => self.cx.schedule.fixed_spec(fixed).cloned(),
            };
            known.extend(spec.map(|spec| (reference(self.cx.schedule, input), spec)));
        }
        known.extend(way.weights.iter().map(|w| (Ref::Weight(w.name.clone()), w.spec.clone())));
        known.extend(way.buffers.iter().map(|b| (Ref::Buffer(b.name.clone()), b.spec.clone())));
        let results: Vec<&String> = call.outputs.iter().map(|id| &self.cx.schedule.values[*id].name).collect();
        let (mut made, mut worst): (Vec<(String, u64)>, u64) = (Vec::new(), 0);
        for (at, draft) in way.drafts.iter().enumerate() {
            let read =
                |name: &String| way.drafts[at..].iter().any(|d| d.op.operands().iter().any(|r| r.name() == name));
            made.retain(|(name, _)| results.contains(&name) || read(name));
            let operands: Vec<&TensorSpec> =
                draft.op.operands().iter().map(|r| &known.iter().rfind(|(k, _)| k == *r).unwrap().1).collect();
            let outcome = check(&draft.op, &operands, &self.cx.target.card).unwrap();
            let own: u64 = outcome.temporaries.iter().map(|t| self.cx.l1_bytes(&t.spec)).sum();
            for (name, spec) in &draft.outputs {
                made.push((name.clone(), self.cx.l1_bytes(spec)));
                known.push((Ref::Value(name.clone()), spec.clone()));
            }
            worst = worst.max(outcome.circular_buffers + own + made.iter().map(|(_, bytes)| bytes).sum::<u64>());
        }
        worst
    }

    fn least(&self, section: Section, places: &Places) -> Option<Price> {
        let mut least = None;
        self.walk(section, 0, places, Price::default(), &mut |end, price| {
            assert!(section != Section::Layer || end == places, "a layer ends where it began");
            least = Some(least.map_or(price, |known: Price| known.min(price)));
        });
        least
    }

    /// The least price of all three sections.
    fn solve(&mut self, layers: u64) -> Option<Price> {
        let mut ends: Vec<(Places, Price)> = Vec::new();
        self.walk(Section::Prologue, 0, &Places::new(), Price::default(), &mut |places, price| {
            ends.push((places.clone(), price));
        });
        self.outer = ends.first()?.0.keys().copied().collect();
        let mut best: Option<Price> = None;
        for (places, price) in ends {
            let Some(layer) = self.least(Section::Layer, &places) else { continue };
            let epilogue = self.cx.schedule.section(Section::Epilogue);
            let mut left = places.clone();
            left.retain(|value, _| epilogue.iter().any(|c| c.values().any(|v| v == *value)));
            let outer = std::mem::take(&mut self.outer);
            let last = self.least(Section::Epilogue, &left);
            self.outer = outer;
            let Some(last) = last else { continue };
            let whole = price + layer.times(layers) + last;
            best = Some(best.map_or(whole, |known| known.min(whole)));
        }
        best
    }
}

/// Whether the first of these calls that has to do with a value reads it.
fn is_read_first<'c>(mut calls: impl Iterator<Item = &'c Call>, value: ValueId) -> bool {
    let concerned = calls.find(|c| c.values().chain(c.outputs.iter().copied()).any(|v| v == value));
    concerned.is_some_and(|c| c.values().any(|v| v == value))
}

struct Step<'a> {
    section: Section,
    at: usize,
    call: &'a Call,
    way: &'a Candidate,
    wants: &'a [(ValueId, &'a MemoryConfig)],
    moving: &'a [usize],
    /// Bit `i`: the `i`th of `moving` replaces its original.
    replaced: u32,
}

/// A phase to take cases from.
struct Source {
    target: Target,
    schedule: Schedule,
    phase: PhaseKind,
    layers: u32,
    ways: HashMap<Section, Vec<Ways>>,
}

impl Source {
    fn new(name: &str, target: &str, batch: u32, policy: Policy) -> Source {
        let model = model::find(name).unwrap().model().unwrap();
        let target = Target::find(target).unwrap();
        let options = Options { batch, policy, prefill: vec![], ..Options::for_model(&model) };
        let record = compile(&model, &target, &options).unwrap().record.remove(0);
        let (phase, layers) = (record.kind, model.layers as u32);
        let mut source = Source { target, schedule: record.schedule, phase, layers, ways: HashMap::new() };
        source.ways = enumerate(&source.context()).unwrap();
        source
    }

    fn context(&self) -> Context<'_> {
        Context { target: &self.target, schedule: &self.schedule, phase: self.phase, position: 100, everything: false }
    }

    /// Chooses up to three ways of each call, as long as a section has no more than `most` combinations. A call that works in place takes
    /// its input where it is, so only such of its ways are chosen as find it where the prologue can leave it.
    fn some(&self, picks: &[u32], most: usize) -> HashMap<Section, Vec<Ways>> {
        let mut picks = picks.iter().cycle().enumerate().map(|(turn, pick)| pick.rotate_left(turn as u32) as usize);
        let mut next = move || picks.next().unwrap_or(0);
        let mut some: HashMap<Section, Vec<Ways>> = HashMap::new();
        for section in Section::ALL {
            let mut combinations = 1;
            let mut chosen = Vec::new();
            for (call, ways) in self.schedule.section(section).iter().zip(&self.ways[&section]) {
                let left: Vec<&MemoryConfig> = some.get(&Section::Prologue).map_or(vec![], |p| places_made(p));
                let suits = |way: &&Candidate| !call.kind.writes(0) || left.contains(&&way.requires[0]);
                let all: Vec<&Candidate> = ways.candidates.iter().filter(suits).collect();
                let count = (next() % 3 + 1).min(all.len());
                let count = if combinations * count > most { 1 } else { count };
                combinations *= count;
                let mut picked: Vec<usize> = (0..count).map(|_| next() % all.len()).collect();
                picked.sort_unstable();
                picked.dedup();
                let candidates = picked.into_iter().map(|i| all[i].clone()).collect();
                chosen.push(Ways { candidates, rejections: Vec::new() });
            }
            some.insert(section, chosen);
        }
        some
    }
}

fn places_made(calls: &[Ways]) -> Vec<&MemoryConfig> {
    calls.iter().flat_map(|w| &w.candidates).flat_map(|c| &c.produces).map(|spec| &spec.memory).collect()
}

static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    vec![
        Source::new("tiny-shakespeare", "n150", 1, Policy::Balanced),
        Source::new("tiny-shakespeare", "p150", 8, Policy::Exact),
        Source::new("bitnet-2b-4t", "n150", 32, Policy::Balanced),
    ]
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_search_finds_what_trying_everything_finds(
        source in 0_usize..3,
        picks in prop::collection::vec(any::<u32>(), 64),
        percent in prop_oneof![Just(0_u64), 0_u64..99],
    ) {
        let source = &SOURCES[source];
        let cx = source.context();
        let ways = source.some(&picks, 128);
        let reserved = source.target.card.l1_bytes() * percent / 100;
        let found = Search::new(&cx, reserved).solve(source.layers, &ways).ok().map(|(_, price)| price);
        let budget = source.target.card.l1_bytes() - reserved;
        let mut brute = Brute::new(&cx, budget, &ways);
        prop_assert_eq!(found, brute.solve(u64::from(source.layers)));
    }
}

/// The cases test something only if most of them have many paths, and if in some of them L1 rules out the cheapest path but not all paths.
#[test]
fn the_cases_are_not_trivial() {
    let source = &SOURCES[2];
    let cx = source.context();
    let l1 = source.target.card.l1_bytes();
    let (mut solved, mut pressed, mut paths) = (0, 0, 0);
    for seed in 1..=12_u32 {
        let picks: Vec<u32> = (1..64_u32).map(|i| seed.wrapping_mul(i.wrapping_mul(2_654_435_761))).collect();
        let ways = source.some(&picks, 256);
        let mut price = |budget: u64| {
            let mut brute = Brute::new(&cx, budget, &ways);
            let price = brute.solve(u64::from(source.layers));
            paths += brute.paths.into_inner();
            price
        };
        let free = price(l1);
        solved += usize::from(free.is_some());
        pressed += usize::from((4..8).any(|eighths| price(l1 * eighths / 8).is_some_and(|p| Some(p) != free)));
    }
    assert!(solved >= 8 && pressed >= 1 && paths > 2000, "{solved} solved, {pressed} pressed, {paths} paths");
}
