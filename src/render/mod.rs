//! The output of subcommands. Text is made whole first and written once; colours and widths follow the terminal.

mod report;
mod table;
pub mod units;

pub use report::bounded;
pub use table::{Align, Column, Table};

use std::fmt;
use std::io::{self, Write as _};

/// Columns of the terminal on stdout; `None` when stdout is a file or a pipe, or a terminal that tells no size, as those of containers and
/// build servers often are (0 columns): there lines may be as long as they need.
pub fn width() -> Option<usize> {
    comfy_table::Table::new().width().map(usize::from).filter(|columns| *columns > 0)
}

/// `text` in lines of at most `width` columns, cut at spaces; a word that is longer has a line of its own.
pub fn prose(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    // Without the codes of colours.
    let columns = |word: &str| anstream::adapter::strip_str(word).to_string().chars().count();
    let mut wrapped = String::new();
    for line in text.split_inclusive('\n') {
        let mut at = 0;
        for word in line.split_inclusive(' ') {
            let (all, bare) = (columns(word), columns(word.trim_end()));
            if at > 0 && at + bare > width {
                wrapped.truncate(wrapped.trim_end_matches(' ').len());
                wrapped.push('\n');
                at = 0;
            }
            wrapped.push_str(word);
            at += all;
        }
    }
    wrapped
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_keeps_to_its_width() {
        let text = "\u{1b}[1mdecode\u{1b}[0m of a model: 18 calls\n\na-word-that-is-far-too-long stands alone\n";
        assert_eq!(prose(text, None), text);
        assert_eq!(prose(text, Some(200)), text);
        let narrow = prose(text, Some(12));
        let bare = anstream::adapter::strip_str(&narrow).to_string();
        assert_eq!(bare, "decode of a\nmodel: 18\ncalls\n\na-word-that-is-far-too-long\nstands alone\n");
    }
}
