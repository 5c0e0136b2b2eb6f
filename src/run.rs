//! `bitnetc run`: text from a plan, on the host.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use bitnetc_runtime::{Flow, GenerateOptions, LoadOptions, Sampling, Stop, check_prompts, generate};
use miette::{IntoDiagnostic, WrapErr, miette};

use crate::device::DeviceChoice;
use crate::load::{self, NumericsChoice, Source};
use crate::text::Text;
use crate::{input, render};

/// Generate text with a plan, on the host device.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc run
  bitnetc run --prompt 'ROMEO:' --temperature 0.8 --seed 7
  bitnetc run plan.ron --weights path/to/checkpoint --prompt 'What is a tile?' --tokens 200
  bitnetc run tiny-shakespeare --batch 2 --prompt 'HAMLET:' --prompt 'OPHELIA:'")]
pub struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    device: DeviceChoice,
    /// What to continue; may be repeated up to the plan's batch
    #[arg(long)]
    prompt: Vec<String>,
    /// A file with a prompt, besides those of --prompt; may be repeated
    #[arg(long, value_name = "FILE")]
    prompt_file: Vec<PathBuf>,
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
    /// Choose among this many of the most likely tokens only; 0 for all
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Choose among the most likely tokens that together have this probability
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// The same seed chooses the same tokens
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Do not stop at the model's end of text
    #[arg(long)]
    ignore_eos: bool,
    /// Execute every step by itself instead of replaying a trace
    #[arg(long)]
    no_trace: bool,
    /// How matmuls that are not exact on integers are computed
    #[arg(long, value_enum, default_value_t = NumericsChoice::Fast)]
    numerics: NumericsChoice,
    /// Directory of tokenizer.json, when the weights are elsewhere
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// Print nothing but the text
    #[arg(long, short)]
    quiet: bool,
}

/// The exit code that shells expect of what Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// What the small model is asked when nobody asks anything.
const SMALL_PROMPT: &str = "ROMEO:\n";

/// Plans if need be, loads, generates.
///
/// # Errors
/// Whatever planning, weights, tokenizer or the plan's steps refuse.
pub fn run(args: Args) -> miette::Result<()> {
    let plan = args.source.plan()?;
    let path = args.source.weights_path(&plan)?;
    let weights = args.source.weights(&plan)?;
    let beside = || if path.is_dir() { path.clone() } else { path.parent().map(PathBuf::from).unwrap_or_default() };
    let text = Text::open(&args.tokenizer.clone().unwrap_or_else(beside))?;
    if args.system.is_some() && !text.has_template() {
        let help = "write the system message into the prompt";
        return Err(miette!(help = help, "--system: the checkpoint has no chat template"));
    }
    let prompts = prompts(&args)?;
    let encode = |prompt: &String| match text.has_template() && !args.raw {
        true => text.conversation(args.system.as_deref(), prompt),
        false => text.tokens(prompt),
    };
    let tokens = prompts.iter().map(encode).collect::<miette::Result<Vec<_>>>()?;
    let sampling = Sampling { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p, seed: args.seed };
    // Before the weights are loaded, which takes a while.
    sampling.check().and_then(|()| check_prompts(&plan, &tokens)).into_diagnostic()?;
    let options = LoadOptions { trace: !args.no_trace, ..LoadOptions::default() };
    let device = args.device.open(&plan, args.numerics.into())?;
    let mut session = load::session_on(device, plan, &weights, &options)?;
    let interrupted = load::interrupted()?;
    let stop_tokens = if args.ignore_eos { &[][..] } else { &text.stop_tokens };
    let options = GenerateOptions { max_tokens: args.tokens, sampling, stop_tokens, interrupted: &interrupted };

    let alone = prompts.len() == 1;
    let echo = alone && (args.raw || !text.has_template());
    if echo {
        show(&prompts[0])?;
    }
    let mut stream = text.stream(if echo { &tokens[0] } else { &[] });
    let mut failed = None;
    let started = Instant::now();
    let texts = generate(&mut session, &tokens, &options, |_, token| {
        if !alone {
            return Flow::Continue;
        }
        match stream.push(token).and_then(|new| show(&new)) {
            Ok(()) => Flow::Continue,
            Err(error) => {
                failed = Some(error);
                Flow::End
            }
        }
    })
    .into_diagnostic()?;
    let seconds = started.elapsed().as_secs_f64();
    if let Some(error) = failed {
        return Err(error);
    }
    if alone {
        show(&stream.finish()?)?;
        show("\n")?;
    } else {
        for (prompt, generated) in prompts.iter().zip(&texts) {
            show(&format!("--- {}\n{}\n", prompt.trim_end(), text.text(&generated.tokens)?))?;
        }
    }
    if !args.quiet {
        let new: usize = texts.iter().map(|t| t.tokens.len()).sum();
        let read: usize = tokens.iter().map(Vec::len).sum();
        let ends: Vec<_> = texts.iter().map(|t| ending(t.stop)).collect();
        let end =
            if ends.windows(2).all(|w| w[0] == w[1]) { ends.first().copied().unwrap_or("") } else { "mixed ends" };
        let numerics = args.numerics.named(session.plan());
        let rate = new as f64 / seconds;
        eprintln!("[{read} tokens read, {new} written in {seconds:.2} s, {rate:.1} tokens/s; {numerics}; {end}]");
    }
    if interrupted.load(std::sync::atomic::Ordering::Relaxed) {
        std::process::exit(INTERRUPTED);
    }
    Ok(())
}

fn prompts(args: &Args) -> miette::Result<Vec<String>> {
    let mut prompts = args.prompt.clone();
    for path in &args.prompt_file {
        let text = std::fs::read_to_string(path).into_diagnostic();
        prompts.push(text.wrap_err_with(|| format!("cannot read {}", path.display()))?);
    }
    if prompts.is_empty() {
        match args.source.plan.as_deref() {
            None | Some(load::SMALL_MODEL) => prompts.push(SMALL_PROMPT.into()),
            Some(_) => return Err(miette!(help = "give it with --prompt or --prompt-file", "no prompt")),
        }
    }
    Ok(prompts)
}

fn show(text: &str) -> miette::Result<()> {
    render::print(text).map_err(input::cannot_print)?;
    std::io::stdout().flush().map_err(input::cannot_print)
}

fn ending(stop: Stop) -> &'static str {
    match stop {
        Stop::Token(_) => "ended by the model",
        Stop::Length => "as many as asked for",
        Stop::Context => "the context is full",
        Stop::Asked => "interrupted",
    }
}
