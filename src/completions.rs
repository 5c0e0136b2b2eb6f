//! `bitnetc completions`: shell completions on stdout.

use clap::CommandFactory;
use clap_complete::Shell;

/// Print shell completions.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  bitnetc completions bash > ~/.local/share/bash-completion/completions/bitnetc")]
pub struct Args {
    /// The shell.
    shell: Shell,
}

/// Prints completions for the whole command line `C`.
pub fn run<C: CommandFactory>(args: Args) -> miette::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut C::command(), "bitnetc", &mut script);
    crate::render::print(&String::from_utf8_lossy(&script)).map_err(crate::input::cannot_print)
}
