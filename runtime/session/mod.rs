//! A plan loaded on a device: prefill a user, decode all users one token, read logits.
//!
//! Between two steps of decoding, all state is in the plan's persistent buffers: tokens, positions, page table and KV caches.
//! [`crate::generate()`] drives a session. A decode phase that is to be traced is warmed up and captured before the first user is prefilled.
//! Every user is then at position 0, so what the warm-up writes into the caches is overwritten before it is read.

mod load;
mod prompt;

use std::sync::Arc;

use bitnetc_plan::{Plan, VerifiedPlan};

use crate::device::{Arguments, Device, ResolvedStep, Slot, TraceId};
use crate::program::{PhaseProgram, Program};
use crate::{DeviceError, RuntimeError};

pub use load::LoadOptions;
pub use prompt::check_tokens;

/// Rows of the tile that a prefill's epilogue computes logits of.
pub const TILE_ROWS: usize = 32;

/// A plan loaded on a device.
#[derive(Debug)]
pub struct Session<D> {
    plan: VerifiedPlan,
    program: Program,
    device: D,
    inputs: Inputs,
    decode: Option<usize>,
    trace: Traced,
    /// The phase whose results are on the device.
    results: Option<usize>,
    scratch: Vec<u32>,
    /// How often the buffer of rotary positions holds those of all users.
    rotary_copies: usize,
}

/// Slots of the buffers that the host writes or reads.
#[derive(Debug, Clone, Copy)]
struct Inputs {
    tokens: Slot,
    positions: Slot,
    rotary: Option<Slot>,
    pages: Slot,
    first: Option<Slot>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Traced {
    Never,
    NotYet,
    Captured(TraceId),
}

impl<D: Device> Session<D> {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The device, to ask or tell it what no plan does.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// The device, with what the plan left there.
    pub fn into_device(self) -> D {
        self.device
    }

    /// Users of the decode phase.
    pub fn batch(&self) -> usize {
        self.plan.options.batch as usize
    }

    /// Tokens a user's cache holds.
    pub fn context(&self) -> usize {
        self.plan.options.context as usize
    }

    /// Warms up and captures the decode phase if it is to be traced and is not yet. [`Session::prefill`] and [`Session::set_users`] see
    /// to it; calling it earlier only chooses the moment.
    ///
    /// # Errors
    /// Any error of a step.
    pub fn prepare_decode(&mut self) -> Result<(), RuntimeError> {
        let (Some(decode), Traced::NotYet) = (self.decode, self.trace) else { return Ok(()) };
        let warm_up = self.program.phases[decode].trace.as_ref().map_or(0, |t| t.warm_up);
        let zeros = vec![0; self.batch()];
        for _ in 0..warm_up {
            self.write_users(&zeros, &zeros)?;
            self.run(decode, Arguments::default())?;
        }
        if self.device.compiles() {
            self.warm_up_buckets()?;
        }
        self.write_users(&zeros, &zeros)?;
        self.free_results()?;
        self.device.forbid_new_programs().map_err(RuntimeError::device("ending the warm-up"))?;
        let capture = || RuntimeError::device("capturing the decode phase");
        self.device.begin_trace().map_err(capture())?;
        let phase = &self.program.phases[decode];
        let recorded = [&phase.body, &phase.epilogue]
            .into_iter()
            .try_for_each(|steps| execute(&mut self.device, phase, steps, Arguments::default()));
        // The capture ends whatever came of it: until then the device would take nothing else.
        let ended = self.device.end_trace().map_err(capture());
        if let (Err(_), Ok(part)) = (&recorded, &ended) {
            // The first error is the one to tell.
            let _ = self.device.release_trace(*part);
        }
        recorded?;
        self.trace = Traced::Captured(ended?);
        Ok(())
    }

    /// Sets the token and position of every user for the next decode step.
    ///
    /// # Errors
    /// A device that refuses.
    pub fn set_users(&mut self, tokens: &[u32], positions: &[u32]) -> Result<(), RuntimeError> {
        self.prepare_decode()?;
        self.write_users(tokens, positions)
    }

    fn write_users(&mut self, tokens: &[u32], positions: &[u32]) -> Result<(), RuntimeError> {
        self.set_tokens(tokens)?;
        self.write("positions", self.inputs.positions, positions)?;
        if let Some(rotary) = self.inputs.rotary {
            let mut rows = std::mem::take(&mut self.scratch);
            rows.clear();
            // Once per user, or twice when q and k have rows of their own.
            for _ in 0..self.rotary_copies {
                rows.extend_from_slice(positions);
            }
            let written = self.write("rotary positions", rotary, &rows);
            self.scratch = rows;
            written?;
        }
        Ok(())
    }

    /// Sets the tokens of the next decode step; positions stay.
    ///
    /// # Errors
    /// A device that refuses.
    pub fn set_tokens(&mut self, tokens: &[u32]) -> Result<(), RuntimeError> {
        self.write("tokens", self.inputs.tokens, tokens)
    }

    /// Reads the tokens that the next decode step will take: those the last one chose.
    ///
    /// # Errors
    /// A device that refuses.
    pub fn tokens(&mut self, out: &mut Vec<u32>) -> Result<(), RuntimeError> {
        self.read_integers("tokens", self.inputs.tokens, out)
    }

    /// Starts reading the tokens that the last decode step chose, without waiting for it; [`Session::end_tokens`] gives them. Another step may
    /// be asked for in between where the device [runs ahead](Device::runs_ahead).
    ///
    /// # Errors
    /// A device that refuses.
    pub fn begin_tokens(&mut self) -> Result<(), RuntimeError> {
        self.device.begin_read(self.inputs.tokens).map_err(RuntimeError::device("reading tokens"))
    }

    /// The tokens of the oldest read under way.
    ///
    /// # Errors
    /// A device that refuses, or a step that failed.
    pub fn end_tokens(&mut self, out: &mut Vec<u32>) -> Result<(), RuntimeError> {
        self.device.end_read(out).map_err(RuntimeError::device("reading tokens"))
    }

    /// One token of every user.
    ///
    /// # Errors
    /// No decode phase; whatever a step refuses.
    pub fn decode(&mut self) -> Result<(), RuntimeError> {
        let Some(decode) = self.decode else { return Err(RuntimeError::Lacks("decode phase".into())) };
        self.prepare_decode()?;
        let Traced::Captured(trace) = self.trace else { return self.run(decode, Arguments::default()) };
        if self.results != Some(decode) {
            self.free_results()?;
        }
        self.results = Some(decode);
        self.device.replay_trace(trace).map_err(RuntimeError::device("replaying the decode phase"))
    }

    /// The logits of the phase run last, `[rows, vocab]`: a row per user after decode, per row of the last-token tile after prefill.
    ///
    /// # Errors
    /// No phase run yet, or one without logits.
    pub fn logits(&mut self, out: &mut Vec<f32>) -> Result<(), RuntimeError> {
        let lacks = || RuntimeError::Lacks("logits: no phase has run".into());
        let phase = &self.program.phases[self.results.ok_or_else(lacks)?];
        let (name, slot, spec) = phase.results.first().ok_or_else(lacks)?;
        let read = self.device.read_floats(*slot, out);
        read.map_err(|e| RuntimeError::device(format!("reading `{name}`"))(e))?;
        let (vocab, columns) = (self.plan.model.vocab as usize, spec.columns() as usize);
        if columns < vocab {
            return Err(RuntimeError::Lacks(format!("result of {vocab} columns: `{name}` has {columns}")));
        }
        if columns > vocab {
            let rows = out.len() / columns;
            for row in 1..rows {
                out.copy_within(row * columns..row * columns + vocab, row * vocab);
            }
            out.truncate(rows * vocab);
        }
        Ok(())
    }

    fn run(&mut self, index: usize, arguments: Arguments) -> Result<(), RuntimeError> {
        self.free_results()?;
        let phase = &self.program.phases[index];
        execute(&mut self.device, phase, &phase.body, arguments)?;
        execute(&mut self.device, phase, &phase.epilogue, arguments)?;
        self.results = Some(index);
        Ok(())
    }

    /// Frees the results of the phase run last. Those of a trace stay: its next replay writes them again.
    fn free_results(&mut self) -> Result<(), RuntimeError> {
        let Some(index) = self.results.take() else { return Ok(()) };
        if Some(index) == self.decode && matches!(self.trace, Traced::Captured(_)) {
            return Ok(());
        }
        for (name, slot, _) in &self.program.phases[index].results {
            self.device.free(*slot).map_err(|e| RuntimeError::device(format!("freeing `{name}`"))(e))?;
        }
        Ok(())
    }

    fn write(&mut self, what: &str, slot: Slot, data: &[u32]) -> Result<(), RuntimeError> {
        self.device.write(slot, data).map_err(|e| RuntimeError::device(format!("writing {what}"))(e))
    }

    fn read_integers(&mut self, what: &str, slot: Slot, out: &mut Vec<u32>) -> Result<(), RuntimeError> {
        let read = self.device.read_integers(slot, out);
        read.map_err(|e| RuntimeError::device(format!("reading {what}"))(e))
    }
}

fn execute<D: Device>(
    device: &mut D,
    phase: &PhaseProgram,
    steps: &[Arc<ResolvedStep>],
    arguments: Arguments,
) -> Result<(), RuntimeError> {
    device.execute(steps, arguments).map_err(|(at, error): (usize, DeviceError)| RuntimeError::Step {
        phase: phase.kind.to_string(),
        step: steps[at].name.clone(),
        error: Box::new(error),
    })
}
