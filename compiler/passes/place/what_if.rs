//! What if: the search asked again with one call's choice fixed, everything else free.
//!
//! The answer is exact in the sense of the search's claim: the least price of the whole phase among all choices that make this one. The
//! difference to the plan's price is what the alternative would cost, its reshards and its neighbours' changes included.

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
    /// Operands of the call itself that are resharded, and where to.
    pub moved: Vec<(String, String)>,
    /// Every call with what it takes, all runs, reshards before it included; in the order they run.
    pub calls: Vec<(String, Price)>,
}

/// A phase whose search can be asked again.
pub struct WhatIf<'a> {
    cx: &'a Context<'a>,
    layers: u32,
    reserved: u64,
    ways: HashMap<Section, Vec<Ways>>,
}

impl<'a> WhatIf<'a> {
    /// Enumerates the phase; `reserved` bytes of L1 per core are left alone, as when it was placed.
    ///
    /// # Errors
    /// When a call has no legal way.
    pub fn new(cx: &'a Context<'a>, layers: u32, reserved: u64) -> Result<Self, PlaceError> {
        Ok(WhatIf { cx, layers, reserved, ways: enumerate(cx)? })
    }

    /// The ways of the `at`th call of a section.
    pub fn ways(&self, section: Section, at: usize) -> Option<&Ways> {
        self.ways.get(&section).and_then(|calls| calls.get(at))
    }

    /// The cheapest phase in which the `at`th call of a section is run in this way.
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

    fn solve(&self, section: Section, at: usize) -> Result<Forced, PlaceError> {
        let mut search = Search::new(self.cx, self.reserved);
        let (choices, price) = search.solve(self.layers, &self.ways)?;
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
            arc.reshards.iter().map(|r| (value(r.value), search.placements().get(r.to).to_string())).collect()
        });
        Ok(Forced { price, reshards, reshard_count, moved, calls })
    }
}
