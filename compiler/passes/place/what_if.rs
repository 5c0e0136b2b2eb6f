//! The search repeated with one call's choice fixed and everything else free, to learn the cost of an alternative.
//!
//! The answer is exact in the sense of the search's claim: it is the least price of the whole phase among all choices that include this
//! one. Its difference to the price of the plan is the cost of the alternative, with its reshards and the changes of its neighbours.

use std::collections::HashMap;

use super::search::Search;
use super::{PlaceError, enumerate};
use crate::graph::Section;
use crate::ttnn::cost::Price;
use crate::ttnn::{Candidate, Context, Ways};

/// The cheapest phase with a choice fixed.
#[derive(Debug, Clone, PartialEq)]
pub struct Forced {
    /// Of the whole phase, all layers.
    pub price: Price,
    /// Of its reshards, all layers.
    pub reshards: Price,
    /// Reshards of prologue, one layer and epilogue.
    pub reshard_count: usize,
    /// The values that are resharded for the call itself, and their new placements.
    pub moved: Vec<(String, String)>,
    /// Every call with its price in all runs, including the reshards before it, in the order in which they run.
    pub calls: Vec<(String, Price)>,
}

/// A phase whose search can be repeated. What a search finds out about calls and reshards stays known to the next.
pub struct WhatIf<'a> {
    cx: &'a Context<'a>,
    layers: u32,
    search: Search<'a>,
    ways: HashMap<Section, Vec<Ways>>,
}

impl<'a> WhatIf<'a> {
    /// Enumerates the phase; `reserved` bytes of L1 per core are left free, as when it was placed.
    ///
    /// # Errors
    /// When a call has no legal way, or none fits.
    pub fn new(cx: &'a Context<'a>, layers: u32, reserved: u64) -> Result<Self, PlaceError> {
        let (mut search, ways) = (Search::new(cx, reserved), enumerate(cx)?);
        search.remember(layers, &ways)?;
        Ok(WhatIf { cx, layers, search, ways })
    }

    /// The ways of the `at`th call of a section.
    pub fn ways(&self, section: Section, at: usize) -> Option<&Ways> {
        self.ways.get(&section).and_then(|calls| calls.get(at))
    }

    /// The cheapest phase in which the `at`th call of a section is run by `candidate`.
    ///
    /// # Errors
    /// When none fits L1.
    pub fn with(&mut self, section: Section, at: usize, candidate: Candidate) -> Result<Forced, PlaceError> {
        let only = Ways { candidates: vec![candidate], rejections: Vec::new() };
        let Some(slot) = self.ways.get_mut(&section).and_then(|calls| calls.get_mut(at)) else {
            return Err(PlaceError::DoesNotFit { call: "no such call".into(), needed: 0, available: 0 });
        };
        let all = std::mem::replace(slot, only);
        let answer = self.solve(section, at);
        if let Some(slot) = self.ways.get_mut(&section).and_then(|calls| calls.get_mut(at)) {
            *slot = all;
        }
        answer
    }

    fn solve(&mut self, section: Section, at: usize) -> Result<Forced, PlaceError> {
        let (choices, price) = self.search.solve_with(self.layers, &self.ways, (section, at))?;
        let (mut reshards, mut reshard_count, mut calls) = (Price::default(), 0, Vec::new());
        for part in Section::ALL {
            let times = if part == Section::Layer { u64::from(self.layers) } else { 1 };
            let arcs = choices[&part].iter().zip(&self.ways[&part]);
            for (call, (arc, ways)) in self.cx.schedule.section(part).iter().zip(arcs) {
                let own = ways.candidates[arc.candidate].price;
                reshards = reshards + arc.price.without(own).times(times);
                reshard_count += arc.reshards.len();
                calls.push((call.name.clone(), arc.price.times(times)));
            }
        }
        let value = |id: usize| self.cx.schedule.values[id].name.clone();
        let moved = choices[&section].get(at).map_or_else(Vec::new, |arc| {
            arc.reshards.iter().map(|r| (value(r.value), self.search.placements().get(r.to).to_string())).collect()
        });
        Ok(Forced { price, reshards, reshard_count, moved, calls })
    }
}
