//! The options of a compilation: precision, batch, context and prefill buckets.

use bitnetc_plan::Proofs;

use crate::CompileError;
use crate::model::Model;
use crate::policy::{Override, Policy};

/// The options of a compilation: precision, batch, context and prefill buckets.
#[derive(Debug, Clone)]
pub struct Options {
    /// Precision policy.
    pub policy: Policy,
    /// Precision overrides, the later ones winning; the model's own come first.
    pub overrides: Vec<Override>,
    /// Users of the decode phase, 1 to 32.
    pub batch: u32,
    /// Tokens a user's KV cache holds; a multiple of `block`.
    pub context: u32,
    /// Tokens of a KV cache block: 32, 64 or 128.
    pub block: u32,
    /// Prefill buckets, multiples of 32 up to the context.
    pub prefill: Vec<u32>,
    /// Position at which attention is priced, below the context. When absent it is [`Options::DEFAULT_POSITION`], or the last position of a
    /// context that is shorter.
    pub position: Option<u32>,
    /// The property of a result that a proof must keep for the compiler to lower precision by it.
    pub proofs: Proofs,
    /// Whether weight scales are folded into constants that the schedule has anyway.
    pub folding: bool,
    /// Whether decode draws tokens on the card, by temperature, top-k, top-p and a seed of each user; otherwise it takes the likeliest.
    pub sample: bool,
    /// Whether decode may run kernels of bitnetc's own where they are predicted to be faster than TT-NN's. No card has run them yet.
    pub own_kernels: bool,
    /// Whether candidates that are known to lose are enumerated too, so that a person can read why. The plan is the same.
    pub everything: bool,
}

impl Options {
    /// The position at which attention is priced when none is given.
    pub const DEFAULT_POSITION: u32 = 256;
    /// The longest context used when none is asked for.
    pub const DEFAULT_CONTEXT: u32 = 4096;
    /// Tokens of the shortest cache block: as many as a tile has rows.
    const LEAST_BLOCK: u32 = 32;
    /// Default prefill buckets, those that fit the context.
    pub const DEFAULT_PREFILL: [u32; 3] = [128, 512, 2048];

    /// Defaults for a model: balanced, one user, the model's context up to 4096 in blocks of 64 (32 for a shorter one), buckets of 128,
    /// 512 and 2048.
    pub fn for_model(model: &Model) -> Self {
        let most = u32::try_from(model.context).unwrap_or(u32::MAX).min(Self::DEFAULT_CONTEXT);
        let block = if most < 64 { Self::LEAST_BLOCK } else { 64 };
        let context = most / block * block;
        Options {
            policy: Policy::Balanced,
            overrides: Vec::new(),
            batch: 1,
            context,
            block,
            prefill: Self::default_prefill(model, context),
            position: None,
            proofs: Proofs::Products,
            folding: true,
            sample: false,
            own_kernels: false,
            everything: false,
        }
    }

    /// The default buckets that fit `context`; the context itself when none does. Of a model whose longer sequences turn by other rotary
    /// frequencies there is one for the longest of the shorter ones, and one for the context.
    pub fn default_prefill(model: &Model, context: u32) -> Vec<u32> {
        let fitting = |most: u32| {
            let fit: Vec<_> = Self::DEFAULT_PREFILL.into_iter().filter(|b| *b <= most).collect();
            if fit.is_empty() { vec![most] } else { fit }
        };
        let short = model.short_sequence().and_then(|short| u32::try_from(short).ok());
        match short.filter(|short| (Self::LEAST_BLOCK..context).contains(short)) {
            Some(short) => {
                let mut all = fitting(short / Self::LEAST_BLOCK * Self::LEAST_BLOCK);
                all.push(context);
                all
            }
            None => fitting(context),
        }
    }

    /// The position at which attention is priced.
    pub fn priced_at(&self) -> u32 {
        self.position.unwrap_or(Self::DEFAULT_POSITION).min(self.context.saturating_sub(1))
    }

    /// Checks that a plan of `model` can have these options.
    pub(crate) fn validate(&self, model: &Model) -> Result<(), CompileError> {
        let check = |ok: bool, option, found: String, expected: String| {
            if ok { Ok(()) } else { Err(CompileError::Option { option, found, expected }) }
        };
        check((1..=32).contains(&self.batch), "batch", self.batch.to_string(), "1 to 32 users".into())?;
        check([32, 64, 128].contains(&self.block), "block", self.block.to_string(), "32, 64 or 128 tokens".into())?;
        let positions = format!("a model of at least {} positions, a cache block", Self::LEAST_BLOCK);
        let long_enough = model.context >= Self::LEAST_BLOCK as usize;
        check(long_enough, "the model's context", model.context.to_string(), positions)?;
        let context = self.context;
        let fits = context > 0 && context.is_multiple_of(self.block) && context as usize <= model.context;
        let expected = format!("a multiple of {} up to the model's {}", self.block, model.context);
        check(fits, "context", context.to_string(), expected)?;
        if let Some(position) = self.position {
            check(position < context, "position", position.to_string(), format!("0 to {}", context - 1))?;
        }
        for bucket in &self.prefill {
            let fits = *bucket > 0 && bucket.is_multiple_of(32) && *bucket <= context;
            check(fits, "prefill", bucket.to_string(), format!("multiples of 32 up to the context of {context}"))?;
        }
        Ok(())
    }
}
