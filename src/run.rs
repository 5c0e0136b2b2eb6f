//! `bitnetc run`: text from a plan, on the host or through TT-NN.

use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::sync::PoisonError;

use bitnetc_plan::VerifiedPlan;
use bitnetc_plan::ttnn::CANDIDATES;
use bitnetc_runtime::{Device, GenerateOptions, LoadOptions, RuntimeError, Sampling, Session, Weights, check_prompts};
use bitnetc_ttnn::Sink;
use miette::{IntoDiagnostic, miette};

use crate::answer::{Spent, answer};
use crate::device::DeviceChoice;
use crate::load::{self, NumericsChoice, Source};
use crate::prompts::Prompts;
use crate::render::units::thousands;
use crate::template::Message;
use crate::text::Text;
use crate::{chat, input, output};

/// Generate text with a plan, on the host device.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc run
  bitnetc run --prompt 'ROMEO:' --temperature 0.8 --seed 7
  bitnetc run plan.ron --weights path/to/checkpoint \\
      --prompt 'What is a tile?' --tokens 200
  bitnetc import model.gguf -o model.ron
  bitnetc run model.ron --weights model.gguf --prompt 'What is a tile?'
  bitnetc run tiny-shakespeare --batch 2 --prompt 'HAMLET:' --prompt 'OPHELIA:'
  printf 'ROMEO:' | bitnetc run --stop JULIET
  bitnetc run plan.ron --weights path/to/checkpoint --chat --system Brief!")]
pub struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    pub device: DeviceChoice,
    #[command(flatten)]
    prompts: Prompts,
    /// Talk: every line of stdin is a turn, answered with all that was said before
    #[arg(long, conflicts_with_all = ["raw", "prompt_lines"])]
    chat: bool,
    /// The system message, for models with a chat template
    #[arg(long)]
    system: Option<String>,
    /// Take prompts as they are, even when the checkpoint has a chat template
    #[arg(long, conflicts_with = "system")]
    raw: bool,
    /// Most new tokens for each prompt
    #[arg(long, short = 'n', default_value_t = 128)]
    tokens: usize,
    /// Divides the logits; 0 takes the most likely token each time
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Choose among this many of the most likely tokens only; 0 for all [default: 0, or 32 where the plan draws tokens on the card, which
    /// takes no more]
    #[arg(long)]
    top_k: Option<usize>,
    /// Choose among the most likely tokens that together have this probability
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// The same seed chooses the same tokens
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// End an answer before this text; may be repeated
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Do not stop at the model's end of text
    #[arg(long)]
    ignore_eos: bool,
    /// Execute every step by itself instead of replaying a trace
    #[arg(long)]
    no_trace: bool,
    /// How matmuls that are not exact on integers are computed
    #[arg(long, value_enum, default_value_t = NumericsChoice::Fast)]
    numerics: NumericsChoice,
    /// Directory of tokenizer.json, or a .gguf, when the weights are elsewhere
    #[arg(long, value_name = "DIR|FILE")]
    tokenizer: Option<PathBuf>,
    /// With --device ttnn: write which program was which step, and how long TT-NN saw each take where it can, for `bitnetc calibrate`
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
}

/// Why an answer ended that nobody reads any more.
const CLOSED: &str = "closed";

/// What the small model is asked when nobody asks anything.
const SMALL_PROMPT: &str = "ROMEO:\n";

/// Plans if need be, loads, generates.
///
/// # Errors
/// Whatever planning, weights, tokenizer or the plan's steps refuse.
pub fn run(args: Args) -> miette::Result<()> {
    let interrupted = load::interrupted_soon()?;
    let plan = args.source.plan()?;
    let path = args.source.weights_path(&plan)?;
    let weights = args.source.weights(&plan)?;
    let numerics = args.device.numerics(args.numerics, &plan);
    let text = Text::open(&args.tokenizer.clone().unwrap_or_else(|| Text::beside(&path)))?;
    text.fits(plan.model.vocab)?;
    text.warnings.iter().for_each(|warning| remark!("warning: {warning}"));
    if (args.system.is_some() || args.chat) && !text.has_template() {
        let (flag, help) = match args.chat {
            true => ("--chat", "give prompts with --prompt"),
            false => ("--system", "write the system message into the prompt"),
        };
        return Err(miette!(help = help, "{flag}: the checkpoint has no chat template"));
    }
    if args.stop.iter().any(String::is_empty) {
        return Err(miette!("--stop is empty: every answer would end at once"));
    }
    let usual = if plan.options.sample { CANDIDATES as usize } else { 0 };
    let (temperature, top_k, top_p) = (args.temperature, args.top_k.unwrap_or(usual), args.top_p);
    let sampling = Sampling { temperature, top_k, top_p, seed: args.seed };
    let system = args.system.clone().map(|content| Message { role: "system", content });
    let stop_tokens = if args.ignore_eos { &[][..] } else { &text.stop_tokens };
    let options = GenerateOptions { max_tokens: args.tokens, sampling, stop_tokens, interrupted: &interrupted };
    let how = (&options, &args.stop[..]);
    let measured = Sink::default();
    let (spent, drawn, end) = if args.chat {
        sampling.check().into_diagnostic()?;
        let first = args.prompts.named()?;
        let mut session = load_plan(&args, plan, &weights, &measured)?;
        let spent = chat::talk(&mut session, &text, system.into_iter().collect(), first, how)?;
        (spent, drawn(&session, &sampling), "the end")
    } else {
        let usual = [None, Some(load::SMALL_MODEL)].contains(&args.source.plan.as_deref()).then_some(SMALL_PROMPT);
        let prompts = args.prompts.all(usual)?;
        let templated = text.has_template() && !args.raw;
        let encode = |prompt: &String| match templated {
            true => {
                let user = Message { role: "user", content: prompt.clone() };
                text.conversation(&system.iter().cloned().chain([user]).collect::<Vec<_>>())
            }
            false => text.tokens(prompt),
        };
        let tokens = prompts.iter().map(encode).collect::<miette::Result<Vec<_>>>()?;
        // Before the weights are loaded, which takes a while.
        sampling.check().into_diagnostic()?;
        let batch = plan.options.batch as usize;
        for (round, tokens) in tokens.chunks(batch).enumerate() {
            check_prompts(&plan, tokens).map_err(|error| in_round(error, round * batch)).into_diagnostic()?;
        }
        let mut session = load_plan(&args, plan, &weights, &measured)?;
        let echo = prompts.len() == 1 && !templated;
        let (spent, end) = all(&mut session, &text, (&prompts, &tokens, echo), how)?;
        (spent, drawn(&session, &sampling), end)
    };
    write_profile(&args, measured)?;
    if end != CLOSED {
        remark!("[{}; {numerics}; {drawn}{end}]", spent.rates());
    }
    Ok(())
}

/// Where tokens were drawn, as a clause; nothing where the likeliest was taken.
fn drawn(session: &Session<Box<dyn Device>>, sampling: &Sampling) -> &'static str {
    match (sampling.is_greedy(), session.picks(sampling)) {
        (true, _) => "",
        (false, true) => "tokens drawn by the device, the first by the host; ",
        (false, false) => "tokens drawn by the host; ",
    }
}

/// Writes the profile that was asked for, after the device is closed.
fn write_profile(args: &Args, measured: Sink) -> miette::Result<()> {
    let measured = measured.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (Some(path), Some(profile)) = (&args.profile, measured) else { return Ok(()) };
    let profile = profile.into_diagnostic()?;
    output::write_text(path, &(serde_json::to_string(&profile).into_diagnostic()? + "\n"))?;
    let times = match profile.records.len() as u64 {
        0 => "no times, because TT-NN's real-time profiler is not active here".into(),
        records => format!("{} times", thousands(records)),
    };
    remark!("{}: {} calls, {times}", path.display(), thousands(profile.calls.len() as u64));
    Ok(())
}

fn load_plan(
    args: &Args,
    plan: VerifiedPlan,
    weights: &Weights,
    measured: &Sink,
) -> miette::Result<Session<Box<dyn Device>>> {
    let options = LoadOptions { trace: !args.no_trace, ..LoadOptions::default() };
    let profile = args.profile.as_ref().map(|_| measured);
    let device = args.device.open_measured(&plan, args.numerics.into(), profile)?;
    load::session(device, plan, weights, &options)
}

/// Answers all prompts, as many at once as the plan has users, and says what it took and why the answers ended. A single one is shown as it
/// comes, behind its prompt with `echo`.
fn all(
    session: &mut Session<Box<dyn Device>>,
    text: &Text,
    (prompts, tokens, echo): (&[String], &[Vec<u32>], bool),
    (options, stops): (&GenerateOptions<'_>, &[String]),
) -> miette::Result<(Spent, &'static str)> {
    let (alone, batch) = (prompts.len() == 1, session.batch());
    let (mut spent, mut ends, mut read) = (Spent::default(), Vec::new(), true);
    if echo {
        read = show(&prompts[0])?;
    }
    for (prompts, tokens) in prompts.chunks(batch).zip(tokens.chunks(batch)) {
        if !read || options.interrupted.load(std::sync::atomic::Ordering::Relaxed) {
            break;
        }
        let after = if echo { &tokens[0][..] } else { &[] };
        let (answers, took) = answer(session, text, tokens, after, (options, stops), |_, new| {
            read = !alone || show(new)?;
            Ok(read)
        })?;
        spent.add(took);
        ends.extend(answers.iter().map(|answer| answer.end));
        if alone {
            read = read && show("\n")?;
        } else {
            for (prompt, answer) in prompts.iter().zip(&answers) {
                read = read && show(&format!("--- {}\n{}\n", prompt.trim_end(), answer.text))?;
            }
        }
    }
    let alike = ends.windows(2).all(|w| w[0] == w[1]);
    let end = if alike { ends.first().copied().unwrap_or("interrupted") } else { "mixed ends" };
    Ok((spent, if read { end } else { CLOSED }))
}

/// An error of a prompt in a later round, with the prompt's own number.
fn in_round(error: RuntimeError, first: usize) -> RuntimeError {
    match error {
        RuntimeError::Prompt { prompt, why } => RuntimeError::Prompt { prompt: prompt + first, why },
        error => error,
    }
}

/// Writes to stdout; false when nobody reads it any more, as behind `| head`.
///
/// # Errors
/// Whatever else stdout says.
pub fn show(text: &str) -> miette::Result<bool> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(input::cannot_print(error)),
    }
}
