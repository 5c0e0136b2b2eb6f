//! The output of subcommands. Text is made whole first and written once; colours and widths follow the terminal.

#[cfg(test)]
pub mod fits;
mod page;
mod progress;
mod report;
mod table;
pub mod units;
mod wrap;

pub use page::{Page, Width};
pub use progress::{Progress, Stages, be_quiet, remark};
pub use report::bounded;
pub use table::{Align, Column, Table};

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

/// Columns of the terminal on stdout. A terminal that tells no size (0 columns), as those of containers and build servers often are, has those
/// of `COLUMNS`, else the 80 of old. Where stdout is a file or a pipe, lines may be as long as they need (`None`), unless `COLUMNS` says how
/// long that is, as `watch` has it.
pub fn width() -> Option<usize> {
    let stdout = io::stdout();
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.trim().parse().ok()).filter(|n| *n > 0);
    if !stdout.is_terminal() {
        return asked;
    }
    let told = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| size.ws_col);
    Some(if told > 0 { told.into() } else { asked.unwrap_or(80) })
}

/// Writes `text` to stdout, without its colours unless stdout is a terminal that wants them.
///
/// # Errors
/// Any error of stdout, except that its reader has seen enough (`| head`).
pub fn print(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes a line to stderr, whose own errors can be told nowhere.
pub fn tell(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
