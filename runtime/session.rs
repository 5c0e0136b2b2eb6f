//! A plan loaded on a device: prefill a user, decode all users one token, read logits.
//!
//! The state between calls is the persistent buffers (tokens, positions, page table, KV caches); [`crate::generate()`] drives them. A traced
//! decode phase is warmed up and captured before the first user is prefilled or placed, with every user at position 0: what the warm-up
//! writes into the caches is overwritten before anyone reads it.

use std::sync::Arc;

use bitnetc_plan::{BufferRole, Op, PhaseKind, Plan};

use crate::device::{Arguments, Call, Device, Slot, TraceId, Upload};
use crate::program::{PhaseProgram, Program, WeightSlot};
use crate::weights::Weights;
use crate::{DeviceError, RuntimeError};

/// Rows of the tile that a prefill's epilogue computes logits of.
pub const TILE_ROWS: usize = 32;

/// How a plan is loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadOptions {
    /// Capture the decode phase if the plan says so.
    pub trace: bool,
    /// The cache blocks of each user, `[batch, blocks per user]`, a permutation of all blocks; `None` for user after user.
    pub page_table: Option<Vec<u32>>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions { trace: true, page_table: None }
    }
}

/// A plan loaded on a device.
#[derive(Debug)]
pub struct Session<D> {
    plan: Plan,
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
    /// Checks `plan` and `weights`, then places everything on `device`; `progress` is told weights done and to do.
    ///
    /// # Errors
    /// A plan that does not verify, weights that are missing or wrong, a device without memory.
    pub fn load(
        plan: Plan,
        weights: &Weights,
        mut device: D,
        options: &LoadOptions,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Self, RuntimeError> {
        verify(&plan)?;
        weights.check(&plan)?;
        let pages = page_table(&plan, options)?;
        let program = Program::new(&plan, &weights.scales(&plan)?)?;
        device.reserve(program.slots).map_err(RuntimeError::device("reserving slots"))?;
        for (done, &WeightSlot { index, layer, slot, integer }) in program.weights.iter().enumerate() {
            let weight = &plan.weights[index];
            let doing = format!("loading weight `{}` of layer {layer}", weight.name);
            let upload = Upload { weight, layer, weights, integer };
            device.upload(slot, &upload).map_err(RuntimeError::device(doing))?;
            // The device has its own copy now: two of each would double the memory of a large model.
            weights.release();
            progress(done + 1, program.weights.len());
        }
        for (index, slot) in &program.buffers {
            let buffer = &plan.buffers[*index];
            let doing = format!("placing buffer `{}`", buffer.name);
            device.allocate(*slot, &Arc::new(buffer.spec.clone())).map_err(RuntimeError::device(doing))?;
        }
        let buffer = |role: BufferRole| program.buffer(&plan, role);
        let need = |role: BufferRole| buffer(role).ok_or_else(|| RuntimeError::Lacks(format!("{role:?} buffer")));
        let inputs = Inputs {
            tokens: need(BufferRole::Tokens)?,
            positions: need(BufferRole::Positions)?,
            rotary: buffer(BufferRole::RotaryPositions),
            pages: need(BufferRole::PageTable)?,
            first: buffer(BufferRole::FirstTokens),
        };
        let decode = program.phases.iter().position(|p| matches!(p.kind, PhaseKind::Decode { .. }));
        let traced = options.trace && decode.is_some_and(|d| program.phases[d].trace.is_some());
        let trace = if traced { Traced::NotYet } else { Traced::Never };
        let copies =
            plan.buffer_for(BufferRole::RotaryPositions).map_or(0, |b| b.spec.columns() / plan.options.batch.max(1));
        let mut session = Session {
            plan,
            program,
            rotary_copies: copies as usize,
            device,
            inputs,
            decode,
            trace,
            results: None,
            scratch: Vec::new(),
        };
        session.write("page table", inputs.pages, &pages)?;
        Ok(session)
    }

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

    /// Users of the decode phase.
    pub fn batch(&self) -> usize {
        self.plan.options.batch as usize
    }

    /// Tokens a user's cache holds.
    pub fn context(&self) -> usize {
        self.plan.options.context as usize
    }

    /// Tokens of the largest prefill phase; 0 when there is none.
    pub fn largest_bucket(&self) -> usize {
        self.buckets().map(|(_, tokens)| tokens).max().unwrap_or(0)
    }

    /// Tokens of the smallest prefill phase; 0 when there is none.
    pub fn smallest_bucket(&self) -> usize {
        self.buckets().map(|(_, tokens)| tokens).min().unwrap_or(0)
    }

    /// Index and tokens of the prefill phases.
    fn buckets(&self) -> impl Iterator<Item = (usize, usize)> {
        self.program.phases.iter().enumerate().filter_map(|(index, phase)| match phase.kind {
            PhaseKind::Prefill { tokens } => Some((index, tokens as usize)),
            PhaseKind::Decode { .. } => None,
        })
    }

    /// Warms up and captures the decode phase if it is to be traced and is not yet. [`Session::prefill`] and [`Session::set_users`] see
    /// to it; calling it earlier only chooses the moment.
    ///
    /// # Errors
    /// Whatever a step refuses.
    pub fn prepare_decode(&mut self) -> Result<(), RuntimeError> {
        let (Some(decode), Traced::NotYet) = (self.decode, self.trace) else { return Ok(()) };
        let warm_up = self.program.phases[decode].trace.as_ref().map_or(0, |t| t.warm_up);
        let zeros = vec![0; self.batch()];
        for _ in 0..warm_up {
            self.write_users(&zeros, &zeros)?;
            self.run(decode, Arguments::default())?;
        }
        self.write_users(&zeros, &zeros)?;
        self.free_results()?;
        let capture = || RuntimeError::device("capturing the decode phase");
        self.device.begin_trace().map_err(capture())?;
        let phase = &self.program.phases[decode];
        let recorded = [&phase.body, &phase.epilogue]
            .into_iter()
            .try_for_each(|calls| execute(&mut self.device, phase, calls, Arguments::default()));
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

    /// Runs the smallest prefill phase that holds `tokens`, for `user` from position 0. The logits of the last token are then row
    /// `(tokens.len() - 1) % 32` of [`Session::logits`]; the other rows are of no meaning.
    ///
    /// # Errors
    /// No tokens, a token outside of the vocabulary, more tokens than the largest phase holds; whatever a step refuses.
    pub fn prefill(&mut self, user: usize, tokens: &[u32]) -> Result<(), RuntimeError> {
        self.prepare_decode()?;
        let phase = self.start_prefill(user, tokens)?;
        let (tile, row) = ((tokens.len() - 1) / TILE_ROWS, (tokens.len() - 1) % TILE_ROWS);
        let tile_row = (tile * TILE_ROWS) as u32;
        self.run(phase, Arguments { user: user as u32, tile_row, live_row: Some(row as u32) })
    }

    /// The token that the prefill just run chose for its last token, in that token's row of its tile.
    ///
    /// # Errors
    /// A plan whose prefill chooses none; a device that refuses.
    pub fn first_tokens(&mut self, out: &mut Vec<u32>) -> Result<(), RuntimeError> {
        let first = self.inputs.first.ok_or_else(|| RuntimeError::Lacks("FirstTokens buffer".into()))?;
        self.read_integers("first tokens", first, out)
    }

    /// Runs a prefill and hands the logits of every token to `each`, 32 rows at most at a time: number of the first row, rows, and
    /// `[rows, vocab]`. Nothing is prepared for decoding: this is for measuring prompts.
    ///
    /// # Errors
    /// As [`Session::prefill`].
    pub fn prompt_logits(
        &mut self,
        user: usize,
        tokens: &[u32],
        mut each: impl FnMut(usize, usize, &[f32]),
    ) -> Result<(), RuntimeError> {
        let index = self.start_prefill(user, tokens)?;
        self.free_results()?;
        let mut arguments = Arguments { user: user as u32, ..Arguments::default() };
        let phase = &self.program.phases[index];
        execute(&mut self.device, phase, &phase.body, arguments)?;
        let vocab = self.plan.model.vocab as usize;
        let tiles = tokens.len().div_ceil(TILE_ROWS);
        let mut logits = Vec::new();
        for tile in 0..tiles {
            arguments.tile_row = (tile * TILE_ROWS) as u32;
            let phase = &self.program.phases[index];
            for call in &phase.epilogue {
                // What the body made is needed again for the next tile.
                let ends_body =
                    matches!(call.op, Op::Deallocate(_)) && !phase.epilogue_slots.contains(&call.operands[0]);
                if tile + 1 == tiles || !ends_body {
                    execute(&mut self.device, phase, std::slice::from_ref(call), arguments)?;
                }
            }
            self.results = Some(index);
            self.logits(&mut logits)?;
            let rows = TILE_ROWS.min(tokens.len() - tile * TILE_ROWS);
            each(tile * TILE_ROWS, rows, &logits[..rows * vocab]);
            self.free_results()?;
        }
        Ok(())
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

    fn start_prefill(&mut self, user: usize, tokens: &[u32]) -> Result<usize, RuntimeError> {
        let wrong = |why: String| RuntimeError::Prompt { prompt: user, why };
        if tokens.is_empty() {
            return Err(wrong("it has no tokens".into()));
        }
        self.check_tokens(user, tokens)?;
        if user >= self.batch() {
            return Err(RuntimeError::Batch { prompts: user + 1, batch: self.plan.options.batch });
        }
        let fitting = self.buckets().filter(|(_, bucket)| *bucket >= tokens.len()).min_by_key(|(_, bucket)| *bucket);
        let (index, bucket) = fitting.ok_or_else(|| {
            wrong(format!("{} tokens; the plan's largest prefill phase holds {}", tokens.len(), self.largest_bucket()))
        })?;
        let role = BufferRole::Prompt(bucket as u32);
        let slot =
            self.program.buffer(&self.plan, role).ok_or_else(|| RuntimeError::Lacks(format!("{role:?} buffer")))?;
        let mut padded = std::mem::take(&mut self.scratch);
        padded.clear();
        padded.extend_from_slice(tokens);
        padded.resize(bucket, 0);
        let written = self.write("prompt", slot, &padded);
        self.scratch = padded;
        written?;
        Ok(index)
    }

    /// Checks that every token is in the vocabulary.
    ///
    /// # Errors
    /// [`RuntimeError::Prompt`].
    pub fn check_tokens(&self, prompt: usize, tokens: &[u32]) -> Result<(), RuntimeError> {
        let vocab = self.plan.model.vocab;
        match tokens.iter().find(|&&t| t >= vocab) {
            Some(token) => Err(RuntimeError::Prompt {
                prompt,
                why: format!(
                    "token {token} is not in the vocabulary of {vocab}: tokenizer and model do not belong together"
                ),
            }),
            None => Ok(()),
        }
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
    calls: &[Arc<Call>],
    arguments: Arguments,
) -> Result<(), RuntimeError> {
    device.execute(calls, arguments).map_err(|(at, source): (usize, DeviceError)| RuntimeError::Step {
        phase: phase.kind.to_string(),
        step: calls[at].name.clone(),
        source: Box::new(source),
    })
}

fn verify(plan: &Plan) -> Result<(), RuntimeError> {
    match bitnetc_plan::verify(plan) {
        Ok(_) => Ok(()),
        Err(defects) => Err(RuntimeError::Unverified {
            first: defects.first().map_or_else(|| "for no reason given".into(), ToString::to_string),
            others: defects.len().saturating_sub(1),
        }),
    }
}

/// The page table as the card wants it.
fn page_table(plan: &Plan, options: &LoadOptions) -> Result<Vec<u32>, RuntimeError> {
    let buffer =
        plan.buffer_for(BufferRole::PageTable).ok_or_else(|| RuntimeError::Lacks("PageTable buffer".into()))?;
    let entries: u32 = buffer.spec.shape.iter().product();
    let Some(table) = &options.page_table else { return Ok((0..entries).collect()) };
    let mut seen = vec![false; entries as usize];
    for &block in table {
        match seen.get_mut(block as usize) {
            None => return Err(RuntimeError::PageTable(format!("block {block}; there are {entries} blocks"))),
            Some(true) => return Err(RuntimeError::PageTable(format!("block {block} twice"))),
            Some(seen) => *seen = true,
        }
    }
    if table.len() != entries as usize {
        return Err(RuntimeError::PageTable(format!("{} entries where {entries} are needed", table.len())));
    }
    Ok(table.clone())
}
