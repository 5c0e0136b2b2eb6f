//! `bitnetc ttnn`: the Python environment that has the real TT-NN.

use std::path::PathBuf;

use bitnetc_plan::TtnnRelease;
use bitnetc_ttnn::setup::default_directory;
use bitnetc_ttnn::{CardKind, MockCard, PythonEnv, Setup, Wanted, info};
use miette::{IntoDiagnostic as _, WrapErr as _};

use crate::render;

/// Set up the Python environment that has TT-NN, and show what it reports.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make the environment: a virtual environment with TT-NN, and what its mock cards need.
    Setup(SetupArgs),
    /// Show the interpreter, TT-NN's version, and the grid, DRAM banks and L1 that TT-NN reports of a card.
    Info(InfoArgs),
    /// Run a Python program, such as one that `bitnetc emit` wrote, on a mock card.
    Python(PythonArgs),
    Oracle(crate::oracle::Args),
    Selftest(crate::selftest::Args),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  bitnetc ttnn python --target p150 program.py --random-weights --json")]
struct PythonArgs {
    /// The mock card: n150, n300, p100 or p150
    #[arg(long, value_name = "CARD", default_value = "n150")]
    target: String,
    /// The Python that has TT-NN
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
    program: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc ttnn setup        # into .bitnetc/venv, where bitnetc finds it
  bitnetc ttnn setup --dir ~/ttnn --python /usr/bin/python3.12
  bitnetc ttnn setup --dir ~/older --release 0.70.1   # to ask that release

Does nothing where everything is in place. Needs Python 3.10 or 3.12 with a shared libpython; installs
the package binutils-riscv64-unknown-elf with apt-get (and sudo) when it is missing.")]
struct SetupArgs {
    /// The virtual environment to make [default: .bitnetc/venv in the checkout's root]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The release of TT-NN to install, any that pip finds; plans are made for the default
    #[arg(long, value_name = "VERSION", default_value = TtnnRelease::latest().version)]
    release: String,
    /// The Python to make it from [default: the first suitable one on PATH, of pyenv, of uv, in /usr/bin]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bitnetc ttnn info           # a mock n150: no card is needed
  bitnetc ttnn info --target p150 --json
  bitnetc ttnn info --real    # the card in this machine

The interpreter is --python, else BITNETC_PYTHON, else .bitnetc/venv here or in a directory above, else
VIRTUAL_ENV, else python3 on PATH.")]
struct InfoArgs {
    /// The mock card to open: n150, n300, p100, p150, or that of a target's RON file
    #[arg(long, value_name = "CARD", default_value = "n150", conflicts_with = "real")]
    target: String,
    /// Open the card in this machine
    #[arg(long)]
    real: bool,
    /// The Python that has TT-NN
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

/// Runs `bitnetc ttnn`.
pub fn run(args: Args) -> miette::Result<()> {
    match args.command {
        Command::Setup(args) => setup(&args),
        Command::Info(args) => show(&args),
        Command::Python(args) => python(&args),
        Command::Oracle(args) => crate::oracle::run(&args),
        Command::Selftest(args) => crate::selftest::run(&args),
    }
}

fn setup(args: &SetupArgs) -> miette::Result<()> {
    let directory = match &args.dir {
        Some(dir) => std::path::absolute(dir).into_diagnostic().wrap_err_with(|| dir.display().to_string())?,
        None => default_directory(&std::env::current_dir().into_diagnostic().wrap_err("the current directory")?),
    };
    let setup = Setup::new(&directory, &args.release, args.python.as_deref());
    let outcome = setup.run(&mut |step| remark!("{step} ...")).into_diagnostic()?;
    let mut text = outcome.done.join("\n");
    if outcome.done.is_empty() {
        text.push_str("everything is in place");
    }
    text.push_str(&format!("\n{} has ttnn {}\n", outcome.env.executable.display(), outcome.env.ttnn));
    if args.dir.is_some() {
        text.push_str(&format!("to use it: export BITNETC_PYTHON={}\n", outcome.env.executable.display()));
    }
    render::print(&text).map_err(crate::input::cannot_print)
}

/// The mock card of a target.
fn mock(target: &str) -> miette::Result<MockCard> {
    MockCard::of(&crate::input::target(target, TtnnRelease::latest())?.card).into_diagnostic()
}

fn show(args: &InfoArgs) -> miette::Result<()> {
    let card = if args.real { CardKind::Real } else { CardKind::Mock(mock(&args.target)?) };
    let env = PythonEnv::find(args.python.as_deref(), Wanted::Only(TtnnRelease::latest())).into_diagnostic()?;
    let info = info(&env, card).into_diagnostic()?;
    let text = if args.json { serde_json::to_string(&info).into_diagnostic()? } else { info.to_string() };
    render::print(&format!("{text}\n")).map_err(crate::input::cannot_print)
}

fn python(args: &PythonArgs) -> miette::Result<()> {
    let env = PythonEnv::find(args.python.as_deref(), Wanted::Only(TtnnRelease::latest())).into_diagnostic()?;
    let mut process = mock(&args.target)?.python(&env).into_diagnostic()?;
    let status = process.command.args(&args.program).status().into_diagnostic().wrap_err("cannot start Python")?;
    if status.success() { Ok(()) } else { Err(miette::miette!("the program ended with {status}")) }
}
