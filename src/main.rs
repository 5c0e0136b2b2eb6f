//! `bitnetc`: compiles BitNet b1.58 models into TT-NN schedules, and checks, explains and runs them.
//!
//! This file knows the subcommands and how they end: 0 done, 1 refused with one error on stderr, 2 misused, 130 ended by Ctrl-C. Each subcommand is a file.

/// As `std::eprintln!`, which panics where stderr takes no more: what cannot be told changes nothing about how the program ends.
macro_rules! eprintln {
    () => {
        $crate::render::tell(format_args!(""))
    };
    ($($text:tt)+) => {
        $crate::render::tell(format_args!($($text)+))
    };
}

/// A remark on stderr, which `--quiet` leaves out.
macro_rules! remark {
    ($($text:tt)+) => {
        $crate::render::remark(format_args!($($text)+))
    };
}

mod answer;
mod ask;
mod bench;
mod beside;
mod calibrate;
mod chat;
mod check;
mod chosen;
mod compare;
mod completions;
mod device;
mod diff;
mod document;
mod emit;
mod eval;
mod explain;
mod export;
mod guard;
#[cfg(test)]
#[path = "../tests/common/hostile.rs"]
mod hostile;
#[cfg(test)]
mod hostile_tests;
mod import;
mod input;
mod inspect;
mod kind;
mod levers;
mod load;
mod man;
mod matrix;
mod models;
mod oracle;
mod output;
mod pack;
mod plan;
mod prompts;
mod recompile;
mod render;
mod replay;
mod report;
mod rules;
mod run;
mod schema;
mod selftest;
mod supervise;
mod synth;
mod targets;
mod template;
mod text;
mod tokenizer;
mod trace_search;
mod ttnn;

use std::process::ExitCode;

use bitnetc_ttnn::note;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::supervise::Patience;

/// Compiles BitNet b1.58 models into TT-NN schedules for Tenstorrent cards.
#[derive(Debug, Parser)]
#[command(name = "bitnetc", version, max_term_width = 100, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Nothing on stderr but errors: no progress, no remarks
    #[arg(long, short, global = true)]
    quiet: bool,
}

const EXAMPLES: &str = "Examples:
  bitnetc plan bitnet-2b-4t          # what BitNet 2B-4T becomes on an N150
  bitnetc plan bitnet-2b-4t --target p150 --batch 32 --policy fast -o plan.ron
  bitnetc run --prompt 'ROMEO:'      # text from the small model, on the host
  bitnetc import path/to/checkpoint -o model.ron    # from Hugging Face";

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask whether TT-NN takes a call, and what comes of it.
    Ask(ask::Args),
    /// Compile a model into a plan.
    Plan(plan::Args),
    /// Print a plan: its phases, the steps of one, where everything is in L1.
    Inspect(inspect::Args),
    /// Explain a step: what else there was, what bounds it, what was proved.
    Explain(explain::Args),
    /// Show the differences between two plans, and their predicted effect.
    Diff(diff::Args),
    /// Compare the cost model with published measurements.
    Calibrate(calibrate::Args),
    /// Show what each known lever of decode is predicted to be worth.
    Levers(levers::Args),
    /// Verify a plan.
    Check(check::Args),
    /// List the constraints of TT-NN's calls, each with its source.
    Rules(rules::Args),
    /// Generate text with a plan, on the host.
    Run(run::Args),
    /// Measure what a plan costs in accuracy.
    Eval(eval::Args),
    /// Compare the precision policies of a model.
    Compare(compare::Args),
    /// Measure how fast a plan runs on the host.
    Bench(bench::Args),
    /// Print a plan as a Python program of its TT-NN calls.
    Emit(emit::Args),
    /// Write a plan for ttnn-visualizer, tt-perf-report, Graphviz or Model Explorer.
    Export(export::Args),
    /// Write a plan's weights in TT-NN's formats.
    Pack(pack::Args),
    /// Write a checkpoint of random ternary weights.
    Synth(synth::Args),
    /// Check many plans of the shipped models against TT-NN on mock cards.
    Matrix(matrix::Args),
    /// Set up TT-NN on a mock card, and show what it reports.
    Ttnn(ttnn::Args),
    /// Write a model file from a Hugging Face checkpoint directory or a .gguf.
    Import(import::Args),
    /// List the models that can be planned by name.
    Models(models::Args),
    /// List the cards that can be compiled for.
    Targets(targets::Args),
    /// Print the JSON Schema of what a command prints with --json.
    Schema(schema::Args),
    /// Print shell completions.
    Completions(completions::Args),
    /// Write manual pages.
    Man(man::Args),
}

/// The command line. Help is wrapped at the terminal's columns, or at `COLUMNS` where there is no terminal; a `COLUMNS` of 0, which would
/// leave a word on each line, is none, and so are the 0 columns of a terminal.
fn parse() -> Cli {
    let no_columns = std::env::var("COLUMNS").is_ok_and(|columns| columns.trim() == "0");
    let mut command = Cli::command();
    match render::width() {
        Some(columns) => command = command.term_width(columns.min(100)),
        None if no_columns => command = command.term_width(100),
        None => {}
    }
    Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

fn main() -> ExitCode {
    // A shell that asks what may stand in a line is answered, and the program ends there.
    clap_complete::CompleteEnv::with_factory(Cli::command).complete();
    let cli = parse();
    if cli.quiet {
        render::be_quiet();
    }
    if let Some(patience) = cli.command.supervised() {
        match note::attach() {
            Ok(true) => {}
            // A process of its own for TT-NN, which may end it or never come back.
            Ok(false) => return supervise::run(patience),
            Err(error) => remark!("warning: not supervised: {error}"),
        }
    }
    let code = execute(cli.command);
    note::ended(code);
    ExitCode::from(code)
}

/// Executes a command and tells its error; the exit code.
fn execute(command: Command) -> u8 {
    let done = match command {
        Command::Ask(args) => return ask::run(&args),
        Command::Diff(args) => match diff::run(&args) {
            Ok(alike) => return u8::from(!alike),
            Err(report) => Err(report),
        },
        Command::Plan(args) => plan::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Levers(args) => levers::run(args),
        Command::Check(args) => check::run(args),
        Command::Rules(args) => rules::run(&args),
        Command::Run(args) => run::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Bench(args) => bench::run(&args),
        Command::Emit(args) => emit::run(args),
        Command::Export(args) => export::run(args),
        Command::Pack(args) => pack::run(args),
        Command::Synth(args) => synth::run(args),
        Command::Matrix(args) => matrix::run(args),
        Command::Ttnn(args) => ttnn::run(args),
        Command::Import(args) => import::run(args),
        Command::Models(args) => models::run(&args),
        Command::Targets(args) => targets::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run::<Cli>(&args),
    };
    match done {
        // What a person has ended needs no explanation, only the end of the line that it stopped in.
        Err(_) if load::is_interrupted() => {
            eprintln!();
            load::INTERRUPTED
        }
        Ok(()) if load::is_interrupted() => load::INTERRUPTED,
        Ok(()) => 0,
        Err(report) => {
            eprintln!("{:?}", render::bounded(report));
            1
        }
    }
}

impl Command {
    /// Whether the command drives TT-NN and is therefore supervised, and how long a call may take then.
    fn supervised(&self) -> Option<Patience> {
        match self {
            Command::Run(args) => args.device.supervised(),
            Command::Eval(args) => args.device.supervised(),
            Command::Compare(args) => args.device.supervised(),
            Command::Bench(args) => args.device.supervised(),
            Command::Ask(_) | Command::Diff(_) | Command::Plan(_) | Command::Inspect(_) | Command::Explain(_) => None,
            Command::Levers(_)
            | Command::Calibrate(_)
            | Command::Check(_)
            | Command::Rules(_)
            | Command::Emit(_)
            | Command::Export(_) => None,
            Command::Pack(_) | Command::Synth(_) | Command::Matrix(_) | Command::Ttnn(_) | Command::Import(_) => None,
            Command::Models(_) | Command::Targets(_) | Command::Schema(_) => None,
            Command::Completions(_) | Command::Man(_) => None,
        }
    }
}
