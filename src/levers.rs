//! `bitnetc levers`: what each known lever is predicted to be worth.

use bitnetc_compiler::Options;
use bitnetc_compiler::levers::{Lever, Levers, Share, levers};
use bitnetc_compiler::model::Model;
use bitnetc_compiler::policy::Policy;
use bitnetc_compiler::target::Target;
use miette::IntoDiagnostic as _;

use crate::input;
use crate::render::{self, Align, Column, Table, units};

/// Show what each known lever of decode is predicted to be worth.
///
/// Levers that are options are compiled both ways; the others are priced call by call with the functions that price plans. They overlap,
/// so their savings do not add up. Every time is a prediction unless a row says measured.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc levers bitnet-2b-4t
  bitnetc levers bitnet-2b-4t --target p150 --batch 32 --policy exact")]
pub struct Args {
    /// A shipped model's name, or a model's RON file
    model: String,
    /// n150, n300, p100, p150, or a target's RON file
    #[arg(long, default_value = "n150")]
    target: String,
    /// Users of the decode phase, 1 to 32
    #[arg(long, default_value_t = 1)]
    batch: u32,
    /// Policy of the plan from which levers are moved
    #[arg(long, default_value_t = Policy::Balanced)]
    policy: Policy,
    /// Position at which attention is priced [default: 256, or the last of a shorter context]
    #[arg(long)]
    at_position: Option<u32>,
    /// Steps listed, those first that lose most against the DRAM
    #[arg(long, default_value_t = 8)]
    top: usize,
}

/// Prices and prints.
///
/// # Errors
/// When model or target cannot be had, or there is no plan.
pub fn run(args: Args) -> miette::Result<()> {
    let model = input::model(&args.model)?;
    let target = Target::find(&args.target).into_diagnostic()?;
    let mut options = Options::for_model(&model);
    options.batch = args.batch;
    options.policy = args.policy;
    options.position = args.at_position;
    let found = levers(&model, &target, &options).into_diagnostic()?;
    let width = render::width();
    let users = if args.batch == 1 { "one user".to_string() } else { format!("{} users", args.batch) };
    let text = format!(
        "{} on {}, decode of {users} at position {}. Times are predicted.\n\n{}\nlevers, from the {} plan\n{}\nits steps that lose most against peak DRAM bandwidth\n{}{}",
        model.name,
        target.card.name,
        options.priced_at(),
        distances(&found, width),
        found.policy,
        table(&found.levers, width),
        shares(&found, &target, args.top, width),
        baseline(&model, &found, args.batch),
    );
    render::print(&text).map_err(input::cannot_print)
}

fn distances(found: &Levers, width: Option<usize>) -> String {
    let mut table = Table::new(vec![
        Column::new("policy", Align::Left),
        Column::new("card", Align::Right),
        Column::new("host", Align::Right),
        Column::new("t/s per user", Align::Right),
        Column::new("card alone", Align::Right),
        Column::new("weights", Align::Right),
        Column::new("DRAM floor", Align::Right),
        Column::new("times the floor", Align::Right),
        Column::new("note", Align::Left).wrapped(24).expendable(1),
    ]);
    for d in &found.distances {
        let cells = match &d.us {
            Ok((device, host)) => [
                units::time(*device),
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
        table.row([d.policy.to_string()].into_iter().chain(cells).collect());
    }
    table.render(width)
}

fn table(levers: &[Lever], width: Option<usize>) -> String {
    let mut table = Table::new(vec![
        Column::new("lever", Align::Left),
        Column::new("from", Align::Left),
        Column::new("to", Align::Left),
        Column::new("before", Align::Right),
        Column::new("after", Align::Right),
        Column::new("saves", Align::Right),
        Column::new("how", Align::Left),
        Column::new("note", Align::Left).wrapped(30).expendable(1),
    ]);
    for lever in levers {
        let (before, after, saves, note) = match &lever.us {
            Ok((from, to)) => (units::time(*from), units::time(*to), signed(from - to), lever.note.clone()),
            Err(why) => {
                let note = if lever.note.is_empty() { why.clone() } else { format!("{why}; {}", lever.note) };
                ("-".into(), "-".into(), "-".into(), note)
            }
        };
        let (from, to) = lever.positions.clone();
        table.row(vec![lever.name.clone(), from, to, before, after, saves, lever.how.to_string(), note]);
    }
    table.render(width)
}

/// A saving; with its sign when it is none.
fn signed(us: f64) -> String {
    if us < 0.0 { format!("-{}", units::time(-us)) } else { units::time(us) }
}

fn shares(found: &Levers, target: &Target, top: usize, width: Option<usize>) -> String {
    let all: f64 = found.shares.iter().map(Share::us).sum();
    let mut table = Table::new(vec![
        Column::new("step", Align::Left),
        Column::new("times", Align::Right),
        Column::new("each", Align::Right),
        Column::new("all", Align::Right),
        Column::new("share", Align::Right),
        Column::new("above DRAM", Align::Right),
        Column::new("bound", Align::Left),
    ]);
    for share in found.shares.iter().take(top) {
        table.row(vec![
            share.name.clone(),
            share.times.to_string(),
            units::time(share.cost.us),
            units::time(share.us()),
            format!("{:.1} %", 100.0 * share.us() / all),
            units::time(share.above_dram_us(target)),
            format!("{:?}", share.cost.bound),
        ]);
    }
    table.render(width)
}

/// Tokens per second and user of the hand-written port of the reference model at batch 32, as its authors measured it on Wormhole.
const HAND_WRITTEN: f64 = 8.5;

/// Where the reference model stood before; empty for all else.
fn baseline(model: &Model, found: &Levers, batch: u32) -> String {
    let own = found.distances.iter().find(|d| d.policy == found.policy).and_then(|d| d.us.as_ref().ok());
    match own {
        Some((device, host)) if model.name == "bitnet-b1.58-2b-4t" && batch == 32 => {
            let predicted = 1e6 / (device + host);
            format!(
                "\nThe hand-written port was measured at {HAND_WRITTEN} tokens/s per user ({} a step); this plan is predicted at \
                 {predicted:.1}: {:.1} times that.\n",
                units::time(1e6 / HAND_WRITTEN),
                predicted / HAND_WRITTEN
            )
        }
        _ => String::new(),
    }
}
