//! Prefill of a prompt, and reading its first token and its logits.

use bitnetc_plan::{BufferRole, Op, PhaseKind, Plan};

use super::{Session, TILE_ROWS, execute};
use crate::RuntimeError;
use crate::device::{Arguments, Device};

impl<D: Device> Session<D> {
    /// Tokens of the largest prefill phase; 0 when there is none.
    pub fn largest_bucket(&self) -> usize {
        self.buckets().map(|(_, tokens)| tokens).max().unwrap_or(0)
    }

    /// How many tokens of a prompt of `tokens` are prefilled; the others are decoded. See [`bitnetc_plan::weight::LongAngles`].
    pub fn prefilled(&self, tokens: usize) -> usize {
        let largest = self.buckets().map(|(_, bucket)| bucket).filter(|bucket| self.turns_alike(tokens, *bucket)).max();
        tokens.min(largest.unwrap_or(0))
    }

    /// Whether a prompt of `tokens` turns by the rotary frequencies of a prefill phase.
    fn turns_alike(&self, tokens: usize, bucket: usize) -> bool {
        let short = self.plan.short_sequence().map_or(usize::MAX, |short| short as usize);
        (tokens <= short) == (bucket <= short)
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
            for step in &phase.epilogue {
                // What the body made is needed again for the next tile.
                let ends_body =
                    matches!(step.op, Op::Deallocate(_)) && !phase.epilogue_slots.contains(&step.operands[0]);
                if tile + 1 == tiles || !ends_body {
                    execute(&mut self.device, phase, std::slice::from_ref(step), arguments)?;
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

    /// Runs every prefill phase with each place that the last token's tile may have: later, a program that was not compiled would take
    /// memory that the trace has for its own.
    pub(super) fn warm_up_buckets(&mut self) -> Result<(), RuntimeError> {
        let buckets: Vec<usize> = self.buckets().map(|(_, tokens)| tokens).collect();
        buckets.into_iter().try_for_each(|tokens| self.prompt_logits(0, &vec![0; tokens], |_, _, _| {}))
    }

    fn start_prefill(&mut self, user: usize, tokens: &[u32]) -> Result<usize, RuntimeError> {
        let wrong = |why: String| RuntimeError::Prompt { prompt: user, why };
        if tokens.is_empty() {
            return Err(wrong("it has no tokens".into()));
        }
        check_tokens(&self.plan, user, tokens)?;
        if user >= self.batch() {
            return Err(RuntimeError::Batch { prompts: user + 1, batch: self.plan.options.batch });
        }
        let alike = self.buckets().filter(|(_, bucket)| self.turns_alike(tokens.len(), *bucket));
        let fitting = alike.filter(|(_, bucket)| *bucket >= tokens.len()).min_by_key(|(_, bucket)| *bucket);
        let (index, bucket) = fitting.ok_or_else(|| {
            let kind = match self.plan.short_sequence() {
                Some(short) if tokens.len() <= short as usize => format!(" of up to {short}, which turn as so few do,"),
                Some(_) | None => String::new(),
            };
            let largest = self.buckets().map(|(_, bucket)| bucket).filter(|b| self.turns_alike(tokens.len(), *b)).max();
            wrong(format!(
                "{} tokens; the plan's largest prefill phase{kind} holds {}",
                tokens.len(),
                largest.unwrap_or(0)
            ))
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
}

/// Checks that every token is in the vocabulary of `plan`'s model; `prompt` is told in the error.
///
/// # Errors
/// [`RuntimeError::Prompt`].
pub fn check_tokens(plan: &Plan, prompt: usize, tokens: &[u32]) -> Result<(), RuntimeError> {
    let vocab = plan.model.vocab;
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
