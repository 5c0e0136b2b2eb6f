//! `bitnetc calibrate`: the cost model beside published measurements, and the fit done again.

mod json;
mod profile;

use bitnetc_compiler::target::Target;
use bitnetc_lab::calibration::Shape;
use bitnetc_lab::calibration::refit::{self, Refit};
use bitnetc_lab::priced::PricedStep;
use bitnetc_lab::rows::{CallRow, PrefillRow, Rows, Scheduled, StepRow, Use};
use bitnetc_plan::TtnnRelease;
use miette::{IntoDiagnostic, miette};

pub use json::Document;

use crate::input;
use crate::render::{self, Align, Column, Table, units};

/// Compare the cost model with published measurements, or with your own.
///
/// Rows are whole decode steps, times to the first token and single calls. What was measured is priced, by the functions that price plans: for steps of
/// tt_transformers its schedule (one user, about 256 tokens of context), with our own plan beside it. Rows that the fit used say how well
/// the model fits; the others, how well it predicts.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc calibrate
  bitnetc calibrate --target p150
  bitnetc calibrate --calls llama-3.1-8b     what the measured schedule is priced of
  bitnetc calibrate --refit                  fit the constants again, beside those shipped
  bitnetc calibrate --rows mine.ron          your own rows instead of the published ones
  bitnetc run plan.ron --device ttnn --profile run.json && bitnetc calibrate --profile run.json --plan plan.ron
  bitnetc calibrate --profile run.json --profile ops_perf_results.csv --plan plan.ron --refit -o mine.ron

A file of rows, all fields but model, target and tokens_per_s as they are when left out:
  (
      steps: [(
          model: \"llama-3.2-1b\",        // a shipped model, or a model's RON file as `bitnetc import` writes it from a config.json
          target: \"n150\",
          tokens_per_s: 87.8,            // measured, of one user
          schedule: TtTransformers,      // or QkvSharded, Interleaved, Plan (sampled on the host), PlanGreedy (argmax on the card)
          set: [],                       // precision, as in plan's --set: [\"gate=bfp8/HiFi2\", \"up=bfp8/HiFi2\"] is `accuracy`;
                                         // without it gate and up are bfp4 LoFi, all else bfp8 HiFi2: `performance`
          batch: 1,
          position: 255,                 // a schedule of tt_transformers is priced over 128 to 327 when it is left out
          readers: 1,                    // per DRAM bank, of the projections of tt_transformers
          used: None,                    // Fit: --refit fits to it
          label: \"\", source: \"\", note: \"\",
      )],
      prefills: [(model: \"llama-3.2-1b\", target: \"n150\", tokens: 128, ms: 26)],
      calls: [(what: \"norm\", target: \"p150\", us: (28.2, 28.2), call: Norm(columns: 2560, cores: 16, conversions: true))],
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
    measured: profile::Choice,
}

/// Prices every row and prints it.
///
/// # Errors
/// When the rows, a target or a model cannot be had, or `--calls` names no row.
pub fn run(args: Args) -> miette::Result<()> {
    if !args.measured.profile.is_empty() {
        return profile::run(&args.measured, args.target.as_deref(), args.refit, args.json);
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
    if args.json {
        return render::print(&json::of_rows(&rows, &cards)?).map_err(input::cannot_print);
    }
    let text = if args.refit { refitted(&rows, &cards)? } else { compared(&rows, &cards, args.calls.as_deref())? };
    render::print(&text).map_err(input::cannot_print)
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

/// Whether rows of a use belong to a group.
type Belongs = fn(&Use) -> bool;

fn compared(rows: &Rows, cards: &Cards, detailed: Option<&str>) -> miette::Result<String> {
    let mut text = String::new();
    let mut details = String::new();
    let groups: [(_, Belongs, _); 3] = [
        (
            "decode steps used in the fit",
            |used| *used == Use::Fit,
            ": how well the model fits, not how well it predicts",
        ),
        ("decode steps that a constant was read off", |used| matches!(used, Use::Sets(_)), ""),
        ("decode steps not used in the fit", |used| *used == Use::None, ": how well it predicts"),
    ];
    for (title, belongs, what) in groups {
        let of = cards.of(&rows.steps, |r| &r.target).filter(|(_, r)| belongs(&r.used));
        let (mut table, mut errors) = (step_table(), Errors::default());
        for (target, row) in of {
            let cells = step_cells(target, row, &mut errors, detailed, &mut details)?;
            table.row(cells);
        }
        if !errors.0.is_empty() || !table.is_empty() {
            text.push_str(&format!("{title}\n{}{}{what}\n\n", table.render(render::width()), errors.summary()));
        }
    }
    text.push_str(&left_out(rows, cards)?);
    let (mut table, mut errors) = (prefill_table(), Errors::default());
    for (target, row) in cards.of(&rows.prefills, |r| &r.target) {
        table.row(prefill_cells(target, row, &mut errors)?);
    }
    if !table.is_empty() {
        let title = "times to the first token, none of them used in the fit";
        text.push_str(&format!("{title}\n{}{}\n\n", table.render(render::width()), errors.summary()));
    }
    for (title, set) in [("calls not used for any constant", false), ("calls that a constant was read off", true)] {
        let of = cards.of(&rows.calls, |r| &r.target).filter(|(_, r)| (r.used != Use::None) == set);
        let (mut table, mut errors) = (call_table(), Errors::default());
        for (target, row) in of {
            table.row(call_cells(target, row, &mut errors));
        }
        if !table.is_empty() {
            text.push_str(&format!("{title}\n{}{}\n\n", table.render(render::width()), errors.summary()));
        }
    }
    text.push_str(
        "Every step ends in a host loop that samples, our plan's too: its argmax is left out. \"card alone\" is without it. \"kernel\" rows are kernels alone, without the\n\
         gap to the next program. Every prediction is the cost model's; nothing was run on a card.\n",
    );
    text.push_str(&details);
    Ok(text)
}

fn step_table() -> Table {
    Table::new(vec![
        Column::new("card", Align::Left),
        Column::new("model", Align::Left),
        Column::new("setting", Align::Left),
        Column::new("measured t/s", Align::Right),
        Column::new("predicted t/s", Align::Right),
        Column::new("error", Align::Right),
        Column::new("card alone", Align::Right),
        Column::new("our plan, predicted t/s", Align::Right),
        Column::new("source", Align::Left).wrapped(16).expendable(2),
        Column::new("note", Align::Left).wrapped(24).expendable(1),
    ])
}

fn step_cells(
    target: &Target,
    row: &StepRow,
    errors: &mut Errors,
    detailed: Option<&str>,
    details: &mut String,
) -> miette::Result<Vec<String>> {
    let model = input::model(&row.model)?;
    let mut notes = Vec::new();
    let (predicted, error, card) = match row.predict(&model, target) {
        Ok(step) => {
            if detailed == Some(row.model.as_str()) {
                details.push_str(&calls(row, target, &step));
            }
            let speed = step.tokens_per_s();
            let card = format!("{:.1}", 1e6 / step.device_us());
            (format!("{speed:.1}"), errors.add(speed / row.tokens_per_s - 1.0), card)
        }
        Err(why) => {
            notes.push(why.to_string());
            ("-".into(), "-".into(), "-".into())
        }
    };
    let ours = match row.plan(&model, target) {
        Ok(step) => format!("{:.1}", step.tokens_per_s()),
        Err(why) => {
            notes.push(format!("our plan: {why}"));
            "-".into()
        }
    };
    if !row.note.is_empty() {
        notes.push(row.note.clone());
    }
    Ok(vec![
        target.card.name.clone(),
        row.model.clone(),
        row.setting(),
        format!("{:.1}", row.tokens_per_s),
        predicted,
        error,
        card,
        ours,
        row.source.clone(),
        notes.join("; "),
    ])
}

/// Each row of the fit predicted with constants that were fitted to the others.
fn left_out(rows: &Rows, cards: &Cards) -> miette::Result<String> {
    let mut table = Table::new(vec![
        Column::new("card", Align::Left),
        Column::new("model", Align::Left),
        Column::new("setting", Align::Left),
        Column::new("measured t/s", Align::Right),
        Column::new("error", Align::Right),
    ]);
    let mut errors = Errors::default();
    for (name, target) in &cards.0 {
        let fitted = fitted(rows, name)?;
        // With fewer rows than constants and one, a row that is left out leaves too little to fit to.
        if fitted.len() <= refit::CONSTANTS.len() {
            continue;
        }
        let found = refit::refit(&fitted, target).into_diagnostic()?;
        for ((row, _), residual) in fitted.iter().zip(&found.residuals) {
            let measured = format!("{:.1}", row.tokens_per_s);
            table.row(vec![name.clone(), row.model.clone(), row.setting(), measured, errors.add(residual.left_out)]);
        }
    }
    if table.is_empty() {
        return Ok(String::new());
    }
    let title = "decode steps used in the fit, each by the fit to all the others";
    Ok(format!("{title}\n{}{}\n\n", table.render(render::width()), errors.summary()))
}

fn prefill_table() -> Table {
    Table::new(vec![
        Column::new("card", Align::Left),
        Column::new("model", Align::Left),
        Column::new("setting", Align::Left),
        Column::new("tokens", Align::Right),
        Column::new("measured ms", Align::Right),
        Column::new("predicted ms", Align::Right),
        Column::new("error", Align::Right),
        Column::new("source", Align::Left).wrapped(16).expendable(2),
        Column::new("note", Align::Left).wrapped(24).expendable(1),
    ])
}

fn prefill_cells(target: &Target, row: &PrefillRow, errors: &mut Errors) -> miette::Result<Vec<String>> {
    let model = input::model(&row.model)?;
    let (predicted, error, note) = match row.predict(&model, target) {
        Ok(ms) => (format!("{ms:.1}"), errors.add(ms / row.ms - 1.0), row.note.clone()),
        Err(why) => ("-".into(), "-".into(), why.to_string()),
    };
    let (card, tokens, measured) = (target.card.name.clone(), row.tokens.to_string(), format!("{}", row.ms));
    let (model, label, source) = (row.model.clone(), row.label.clone(), row.source.clone());
    Ok(vec![card, model, label, tokens, measured, predicted, error, source, note])
}

/// The rows of a card that constants are fitted to.
fn fitted(rows: &Rows, card: &str) -> miette::Result<Vec<refit::SizedRow>> {
    let mut fitted = Vec::new();
    for row in &rows.steps {
        let priced = matches!(row.schedule, Scheduled::TtTransformers | Scheduled::QkvSharded);
        if row.used == Use::Fit && row.target == card && priced {
            fitted.push((row.clone(), Shape::of(&input::model(&row.model)?).into_diagnostic()?));
        }
    }
    Ok(fitted)
}

fn call_table() -> Table {
    Table::new(vec![
        Column::new("card", Align::Left),
        Column::new("call", Align::Left),
        Column::new("measured us", Align::Right),
        Column::new("predicted us", Align::Right),
        Column::new("error", Align::Right),
        Column::new("constant", Align::Left).expendable(3),
        Column::new("source", Align::Left).wrapped(16).expendable(2),
        Column::new("note", Align::Left).wrapped(24).expendable(1),
    ])
}

fn call_cells(target: &Target, row: &CallRow, errors: &mut Errors) -> Vec<String> {
    let (least, most) = row.us;
    let measured = if least == most { format!("{least}") } else { format!("{least}-{most}") };
    let (predicted, error, note) = match row.predict(target) {
        Ok(us) => (format!("{us:.1}"), errors.add(us / row.middle_us() - 1.0), row.note.clone()),
        Err(why) => ("-".into(), "-".into(), format!("{why}; {}", row.note)),
    };
    let kernel = if row.kernel { ", kernel" } else { "" };
    let constant = if let Use::Sets(name) = &row.used { name.clone() } else { String::new() };
    let what = format!("{}{kernel}", row.what);
    vec![target.card.name.clone(), what, measured, predicted, error, constant, row.source.clone(), note]
}

fn calls(row: &StepRow, target: &Target, step: &PricedStep) -> String {
    let mut table = Table::new(vec![
        Column::new("call", Align::Left),
        Column::new("times", Align::Right),
        Column::new("each", Align::Right),
        Column::new("all", Align::Right),
        Column::new("DRAM", Align::Right),
        Column::new("bound", Align::Left),
    ]);
    // The parts of the interleaved schedule are sums over calls of several kinds.
    let parts = row.schedule == Scheduled::Interleaved;
    for call in &step.calls {
        let (dram, bound) = (call.cost.dram_bytes * u64::from(call.times), format!("{:?}", call.cost.bound));
        table.row(vec![
            call.name.clone(),
            call.times.to_string(),
            units::time(call.cost.us),
            units::time(call.cost.us * f64::from(call.times)),
            if parts { "-".into() } else { units::bytes(dram) },
            if parts { "-".into() } else { bound },
        ]);
    }
    format!(
        "\n{} on {}, {}: {} on the card and {} on the host, predicted\n{}",
        row.model,
        target.card.name,
        row.setting(),
        units::time(step.device_us()),
        units::time(step.host_us),
        table.render(render::width())
    )
}

/// The fit again, card by card.
fn refitted(rows: &Rows, cards: &Cards) -> miette::Result<String> {
    let mut text = String::new();
    for (name, target) in &cards.0 {
        let fitted = fitted(rows, name)?;
        if fitted.is_empty() {
            continue;
        }
        let found = refit::refit(&fitted, target).into_diagnostic()?;
        text.push_str(&refit_text(&found, &fitted, target));
    }
    if text.is_empty() {
        let help = "only steps of tt_transformers with `used: Fit` are fitted to; the published ones are of n150";
        return Err(miette!(help = help, "no row was used in a fit"));
    }
    Ok(text)
}

fn refit_text(found: &Refit, rows: &[refit::SizedRow], target: &Target) -> String {
    let mut constants = Table::new(vec![
        Column::new("constant", Align::Left),
        Column::new("shipped", Align::Right),
        Column::new("fitted", Align::Right),
        Column::new("10 % more moves rows by", Align::Right),
        Column::new("standard error", Align::Right),
        Column::new("identified", Align::Left),
        Column::new("trades off against", Align::Left),
    ]);
    for c in &found.constants {
        constants.row(vec![
            c.name.into(),
            format!("{:.3}", c.shipped),
            format!("{:.3}", c.fitted),
            format!("{:.2} %", 100.0 * c.sensitivity),
            c.uncertainty.map_or_else(|| "-".into(), |u| format!("{:.0} %", 100.0 * u)),
            if c.poorly_identified() { "poorly" } else { "well" }.into(),
            c.tied.map_or_else(String::new, |(name, r)| format!("{name}, correlation {r:+.2}")),
        ]);
    }
    let mut table = Table::new(vec![
        Column::new("model", Align::Left),
        Column::new("setting", Align::Left),
        Column::new("measured t/s", Align::Right),
        Column::new("shipped", Align::Right),
        Column::new("fitted", Align::Right),
        Column::new("left out", Align::Right),
    ]);
    let (mut shipped, mut fitted, mut left_out) = (Errors::default(), Errors::default(), Errors::default());
    for ((row, _), r) in rows.iter().zip(&found.residuals) {
        let cells = [shipped.add(r.shipped), fitted.add(r.fitted), left_out.add(r.left_out)];
        let named = [row.model.clone(), row.setting(), format!("{:.1}", row.tokens_per_s)];
        table.row(named.into_iter().chain(cells).collect());
    }
    format!(
        "{}: least squares of the relative error in time over {} rows\n{}\n\
         error of each row with the constants as shipped, fitted to all rows, and fitted to all rows but this one\n{}\
         shipped: {}\nfitted: {}\nleft out: {}\n\n\
         A constant is poorly identified when its standard error is above {:.0} %: others can make up for it. The shipped ones stay until\n\
         a row decides between them.\n",
        target.card.name,
        rows.len(),
        constants.render(render::width()),
        table.render(render::width()),
        shipped.summary(),
        fitted.summary(),
        left_out.summary(),
        100.0 * refit::POOR,
    )
}
