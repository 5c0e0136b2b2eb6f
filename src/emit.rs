//! `bitnetc emit`: a plan as a Python program.

use std::path::PathBuf;

use crate::{input, output, render};

/// Print a plan as a standalone Python program of its TT-NN calls.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc emit plan.ron --python -o program.py
  # token ids, a prompt for each user in turn
  python program.py --packed weights.bin --prompt 1,2,3 --prompt 4,5
  python program.py --tensorbin weights --tokenizer DIR --prompt 'ROMEO:' \\
      --temperature 0.8 --top-k 40
  # a line per step: op, shape, dtype, memory config, address
  python program.py --random-weights --json

The program needs ttnn and numpy, for text the package tokenizers, and a card, or a mock one: `bitnetc ttnn python program.py ...`.")]
pub struct Args {
    /// The plan, RON or binary
    plan: PathBuf,
    /// The language: Python, the one there is
    #[arg(long)]
    python: bool,
    /// Where the program goes; stdout when absent or `-`
    #[arg(short, long)]
    output: Option<PathBuf>,
}

/// Emits the program.
///
/// # Errors
/// When the plan cannot be read or has a defect, or the program cannot be written.
pub fn run(args: Args) -> miette::Result<()> {
    let plan = input::plan(&args.plan)?;
    if let Err(defects) = bitnetc_plan::verify(&plan) {
        let help = format!("`bitnetc check {}` lists all {}", args.plan.display(), defects.len());
        let first = defects.first().map_or_else(String::new, ToString::to_string);
        miette::bail!(help = help, "the plan is no program, because it has defects; {first}");
    }
    let program = bitnetc_ttnn::emit::python(&plan);
    match &args.output {
        Some(path) => output::write_text(path, &program),
        None => render::print(&program).map_err(input::cannot_print),
    }
}
