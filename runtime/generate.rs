//! Text generation: prefill every prompt, then decode all users together until each has ended.
//!
//! Where the device runs ahead of the host and picks tokens itself, a step is asked for before the tokens of the last one are read: the card
//! carries them to it. A text that ends by a stop token has then had a step too many, whose token nobody takes. The first token of a text is
//! the likeliest by the prefill, or the host draws it from the prefill's logits.
//!
//! A prompt that begins as an earlier one does reads that one's cache blocks, as far as a prefill can go on after them, and is prefilled from
//! there.
//!
//! What prefill does not take of a prompt is decoded token by token, with the tokens of the prompt in place of those chosen: all of it where
//! the plan has no prefill phase. Users without a prompt, and those that have ended, are idle.

use std::sync::atomic::{AtomicBool, Ordering};

use bitnetc_plan::{PhaseKind, Plan};

use crate::RuntimeError;
use crate::device::{ABSENT, Device};
use crate::sampler::{Sampler, Sampling};
use crate::session::{Session, TILE_ROWS, check_tokens};

/// The reason for which a user's text ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// A stop token was chosen; it is not part of the text.
    Token(u32),
    /// As many tokens as asked for.
    Length,
    /// The KV cache is full.
    Context,
    /// A longer sequence turns by other rotary frequencies, from its first token on. The text so far is a prompt for more.
    Rotation,
    /// Asked to stop, by the caller or its flag.
    Asked,
}

/// How to generate.
#[derive(Debug, Clone)]
pub struct GenerateOptions<'a> {
    /// Most new tokens for each prompt.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Tokens that end a text.
    pub stop_tokens: &'a [u32],
    /// Ends everything when set, between two steps: Ctrl-C.
    pub interrupted: &'a AtomicBool,
}

/// The answer of [`generate`]'s caller to a token: whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// More.
    Continue,
    /// No more of this user's text.
    End,
}

/// One user's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The new tokens.
    pub tokens: Vec<u32>,
    /// Why there are no more.
    pub stop: Stop,
}

struct User {
    tokens: Vec<u32>,
    /// Tokens of the prompt not yet fed, the next one last.
    pending: Vec<u32>,
    stop: Option<Stop>,
    sampler: Sampler,
    next: u32,
    position: u32,
    /// Where the text ends in any case, and why.
    ends: (usize, Stop),
}

/// Generates for up to `session.batch()` prompts at once; `on_token` gets user and token as they come.
///
/// ```
/// # use std::sync::atomic::AtomicBool;
/// # use bitnetc_compiler::target::Target;
/// # use bitnetc_compiler::{Options, compile, model};
/// # use bitnetc_runtime::host::Numerics;
/// use bitnetc_runtime::{Flow, GenerateOptions, Sampling, Stop, generate};
/// # use bitnetc_runtime::{HostDevice, LoadOptions, Session, Weights};
/// # let model = model::find("tiny-shakespeare").ok_or("a shipped model")?.model()?;
/// # let options = Options { prefill: vec![32], ..Options::for_model(&model) };
/// # let plan = compile(&model, &Target::find("n150")?, &options)?.plan;
/// # let weights = Weights::open("../graphs/tiny-shakespeare".as_ref())?;
/// # let device = HostDevice::new(plan.card.arch, Numerics::Fast);
/// # let mut session = Session::load(plan, &weights, device, &LoadOptions::default(), |_, _| {})?;
///
/// // `session` is what `Session::load` gave; the prompt is tokens, here of graphs/tiny-shakespeare/tokenizer.json.
/// let interrupted = AtomicBool::new(false);
/// let options = GenerateOptions {
///     max_tokens: 8,
///     sampling: Sampling::GREEDY,
///     stop_tokens: &[],
///     interrupted: &interrupted,
/// };
/// let texts = generate(&mut session, &[vec![5, 6, 7]], &options, |_user, token| {
///     print!("{token} ");
///     Flow::Continue
/// })?;
/// assert_eq!((texts[0].tokens.len(), texts[0].stop), (8, Stop::Length));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Too many prompts, an empty prompt, one that does not fit the context, sampling parameters out of range; whatever a step refuses.
pub fn generate<D: Device>(
    session: &mut Session<D>,
    prompts: &[Vec<u32>],
    options: &GenerateOptions<'_>,
    mut on_token: impl FnMut(usize, u32) -> Flow,
) -> Result<Vec<Text>, RuntimeError> {
    options.sampling.check()?;
    check_prompts(session.plan(), prompts)?;
    session.prepare_decode()?;
    let picked = session.picks(&options.sampling);
    let mut run =
        Run { session, options, picked, users: Vec::new(), logits: Vec::new(), chosen: Vec::new(), under_way: 0 };
    for user in 0..prompts.len() {
        run.prefill(user, prompts, &mut on_token)?;
    }
    run.write_users()?;
    if picked {
        run.session.set_sampling(&vec![options.sampling; run.session.batch()])?;
    }
    while run.users.iter().any(|user| user.stop.is_none()) {
        if options.interrupted.load(Ordering::Relaxed) {
            run.users.iter_mut().for_each(|user| user.stop = user.stop.or(Some(Stop::Asked)));
            break;
        }
        run.step(&mut on_token)?;
    }
    run.drain()?;
    let text = |user: User| Text { tokens: user.tokens, stop: user.stop.unwrap_or(Stop::Asked) };
    Ok(run.users.into_iter().map(text).collect())
}

/// Checks that `plan` can take these prompts: as many as it has users at most, each with tokens, none longer than its context.
///
/// # Errors
/// [`RuntimeError::Batch`], [`RuntimeError::Prompt`].
pub fn check_prompts(plan: &Plan, prompts: &[Vec<u32>]) -> Result<(), RuntimeError> {
    let (batch, context) = (plan.options.batch, plan.options.context);
    if prompts.len() > batch as usize {
        return Err(RuntimeError::Batch { prompts: prompts.len(), batch });
    }
    for (prompt, tokens) in prompts.iter().enumerate() {
        let wrong = |why: String| Err(RuntimeError::Prompt { prompt, why });
        if tokens.is_empty() {
            return wrong("it has no tokens".into());
        }
        if tokens.len() > context as usize {
            return wrong(format!("{} tokens; the plan's context is {context}", tokens.len()));
        }
        if let Some(short) = plan.short_sequence().filter(|short| tokens.len() > *short as usize) {
            let longest = plan.phases.iter().filter_map(|phase| match phase.kind {
                PhaseKind::Prefill { tokens } => Some(tokens as usize),
                PhaseKind::Decode { .. } => None,
            });
            let longest = longest.max().unwrap_or(0);
            if longest <= short as usize {
                let count = tokens.len();
                return wrong(format!(
                    "{count} tokens, of which each turns by the frequencies of more than {short}: no prefill phase of the plan does, of \
                     which the largest holds {longest}; plan it with --prefill {}",
                    count.next_multiple_of(32)
                ));
            }
        }
        check_tokens(plan, prompt, tokens)?;
    }
    Ok(())
}

struct Run<'a, D> {
    session: &'a mut Session<D>,
    options: &'a GenerateOptions<'a>,
    /// The device picks tokens by itself: it takes the likeliest, or its plan draws.
    picked: bool,
    users: Vec<User>,
    logits: Vec<f32>,
    chosen: Vec<u32>,
    /// Steps whose tokens are not read yet.
    under_way: u32,
}

impl<D: Device> Run<'_, D> {
    fn prefill(
        &mut self,
        index: usize,
        prompts: &[Vec<u32>],
        on_token: &mut impl FnMut(usize, u32) -> Flow,
    ) -> Result<(), RuntimeError> {
        let prompt = &prompts[index];
        let sampler = Sampler::new(self.options.sampling, index as u32);
        let prefix = self.session.prefilled(prompt.len());
        let short = self.session.plan().short_sequence().map(|short| short as usize);
        let ends = match short.filter(|short| prompt.len() <= *short) {
            Some(short) => (short, Stop::Rotation),
            None => (self.session.context(), Stop::Context),
        };
        let mut user =
            User { tokens: Vec::new(), pending: Vec::new(), stop: None, sampler, next: prompt[0], position: 0, ends };
        if self.options.max_tokens == 0 {
            user.stop = Some(Stop::Length);
        } else if self.options.interrupted.load(Ordering::Relaxed) {
            user.stop = Some(Stop::Asked);
        } else {
            user.position = prefix as u32;
            user.pending = prompt[prefix..].iter().rev().copied().collect();
            if prefix > 0 {
                let shared = self.share(index, prompts, prefix)?;
                self.session.prefill_from(index, &prompt[..prefix], shared)?;
            }
            match user.pending.pop() {
                Some(next) => user.next = next,
                None => {
                    let row = (prefix - 1) % TILE_ROWS;
                    let token = self.choose_first(&mut user, row)?;
                    user.accept(index, token, self.options, user.ends, on_token);
                }
            }
        }
        self.users.push(user);
        Ok(())
    }

    /// Has a user read what the prompt of an earlier one has in common with its own, of which `prefix` tokens are prefilled, and at least one
    /// by the user itself. Returns how many tokens are there then.
    fn share(&mut self, index: usize, prompts: &[Vec<u32>], prefix: usize) -> Result<usize, RuntimeError> {
        let short = self.session.plan().short_sequence().map_or(usize::MAX, |short| short as usize);
        let prompt = &prompts[index];
        let common = |of: &Vec<u32>| match (of.len() <= short) == (prompt.len() <= short) {
            true => {
                let there = of[..self.session.prefilled(of.len())].iter();
                there.zip(&prompt[..prefix - 1]).take_while(|(a, b)| a == b).count()
            }
            // Keys of a longer sequence turn by other frequencies.
            false => 0,
        };
        let most = prompts[..index]
            .iter()
            .map(common)
            .enumerate()
            .max_by_key(|(of, tokens)| (*tokens, std::cmp::Reverse(*of)));
        let (of, tokens) = most.unwrap_or((index, 0));
        self.session.share(index, of, tokens)
    }

    fn choose_first(&mut self, user: &mut User, row: usize) -> Result<u32, RuntimeError> {
        if self.options.sampling.is_greedy() {
            self.session.first_tokens(&mut self.chosen)?;
            return self.chosen.get(row).copied().ok_or_else(|| RuntimeError::Lacks(format!("first token {row}")));
        }
        self.session.logits(&mut self.logits)?;
        let vocab = self.session.plan().model.vocab as usize;
        Ok(user.sampler.sample(&self.logits[row * vocab..(row + 1) * vocab]))
    }

    /// Writes every user's token and position; those that have ended are idle from here on.
    fn write_users(&mut self) -> Result<(), RuntimeError> {
        let of = |user: &User| if user.stop.is_none() { (user.next, user.position) } else { (0, ABSENT) };
        let (mut tokens, mut positions): (Vec<u32>, Vec<u32>) = self.users.iter().map(of).unzip();
        tokens.resize(self.session.batch(), 0);
        positions.resize(self.session.batch(), ABSENT);
        self.session.set_users(&tokens, &positions)
    }

    fn step(&mut self, on_token: &mut impl FnMut(usize, u32) -> Flow) -> Result<(), RuntimeError> {
        if self.under_way == 0 {
            self.launch()?;
        }
        if self.can_run_ahead() {
            self.launch()?;
        }
        let turn = self.take(on_token)?;
        if turn.ended {
            // The others' tokens of a step that ran ahead count; those that have ended are idle after it.
            while self.under_way > 0 {
                self.take(on_token)?;
            }
            return self.write_users();
        }
        if turn.forced {
            for (user, chosen) in self.users.iter().zip(&mut self.chosen) {
                *chosen = user.next;
            }
            self.session.set_tokens(&self.chosen)?;
        }
        Ok(())
    }

    fn launch(&mut self) -> Result<(), RuntimeError> {
        self.session.decode()?;
        self.session.begin_tokens()?;
        self.under_way += 1;
        Ok(())
    }

    /// Whether another step may follow the one under way before its tokens are known: the host has nothing to write in between, nobody's cache
    /// is full by then, and somebody wants the token unless a stop token comes first.
    fn can_run_ahead(&self) -> bool {
        let live = || self.users.iter().filter(|user| user.stop.is_none());
        self.session.device().runs_ahead()
            && self.picked
            && live().all(|user| user.pending.is_empty() && (user.position as usize + 1) < user.ends.0)
            && live().any(|user| user.tokens.len() + 1 < self.options.max_tokens)
    }

    /// Takes the tokens of the oldest step under way.
    fn take(&mut self, on_token: &mut impl FnMut(usize, u32) -> Flow) -> Result<Turn, RuntimeError> {
        self.session.end_tokens(&mut self.chosen)?;
        self.under_way -= 1;
        let vocab = self.session.plan().model.vocab as usize;
        if !self.picked {
            self.session.logits(&mut self.logits)?;
        }
        let mut turn = Turn::default();
        for (index, user) in self.users.iter_mut().enumerate().filter(|(_, user)| user.stop.is_none()) {
            user.position += 1;
            if let Some(next) = user.pending.pop() {
                user.next = next;
                turn.forced = true;
            } else {
                let token = if self.picked {
                    self.chosen[index]
                } else {
                    turn.forced = true;
                    user.sampler.sample(&self.logits[index * vocab..(index + 1) * vocab])
                };
                user.accept(index, token, self.options, user.ends, on_token);
            }
            turn.ended |= user.stop.is_some();
        }
        Ok(turn)
    }

    /// Waits for the steps under way and forgets their tokens.
    fn drain(&mut self) -> Result<(), RuntimeError> {
        while self.under_way > 0 {
            self.session.end_tokens(&mut self.chosen)?;
            self.under_way -= 1;
        }
        Ok(())
    }
}

/// The outcome of a step.
#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    /// A text has ended.
    ended: bool,
    /// A user's next token is not the one that the card chose.
    forced: bool,
}

impl User {
    /// Takes a chosen token: the text grows, or ends.
    fn accept(
        &mut self,
        index: usize,
        token: u32,
        options: &GenerateOptions<'_>,
        (most, why): (usize, Stop),
        on_token: &mut impl FnMut(usize, u32) -> Flow,
    ) {
        if options.stop_tokens.contains(&token) {
            self.stop = Some(Stop::Token(token));
            return;
        }
        self.tokens.push(token);
        self.next = token;
        if on_token(index, token) == Flow::End {
            self.stop = Some(Stop::Asked);
        } else if self.tokens.len() == options.max_tokens {
            self.stop = Some(Stop::Length);
        } else if self.position as usize >= most {
            self.stop = Some(why);
        }
    }
}
