//! Traces: captured, replayed and released, with the DRAM that each takes.
//!
//! The card is opened without a region for traces, so TT-NN takes a trace's buffer from free DRAM when the capture ends. What is free before
//! and after tells its size.

use bitnetc_plan::Memory;
use bitnetc_runtime::DeviceError;
use bitnetc_runtime::device::TraceId;

use super::library;
use super::queues::PROGRAMS;
use crate::error::TtnnError;
use crate::open_card::OpenCard;
use crate::python::{Object, Value};

/// A trace on the card.
#[derive(Debug)]
struct Trace {
    id: Object,
    bytes: u64,
}

/// The traces of a card.
#[derive(Debug, Default)]
pub(super) struct Traces {
    capture: Option<Object>,
    captured: Vec<Option<Trace>>,
}

impl Traces {
    /// Whether one is being captured.
    pub(super) fn is_capturing(&self) -> bool {
        self.capture.is_some()
    }

    /// Bytes of DRAM that all of them take.
    pub(super) fn bytes(&self) -> u64 {
        self.captured.iter().flatten().map(|trace| trace.bytes).sum()
    }

    /// Starts a capture.
    pub(super) fn begin(&mut self, card: &OpenCard) -> Result<(), DeviceError> {
        if !card.can_trace() {
            return Err(DeviceError::Trace(format!("{} captures none; run without a trace", card.card())));
        }
        self.capture = Some(call(card, "begin_trace_capture", None, &[QUEUE]).map_err(library)?);
        Ok(())
    }

    /// Ends the capture.
    pub(super) fn end(&mut self, card: &OpenCard) -> Result<TraceId, DeviceError> {
        let id = self.capture.take().ok_or_else(|| DeviceError::Trace("none is being captured".into()))?;
        let ended = || {
            let before = card.memory_view(Memory::Dram)?;
            call(card, "end_trace_capture", Some(&id), &[QUEUE])?;
            let after = card.memory_view(Memory::Dram)?;
            Ok(before.free.saturating_sub(after.free).saturating_mul(before.banks))
        };
        let bytes = ended().map_err(library)?;
        self.captured.push(Some(Trace { id, bytes }));
        Ok(TraceId(self.captured.len() as u32 - 1))
    }

    /// Starts a replay, and does not wait for it.
    pub(super) fn replay(&self, card: &OpenCard, trace: TraceId) -> Result<(), DeviceError> {
        let trace = self.captured.get(trace.0 as usize).and_then(Option::as_ref).ok_or_else(|| unknown(trace))?;
        let options = [QUEUE, ("blocking", Value::Bool(false))];
        call(card, "execute_trace", Some(&trace.id), &options).map(drop).map_err(library)
    }

    /// Forgets a trace.
    pub(super) fn release(&mut self, card: &OpenCard, trace: TraceId) -> Result<(), DeviceError> {
        let found = self.captured.get_mut(trace.0 as usize).and_then(Option::take).ok_or_else(|| unknown(trace))?;
        call(card, "release_trace", Some(&found.id), &[]).map(drop).map_err(library)
    }
}

const QUEUE: (&str, Value) = ("cq_id", Value::Int(PROGRAMS));

fn unknown(trace: TraceId) -> DeviceError {
    DeviceError::Trace(format!("number {} is not there", trace.0))
}

fn call(card: &OpenCard, method: &str, trace: Option<&Object>, options: &[(&str, Value)]) -> Result<Object, TtnnError> {
    let mut args = vec![Value::from(card.object())];
    args.extend(trace.map(Value::from));
    Ok(card.interpreter().ttnn().call_method(method, &args, options)?)
}
