//! A record of what was asked of TT-NN, and the rules that a card keeps and a mock does not.
//!
//! A mock accepts a write in the middle of a capture, and a copy that no queue waits for; a card refuses the one and computes with half-written
//! tensors after the other. So every call through [`crate::python`] is noted while a record is [started](start), and [`check`] holds the
//! record against the rules:
//!
//! - new programs are forbidden before a trace is captured, so that TT-NN itself refuses one that was not warmed up;
//! - between the start and the end of a capture nothing is written or read, nothing waits, and no other capture begins;
//! - a copy waits for the programs before it, and a program for the copies before it, where they are on different command queues;
//! - the memory of a host tensor is not touched before the copy from or to it is over.
//!
//! That a replay overwrites no buffer is checked by TT-NN: see `TT_METAL_TRACE_ALLOC_TRACKING` in [`crate::card`].

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bitnetc_plan::TtnnRelease;

use crate::python::{Object, Value};

/// Most command queues of a card.
const QUEUES: usize = 2;

/// The queue of programs and traces.
const PROGRAMS: usize = 0;

/// Something that was asked of TT-NN, in the order of asking. Events and tensors are told apart by their identity in Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A call of an op.
    Program(String),
    /// The step of the plan whose call that was, and an L1 address that one of its results has.
    Placed(String, u64),
    /// A copy of a host tensor to the card.
    Write {
        /// The command queue.
        queue: usize,
        /// The host tensor.
        host: usize,
    },
    /// A copy of a tensor on the card to the host.
    Read {
        /// The command queue.
        queue: usize,
        /// The host tensor.
        host: usize,
    },
    /// The host reads or writes the memory of a host tensor.
    Touch(usize),
    /// An event is put into a queue.
    Record {
        /// The command queue.
        queue: usize,
        /// The event.
        event: usize,
    },
    /// A queue waits for an event.
    Wait {
        /// The command queue.
        queue: usize,
        /// The event.
        event: usize,
    },
    /// The host waits for an event; for everything where it names none.
    Synchronize(Option<usize>),
    /// New programs are forbidden from here on.
    Forbid,
    /// A capture begins.
    Begin,
    /// A capture ends.
    End,
    /// A trace is replayed.
    Replay,
}

/// A rule that a record breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Index of the event.
    pub at: usize,
    /// The event.
    pub event: Event,
    /// The rule.
    pub rule: &'static str,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {} of the record, {:?}: {}", self.at, self.event, self.rule)
    }
}

static ON: AtomicBool = AtomicBool::new(false);
static EVENTS: Mutex<Vec<Event>> = Mutex::new(Vec::new());

/// Starts a record; what was recorded before is forgotten.
pub fn start() {
    EVENTS.lock().unwrap_or_else(PoisonError::into_inner).clear();
    ON.store(true, Ordering::Relaxed);
}

/// Ends the record.
pub fn stop() -> Vec<Event> {
    ON.store(false, Ordering::Relaxed);
    std::mem::take(&mut *EVENTS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Whether anything is recorded.
pub(crate) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Adds to the record if there is one.
pub(crate) fn add(event: Event) {
    if is_on() {
        EVENTS.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

/// Notes a call that TT-NN has taken.
pub(crate) fn note(call: &str, args: &[Value], kwargs: &[(&str, Value)], result: &Object) {
    if is_on()
        && let Some(event) = event(call, args, kwargs, result)
    {
        add(event);
    }
}

/// The event that a call is, if it is one.
fn event(call: &str, args: &[Value], kwargs: &[(&str, Value)], result: &Object) -> Option<Event> {
    let path = call.strip_prefix("ttnn.").unwrap_or(call);
    let integers = kwargs.iter().filter(|(name, _)| *name == "cq_id").map(|(_, value)| value).chain(args);
    let queue = integers.filter_map(|value| if let Value::Int(queue) = value { Some(*queue as usize) } else { None });
    let queue = queue.into_iter().next().unwrap_or(PROGRAMS);
    let objects =
        || args.iter().filter_map(|value| if let Value::Object(object) = value { Some(object) } else { None });
    let object = |index: usize| objects().nth(index).map_or(0, Object::identity);
    Some(match path {
        "copy_host_to_device_tensor" => Event::Write { queue, host: object(0) },
        "copy_device_to_host_tensor" => Event::Read { queue, host: object(1) },
        "to_device" => Event::Write { queue, host: object(0) },
        "from_device" | "cpu" => Event::Read { queue, host: result.identity() },
        "record_event" => Event::Record { queue, event: result.identity() },
        "wait_for_event" => Event::Wait { queue, event: object(0) },
        "event_synchronize" => Event::Synchronize(Some(object(0))),
        "synchronize_device" => Event::Synchronize(None),
        "set_program_cache_misses_allowed" if matches!(args, [Value::Bool(false)]) => Event::Forbid,
        "begin_trace_capture" => Event::Begin,
        "end_trace_capture" => Event::End,
        "execute_trace" => Event::Replay,
        // It frees memory, and the card has nothing to do.
        "deallocate" => return None,
        op if TtnnRelease::ALL.iter().any(|release| release.has(op)) => Event::Program(op.to_owned()),
        _ => return None,
    })
}

/// How many commands of each queue are known to be over at some point.
type Known = [u64; QUEUES];

/// Follows a record.
#[derive(Default)]
struct Follow {
    forbidden: bool,
    capturing: bool,
    /// Commands put into each queue.
    issued: Known,
    /// The last command of each queue that was a copy.
    copies: Known,
    /// The last command of the queue of programs that was one.
    program: u64,
    /// What the next command of each queue comes after.
    known: [Known; QUEUES],
    /// What is over when an event is.
    events: HashMap<usize, Known>,
    /// The queue and the command of the last copy of each host tensor.
    host: HashMap<usize, (usize, u64)>,
    /// What the host knows to be over.
    seen: Known,
}

/// Holds a record against the rules.
///
/// # Errors
/// The first rule that is broken.
pub fn check(events: &[Event]) -> Result<(), Broken> {
    let mut follow = Follow::default();
    for (at, event) in events.iter().enumerate() {
        follow.next(event).map_err(|rule| Broken { at, event: event.clone(), rule })?;
    }
    Ok(())
}

impl Follow {
    fn next(&mut self, event: &Event) -> Result<(), &'static str> {
        match event {
            Event::Placed(..) => Ok(()),
            Event::Forbid => {
                self.forbidden = true;
                Ok(())
            }
            Event::Program(_) if self.capturing => Ok(()),
            Event::Program(_) | Event::Replay => self.outside().and_then(|()| self.programs()),
            Event::Write { queue, host } | Event::Read { queue, host } => {
                self.outside()?;
                self.copy(*queue, *host)
            }
            Event::Touch(host) => match self.host.get(host) {
                Some((queue, command)) if self.seen[*queue] < *command => {
                    Err("a host tensor is touched before its copy is over")
                }
                Some(_) | None => Ok(()),
            },
            Event::Record { queue, event } => {
                self.outside()?;
                let mut known = self.known[*queue];
                known[*queue] = self.issued[*queue];
                self.events.insert(*event, known);
                Ok(())
            }
            Event::Wait { queue, event } => {
                self.outside()?;
                let over = self.over(*event)?;
                join(&mut self.known[*queue], over);
                Ok(())
            }
            Event::Synchronize(event) => {
                self.outside()?;
                let over = event.map_or(Ok(self.issued), |event| self.over(event))?;
                join(&mut self.seen, over);
                self.known.iter_mut().for_each(|known| join(known, over));
                Ok(())
            }
            Event::Begin => {
                self.outside()?;
                self.capturing = true;
                if self.forbidden { Ok(()) } else { Err("a trace is captured before new programs are forbidden") }
            }
            Event::End => {
                self.capturing = false;
                Ok(())
            }
        }
    }

    fn outside(&self) -> Result<(), &'static str> {
        if self.capturing { Err("a trace cannot hold it, and it comes while one is captured") } else { Ok(()) }
    }

    fn over(&self, event: usize) -> Result<Known, &'static str> {
        self.events.get(&event).copied().ok_or("it waits for an event that is in no queue")
    }

    fn programs(&mut self) -> Result<(), &'static str> {
        let known = self.known[PROGRAMS];
        let waits = (0..QUEUES).all(|queue| queue == PROGRAMS || known[queue] >= self.copies[queue]);
        self.issued[PROGRAMS] += 1;
        self.program = self.issued[PROGRAMS];
        if waits { Ok(()) } else { Err("it does not wait for the copies on the other queue") }
    }

    fn copy(&mut self, queue: usize, host: usize) -> Result<(), &'static str> {
        let waits = queue == PROGRAMS || self.known[queue][PROGRAMS] >= self.program;
        self.issued[queue] += 1;
        self.copies[queue] = self.issued[queue];
        self.host.insert(host, (queue, self.issued[queue]));
        if waits { Ok(()) } else { Err("it does not wait for the programs on the other queue") }
    }
}

fn join(known: &mut Known, over: Known) {
    known.iter_mut().zip(over).for_each(|(known, over)| *known = (*known).max(over));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Event {
        Event::Program("add".into())
    }

    /// The step of decoding that reads its token back on the second queue.
    fn step() -> Vec<Event> {
        vec![
            Event::Replay,
            Event::Record { queue: 0, event: 1 },
            Event::Wait { queue: 1, event: 1 },
            Event::Read { queue: 1, host: 7 },
            Event::Record { queue: 1, event: 2 },
            Event::Wait { queue: 0, event: 2 },
            Event::Replay,
            Event::Synchronize(Some(2)),
            Event::Touch(7),
        ]
    }

    fn rule(events: Vec<Event>) -> &'static str {
        check(&events).map_or_else(|broken| broken.rule, |()| "kept")
    }

    #[test]
    fn a_capture_holds_programs_only() {
        let around = |inside: Event| vec![program(), Event::Forbid, Event::Begin, program(), inside, Event::End];
        assert_eq!(rule(around(program())), "kept");
        for inside in [
            Event::Write { queue: 0, host: 1 },
            Event::Read { queue: 1, host: 1 },
            Event::Record { queue: 0, event: 1 },
            Event::Synchronize(None),
            Event::Begin,
            Event::Replay,
        ] {
            assert!(rule(around(inside.clone())).contains("while one is captured"), "{inside:?}");
        }
        assert!(rule(vec![program(), Event::Begin]).contains("before new programs are forbidden"));
    }

    #[test]
    fn queues_wait_for_each_other_and_the_host_for_both() {
        assert_eq!(rule(step()), "kept");
        let without = |index: usize| {
            let mut events = step();
            events.remove(index);
            rule(events)
        };
        assert!(without(2).contains("does not wait for the programs"));
        assert!(without(5).contains("does not wait for the copies"));
        assert!(without(7).contains("touched before"));
        assert!(without(4).contains("in no queue"));
    }

    #[test]
    fn one_queue_needs_no_waiting_but_the_hosts() {
        let read = Event::Read { queue: 0, host: 7 };
        let record = Event::Record { queue: 0, event: 1 };
        let wait = Event::Synchronize(Some(1));
        assert_eq!(
            rule(vec![Event::Replay, read.clone(), record.clone(), Event::Replay, wait.clone(), Event::Touch(7)]),
            "kept"
        );
        // The event comes before the copy.
        assert!(rule(vec![Event::Replay, record, read, wait, Event::Touch(7)]).contains("touched before"));
    }
}
