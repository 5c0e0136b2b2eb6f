//! `bitnetc man`: manual pages.

use std::path::PathBuf;

use clap::CommandFactory;
use miette::{IntoDiagnostic as _, WrapErr as _};

/// Write manual pages, one for each command.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  bitnetc man ~/.local/share/man/man1 && man bitnetc-plan")]
pub struct Args {
    /// The folder, which is made where there is none
    dir: PathBuf,
}

/// Writes the pages of the whole command line `C`.
///
/// # Errors
/// A folder that cannot be made or written.
pub fn run<C: CommandFactory>(args: &Args) -> miette::Result<()> {
    let place = || format!("cannot write manual pages into {}", args.dir.display());
    std::fs::create_dir_all(&args.dir).into_diagnostic().wrap_err_with(place)?;
    clap_mangen::generate_to(C::command(), &args.dir).into_diagnostic().wrap_err_with(place)
}
