//! `bitnetc bench`: how fast a device runs a plan.

mod told;

use std::num::NonZeroUsize;
use std::time::Instant;

use bitnetc_plan::{BufferRole, VerifiedPlan};
use bitnetc_runtime::{Device, HostDevice, LoadOptions, RuntimeError, Session, Weights};
use miette::{IntoDiagnostic, miette};

pub use told::Document;
use told::{Calls, Decode, Prefill, Trace, Turns};

use crate::beside::{Beside, Reached, memory_of};
use crate::device::DeviceChoice;
use crate::load::{self, NumericsChoice, Source};
use crate::render::{self, Progress, Stages, Width};
use crate::{document, input};

/// Measure a device: tokens per second of decode and prefill. Of the host, the bandwidth of the weights too; of TT-NN, the size of the trace
/// and the memory that this process took. On a mock nothing computes, so that the times are the host's own work.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc bench
  bitnetc bench --steps 8 --json | jq '.decode.tokens_per_s'
  bitnetc synth bitnet-2b-4t -o random
  bitnetc bench bitnet-2b-4t --policy exact --weights random
  bitnetc bench bitnet-2b-4t --batch 32 --weights random --steps 8 \\
      --device ttnn --mock
  bitnetc bench bitnet-2b-4t --policy exact --weights random \\
      --beside path/to/llama-bench --gguf model.gguf")]
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
    /// JSON for tools: everything that is measured, unrounded
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    width: Width,
    #[command(flatten)]
    beside: Beside,
}

/// Loads and measures.
///
/// # Errors
/// Any error of planning, of weights or of the plan's steps; options of the host for another device.
pub fn run(args: &Args) -> miette::Result<()> {
    let measured = measured(args)?;
    if args.json {
        return render::print(&document::text(&measured)?).map_err(input::cannot_print);
    }
    args.width.print(&measured.page())
}

fn measured(args: &Args) -> miette::Result<Document> {
    let plan = args.source.plan()?;
    let weights = args.source.weights(&plan)?;
    if args.device.is_host() {
        let device = args.device.host(&plan, args.numerics.into())?;
        return of_host(args, device, plan, &weights);
    }
    if let Some(flag) = args.of_host() {
        return Err(miette!(help = "leave it out, or leave --device out", "{flag} is for the host device"));
    }
    let device = args.device.open(&plan, args.numerics.into())?;
    of_ttnn(args, device, plan, &weights)
}

/// Loads the plan; the session, and what is known of it.
fn load<D: Device>(
    args: &Args,
    device: D,
    plan: VerifiedPlan,
    weights: &Weights,
) -> miette::Result<(Session<D>, Document)> {
    let numerics = args.device.numerics(args.numerics, &plan);
    let (model, policy) = (plan.model.name.clone(), plan.options.policy.clone());
    let started = Instant::now();
    let session = load::session(device, plan, weights, &LoadOptions::default())?;
    let loaded_s = started.elapsed().as_secs_f64();
    let device = session.device().name();
    Ok((session, Document { model, policy, device, numerics, loaded_s, ..Document::default() }))
}

/// Measures the host device.
fn of_host(args: &Args, device: HostDevice, plan: VerifiedPlan, weights: &Weights) -> miette::Result<Document> {
    let (mut session, mut found) = load(args, device, plan, weights)?;
    let bytes = session.device().weight_bytes() as u64;
    (found.threads, found.matrix_bytes) = (Some(HostDevice::threads()), Some(bytes));
    if args.beside.is_there() {
        found.in_turns = Some(in_turns(&mut session, args)?);
        return Ok(found);
    }
    if session.largest_bucket() > 0 {
        count_times(&mut session, args)?;
        let prefill = prefilled(&mut session, args)?;
        found.prefill = Some(Prefill { calls: by_call(&session, args.runs.get()), ..prefill });
    }
    count_times(&mut session, args)?;
    let decode = decoded(&mut session, args)?;
    let calls = by_call(&session, args.runs.get() * args.steps);
    found.decode = Some(Decode { matrices_gb_per_s: Some(bytes as f64 / decode.step_s / 1e9), calls, ..decode });
    Ok(found)
}

/// Measures the TT-NN device.
fn of_ttnn(args: &Args, device: Box<dyn Device>, plan: VerifiedPlan, weights: &Weights) -> miette::Result<Document> {
    let planned_bytes = plan.dram().traces.saturating_mul(u64::from(plan.card.dram.banks));
    let before = memory_of("self");
    let (mut session, mut found) = load(args, device, plan, weights)?;
    found.memory_bytes = Some(memory_of("self").saturating_sub(before));
    let (started, progress) = (Instant::now(), Progress::waiting("warming up and capturing"));
    session.prepare_decode().into_diagnostic()?;
    drop(progress);
    let (captured_s, bytes) = (started.elapsed().as_secs_f64(), session.device().trace_bytes());
    found.trace = Some(Trace { captured_s, bytes, planned_bytes });
    if session.largest_bucket() > 0 {
        found.prefill = Some(prefilled(&mut session, args)?);
    }
    found.decode = Some(decoded(&mut session, args)?);
    Ok(found)
}

/// Measures prefill.
fn prefilled<D: Device>(session: &mut Session<D>, args: &Args) -> miette::Result<Prefill> {
    let tokens = args.tokens(session);
    let seconds = prefill(session, tokens, args.runs.get())?;
    Ok(Prefill { tokens, tokens_per_s: tokens as f64 / seconds, seconds, calls: Vec::new() })
}

/// Measures decode.
fn decoded<D: Device>(session: &mut Session<D>, args: &Args) -> miette::Result<Decode> {
    let step_s = decode(session, args.steps, args.runs.get())?;
    let batch = session.batch();
    Ok(Decode { batch, tokens_per_s: batch as f64 / step_s, step_s, matrices_gb_per_s: None, calls: Vec::new() })
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
fn in_turns(session: &mut Session<HostDevice>, args: &Args) -> miette::Result<Turns> {
    let (tokens, batch) = (args.tokens(session), session.batch());
    if session.largest_bucket() == 0 || batch != 1 {
        return Err(miette!(
            "llama-bench has one user and a prompt; the plan has {batch} users and prefill up to {}",
            session.largest_bucket()
        ));
    }
    let (mut ours, mut theirs) = (Reached::default(), Reached::default());
    let progress = Progress::new("runs in turns");
    for run in 0..args.runs.get() {
        progress.at(run as u64, args.runs.get() as u64);
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
    Ok(Turns { tokens, runs: args.runs.get(), ours, theirs })
}

/// Times of one of `runs` by call; nothing when times were not counted.
fn by_call(session: &Session<HostDevice>, runs: usize) -> Vec<Calls> {
    let times = session.device().times().into_iter();
    times
        .map(|(call, time)| Calls {
            call: call.into(),
            calls: time.calls / runs as u64,
            ms: 1000.0 * time.time.as_secs_f64() / runs as f64,
        })
        .collect()
}

/// Tokens that differ, so that lookups do.
fn sample<D: Device>(session: &Session<D>, count: usize) -> Vec<u32> {
    let vocab = session.plan().model.vocab;
    (0..count as u32).map(|i| i.wrapping_mul(2_654_435_761) % vocab).collect()
}

/// Seconds of the fastest prefill, with its first token read: the device may still run when a prefill has been asked for.
fn prefill<D: Device>(session: &mut Session<D>, tokens: usize, runs: usize) -> miette::Result<f64> {
    let (prompt, mut read) = (sample(session, tokens), Vec::new());
    best(&format!("prefill of {tokens} tokens"), runs, || {
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
    let seconds = best(&format!("decode, {steps} steps"), runs, || {
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

/// Seconds of the fastest of so many runs.
fn best(what: &str, runs: usize, mut work: impl FnMut() -> miette::Result<()>) -> miette::Result<f64> {
    let (mut best, stages) = (f64::INFINITY, Stages::new(runs));
    for _ in 0..runs {
        stages.next(what);
        let started = Instant::now();
        work()?;
        best = best.min(started.elapsed().as_secs_f64());
    }
    Ok(best)
}
