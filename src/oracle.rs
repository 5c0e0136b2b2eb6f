//! `bitnetc ttnn oracle`: the op rules against the real TT-NN on random questions.

use std::fmt::Write as _;
use std::path::PathBuf;

use bitnetc_plan::TtnnRelease;
use bitnetc_ttnn::oracle::{self, Disagreement, Inquiry, RuleReport};
use bitnetc_ttnn::{PythonEnv, Wanted};
use miette::{IntoDiagnostic as _, miette};

use crate::input;
use crate::render::{self, Align, Column, Page, Table, Width};
use crate::replay::open_in;

/// Hold the op rules against TT-NN on random calls, legal and illegal.
///
/// Rule and library must agree whether a call is legal and, if it is, on its result, the L1 addresses, the bytes of circular buffers and
/// the number of programs. Where a rule leaves out calls on purpose it claims nothing, and such draws are counted apart, by what the rule
/// takes instead.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc ttnn oracle
  bitnetc ttnn oracle --target p150 --draws 500 --seed 7 --rule linear
  # which rules another release drifted from
  bitnetc ttnn oracle --any-release --python ~/older/bin/python

Ends with exit code 1 when TT-NN refuses a call that a rule calls legal, or fewer than 99 % of the draws agree;
with --any-release when a single draw of any rule disagrees.")]
pub struct Args {
    /// The mock card: n150, n300, p100, p150, or that of a target's RON file
    #[arg(long, value_name = "CARD", default_value = "n150")]
    target: String,
    /// The release whose rules are asked
    #[arg(long, value_name = "VERSION", default_value_t = TtnnRelease::latest(), value_parser = TtnnRelease::find)]
    release: &'static TtnnRelease,
    /// Take the Python's TT-NN whatever release it is, and list the rules that drifted from it
    #[arg(long)]
    any_release: bool,
    /// Draws over all rules
    #[arg(long, default_value_t = 2000)]
    draws: u32,
    /// Seed of the draws
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only rules whose name contains this
    #[arg(long)]
    rule: Option<String>,
    /// The Python that has TT-NN
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// One line of JSON per rule
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    width: Width,
}

/// Disagreements shown.
const SHOWN: usize = 12;

/// A disagreement and the rule it is with.
type Example<'a> = (&'a RuleReport, &'a Disagreement);

/// Asks and prints.
///
/// # Errors
/// No TT-NN, no such target or rule, and too little agreement.
pub fn run(args: &Args) -> miette::Result<()> {
    let target = input::target(&args.target, args.release)?;
    if let Some(part) = &args.rule
        && !oracle::rules().iter().any(|name| name.contains(part.as_str()))
    {
        return Err(miette!("no rule's name contains `{part}`: there are {}", oracle::rules().join("; ")));
    }
    let wanted = if args.any_release { Wanted::Any } else { Wanted::Only(args.release) };
    let env = PythonEnv::find(args.python.as_deref(), wanted).into_diagnostic()?;
    let device = open_in(&env, &target.card)?;
    let programs = !args.any_release || oracle::records_programs(&device).into_diagnostic()?;
    if !programs {
        remark!("TT-NN {} does not record programs: their number is not compared", env.ttnn);
    }
    let inquiry = Inquiry { draws: args.draws, seed: args.seed, rule: args.rule.clone(), programs };
    let mut tell = |r: &RuleReport| remark!("{}: {} draws", r.rule, r.draws);
    let reports = oracle::run(&device, &target.card, &inquiry, &mut tell).into_diagnostic()?;
    device.close().into_diagnostic()?;
    match (args.json, args.any_release) {
        (true, _) => render::print(&lines(&reports)?).map_err(input::cannot_print)?,
        (false, true) => args.width.print(&page(&reports, &examples(&firsts(&reports), usize::MAX)))?,
        (false, false) => args.width.print(&page(&reports, &examples(&disagreements(&reports), SHOWN)))?,
    }
    if args.any_release { judge_drift(&reports, &env.ttnn, args.release) } else { judge(&reports) }
}

/// Refuses a release from which any rule differs, and names those that do.
fn judge_drift(reports: &[RuleReport], found: &str, release: &TtnnRelease) -> miette::Result<()> {
    let drifted: Vec<_> = reports.iter().filter(|r| !r.disagreements.is_empty()).collect();
    if drifted.is_empty() {
        remark!("none of {} rules of TT-NN {release} drifted in TT-NN {found}", reports.len());
        return Ok(());
    }
    let each = drifted.iter().map(|r| format!("{} ({} of {} draws)", r.rule, r.disagreements.len(), r.claims()));
    let (count, of, each) = (drifted.len(), reports.len(), each.collect::<Vec<_>>().join(", "));
    Err(miette!("{count} of {of} rules of TT-NN {release} drifted in TT-NN {found}: {each}"))
}

fn judge(reports: &[RuleReport]) -> miette::Result<()> {
    let wrong: usize = reports.iter().map(RuleReport::wrongly_legal).sum();
    if wrong > 0 {
        return Err(miette!("TT-NN refuses {wrong} calls that the rules call legal"));
    }
    let (agreed, claims) = totals(reports);
    if u64::from(agreed) * 100 < u64::from(claims) * 99 {
        return Err(miette!("{agreed} of {claims} draws agree, fewer than 99 %"));
    }
    Ok(())
}

/// Claims that hold, and all of them.
fn totals(reports: &[RuleReport]) -> (u32, u32) {
    (reports.iter().map(RuleReport::agreed).sum(), reports.iter().map(RuleReport::claims).sum())
}

fn lines(reports: &[RuleReport]) -> miette::Result<String> {
    let mut text = String::new();
    for report in reports {
        let line = serde_json::to_string(report).into_diagnostic()?;
        let _ = writeln!(text, "{line}");
    }
    Ok(text)
}

fn percent(part: u32, of: u32) -> String {
    if of == 0 { "-".into() } else { format!("{:.1} %", 100.0 * f64::from(part) / f64::from(of)) }
}

/// The table of draws that rules leave out, with a row for each reason.
fn left_out(reports: &[RuleReport]) -> Table {
    let mut table = Table::new(vec![
        Column::new("rule", Align::Left).wrapped(12),
        Column::new("draws", Align::Right),
        Column::new("TT-NN accepts", Align::Right),
        Column::new("constraint", Align::Left).wrapped(16),
        Column::new("the rule takes only", Align::Left).wrapped(16),
    ]);
    for report in reports {
        for (at, left) in report.left_out.iter().enumerate() {
            let rule = if at == 0 { report.rule.clone() } else { String::new() };
            let (draws, accepted) = (left.draws.to_string(), left.accepted.to_string());
            table.row(vec![rule, draws, accepted, left.constraint.clone(), left.only.clone()]);
        }
    }
    table
}

/// A row per rule, the sum, what is left out, and examples of disagreements.
fn page(reports: &[RuleReport], examples: &str) -> Page {
    let mut table = Table::new(vec![
        Column::new("rule", Align::Left).wrapped(12),
        Column::new("draws", Align::Right),
        Column::new("both accept", Align::Right),
        Column::new("both refuse", Align::Right),
        Column::new("disagree", Align::Right),
        Column::new("agree", Align::Right),
        Column::new("left out", Align::Right),
    ]);
    let mut row = |name: &str, of: &[RuleReport]| {
        let sum = |count: fn(&RuleReport) -> u32| of.iter().map(count).sum::<u32>();
        let (agreed, claims) = totals(of);
        table.row(vec![
            name.to_string(),
            claims.to_string(),
            sum(|r| r.both_accept).to_string(),
            sum(|r| r.both_refuse).to_string(),
            (claims - agreed).to_string(),
            percent(agreed, claims),
            sum(|r| r.unclaimed).to_string(),
        ]);
    };
    reports.iter().for_each(|report| row(&report.rule, std::slice::from_ref(report)));
    row("all", reports);
    let mut page = Page::default();
    page.table(table);
    if reports.iter().any(|report| !report.left_out.is_empty()) {
        page.prose("\nleft out on purpose\n");
        page.table(left_out(reports));
    }
    page.prose(examples);
    page
}

fn disagreements(reports: &[RuleReport]) -> Vec<Example<'_>> {
    reports.iter().flat_map(|r| r.disagreements.iter().map(move |d| (r, d))).collect()
}

/// The first disagreement of each rule.
fn firsts(reports: &[RuleReport]) -> Vec<Example<'_>> {
    reports.iter().filter_map(|r| r.disagreements.first().map(|d| (r, d))).collect()
}

/// At most `shown` of all.
fn examples(all: &[Example<'_>], shown: usize) -> String {
    let mut text = String::new();
    for (report, d) in all.iter().take(shown) {
        let _ = writeln!(text, "\n{}, draw {}: {}\n  {}", report.rule, d.draw, d.kind, d.question);
        let _ = writeln!(text, "  predicted: {}\n  TT-NN: {}", d.predicted, d.found);
    }
    if all.len() > shown {
        let _ = writeln!(text, "\nand {} more disagreements; --json has them all", all.len() - shown);
    }
    text
}

#[cfg(test)]
mod tests {
    use bitnetc_ttnn::oracle::Kind;

    use super::*;
    use crate::render::fits::fits;

    fn report(rule: &str, disagreements: usize) -> RuleReport {
        let one = |draw| Disagreement {
            draw,
            kind: Kind::CircularBuffers,
            question: format!("{rule} {draw}"),
            predicted: "1".into(),
            found: "2".into(),
        };
        let disagreements = (1..).take(disagreements).map(one).collect();
        let (rule, left_out) = (rule.to_owned(), Vec::new());
        RuleReport {
            rule,
            draws: 10,
            both_accept: 7,
            both_refuse: 0,
            unclaimed: 0,
            unclaimed_accepted: 0,
            left_out,
            disagreements,
        }
    }

    #[test]
    fn reports_fit_every_terminal() {
        let mut report = report("scaled_dot_product_attention_decode", 2);
        report.left_out.push(oracle::LeftOut {
            constraint: "paged_scaled_dot_product_attention_decode.page_table_rows".into(),
            only: "a page table of 32 rows".into(),
            draws: 1234,
            accepted: 1000,
        });
        fits(&page(
            &[report],
            "\nlinear, draw 3: CircularBuffers\n  linear(...)\n  predicted: 12,345\n  TT-NN: 12,346\n",
        ));
    }

    #[test]
    fn rules_that_drifted_are_named_with_their_first_example() {
        let reports = [report("linear", 3), report("abs", 0), report("max", 1)];
        let error = judge_drift(&reports, "9.9.9", TtnnRelease::latest()).unwrap_err().to_string();
        assert!(error.starts_with("2 of 3 rules") && error.contains("TT-NN 9.9.9"), "{error}");
        assert!(error.ends_with("linear (3 of 10 draws), max (1 of 10 draws)"), "{error}");
        let text = examples(&firsts(&reports), usize::MAX);
        assert!(text.contains("linear 1") && text.contains("max 1") && !text.contains("linear 2"), "{text}");
        assert!(judge_drift(&reports[1..2], "9.9.9", TtnnRelease::latest()).is_ok());
    }
}
