//! Checks that sound operations together make a decoder that can be scheduled.

use super::Model;
use super::building::Building;
use super::error::ErrorKind;
use crate::graph::{Misfit, PhaseKind, Place};
use std::ops::Range;

impl Building<'_> {
    /// Notes every property of the model for which there is no plan. `all` is the place in the file at which the model begins.
    pub(super) fn decoder(&mut self, model: &Model, end: Range<usize>, all: Range<usize>) {
        let graph = match model.to_graph(PhaseKind::Prefill { tokens: 1 }, model.context) {
            Ok(graph) => graph,
            Err(error) => {
                self.reader.error(ErrorKind::Structure, all, "no graph", error.to_string(), "a model with one");
                return;
            }
        };
        for Misfit { place, error } in graph.misfits() {
            let span = match place {
                Place::LayerEnd => end.clone(),
                Place::Node(node) => match self.spots.get(&graph.node(node).name) {
                    Some(spot) => error.input.and_then(|at| spot.inputs.get(at)).unwrap_or(&spot.span).clone(),
                    None => all.clone(),
                },
            };
            let (found, expected) = (format!("found {}", error.found), format!("expected {}", error.expected));
            self.reader.error(ErrorKind::Decoder, span, &error.what, found, expected);
        }
    }
}
