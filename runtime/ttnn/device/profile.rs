//! Measuring a run: which program was which step, and what TT-NN's real-time profiler saw of it.
//!
//! TT-NN's counter of programs is read before and after each call: the call took the numbers in between. The real-time profiler, which
//! TT-NN has on cards whose dispatch runs on worker cores, calls a function with the times of every program, replayed ones too; a few lines
//! of Python keep them until the run is over.

use std::sync::{Arc, Mutex, PoisonError};

use bitnetc_plan::{Plan, Profile, profile};
use bitnetc_runtime::device::ResolvedStep;
use serde::Deserialize;

use crate::error::TtnnError;
use crate::open_card::OpenCard;
use crate::python::{Interpreter, Object, card_hangs};

/// Keeps what the profiler hands out; a record's own memory is gone after the call.
const COLLECT: &str = "
import json
records, dropped = [], 0
def collect(batch):
    global dropped
    dropped += batch.dropped
    for r in batch.records:
        records.append((r.runtime_id, r.chip_id, r.start_timestamp, r.end_timestamp, r.frequency))
def collected():
    return json.dumps({'records': records, 'dropped': dropped})
";

/// Where a profile is found once its device is closed.
pub type Sink = Arc<Mutex<Option<Result<Profile, TtnnError>>>>;

/// A measurement under way; it ends, and leaves what it found, when it is dropped.
#[derive(Debug)]
pub(super) struct Profiler {
    interpreter: &'static Interpreter,
    sink: Sink,
    profile: Profile,
    collector: Object,
    /// The registration at the real-time profiler, where it is active.
    registered: Option<Object>,
}

#[derive(Deserialize)]
struct Collected {
    /// Program, chip, start and end in ticks, ticks per nanosecond.
    records: Vec<(u64, u32, f64, f64, f64)>,
    dropped: u64,
}

impl Profiler {
    /// Starts measuring on an open card.
    ///
    /// # Errors
    /// TT-NN's own.
    pub fn start(card: &OpenCard, plan: &Plan, sink: Sink) -> Result<Self, TtnnError> {
        let interpreter = card.interpreter();
        let collector = interpreter.module("bitnetc_profile", COLLECT)?;
        let ttnn = interpreter.ttnn();
        let active = ttnn.call_method("device.IsProgramRealtimeProfilerActive", &[], &[])?.to_bool()?;
        let registered = match active {
            true => {
                let collect = collector.attribute("collect")?;
                let register = "device.RegisterProgramRealtimeProfilerCallback";
                Some(ttnn.call_method(register, &[collect.into()], &[])?)
            }
            false => None,
        };
        Ok(Profiler { interpreter, sink, profile: Profile::of(plan), collector, registered })
    }

    /// The number of the next program.
    ///
    /// # Errors
    /// TT-NN's own.
    pub fn next_program(&self) -> Result<u64, TtnnError> {
        let next = self.interpreter.ttnn().call_method("_ttnn.get_device_operation_id", &[], &[])?.to_int()?;
        u64::try_from(next).map_err(|_| TtnnError::Unexpected {
            what: "the number of the next program".into(),
            answer: next.to_string(),
        })
    }

    /// Notes the programs that a step launched, those from `first` to before `next`.
    pub fn note(&mut self, step: &ResolvedStep, first: u64, next: u64) {
        let programs = next.saturating_sub(first);
        if programs > 0 {
            let layer = step.layer.map(|layer| format!("[{layer}]")).unwrap_or_default();
            let name = step.name.strip_suffix(&layer).unwrap_or(&step.name).to_owned();
            let (phase, layer) = (step.phase, step.layer);
            self.profile.calls.push(profile::Call { id: first, programs, phase, layer, step: name });
        }
    }

    /// Ends measuring; everything that was measured.
    fn finish(&mut self) -> Result<Profile, TtnnError> {
        if let Some(registered) = self.registered.take() {
            let unregister = "device.UnregisterProgramRealtimeProfilerCallback";
            self.interpreter.ttnn().call_method(unregister, &[registered.into()], &[])?;
        }
        let text = self.collector.call_method("collected", &[], &[])?.to_text()?;
        let unexpected = |answer: String| TtnnError::Unexpected { what: "records of the profiler".into(), answer };
        let collected: Collected = serde_json::from_str(&text).map_err(|error| unexpected(error.to_string()))?;
        let us = |ticks: f64, per_ns: f64| ticks / per_ns / 1000.0;
        let records = collected
            .records
            .into_iter()
            .map(|(id, chip, start, end, per_ns)| profile::Record {
                id,
                chip,
                start_us: us(start, per_ns),
                end_us: us(end, per_ns),
            })
            .collect();
        Ok(Profile { records, dropped: collected.dropped, ..self.profile.clone() })
    }
}

impl Drop for Profiler {
    fn drop(&mut self) {
        // A card that has stopped answering would keep the profiler waiting, too.
        if !card_hangs() {
            let found = self.finish();
            *self.sink.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        }
    }
}
