//! Predicts windows with the one or the other phase of a plan.

use std::sync::atomic::{AtomicBool, Ordering};

use bitnetc_runtime::{Device, Session};
use miette::{IntoDiagnostic, miette};

use super::agreement::{Agreement, surprise};
use super::expected::Expected;
use super::windows::{Computed, Window};
use crate::load;
use crate::render::Progress;

/// The measurements of one run.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Tokens predicted.
    pub tokens: usize,
    /// Bytes they stand for.
    pub bytes: usize,
    /// Bits their prediction took.
    pub bits: f64,
    /// Agreement with the reference, when it was computed.
    pub agreement: Agreement,
}

impl Measured {
    /// Bits per byte of text; `None` without text.
    pub fn bits_per_byte(&self) -> Option<f64> {
        (self.bytes > 0).then(|| self.bits / self.bytes as f64)
    }
}

/// Predicts every window with the plan's `phase`; `each` gets the window's number and all its logits.
///
/// # Errors
/// Any error of the plan's steps or of what is expected; Ctrl-C.
pub fn measure(
    session: &mut Session<Box<dyn Device>>,
    phase: Computed,
    windows: &[Window],
    expected: Option<&Expected<'_>>,
    mut each: impl FnMut(usize, &[f32]),
) -> miette::Result<Measured> {
    let vocab = session.plan().model.vocab as usize;
    let together = if phase == Computed::Decode { session.batch().max(1) } else { 1 };
    let mut measured = Measured::default();
    let mut run = Run {
        session,
        interrupted: &*load::interrupted_soon()?,
        progress: Progress::new("predicting"),
        done: 0,
        all: windows.iter().map(|w| w.tokens.len()).sum(),
    };
    for (part, windows) in windows.chunks(together).enumerate() {
        let logits = match phase {
            Computed::Prefill => run.prefill(&windows[0]).map(|logits| vec![logits]),
            Computed::Decode => run.decode(windows, vocab),
        };
        for (at, (window, logits)) in windows.iter().zip(logits?).enumerate() {
            let index = part * together + at;
            measured.add((index, window), &logits, vocab, expected)?;
            each(index, &logits);
        }
    }
    Ok(measured)
}

impl Measured {
    fn add(
        &mut self,
        (index, window): (usize, &Window),
        logits: &[f32],
        vocab: usize,
        expected: Option<&Expected<'_>>,
    ) -> miette::Result<()> {
        for (row, &next) in logits.chunks_exact(vocab).zip(&window.tokens[1..]) {
            self.bits += surprise(row, next as usize);
        }
        self.tokens += window.tokens.len() - 1;
        self.bytes += window.bytes;
        if let Some(expected) = expected {
            let expected = expected.logits(index, &window.tokens, vocab)?;
            let rows = logits.chunks_exact(vocab).zip(expected.chunks_exact(vocab));
            rows.for_each(|(ours, theirs)| self.agreement.add(ours, theirs));
        }
        Ok(())
    }
}

/// A measurement under way.
struct Run<'a> {
    session: &'a mut Session<Box<dyn Device>>,
    interrupted: &'a AtomicBool,
    progress: Progress,
    /// Tokens.
    done: usize,
    all: usize,
}

impl Run<'_> {
    /// Counts `tokens` more.
    fn advance(&mut self, tokens: usize) -> miette::Result<()> {
        self.done += tokens;
        self.progress.at(self.done as u64, self.all as u64);
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(miette!("interrupted after {} of {} tokens", self.done, self.all));
        }
        Ok(())
    }

    /// Logits of a window, prefilled.
    fn prefill(&mut self, window: &Window) -> miette::Result<Vec<f32>> {
        let mut logits = Vec::new();
        self.session.prompt_logits(0, &window.tokens, |_, _, rows| logits.extend_from_slice(rows)).into_diagnostic()?;
        self.advance(window.tokens.len())?;
        Ok(logits)
    }

    /// Logits of up to `batch` windows, decoded together, each its own user's, token after token whatever the last one chose.
    fn decode(&mut self, windows: &[Window], vocab: usize) -> miette::Result<Vec<Vec<f32>>> {
        let mut all = vec![Vec::new(); windows.len()];
        let (mut tokens, mut positions) = (vec![0; self.session.batch()], vec![0; self.session.batch()]);
        let mut rows = Vec::new();
        let longest = windows.iter().map(|w| w.tokens.len()).max().unwrap_or(0);
        for position in 0..longest {
            for (user, window) in windows.iter().enumerate() {
                // Users whose window has ended do no harm at position 0.
                let next = window.tokens.get(position).map(|&token| (token, position as u32));
                (tokens[user], positions[user]) = next.unwrap_or_default();
            }
            self.session.set_users(&tokens, &positions).into_diagnostic()?;
            self.session.decode().into_diagnostic()?;
            self.session.logits(&mut rows).into_diagnostic()?;
            let running = windows.iter().zip(&mut all).zip(rows.chunks_exact(vocab));
            let mut count = 0;
            for ((_, all), row) in running.filter(|((window, _), _)| position < window.tokens.len()) {
                all.extend_from_slice(row);
                count += 1;
            }
            self.advance(count)?;
        }
        Ok(all)
    }
}
