//! Command queues, and the order of what is in them.
//!
//! Programs and traces are on queue 0. With one queue copies are there too and nothing waits but the host, for an event behind the copy whose
//! bytes it wants. With two, copies are on queue 1: each waits for the programs before it, and the next program waits for it. Events cannot
//! be in a trace, so what a trace reads or writes is copied between two replays and never during one; a second queue hides no copy behind a
//! replay, only the time that the host takes to ask for it.

use crate::error::TtnnError;
use crate::open_card::OpenCard;
use crate::python::{Object, Value};

/// The queue of programs and traces.
pub(super) const PROGRAMS: i64 = 0;

/// The order between queues.
#[derive(Debug)]
pub(super) struct Queues {
    /// The queue of copies.
    copies: i64,
    /// Behind the last copy on another queue than that of programs, while no program has waited for it.
    owed: Option<Object>,
}

impl Queues {
    /// The order for so many queues.
    pub(super) fn new(count: u32) -> Self {
        Queues { copies: if count > 1 { 1 } else { PROGRAMS }, owed: None }
    }

    /// Copies `from` to `to` by a function of TT-NN that does not wait, after all programs so far. The event is over when the copy is.
    ///
    /// # Errors
    /// TT-NN's own.
    pub(super) fn copy(&mut self, card: &OpenCard, way: Way, from: &Object, to: &Object) -> Result<Object, TtnnError> {
        if self.copies != PROGRAMS {
            let programs = record_event(card, PROGRAMS)?;
            wait_for_event(card, self.copies, &programs)?;
        }
        let queue = ("cq_id", Value::Int(self.copies));
        let (call, options) = match way {
            Way::ToCard => ("copy_host_to_device_tensor", vec![queue]),
            Way::ToHost => ("copy_device_to_host_tensor", vec![("blocking", Value::Bool(false)), queue]),
        };
        card.interpreter().ttnn().call_method(call, &[from.into(), to.into()], &options)?;
        let over = record_event(card, self.copies)?;
        if self.copies != PROGRAMS {
            self.owed = Some(over.clone());
        }
        Ok(over)
    }

    /// Has the next program wait for the copies before it.
    ///
    /// # Errors
    /// TT-NN's own.
    pub(super) fn before_programs(&mut self, card: &OpenCard) -> Result<(), TtnnError> {
        match self.owed.take() {
            Some(event) => wait_for_event(card, PROGRAMS, &event),
            None => Ok(()),
        }
    }
}

/// The direction of a copy.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// From a host tensor.
    ToCard,
    /// To a host tensor.
    ToHost,
}

fn record_event(card: &OpenCard, queue: i64) -> Result<Object, TtnnError> {
    Ok(card.interpreter().ttnn().call_method("record_event", &[card.object().into(), Value::Int(queue)], &[])?)
}

fn wait_for_event(card: &OpenCard, queue: i64, event: &Object) -> Result<(), TtnnError> {
    card.interpreter().ttnn().call_method("wait_for_event", &[Value::Int(queue), event.into()], &[])?;
    Ok(())
}
