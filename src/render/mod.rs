//! What subcommands print: text made whole first, then written once; colours and widths follow the terminal.

mod table;
pub mod units;

pub use table::{Align, Column, Table};

use std::io::{self, Write as _};

/// Columns of the terminal on stdout; `None` when stdout is a file or a pipe, where lines may be as long as they need.
pub fn width() -> Option<usize> {
    comfy_table::Table::new().width().map(usize::from)
}

/// Writes `text` to stdout, without its colours unless stdout is a terminal that wants them.
///
/// # Errors
/// Whatever stdout says; a reader that has seen enough (`| head`) is none.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
