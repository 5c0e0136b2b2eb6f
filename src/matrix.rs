//! `bitnetc matrix`: plans of the shipped models, every combination, against the real TT-NN on mock cards.
//!
//! Every policy, batch and context that people take first is combined with every other. Beside them stand batches of any number of users,
//! prefill buckets up to the longest that people have asked for, and chips of other harvestings, each with a policy in rotation.
//!
//! A process opens one card, so each target is checked in a process of its own, and two of them run at a time.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bitnetc_compiler::model::{Model, Shipped, shipped};
use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::{NAMES, Target};
use bitnetc_compiler::{CompileError, Options, compile};
use bitnetc_plan::TtnnRelease;
use bitnetc_ttnn::{OpenCard, PhaseReport, replay};
use miette::{IntoDiagnostic, miette};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::{self, Content};
use crate::render::units::thousands;
use crate::render::{self, Align, Column, Page, Progress, Table, Width};
use crate::{input, replay::open};

/// Check many plans of the shipped models against TT-NN on mock cards.
///
/// A target may be a chip of another harvesting than the shipped board's: n150:8x7 has 8x7 cores and everything else of n150.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc matrix                      # everything, which takes hours
  bitnetc matrix --quick              # each model once per target
  bitnetc matrix --target p150 --model bitnet-2b-4t
  bitnetc matrix --target n150:8x7    # a chip with a row of cores less")]
pub struct Args {
    /// Only this target; may be repeated
    #[arg(long)]
    target: Vec<String>,
    /// Only this shipped model; may be repeated
    #[arg(long)]
    model: Vec<String>,
    /// For each model and target one combination, in rotation; on chips of other harvestings for each fourth model
    #[arg(long)]
    quick: bool,
    /// The Python that has TT-NN
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Everything that was checked as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    width: Width,
    /// One line of JSON per plan, for the processes that check one target
    #[arg(long, hide = true)]
    lines: bool,
}

const BATCHES: [u32; 3] = [1, 8, 32];
const CONTEXTS: [u32; 2] = [2048, 4096];

/// Numbers of users that fill no rectangle of cores, and 32, which fills one.
const ODD_BATCHES: [u32; 7] = [3, 5, 7, 13, 17, 31, 32];
/// Buckets longer than the default ones.
const LONG_BUCKETS: [u32; 6] = [1056, 3072, 4096, 6144, 8192, 12_288];
/// Chips of other harvestings.
const HARVESTED: [&str; 4] = ["n150:8x7", "n150:8x9", "p150:12x10", "p100:13x10"];

/// One plan's combination and what came of it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Checked")]
struct Line {
    /// A shipped model.
    model: String,
    /// As it was given: a name, or the path of a file.
    target: String,
    /// Policy, batch, context and buckets.
    what: String,
    /// Why there is no plan: the card is too small, or TT-NN has no legal way.
    no_plan: Option<String>,
    /// One for each phase of the plan.
    phases: Vec<Outcome>,
}

/// A phase in short.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Outcome {
    /// Calls that TT-NN accepts, over all layers.
    calls: u64,
    /// Addresses that are equal.
    addresses: u64,
    /// Whether everything is.
    agrees: bool,
    /// The first difference.
    difference: Option<String>,
}

/// Plans of shipped models beside the real TT-NN.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Document {
    /// One for each model, target and combination of options.
    plans: Vec<Line>,
}

impl Content for Document {
    const KIND: &'static str = "matrix";
}

impl From<&PhaseReport> for Outcome {
    fn from(report: &PhaseReport) -> Self {
        let first = report.differences.first().map(ToString::to_string);
        Outcome {
            calls: report.accepted.equal,
            addresses: report.addresses.equal,
            agrees: report.agrees(),
            difference: first,
        }
    }
}

/// Processes at a time.
const AT_ONCE: usize = 2;

/// Checks and prints the table.
///
/// # Errors
/// No such model or target, no TT-NN, and any disagreement.
pub fn run(args: Args) -> miette::Result<()> {
    let models = models(&args)?;
    let mut targets: Vec<String> = Vec::new();
    let all = || NAMES.into_iter().chain(HARVESTED).map(String::from).collect();
    for target in if args.target.is_empty() { all() } else { args.target.clone() } {
        find(&target)?;
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    if args.lines {
        return targets.iter().try_for_each(|target| one_target(&args, &models, target));
    }
    let lines = all_targets(&args, &models, &targets)?;
    let wrong = lines.iter().filter(|l| l.phases.iter().any(|p| !p.agrees)).count();
    match args.json {
        true => render::print(&document::text(&Document { plans: lines })?).map_err(input::cannot_print)?,
        false => args.width.print(&page(&lines, &targets))?,
    }
    if wrong > 0 { Err(miette!("TT-NN disagrees with {wrong} plans")) } else { Ok(()) }
}

/// The models asked for, all shipped ones when none is named.
fn models(args: &Args) -> miette::Result<Vec<&'static Shipped>> {
    if args.model.is_empty() {
        return Ok(shipped().iter().collect());
    }
    args.model.iter().map(|name| input::shipped(name)).collect()
}

/// A target by name or file, or one of another harvesting by the name of the shipped one and its grid.
fn find(name: &str) -> miette::Result<Target> {
    let release = TtnnRelease::latest();
    let Some((base, grid)) = name.split_once(':').filter(|(base, _)| NAMES.contains(base)) else {
        return input::target(name, release);
    };
    let mut target = input::target(base, release)?;
    let sides = grid.split_once('x').and_then(|(x, y)| Some((x.parse().ok()?, y.parse().ok()?)));
    target.card.grid = sides.ok_or_else(|| miette!("`{grid}` is no grid of cores like 8x7"))?;
    name.clone_into(&mut target.card.name);
    Ok(target)
}

/// The lines of every target, in the order of the targets. A worker waits for one process at a time and reads all it says meanwhile; after
/// an error no further process is started.
fn all_targets(args: &Args, models: &[&Shipped], targets: &[String]) -> miette::Result<Vec<Line>> {
    let mut all = 0;
    for target in targets {
        all += planned(args, models, target)?.iter().map(|(_, _, options)| options.len() as u64).sum::<u64>();
    }
    let (progress, done) = (Progress::new(format!("{all} plans against TT-NN")), AtomicU64::new(0));
    let another = || progress.at(done.fetch_add(1, Ordering::Relaxed) + 1, all);
    let waiting: Mutex<VecDeque<usize>> = Mutex::new((0..targets.len()).collect());
    let found: Mutex<Vec<Option<miette::Result<Vec<Line>>>>> = Mutex::new(targets.iter().map(|_| None).collect());
    let work = || {
        while let Some(next) = lock(&waiting).pop_front() {
            let lines = child(args, &targets[next], &another);
            if lines.is_err() {
                lock(&waiting).clear();
            }
            lock(&found)[next] = Some(lines);
        }
    };
    std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let lines: Vec<Vec<Line>> = found.into_iter().flatten().collect::<miette::Result<_>>()?;
    Ok(lines.into_iter().flatten().collect())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lines of one target, from a process of its own.
fn child(args: &Args, target: &str, each: &dyn Fn()) -> miette::Result<Vec<Line>> {
    let mut command = Command::new(std::env::current_exe().into_diagnostic()?);
    command.args(["matrix", "--lines", "--target", target]);
    command.args(args.model.iter().flat_map(|m| ["--model", m.as_str()]));
    if args.quick {
        command.arg("--quick");
    }
    if let Some(python) = &args.python {
        command.arg("--python").arg(python);
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().into_diagnostic()?;
    let mut lines = Vec::new();
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
        lines.push(line.into_diagnostic()?);
        each();
    }
    let ended = child.wait().into_diagnostic()?;
    if !ended.success() {
        return Err(miette!("the check on {target} ended with {ended}"));
    }
    lines.iter().map(|line| serde_json::from_str(line).into_diagnostic()).collect()
}

/// All plans for one target, a JSON line each.
fn one_target(args: &Args, models: &[&Shipped], target: &str) -> miette::Result<()> {
    let card = find(target)?;
    let device = open(&card.card, args.python.as_deref(), card.release)?;
    for (shipped, model, all) in planned(args, models, target)? {
        for options in all {
            let mut line = one_plan(&device, shipped.name, &model, &card, &options)?;
            line.target = target.into();
            render::print(&format!("{}\n", serde_json::to_string(&line).into_diagnostic()?))
                .map_err(input::cannot_print)?;
        }
    }
    device.close().into_diagnostic()
}

/// The models with the options that they are planned with for a target.
fn planned<'m>(
    args: &Args,
    models: &[&'m Shipped],
    target: &str,
) -> miette::Result<Vec<(&'m Shipped, Model, Vec<Options>)>> {
    let harvested = HARVESTED.iter().position(|n| *n == target);
    let mut turn = harvested.or_else(|| NAMES.iter().position(|n| *n == target)).unwrap_or(0);
    let mut planned = Vec::new();
    for (at, shipped) in models.iter().enumerate() {
        let model = shipped.model()?;
        let mut all: Vec<Options> = if harvested.is_some() { Vec::new() } else { combinations(&model) };
        all.extend(unusual(&model, turn));
        turn += 1;
        if args.quick {
            // Of chips of other harvestings, one model in four.
            let some = harvested.is_none_or(|h| args.model.len() == 1 || at % HARVESTED.len() == h);
            all = all.into_iter().cycle().skip(turn * 5).take(usize::from(some)).collect();
        }
        planned.push((*shipped, model, all));
    }
    Ok(planned)
}

fn combinations(model: &Model) -> Vec<Options> {
    let mut all = Vec::new();
    for policy in Policy::ALL {
        for batch in BATCHES {
            for context in CONTEXTS.map(|c| c.min(model.context as u32)) {
                let mut options = Options::for_model(model);
                (options.policy, options.batch, options.context) = (policy, batch, context);
                options.prefill = Options::default_prefill(model, context);
                if !all.iter().any(|o: &Options| (o.policy, o.batch, o.context) == (policy, batch, context)) {
                    all.push(options);
                }
            }
        }
    }
    all
}

/// Odd batches and long buckets, each with the next policy; the longest context is the model's.
fn unusual(model: &Model, turn: usize) -> Vec<Options> {
    let longest = u32::try_from(model.context).unwrap_or(u32::MAX);
    let mut all = Vec::new();
    for batch in ODD_BATCHES {
        all.push(Options { batch, ..Options::for_model(model) });
    }
    for bucket in LONG_BUCKETS.into_iter().filter(|bucket| *bucket <= longest) {
        let mut options = Options::for_model(model);
        options.context = bucket.next_multiple_of(options.block).max(options.context);
        (options.prefill, options.batch) = (vec![bucket], BATCHES[all.len() % BATCHES.len()]);
        all.push(options);
    }
    for (at, options) in all.iter_mut().enumerate() {
        options.policy = Policy::ALL[(at + turn) % Policy::ALL.len()];
    }
    all
}

fn one_plan(device: &OpenCard, name: &str, model: &Model, target: &Target, options: &Options) -> miette::Result<Line> {
    let prefill = options.prefill.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let what = format!("{} batch {} context {} prefill {prefill}", options.policy, options.batch, options.context);
    let mut line = Line { model: name.into(), target: target.card.name.clone(), what, no_plan: None, phases: vec![] };
    match compile(model, target, options) {
        Ok(compiled) => {
            line.phases = replay(device, &compiled.plan).into_diagnostic()?.iter().map(Outcome::from).collect()
        }
        Err(error @ (CompileError::Dram { .. } | CompileError::Place { .. })) => line.no_plan = Some(error.to_string()),
        Err(error) => return Err(error).into_diagnostic(),
    }
    Ok(line)
}

fn page(lines: &[Line], targets: &[String]) -> Page {
    let mut columns = vec![Column::new("model", Align::Left)];
    columns.extend(
        ["target", "plans", "refused", "phases agree", "calls accepted", "addresses equal"]
            .map(|t| Column::new(t, Align::Right)),
    );
    let mut table = Table::new(columns);
    let mut names: Vec<&str> = lines.iter().map(|l| l.model.as_str()).collect();
    names.dedup();
    let mut seen = Vec::new();
    for name in names {
        for target in targets.iter().filter(|_| !seen.contains(&name)) {
            let of: Vec<&Line> = lines.iter().filter(|l| l.model == name && l.target == *target).collect();
            let phases: Vec<&Outcome> = of.iter().flat_map(|l| &l.phases).collect();
            let agree = phases.iter().filter(|p| p.agrees).count();
            table.row(vec![
                name.to_string(),
                target.clone(),
                of.iter().filter(|l| l.no_plan.is_none()).count().to_string(),
                of.iter().filter(|l| l.no_plan.is_some()).count().to_string(),
                format!("{agree} of {}", phases.len()),
                thousands(phases.iter().map(|p| p.calls).sum()),
                thousands(phases.iter().map(|p| p.addresses).sum()),
            ]);
        }
        seen.push(name);
    }
    let mut page = Page::default();
    page.table(table);
    for line in lines {
        for difference in line.phases.iter().filter_map(|p| p.difference.as_ref()) {
            page.prose(format!("{} on {}, {}: {difference}\n", line.model, line.target, line.what));
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fits::fits;

    #[test]
    fn the_table_fits_every_terminal() {
        let outcome = |difference: Option<&str>| Outcome {
            calls: 12_345_678,
            addresses: 112_345_678,
            agrees: difference.is_none(),
            difference: difference.map(Into::into),
        };
        let line = |target: &str, phases| Line {
            model: "llama3-8b-1.58".into(),
            target: target.into(),
            what: "balanced batch 32 context 4096 prefill 128,512,2048".into(),
            no_plan: None,
            phases,
        };
        let wrong = "decode, layer 3, step `attn_sub_norm`: address planned 1,344,512, TT-NN 1,344,480";
        let lines = [line("n150:8x7", vec![outcome(None), outcome(Some(wrong))]), line("p150", vec![outcome(None)])];
        fits(&page(&lines, &["n150:8x7".into(), "p150".into()]));
    }
}
