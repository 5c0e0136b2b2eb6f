//! `bitnetc bench`: how fast a device runs a plan.

use std::num::NonZeroUsize;
use std::time::Instant;

use bitnetc_plan::{BufferRole, VerifiedPlan};
use bitnetc_runtime::host::CallTime;
use bitnetc_runtime::{Device, HostDevice, LoadOptions, RuntimeError, Session, Weights};
use miette::{IntoDiagnostic, miette};

use crate::beside::{Beside, Reached, memory_of};
use crate::device::DeviceChoice;
use crate::input;
use crate::load::{self, NumericsChoice, Source};
use crate::render::units::{self, thousands};
use crate::render::{self, Align, Column, Table};

/// Measure a device: tokens per second of decode and prefill. Of the host, the bandwidth of the weights too; of TT-NN, the size of the trace
/// and the memory that this process took. On a mock nothing computes, so that the times are the host's own work.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc bench
  bitnetc synth bitnet-2b-4t -o random && bitnetc bench bitnet-2b-4t --policy exact --weights random
  bitnetc bench bitnet-2b-4t --batch 32 --weights random --device ttnn --mock --prompt 128 --steps 8
  bitnetc bench bitnet-2b-4t --policy exact --weights random --beside path/to/llama-bench --gguf model.gguf")]
pub struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    pub device: DeviceChoice,
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
/// Any error of planning, of weights or of the plan's steps; options of the host for another device.
pub fn run(args: Args) -> miette::Result<()> {
    let plan = args.source.plan()?;
    let weights = args.source.weights(&plan)?;
    let text = match args.device.is_host() {
        true => {
            let device = args.device.host(&plan, args.numerics.into())?;
            of_host(&args, device, plan, &weights)?
        }
        false => {
            if let Some(flag) = args.of_host() {
                return Err(miette!(help = "leave it out, or leave --device out", "{flag} is for the host device"));
            }
            let device = args.device.open(&plan, args.numerics.into())?;
            of_ttnn(&args, device, plan, &weights)?
        }
    };
    render::print(&text).map_err(input::cannot_print)
}

/// Loads the plan; the session, and seconds that it took.
fn load<D: Device>(device: D, plan: VerifiedPlan, weights: &Weights) -> miette::Result<(Session<D>, f64)> {
    let started = Instant::now();
    let session = load::session(device, plan, weights, &LoadOptions::default())?;
    Ok((session, started.elapsed().as_secs_f64()))
}

/// Measures the host device.
fn of_host(args: &Args, device: HostDevice, plan: VerifiedPlan, weights: &Weights) -> miette::Result<String> {
    let numerics = args.device.numerics(args.numerics, &plan);
    let (mut session, loaded) = load(device, plan, weights)?;
    let bytes = session.device().weight_bytes() as u64;
    let mut text = format!("{}, {} threads\n{numerics}\n", describe(&session), HostDevice::threads());
    text += &format!("loaded in {loaded:.2} s, {} bytes of matrices\n", thousands(bytes));
    if args.beside.is_there() {
        return Ok(text + &in_turns(&mut session, args)?);
    }
    if session.largest_bucket() > 0 {
        count_times(&mut session, args)?;
        text += &prefill_line(&mut session, args)?;
        text += &by_call(&session, args.runs.get());
    }
    count_times(&mut session, args)?;
    let seconds = decode(&mut session, args.steps, args.runs.get())?;
    let rate = bytes as f64 / seconds / 1e9;
    text += &format!("{}, matrices at {rate:.1} GB/s\n", decode_words(&session, seconds));
    Ok(text + &by_call(&session, args.runs.get() * args.steps))
}

/// Measures the TT-NN device.
fn of_ttnn(args: &Args, device: Box<dyn Device>, plan: VerifiedPlan, weights: &Weights) -> miette::Result<String> {
    let (numerics, dram) = (args.device.numerics(args.numerics, &plan), plan.dram());
    let planned = dram.traces.saturating_mul(u64::from(plan.card.dram.banks));
    let before = memory_of("self");
    let (mut session, loaded) = load(device, plan, weights)?;
    let mut text = format!("{}\n{numerics}\n", describe(&session));
    let took = units::bytes(memory_of("self").saturating_sub(before));
    text += &format!("loaded in {loaded:.2} s; the process's memory grew by {took} at most\n");
    let started = Instant::now();
    session.prepare_decode().into_diagnostic()?;
    let (seconds, traced) = (started.elapsed().as_secs_f64(), session.device().trace_bytes());
    text += &format!(
        "warmed up and captured in {seconds:.2} s, {} bytes of trace, planned for {}\n",
        thousands(traced),
        thousands(planned)
    );
    if session.largest_bucket() > 0 {
        text += &prefill_line(&mut session, args)?;
    }
    let seconds = decode(&mut session, args.steps, args.runs.get())?;
    Ok(text + &decode_words(&session, seconds) + "\n")
}

/// Measures prefill, and says so in a line.
fn prefill_line<D: Device>(session: &mut Session<D>, args: &Args) -> miette::Result<String> {
    let tokens = args.tokens(session);
    let seconds = prefill(session, tokens, args.runs.get())?;
    Ok(format!("prefill {tokens}: {:.1} tokens/s ({})\n", tokens as f64 / seconds, units::time(1e6 * seconds)))
}

/// What a decode step of so many seconds comes to.
fn decode_words<D: Device>(session: &Session<D>, seconds: f64) -> String {
    let (batch, rate) = (session.batch(), session.batch() as f64 / seconds);
    format!("decode {batch}: {rate:.2} tokens/s, {:.2} steps/s ({})", 1.0 / seconds, units::time(1e6 * seconds))
}

impl Args {
    /// Tokens of the prompt.
    fn tokens<D: Device>(&self, session: &Session<D>) -> usize {
        self.prompt.unwrap_or_else(|| session.smallest_bucket())
    }

    /// The option given that only the host device has.
    fn of_host(&self) -> Option<&'static str> {
        [("--by-call", self.by_call), ("--beside", self.beside.is_there())]
            .into_iter()
            .find_map(|(flag, given)| given.then_some(flag))
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

fn describe<D: Device>(session: &Session<D>) -> String {
    let plan = session.plan();
    format!("{} {} on the {}", plan.model.name, plan.options.policy, session.device().name())
}

/// Tokens that differ, so that lookups do.
fn sample<D: Device>(session: &Session<D>, count: usize) -> Vec<u32> {
    let vocab = session.plan().model.vocab;
    (0..count as u32).map(|i| i.wrapping_mul(2_654_435_761) % vocab).collect()
}

/// Seconds of the fastest prefill, with its first token read: the device may still run when a prefill has been asked for.
fn prefill<D: Device>(session: &mut Session<D>, tokens: usize, runs: usize) -> miette::Result<f64> {
    let (prompt, mut read) = (sample(session, tokens), Vec::new());
    best(runs, || {
        session.prefill(0, &prompt).into_diagnostic()?;
        match session.plan().buffer_for(BufferRole::FirstTokens) {
            Some(_) => session.first_tokens(&mut read).into_diagnostic(),
            None => Ok(()),
        }
    })
}

/// Seconds of a decode step in the fastest run of `steps`, positions counting from 0.
fn decode<D: Device>(session: &mut Session<D>, steps: usize, runs: usize) -> miette::Result<f64> {
    if steps == 0 || steps > session.context() {
        return Err(miette!("{steps} decode steps; the context is {}", session.context()));
    }
    session.prepare_decode().into_diagnostic()?;
    let tokens = sample(session, session.batch());
    let zeros = vec![0; session.batch()];
    let seconds = best(runs, || {
        session.set_users(&tokens, &zeros).into_diagnostic()?;
        greedy(session, steps).into_diagnostic()
    })?;
    Ok(seconds / steps as f64)
}

/// Steps of all users, the tokens of each read while the next one runs.
fn greedy<D: Device>(session: &mut Session<D>, steps: usize) -> Result<(), RuntimeError> {
    let mut read = Vec::new();
    for step in 0..steps {
        session.decode()?;
        session.begin_tokens()?;
        if step > 0 {
            session.end_tokens(&mut read)?;
        }
    }
    session.end_tokens(&mut read)
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
