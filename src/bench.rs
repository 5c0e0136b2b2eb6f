//! `bitnetc bench`: how fast the host device runs a plan.

use std::num::NonZeroUsize;
use std::time::Instant;

use bitnetc_runtime::host::CallTime;
use bitnetc_runtime::{HostDevice, LoadOptions, Session};
use miette::{IntoDiagnostic, miette};

use crate::beside::{Beside, Reached, memory_of};
use crate::input;
use crate::load::{self, NumericsChoice, Source};
use crate::render::units::{self, thousands};
use crate::render::{self, Align, Column, Table};

/// Measure the host device: tokens per second of decode and prefill, and the bandwidth of the weights.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc bench
  bitnetc synth bitnet-2b-4t -o random && bitnetc bench bitnet-2b-4t --policy exact --weights random
  bitnetc bench bitnet-2b-4t --policy exact --weights random --beside path/to/llama-bench --gguf model.gguf")]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// How matmuls that are not exact on integers are computed
    #[arg(long, value_enum, default_value_t = NumericsChoice::Fast)]
    numerics: NumericsChoice,
    /// Tokens of the prompt [default: the smallest prefill bucket]
    #[arg(long)]
    prompt: Option<usize>,
    /// Decode steps
    #[arg(long, default_value_t = 32)]
    steps: usize,
    /// Runs of each measurement, of which the best counts
    #[arg(long, default_value = "3")]
    runs: NonZeroUsize,
    /// Show where the time goes, by TT-NN call
    #[arg(long)]
    by_call: bool,
    #[command(flatten)]
    beside: Beside,
}

/// Loads and measures.
///
/// # Errors
/// Any error of planning, of weights or of the plan's steps.
pub fn run(args: Args) -> miette::Result<()> {
    let plan = args.source.plan()?;
    let weights = args.source.weights(&plan)?;
    let started = Instant::now();
    let mut session = load::session(plan, &weights, args.numerics.into(), &LoadOptions::default())?;
    let loaded = started.elapsed().as_secs_f64();
    let bytes = session.device().weight_bytes() as u64;
    let numerics = args.numerics.named(session.plan());
    let mut text = format!("{}\n{numerics}\n", describe(&session));
    text += &format!("loaded in {loaded:.2} s, {} bytes of matrices\n", thousands(bytes));
    if args.beside.is_there() {
        text += &in_turns(&mut session, &args)?;
        return render::print(&text).map_err(input::cannot_print);
    }
    if session.largest_bucket() > 0 {
        count_times(&mut session, &args)?;
        let tokens = args.tokens(&session);
        let seconds = prefill(&mut session, tokens, args.runs.get())?;
        text += &format!("prefill {tokens}: {:.1} tokens/s ({:.1} ms)\n", tokens as f64 / seconds, 1000.0 * seconds);
        text += &by_call(&session, args.runs.get());
    }
    count_times(&mut session, &args)?;
    let seconds = decode(&mut session, args.steps, args.runs.get())?;
    let batch = session.batch();
    text += &format!(
        "decode {batch}: {:.2} tokens/s, {:.2} steps/s ({:.1} ms), matrices at {:.1} GB/s\n",
        batch as f64 / seconds,
        1.0 / seconds,
        1000.0 * seconds,
        bytes as f64 / seconds / 1e9
    );
    text += &by_call(&session, args.runs.get() * args.steps);
    render::print(&text).map_err(input::cannot_print)
}

impl Args {
    /// Tokens of the prompt.
    fn tokens(&self, session: &Session<HostDevice>) -> usize {
        self.prompt.unwrap_or_else(|| session.smallest_bucket())
    }
}

fn count_times(session: &mut Session<HostDevice>, args: &Args) -> miette::Result<()> {
    session.prepare_decode().into_diagnostic()?;
    if args.by_call {
        session.device_mut().count_times();
    }
    Ok(())
}

/// Ours and the other program in turns, the best run of each.
fn in_turns(session: &mut Session<HostDevice>, args: &Args) -> miette::Result<String> {
    let (tokens, batch) = (args.tokens(session), session.batch());
    if session.largest_bucket() == 0 || batch != 1 {
        return Err(miette!(
            "llama-bench has one user and a prompt; the plan has {batch} users and prefill up to {}",
            session.largest_bucket()
        ));
    }
    let (mut ours, mut theirs) = (Reached::default(), Reached::default());
    for _ in 0..args.runs.get() {
        // llama-bench warms up before it measures.
        prefill(session, tokens, 1)?;
        let run = Reached {
            prefill: tokens as f64 / prefill(session, tokens, 1)?,
            decode: 1.0 / decode(session, args.steps, 1)?,
            memory: memory_of("self"),
        };
        ours = ours.best(run);
        theirs = theirs.best(args.beside.run(HostDevice::threads(), tokens, args.steps)?.unwrap_or_default());
    }
    let mut table = Table::new(vec![
        Column::new("", Align::Left),
        Column::new("bitnetc", Align::Right),
        Column::new("llama-bench", Align::Right),
        Column::new("ratio", Align::Right),
    ]);
    let mut row = |what: String, show: &dyn Fn(f64) -> String, ours: f64, theirs: f64| {
        table.row(vec![what, show(ours), show(theirs), format!("{:.2}", ours / theirs)]);
    };
    let rate = |v: f64| format!("{v:.1} tokens/s");
    row(format!("prefill {tokens}"), &rate, ours.prefill, theirs.prefill);
    row("decode".into(), &rate, ours.decode, theirs.decode);
    row("memory".into(), &|v| units::bytes(v as u64), ours.memory as f64, theirs.memory as f64);
    Ok(format!("best of {} runs in turns\n{}", args.runs, table.render(render::width())))
}

/// Milliseconds of one of `runs` by call; nothing when times were not counted.
fn by_call(session: &Session<HostDevice>, runs: usize) -> String {
    let line = |(call, time): (&str, CallTime)| {
        let (each, ms) = (time.calls / runs as u64, 1000.0 * time.time.as_secs_f64() / runs as f64);
        format!("  {ms:10.2} ms {each:6} {call}\n")
    };
    session.device().times().into_iter().map(line).collect()
}

fn describe(session: &Session<HostDevice>) -> String {
    use bitnetc_runtime::Device as _;
    let options = &session.plan().options;
    let threads = HostDevice::threads();
    format!("{} {} on the {}, {threads} threads", session.plan().model.name, options.policy, session.device().name())
}

/// Tokens that differ, so that lookups do.
fn sample(session: &Session<HostDevice>, count: usize) -> Vec<u32> {
    let vocab = session.plan().model.vocab;
    (0..count as u32).map(|i| i.wrapping_mul(2_654_435_761) % vocab).collect()
}

/// Seconds of the fastest prefill.
fn prefill(session: &mut Session<HostDevice>, tokens: usize, runs: usize) -> miette::Result<f64> {
    let prompt = sample(session, tokens);
    best(runs, || session.prefill(0, &prompt).into_diagnostic())
}

/// Seconds of a decode step in the fastest run of `steps`, positions counting from 0.
fn decode(session: &mut Session<HostDevice>, steps: usize, runs: usize) -> miette::Result<f64> {
    if steps == 0 || steps > session.context() {
        return Err(miette!("{steps} decode steps; the context is {}", session.context()));
    }
    session.prepare_decode().into_diagnostic()?;
    let tokens = sample(session, session.batch());
    let zeros = vec![0; session.batch()];
    let mut read = Vec::new();
    let seconds = best(runs, || {
        session.set_users(&tokens, &zeros).into_diagnostic()?;
        for _ in 0..steps {
            session.decode().into_diagnostic()?;
            session.tokens(&mut read).into_diagnostic()?;
        }
        Ok(())
    })?;
    Ok(seconds / steps as f64)
}

fn best(runs: usize, mut work: impl FnMut() -> miette::Result<()>) -> miette::Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..runs {
        let started = Instant::now();
        work()?;
        best = best.min(started.elapsed().as_secs_f64());
    }
    Ok(best)
}
