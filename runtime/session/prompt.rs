//! Prefill of a prompt, chunk by chunk, and reading its first token and its logits.

use bitnetc_plan::{BufferRole, Op, Plan};

use super::chunks::Chunk;
use super::{Session, TILE_ROWS, execute};
use crate::RuntimeError;
use crate::device::Device;

impl<D: Device> Session<D> {
    /// Tokens of the largest prefill phase; 0 when there is none.
    pub fn largest_bucket(&self) -> usize {
        self.buckets.tokens().max().unwrap_or(0)
    }

    /// Tokens of the smallest prefill phase; 0 when there is none.
    pub fn smallest_bucket(&self) -> usize {
        self.buckets.tokens().min().unwrap_or(0)
    }

    /// How many tokens of a prompt of `tokens` are prefilled; the others are decoded. All of them are, unless no prefill phase can go on where
    /// one ended, or none turns as a prompt of this length does ([`bitnetc_plan::weight::LongAngles`]).
    pub fn prefilled(&self, tokens: usize) -> usize {
        self.buckets.prefilled(tokens)
    }

    /// Computes the keys and values of a prompt for `user`, from position 0 on. The logits of the last token are then row
    /// `(prompt.len() - 1) % 32` of [`Session::logits`]; the other rows are of no meaning.
    ///
    /// # Errors
    /// No tokens, a token outside of the vocabulary, more tokens than prefill takes; whatever a step refuses.
    pub fn prefill(&mut self, user: usize, prompt: &[u32]) -> Result<(), RuntimeError> {
        self.check_prompt(user, prompt)?;
        self.share(user, user, 0)?;
        self.prefill_from(user, prompt, 0)
    }

    /// As [`Session::prefill`], but of the tokens from number `start` on. Those before are in the user's cache already: an earlier prefill
    /// put them there, or they are [shared](Session::share).
    ///
    /// # Errors
    /// As [`Session::prefill`]; a start that is not before the last token, or at which no prefill phase can start, unlike those that
    /// [`Session::share`] returns.
    pub fn prefill_from(&mut self, user: usize, prompt: &[u32], start: usize) -> Result<(), RuntimeError> {
        self.prepare_decode()?;
        for chunk in self.start_prefill(user, prompt, start)? {
            self.write_chunk(user, prompt, chunk)?;
            self.write_last_tile((chunk.tokens - 1) / TILE_ROWS)?;
            self.run(chunk.phase)?;
        }
        Ok(())
    }

    /// Has `user` read the beginning of another user's context from that user's cache blocks, instead of having a copy of it. At most `tokens`
    /// tokens are shared, and the number of those that are is returned: whole blocks, up to where a prefill can start. `of` has to keep them
    /// as long as `user` reads them. [`Session::prefill`] ends the sharing.
    ///
    /// # Errors
    /// A user that the plan does not have, more tokens than its context; a device that refuses.
    pub fn share(&mut self, user: usize, of: usize, tokens: usize) -> Result<usize, RuntimeError> {
        if user.max(of) >= self.batch() {
            return Err(RuntimeError::Batch { prompts: user.max(of) + 1, batch: self.plan.options.batch });
        }
        if tokens > self.context() {
            let why = format!("{tokens} tokens are to be shared; the plan's context is {}", self.context());
            return Err(RuntimeError::Prompt { prompt: user, why });
        }
        let shared = self.buckets.stride().map_or(0, |stride| tokens / stride * stride);
        if self.pages.share(user, of, shared / self.pages.block) {
            self.write_pages()?;
        }
        Ok(shared)
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
        prompt: &[u32],
        mut each: impl FnMut(usize, usize, &[f32]),
    ) -> Result<(), RuntimeError> {
        self.check_prompt(user, prompt)?;
        self.share(user, user, 0)?;
        for chunk in self.start_prefill(user, prompt, 0)? {
            self.write_chunk(user, prompt, chunk)?;
            self.chunk_logits(chunk, &mut each)?;
        }
        Ok(())
    }

    /// The steps of a chunk, those after the layers once for each tile of tokens.
    fn chunk_logits(&mut self, chunk: Chunk, each: &mut impl FnMut(usize, usize, &[f32])) -> Result<(), RuntimeError> {
        self.free_results()?;
        self.release(chunk.phase)?;
        let phase = &self.program.phases[chunk.phase];
        execute(&mut self.device, phase, &phase.body)?;
        let vocab = self.plan.model.vocab as usize;
        let tiles = chunk.tokens.div_ceil(TILE_ROWS);
        let mut logits = Vec::new();
        for tile in 0..tiles {
            self.write_last_tile(tile)?;
            let phase = &self.program.phases[chunk.phase];
            for step in &phase.epilogue {
                // What the body made is needed again for the next tile.
                let ends_body =
                    matches!(step.op, Op::Deallocate(_)) && !phase.epilogue_slots.contains(&step.operands[0]);
                if tile + 1 == tiles || !ends_body {
                    execute(&mut self.device, phase, std::slice::from_ref(step))?;
                }
            }
            self.results = Some(chunk.phase);
            self.logits(&mut logits)?;
            let rows = TILE_ROWS.min(chunk.tokens - tile * TILE_ROWS);
            each(chunk.start + tile * TILE_ROWS, rows, &logits[..rows * vocab]);
            self.free_results()?;
        }
        Ok(())
    }

    fn check_prompt(&self, user: usize, prompt: &[u32]) -> Result<(), RuntimeError> {
        if prompt.is_empty() {
            return Err(RuntimeError::Prompt { prompt: user, why: "it has no tokens".into() });
        }
        check_tokens(&self.plan, user, prompt)?;
        if user >= self.batch() {
            return Err(RuntimeError::Batch { prompts: user + 1, batch: self.plan.options.batch });
        }
        Ok(())
    }

    /// The chunks of a prompt, when all of them can be run.
    fn start_prefill(&mut self, user: usize, prompt: &[u32], start: usize) -> Result<Vec<Chunk>, RuntimeError> {
        self.check_prompt(user, prompt)?;
        let wrong = |why: String| RuntimeError::Prompt { prompt: user, why };
        let (count, taken) = (prompt.len(), self.prefilled(prompt.len()));
        if start >= count {
            return Err(wrong(format!("it has {count} tokens, and prefill is to start at number {start}")));
        }
        if count > taken {
            let kind = match self.plan.short_sequence() {
                Some(short) if count <= short as usize => format!(" of up to {short}, which turn as so few do,"),
                Some(_) | None => String::new(),
            };
            return Err(wrong(format!("{count} tokens; the plan's prefill{kind} holds {taken}")));
        }
        let chunks = self.buckets.chunks(start, count);
        let starts = self.buckets.stride().map_or("0".into(), |stride| format!("multiples of {stride}"));
        let chunks = chunks.ok_or_else(|| wrong(format!("prefill starts at {starts}, not at {start}")))?;
        self.write_context(user)?;
        Ok(chunks)
    }

    /// Writes the blocks of a user's context.
    fn write_context(&mut self, user: usize) -> Result<(), RuntimeError> {
        let mut pages = std::mem::take(&mut self.scratch);
        pages.clear();
        pages.extend_from_slice(self.pages.of(user));
        // Blocks beyond the context are read for the padding of a chunk only.
        pages.resize(self.plan.buffer_for(BufferRole::ContextPages).map_or(0, |b| b.spec.columns() as usize), 0);
        let written = self.put(BufferRole::ContextPages, &pages);
        self.scratch = pages;
        written
    }

    /// Writes the tokens of a chunk, their positions and the blocks they go to.
    fn write_chunk(&mut self, user: usize, prompt: &[u32], chunk: Chunk) -> Result<(), RuntimeError> {
        let Chunk { bucket, start, tokens, .. } = chunk;
        let of = bucket as u32;
        let mut data = std::mem::take(&mut self.scratch);
        data.clear();
        data.extend_from_slice(&prompt[start..start + tokens]);
        data.resize(bucket, 0);
        self.put(BufferRole::Prompt(of), &data)?;
        data.clear();
        // Rows of the padding are looked up as well; they must be there.
        data.extend((start..start + bucket).map(|position| position.min(self.context() - 1) as u32));
        self.put(BufferRole::PromptPositions(of), &data)?;
        self.pages.chunk(user, start, tokens, bucket, &mut data);
        self.put(BufferRole::ChunkPages(of), &data)?;
        self.scratch = data;
        self.put(BufferRole::ChunkStart, &[start as u32])
    }

    /// Has a phase run for nobody: no row of it is kept.
    pub(super) fn write_idle_chunk(&mut self, phase: usize, bucket: usize) -> Result<(), RuntimeError> {
        self.write_context(0)?;
        self.write_chunk(0, &[], Chunk { phase, bucket, start: 0, tokens: 0 })?;
        self.write_last_tile(0)
    }

    /// Has the epilogue take tile number `tile` of a chunk's rows.
    fn write_last_tile(&mut self, tile: usize) -> Result<(), RuntimeError> {
        let (rows, columns) = (TILE_ROWS as u32, self.tile_columns);
        let row = tile as u32 * rows;
        self.put(BufferRole::LastTileStarts, &[0, 0, row, 0])?;
        self.put(BufferRole::LastTileEnds, &[1, 1, row + rows, columns])
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
