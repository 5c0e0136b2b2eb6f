//! `bitnetc`: compiles BitNet b1.58 models into TT-NN schedules, and checks, explains and runs them.
//!
//! This file knows the subcommands and how they end: 0 done, 1 refused with one error on stderr, 2 misused. Each subcommand is a file.

mod check;
mod completions;
mod import;
mod input;
mod inspect;
mod output;
mod plan;
mod render;
mod targets;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Compiles BitNet b1.58 models into TT-NN schedules for Tenstorrent cards.
#[derive(Debug, Parser)]
#[command(name = "bitnetc", version, max_term_width = 100, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  bitnetc plan bitnet-2b-4t                         what BitNet 2B-4T becomes on an N150
  bitnetc plan bitnet-2b-4t --target p150 --batch 32 --policy fast -o plan.ron
  bitnetc import path/to/checkpoint -o model.ron    a model file from a Hugging Face directory";

#[derive(Debug, Subcommand)]
enum Command {
    /// Compile a model into a plan.
    Plan(plan::Args),
    /// Print a plan: its phases, the steps of one, where everything is in L1.
    Inspect(inspect::Args),
    /// Verify a plan.
    Check(check::Args),
    /// Write a model file from a Hugging Face checkpoint directory.
    Import(import::Args),
    /// List the cards that can be compiled for.
    Targets(targets::Args),
    /// Print shell completions.
    Completions(completions::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Plan(args) => plan::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Check(args) => check::run(args),
        Command::Import(args) => import::run(args),
        Command::Targets(args) => targets::run(args),
        Command::Completions(args) => completions::run::<Cli>(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => {
            eprintln!("{report:?}");
            ExitCode::FAILURE
        }
    }
}
