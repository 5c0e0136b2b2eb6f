//! `bitnetc calibrate`: the cost model beside published measurements, and the fit done again.

mod json;
mod profile;
mod refit;
mod rows;

use bitnetc_compiler::target::Target;
use bitnetc_lab::rows::Rows;
use bitnetc_plan::TtnnRelease;
use miette::{IntoDiagnostic, miette};

pub use json::Document;

use crate::input;
use crate::render::{self, Page, Progress, Table, Width};

/// Compare the cost model with published measurements, or with your own.
///
/// Rows are whole decode steps, times to the first token and single calls. What was measured is priced, by the functions that price plans: for steps of
/// tt_transformers its schedule (one user, about 256 tokens of context), with our own plan beside it. Rows that the fit used say how well
/// the model fits; the others, how well it predicts.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc calibrate
  bitnetc calibrate --target p150
  bitnetc calibrate --calls llama-3.1-8b   # what its schedule is priced of
  bitnetc calibrate --refit                # fit the constants again
  bitnetc calibrate --rows mine.ron        # your own rows
  bitnetc run plan.ron --device ttnn --profile run.json
  bitnetc calibrate --profile run.json --plan plan.ron
  bitnetc calibrate --profile run.json --profile ops_perf_results.csv \\
      --plan plan.ron --refit -o target.ron

A file of rows, all fields but model, target and tokens_per_s as they are when left out:
  (
      // schedule: TtTransformers, QkvSharded or Interleaved; or Plan, which
      //   samples on the host, or PlanGreedy, which has argmax on the card
      // set: precision as in plan's --set, [\"gate=bfp8/HiFi2\"]; without it gate
      //   and up are bfp4 LoFi, all else bfp8 HiFi2: `performance`
      // position: without it, tt_transformers is priced over 128 to 327
      // readers: per DRAM bank, of the projections of tt_transformers
      // used: Fit where --refit is to fit to the row
      steps: [(
          model: \"llama-3.2-1b\",    // a shipped model, or a model's RON file
          target: \"n150\",
          tokens_per_s: 87.8,        // measured, of one user
          schedule: TtTransformers, set: [], batch: 1, position: 255,
          readers: 1, used: None, label: \"\", source: \"\", note: \"\",
      )],
      prefills: [(model: \"llama-3.2-1b\", target: \"n150\", tokens: 128, ms: 26)],
      calls: [(
          what: \"norm\", target: \"p150\", us: (28.2, 28.2),
          call: Norm(columns: 2560, cores: 16, conversions: true),
      )],
  )
The step's speed is 1e6 / (microseconds on the card + of the host). `bitnetc plan MODEL` shows both for a plan of ours.")]
pub struct Args {
    /// Print the priced calls of this model's rows, too
    #[arg(long, value_name = "MODEL")]
    calls: Option<String>,
    /// Only rows of this card; a target's RON file is judged by the rows of the card it names
    #[arg(long)]
    target: Option<String>,
    /// Rows of a RON file instead of the published ones
    #[arg(long, value_name = "FILE")]
    rows: Option<String>,
    /// Fit the constants again: to the rows that the fit used, or with --profile to the kernels that were measured
    #[arg(long)]
    refit: bool,
    /// JSON for tools: every row, unrounded
    #[arg(long, conflicts_with_all = ["refit", "calls"])]
    json: bool,
    #[command(flatten)]
    width: Width,
    #[command(flatten)]
    measured: profile::Choice,
}

/// Prices every row and prints it.
///
/// # Errors
/// When the rows, a target or a model cannot be had, or `--calls` names no row.
pub fn run(args: &Args) -> miette::Result<()> {
    if !args.measured.profile.is_empty() {
        return profile::run(args);
    }
    let rows = match &args.rows {
        Some(path) => {
            let text = input::text(std::path::Path::new(path))?;
            Rows::parse(path, &text).into_diagnostic()?
        }
        None => Rows::published().into_diagnostic()?,
    };
    if let Some(name) = args.calls.as_deref().filter(|name| rows.steps.iter().all(|r| r.model != *name)) {
        let mut names: Vec<_> = rows.steps.iter().map(|r| r.model.as_str()).collect();
        names.dedup();
        miette::bail!(help = format!("there are {}", names.join(", ")), "no calibration row is of `{name}`");
    }
    let cards = Cards::new(&rows, args.target.as_deref())?;
    let progress = Progress::waiting(if args.refit { "fitting the constants" } else { "pricing what was measured" });
    if args.json {
        let text = json::of_rows(&rows, &cards)?;
        drop(progress);
        return render::print(&text).map_err(input::cannot_print);
    }
    let page = match args.refit {
        true => refit::page(&rows, &cards)?,
        false => rows::page(&rows, &cards, args.calls.as_deref())?,
    };
    drop(progress);
    args.width.print(&page)
}

/// The targets of the rows to show, in order, by the names that rows give them.
struct Cards(Vec<(String, Target)>);

impl Cards {
    fn new(rows: &Rows, asked: Option<&str>) -> miette::Result<Self> {
        let named = || {
            let steps = rows.steps.iter().map(|r| &r.target).chain(rows.prefills.iter().map(|r| &r.target));
            steps.chain(rows.calls.iter().map(|r| &r.target))
        };
        if let Some(asked) = asked {
            let target = input::target(asked, TtnnRelease::latest())?;
            if !named().any(|name| *name == target.card.name) {
                let mut names: Vec<_> = named().map(String::as_str).collect();
                names.sort_unstable();
                names.dedup();
                let card = &target.card.name;
                return Err(miette!(help = format!("there are rows of {}", names.join(", ")), "no row is of {card}"));
            }
            return Ok(Cards(vec![(target.card.name.clone(), target)]));
        }
        let mut targets: Vec<(String, Target)> = Vec::new();
        for name in named() {
            if targets.iter().all(|(known, _)| known != name) {
                targets.push((name.clone(), input::target(name, TtnnRelease::latest())?));
            }
        }
        Ok(Cards(targets))
    }

    /// The rows of the cards, card by card.
    fn of<'a, R>(&'a self, rows: &'a [R], card: fn(&R) -> &str) -> impl Iterator<Item = (&'a Target, &'a R)> {
        self.0.iter().flat_map(move |(name, t)| rows.iter().filter(move |r| card(r) == name).map(move |r| (t, r)))
    }
}

/// Relative errors of some rows.
#[derive(Default)]
struct Errors(Vec<f64>);

impl Errors {
    /// A cell with its sign.
    fn add(&mut self, error: f64) -> String {
        self.0.push(error);
        percent(error)
    }

    /// A table of rows under its title, and a line that sums them up; nothing without rows.
    fn tell(&self, page: &mut Page, title: &str, table: Table, what: &str) {
        if !table.is_empty() {
            page.prose(format!("{title}\n"));
            page.table(table);
            page.prose(format!("{}{what}\n\n", self.summary()));
        }
    }

    fn summary(&self) -> String {
        let absolute: Vec<f64> = self.0.iter().map(|e| e.abs()).collect();
        let mean = absolute.iter().sum::<f64>() / absolute.len().max(1) as f64;
        let most = absolute.iter().copied().fold(0.0, f64::max);
        format!("{} rows, {:.1} % off in the mean, {:.1} % at most", absolute.len(), 100.0 * mean, 100.0 * most)
    }
}

fn percent(error: f64) -> String {
    format!("{:+.1} %", 100.0 * error)
}
