//! A plan loaded on a device: prefill a user, decode all users one token, read logits.
//!
//! Between two runs, all state is in the plan's persistent buffers: tokens, positions, page tables and KV caches. What a prefill is of, whose
//! it is and where in the context, is written into buffers too, so that one program, and one trace of each phase, serves them all.
//! [`crate::generate()`] drives a session.
//!
//! A user at position [`ABSENT`] is idle: nothing is written into its cache, and attention passes it over. So are all of them while the
//! decode phase is warmed up.

mod chunks;
mod draw;
mod load;
mod pages;
mod prompt;

use std::sync::Arc;

use bitnetc_plan::{BufferRole, PhaseKind, Plan, VerifiedPlan};

use crate::device::{ABSENT, Device, ResolvedStep, Slot, TraceId};
use crate::program::{PhaseProgram, Program};
use crate::{DeviceError, RuntimeError};
use chunks::Buckets;
use draw::Draw;
use pages::Pages;

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
    /// Where the decode phase draws tokens.
    draw: Option<Draw>,
    decode: Option<usize>,
    /// Of each phase.
    traces: Vec<Traced>,
    /// The phase whose results are on the device.
    results: Option<usize>,
    scratch: Vec<u32>,
    /// How often the buffer of rotary positions holds those of all users.
    rotary_copies: usize,
    pages: Pages,
    buckets: Buckets,
    /// Columns of the last token's tile.
    tile_columns: u32,
}

/// Slots of the buffers that decoding and reading need.
#[derive(Debug, Clone, Copy)]
struct Inputs {
    tokens: Slot,
    positions: Slot,
    rotary: Option<Slot>,
    pages: Slot,
    first: Option<Slot>,
}

/// How far a phase is on its way to a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Traced {
    Never,
    NotYet,
    /// It ran, so that every kernel is compiled and every result was allocated once.
    Warm,
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

    /// Warms up and captures the decode phase if it is to be traced and is not yet, and where the device compiles what it runs the prefill
    /// phases as well, so that nothing is left to compile. [`Session::prefill`] and [`Session::set_users`] see to it; calling it earlier only
    /// chooses the moment.
    ///
    /// # Errors
    /// Any error of a step.
    pub fn prepare_decode(&mut self) -> Result<(), RuntimeError> {
        let Some(decode) = self.decode else { return Ok(()) };
        match self.traces[decode] {
            Traced::Never | Traced::Captured(_) => return Ok(()),
            Traced::NotYet | Traced::Warm => {}
        }
        let others: Vec<usize> = match self.device.compiles() {
            true => (0..self.traces.len()).filter(|index| *index != decode).collect(),
            false => Vec::new(),
        };
        self.warm_up(decode)?;
        for &index in &others {
            self.warm_up(index)?;
        }
        self.free_results()?;
        self.device.forbid_new_programs().map_err(RuntimeError::device("ending the warm-up"))?;
        for index in others {
            if self.traces[index] == Traced::Warm {
                self.capture(index)?;
            }
        }
        self.capture(decode).map(drop)
    }

    /// Runs a phase that is to be traced for nobody, as often as the plan says.
    fn warm_up(&mut self, index: usize) -> Result<(), RuntimeError> {
        let (Traced::NotYet, Some(trace)) = (self.traces[index], &self.program.phases[index].trace) else {
            return Ok(());
        };
        for _ in 0..trace.warm_up {
            match self.program.phases[index].kind {
                PhaseKind::Decode { .. } => {
                    self.write_users(&vec![0; self.batch()], &vec![ABSENT; self.batch()])?;
                }
                PhaseKind::Prefill { tokens } => self.write_idle_chunk(index, tokens as usize)?,
            }
            self.run_steps(index)?;
        }
        self.traces[index] = Traced::Warm;
        Ok(())
    }

    /// Captures a phase that is warm.
    fn capture(&mut self, index: usize) -> Result<TraceId, RuntimeError> {
        self.free_results()?;
        let phase = &self.program.phases[index];
        let capture = || RuntimeError::device(format!("capturing {}", phase.kind));
        self.device.begin_trace().map_err(capture())?;
        let recorded =
            [&phase.body, &phase.epilogue].into_iter().try_for_each(|steps| execute(&mut self.device, phase, steps));
        // The capture ends whatever came of it: until then the device would take nothing else.
        let ended = self.device.end_trace().map_err(capture());
        if let (Err(_), Ok(part)) = (&recorded, &ended) {
            // The first error is the one to tell.
            let _ = self.device.release_trace(*part);
        }
        recorded?;
        let trace = ended?;
        self.traces[index] = Traced::Captured(trace);
        Ok(trace)
    }

    /// Sets the token and position of every user for the next decode step; [`ABSENT`] is the position of one that is idle.
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
                // An idle user's row is looked up as well, and used for nothing.
                rows.extend(positions.iter().map(|&position| if position == ABSENT { 0 } else { position }));
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
        self.run(decode)?;
        self.leave_seeds()
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

    /// Runs a phase: its trace, or, the first time, its steps one by one.
    fn run(&mut self, index: usize) -> Result<(), RuntimeError> {
        let trace = match self.traces[index] {
            Traced::Never => return self.run_steps(index),
            Traced::NotYet => {
                self.run_steps(index)?;
                self.traces[index] = Traced::Warm;
                return Ok(());
            }
            Traced::Warm => self.capture(index)?,
            Traced::Captured(trace) => trace,
        };
        if self.results != Some(index) {
            self.free_results()?;
        }
        self.results = Some(index);
        let replaying = format!("replaying {}", self.program.phases[index].kind);
        self.device.replay_trace(trace).map_err(RuntimeError::device(replaying))
    }

    /// Forgets a phase's trace, so that its steps may be run one by one: their results would take the place of the trace's.
    fn release(&mut self, index: usize) -> Result<(), RuntimeError> {
        let Traced::Captured(trace) = self.traces[index] else { return Ok(()) };
        let releasing = format!("releasing the trace of {}", self.program.phases[index].kind);
        self.device.release_trace(trace).map_err(RuntimeError::device(releasing))?;
        self.traces[index] = Traced::Warm;
        self.results = Some(index);
        self.free_results()
    }

    fn run_steps(&mut self, index: usize) -> Result<(), RuntimeError> {
        self.free_results()?;
        let phase = &self.program.phases[index];
        execute(&mut self.device, phase, &phase.body)?;
        execute(&mut self.device, phase, &phase.epilogue)?;
        self.results = Some(index);
        Ok(())
    }

    /// Frees the results of the phase run last. Those of a trace stay: its next replay writes them again.
    fn free_results(&mut self) -> Result<(), RuntimeError> {
        let Some(index) = self.results.take() else { return Ok(()) };
        if matches!(self.traces[index], Traced::Captured(_)) {
            return Ok(());
        }
        for (name, slot, _) in &self.program.phases[index].results {
            self.device.free(*slot).map_err(|e| RuntimeError::device(format!("freeing `{name}`"))(e))?;
        }
        Ok(())
    }

    /// Writes the buffer of a role, if the plan has one.
    fn put(&mut self, role: BufferRole, data: &[u32]) -> Result<(), RuntimeError> {
        match self.program.buffer(&self.plan, role) {
            Some(slot) => self.device.write(slot, data).map_err(RuntimeError::device(format!("writing {role:?}"))),
            None => Ok(()),
        }
    }

    fn write_pages(&mut self) -> Result<(), RuntimeError> {
        let table = self.pages.table();
        self.device.write(self.inputs.pages, table).map_err(RuntimeError::device("writing page table"))
    }

    fn write(&mut self, what: &str, slot: Slot, data: &[u32]) -> Result<(), RuntimeError> {
        self.device.write(slot, data).map_err(|e| RuntimeError::device(format!("writing {what}"))(e))
    }

    fn read_integers(&mut self, what: &str, slot: Slot, out: &mut Vec<u32>) -> Result<(), RuntimeError> {
        let read = self.device.read_integers(slot, out);
        read.map_err(|e| RuntimeError::device(format!("reading {what}"))(e))
    }
}

fn execute<D: Device>(device: &mut D, phase: &PhaseProgram, steps: &[Arc<ResolvedStep>]) -> Result<(), RuntimeError> {
    device.execute(steps).map_err(|(at, error): (usize, DeviceError)| RuntimeError::Step {
        phase: phase.kind.to_string(),
        step: steps[at].name.clone(),
        error: Box::new(error),
    })
}
