//! A Pareto front: choices of which none is beaten by another in both time and L1 bytes. Only these can be part of the cheapest plan.

use super::cost::Price;

/// Choices with their price and L1 bytes, in the order offered.
#[derive(Debug)]
pub struct Front<T> {
    choices: Vec<(Price, u64, T)>,
}

impl<T> Default for Front<T> {
    fn default() -> Self {
        Front { choices: Vec::new() }
    }
}

impl<T> Front<T> {
    /// Adds a choice unless one of the front is as good in both respects, and drops the choices that it beats.
    pub fn offer(&mut self, price: Price, bytes: u64, choice: T) {
        if self.beats(price, bytes) {
            return;
        }
        self.choices.retain(|(p, b, _)| !(price <= *p && bytes <= *b));
        self.choices.push((price, bytes, choice));
    }

    /// Whether a choice of the front is as good in both respects.
    pub fn beats(&self, price: Price, bytes: u64) -> bool {
        self.choices.iter().any(|(p, b, _)| *p <= price && *b <= bytes)
    }

    /// Adds a choice whatever it costs.
    pub fn keep(&mut self, choice: T) {
        self.choices.push((Price::default(), 0, choice));
    }

    /// The price of the choice with the least L1.
    pub fn leanest(&self) -> Option<Price> {
        self.choices.iter().min_by_key(|(_, bytes, _)| *bytes).map(|(price, ..)| *price)
    }

    /// The choices, fastest first.
    pub fn into_choices(mut self) -> impl Iterator<Item = T> {
        self.choices.sort_by_key(|(price, ..)| *price);
        self.choices.into_iter().map(|(_, _, choice)| choice)
    }
}
