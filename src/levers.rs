//! `bitnetc levers`: what each known lever is predicted to be worth.

mod floors;
mod json;

use bitnetc_compiler::Options;
use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::Target;
use bitnetc_lab::levers::{BUCKET, How, Lever, Levers, Share, levers};
use bitnetc_plan::TtnnRelease;
use clap_complete::engine::ArgValueCompleter;
use miette::IntoDiagnostic as _;

pub use json::Document;

use crate::render::{self, Align, Column, Page, Stages, Table, Width, units};
use crate::{completions, input};

/// Show what each known lever of decode is predicted to be worth.
///
/// Each lever is moved by itself, from the plan. Levers that are options are compiled both ways; the others are priced call by call with
/// the functions that price plans. They overlap, so savings do not add up. Every time is a prediction unless a row says measured.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc levers bitnet-2b-4t         # N150 and P150, one user and 32
  bitnetc levers bitnet-2b-4t --target p150 --batch 32    # notes and steps
  bitnetc levers bitnet-2b-4t --policy exact
  bitnetc levers bitnet-2b-4t --floors   # cards, 1 to 32 users, policies")]
pub struct Args {
    /// A shipped model's name, or a model's RON file
    #[arg(add = ArgValueCompleter::new(completions::models))]
    model: String,
    /// n150, n300, p100, p150, or a target's RON file; n150 and p150 when left out
    #[arg(long, add = ArgValueCompleter::new(completions::targets))]
    target: Option<String>,
    /// Users of the decode phase, 1 to 32; 1 and 32 when left out
    #[arg(long)]
    batch: Option<u32>,
    /// Policy of the plan from which levers are moved
    #[arg(long, default_value_t = Policy::Balanced, add = ArgValueCompleter::new(completions::policies))]
    policy: Policy,
    /// Position at which attention is priced [default: 256, or the last of a shorter context]
    #[arg(long)]
    at_position: Option<u32>,
    /// Steps listed of a single target and batch, those first that lose most against the DRAM
    #[arg(long, default_value_t = 8)]
    top: usize,
    /// The step of every policy at positions 256 and 4095 beside its floor, the bytes of weights and cache at peak bandwidth, and what
    /// passes the time above it; of each card that comes along and of 1, 8 and 32 users, unless a target or a batch is named
    #[arg(long, conflicts_with_all = ["json", "policy", "at_position", "top"])]
    floors: bool,
    /// JSON for tools: every lever and every step, unrounded
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    width: Width,
}

/// A target and a batch, and what was found.
struct Case {
    target: Target,
    batch: u32,
    found: Levers,
}

impl Case {
    fn title(&self) -> String {
        format!("{} b{}", self.target.card.name, self.batch)
    }
}

/// Prices and prints.
///
/// # Errors
/// When model or target cannot be had, the position is beyond the context, or there is no plan.
pub fn run(args: Args) -> miette::Result<()> {
    let model = input::model(&args.model)?;
    if args.floors {
        let page = floors::page(&model, args.target.as_deref(), args.batch)?;
        return args.width.print(&page);
    }
    let mut options = Options::for_model(&model);
    options.policy = args.policy;
    options.position = args.at_position;
    let targets = args.target.as_deref().map_or_else(|| vec!["n150", "p150"], |t| vec![t]);
    let batches = args.batch.map_or_else(|| vec![1, 32], |b| vec![b]);
    let (mut cases, stages) = (Vec::new(), Stages::new(targets.len() * batches.len()));
    for name in targets {
        let target = input::target(name, TtnnRelease::latest())?;
        for batch in &batches {
            options.batch = *batch;
            stages.next(format_args!("levers of {} on {name}, batch {batch}", model.name));
            let found = levers(&model, &target, &options).into_diagnostic()?;
            cases.push(Case { target: target.clone(), batch: *batch, found });
        }
    }
    drop(stages);
    if args.json {
        let text = json::text(&model.name, options.priced_at(), &cases)?;
        return render::print(&text).map_err(input::cannot_print);
    }
    let about = format!("{}, decode at position {}", model.name, options.priced_at());
    args.width.print(&page(&about, args.policy, &cases, args.top))
}

fn page(about: &str, policy: Policy, cases: &[Case], top: usize) -> Page {
    let mut page = Page::default();
    page.prose(format!("{about}; b1 is one user. Times are predicted.\n\n"));
    page.table(distances(cases));
    page.prose(format!("\neach lever by itself, from the {policy} plan: what it saves a step\n"));
    alone(&mut page, cases, |found| &found.levers);
    page.prose(format!("\nin a prefill of {BUCKET} tokens\n"));
    alone(&mut page, cases, |found| std::slice::from_ref(&found.prefill));
    if let [case] = cases {
        page.prose("\nits steps that lose most against peak DRAM bandwidth\n");
        page.table(shares(case, top));
    }
    page
}

fn distances(cases: &[Case]) -> Table {
    let mut table = Table::new(vec![
        Column::new("", Align::Left),
        Column::new("policy", Align::Left),
        Column::new("card", Align::Right),
        Column::new("host", Align::Right).expendable(4),
        Column::new("t/s per user", Align::Right),
        Column::new("card alone", Align::Right).expendable(5),
        Column::new("weights", Align::Right).expendable(3),
        Column::new("DRAM floor", Align::Right).expendable(2),
        Column::new("times the floor", Align::Right),
        Column::new("note", Align::Left).wrapped(24).expendable(1),
    ]);
    for (case, d) in cases.iter().flat_map(|c| c.found.distances.iter().map(move |d| (c, d))) {
        let cells = match &d.us {
            Ok((device, host)) => [
                units::banded(*device, d.band_us),
                units::time(*host),
                format!("{:.1}", 1e6 / (device + host)),
                format!("{:.1}", 1e6 / device),
                units::bytes(d.weight_bytes),
                units::time(d.floor_us),
                format!("{:.2}", device / d.floor_us),
                String::new(),
            ],
            Err(why) => {
                let mut none = ["-"; 8].map(str::to_owned);
                none[7].clone_from(why);
                none
            }
        };
        table.row([case.title(), d.policy.to_string()].into_iter().chain(cells).collect());
    }
    table
}

/// The sources of figures that need more than a word. They are numbered and stand below the table.
#[derive(Default)]
struct Footnotes(Vec<String>);

impl Footnotes {
    /// The cell of a row: said once when it is the same in all cases, else of those cases where more than prices stands behind it.
    fn cell(&mut self, cases: &[Case], of: impl Fn(&Levers) -> Option<How>) -> String {
        let mut said: Vec<(How, Vec<String>)> = Vec::new();
        for (case, how) in cases.iter().filter_map(|c| of(&c.found).map(|how| (c, how))) {
            match said.iter_mut().find(|(known, _)| *known == how) {
                Some((_, titles)) => titles.push(case.title()),
                None => said.push((how, vec![case.title()])),
            }
        }
        if let [(one, _)] = said.as_slice() {
            return one.to_string();
        }
        let told = said.iter().filter(|(how, _)| *how != How::Priced);
        let text = told.map(|(how, titles)| format!("{}: {how}", titles.join(", "))).collect::<Vec<_>>().join("\n    ");
        let at = self.0.iter().position(|known| *known == text).unwrap_or_else(|| {
            self.0.push(text);
            self.0.len() - 1
        });
        format!("see ({})", at + 1)
    }

    fn text(&self) -> String {
        self.0.iter().enumerate().map(|(at, text)| format!("({}) {text}\n", at + 1)).collect()
    }
}

/// The table of some levers, and its footnotes.
fn alone(page: &mut Page, cases: &[Case], of: fn(&Levers) -> &[Lever]) {
    let mut columns = vec![
        Column::new("lever", Align::Left).wrapped(12),
        Column::new("from", Align::Left).wrapped(10),
        Column::new("to", Align::Left).wrapped(10),
    ];
    let single = cases.len() == 1;
    if single {
        columns.push(Column::new("before", Align::Right).expendable(2));
        columns.push(Column::new("after", Align::Right).expendable(1));
        columns.push(Column::new("saves", Align::Right));
        columns.push(Column::new("band", Align::Right));
    } else {
        columns.extend(cases.iter().map(|c| Column::new(c.title(), Align::Right)));
    }
    columns.push(Column::new(RESTS_ON, Align::Left).wrapped(20).expendable(3));
    columns.push(Column::new("note", Align::Left).wrapped(30).expendable(4));
    let (mut table, mut footnotes) = (Table::new(columns), Footnotes::default());
    let Some(first) = cases.first() else { return };
    for (at, lever) in of(&first.found).iter().enumerate() {
        let mut cells = vec![lever.name.clone(), lever.positions.0.clone(), lever.positions.1.clone()];
        for case in cases {
            match of(&case.found).get(at).map(|l| &l.us) {
                Some(Ok((from, to))) if single => {
                    let lever = &of(&case.found)[at];
                    let band = units::banded(from - to, lever.band_us);
                    let band = band.split_once(", ").map_or_else(String::new, |(_, band)| band.to_owned());
                    cells.extend([units::time(*from), units::time(*to), saving(lever, from - to), band]);
                }
                Some(Ok((from, to))) => cells.push(saving(&of(&case.found)[at], from - to)),
                _ if single => cells.extend(["-", "-", "-", "-"].map(str::to_owned)),
                _ => cells.push("-".into()),
            }
        }
        cells.push(footnotes.cell(cases, |found| of(found).get(at).map(|l| l.how.clone())));
        cells.push(note(cases, |found| of(found).get(at)));
        table.row(cells);
    }
    page.table(table);
    if cases.iter().any(|case| of(&case.found).iter().any(Lever::is_open)) {
        page.prose("? the band leaves open which of the two is faster\n");
    }
    page.legend(RESTS_ON, footnotes.text());
}

/// The column that refers to footnotes.
const RESTS_ON: &str = "rests on";

/// A note that is the same in all cases, and why there is no figure. Notes with figures of a case are for a table of that case alone.
fn note<'a>(cases: &'a [Case], of: impl Fn(&'a Levers) -> Option<&'a Lever>) -> String {
    let text = |lever: &Lever| match &lever.us {
        Err(why) if lever.note.is_empty() => why.clone(),
        Err(why) if cases.len() == 1 => format!("{why}; {}", lever.note),
        Err(why) => why.clone(),
        Ok(_) => lever.note.clone(),
    };
    let mut notes: Vec<String> = cases.iter().filter_map(|c| of(&c.found).map(text)).collect();
    notes.dedup();
    if let [one] = notes.as_slice() { one.clone() } else { String::new() }
}

/// A saving; with its sign when it is none, and marked when its band does not tell which.
fn saving(lever: &Lever, us: f64) -> String {
    let open = if lever.is_open() { "? " } else { "" };
    let sign = if us <= -0.05 { "-" } else { "" };
    format!("{open}{sign}{}", units::time(if us <= -0.05 { -us } else { us.max(0.0) }))
}

fn shares(case: &Case, top: usize) -> Table {
    let all: f64 = case.found.shares.iter().map(Share::us).sum();
    let mut table = Table::new(vec![
        Column::new("step", Align::Left),
        Column::new("times", Align::Right),
        Column::new("each", Align::Right),
        Column::new("all", Align::Right),
        Column::new("share", Align::Right),
        Column::new("above DRAM", Align::Right),
        Column::new("bound", Align::Left),
    ]);
    for share in case.found.shares.iter().take(top) {
        table.row(vec![
            share.name.clone(),
            share.times.to_string(),
            units::time(share.cost.us),
            units::time(share.us()),
            format!("{:.1} %", 100.0 * share.us() / all),
            units::time(share.above_dram_us(&case.target)),
            format!("{:?}", share.cost.bound),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fits::fits;

    #[test]
    fn levers_fit_every_terminal() {
        let model = input::model("tiny-shakespeare").unwrap();
        let case = |name, batch| {
            let target = Target::find(name).unwrap();
            let found = levers(&model, &target, &Options { batch, ..Options::for_model(&model) }).unwrap();
            Case { target, batch, found }
        };
        let (one, many) = (case("n150", 1), case("p150", 32));
        fits(&page("tiny", Policy::Balanced, &[one], 8));
        let cases = [case("n150", 1), many];
        let both = page("tiny", Policy::Balanced, &cases, 8);
        fits(&both);
        // Footnotes stand only below a column that refers to them.
        assert!(both.render(None).contains("see (1)") && both.render(None).contains("\n(1) "));
        let narrow = both.render(Some(60));
        assert_eq!(narrow.contains("see (1)"), narrow.contains("\n(1) "));
    }
}
