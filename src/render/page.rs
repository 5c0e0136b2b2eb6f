//! What a command tells people: paragraphs and tables, laid out when they are printed, because only then the width is known.

use std::fmt::{self, Write as _};

use super::table::Table;
use super::wrap::wrap;
use crate::input;

/// Paragraphs and tables. Paragraphs are written to it, as to a string.
#[derive(Debug, Clone, Default)]
pub struct Page(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Prose(String),
    Table(Table),
    /// A remark on the column of this title.
    Legend(&'static str, String),
}

impl fmt::Write for Page {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if let Some(Part::Prose(last)) = self.0.last_mut() {
            last.push_str(text);
        } else {
            self.0.push(Part::Prose(text.to_owned()));
        }
        Ok(())
    }
}

impl Page {
    /// A paragraph, which ends in a newline.
    pub fn prose(&mut self, text: impl AsRef<str>) {
        // Writing to memory does not fail.
        let _ = self.write_str(text.as_ref());
    }

    /// A table.
    pub fn table(&mut self, table: Table) {
        self.0.push(Part::Table(table));
    }

    /// A paragraph about the column of that title, which is left out where no table before it has room for the column.
    pub fn legend(&mut self, column: &'static str, text: impl Into<String>) {
        self.0.push(Part::Legend(column, text.into()));
    }

    /// Adds another page at the end.
    pub fn append(&mut self, other: Page) {
        for part in other.0 {
            match part {
                Part::Prose(text) => self.prose(text),
                part @ (Part::Table(_) | Part::Legend(..)) => self.0.push(part),
            }
        }
    }

    /// Whether nothing is on it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The page in lines of at most `width` columns, or as wide as it is.
    pub fn render(&self, width: Option<usize>) -> String {
        let (mut text, mut shown) = (String::new(), Vec::new());
        for part in &self.0 {
            match part {
                Part::Prose(paragraph) => text.push_str(&flowed(paragraph, width)),
                Part::Table(table) => {
                    shown.extend(table.shown(width));
                    text.push_str(&table.render(width));
                }
                Part::Legend(column, about) if shown.iter().any(|title| title == column) => {
                    text.push_str(&flowed(about, width));
                }
                Part::Legend(..) => {}
            }
        }
        text
    }
}

/// A paragraph's lines, wrapped.
fn flowed(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let lines = text.split_inclusive('\n').map(|line| match line.strip_suffix('\n') {
        Some(line) => wrap(line, width).join("\n") + "\n",
        None => wrap(line, width).join("\n"),
    });
    lines.collect()
}

/// How wide tables are.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Width {
    /// All columns of tables, whatever the width of the terminal
    #[arg(long)]
    wide: bool,
}

impl Width {
    /// Prints a page.
    ///
    /// # Errors
    /// A stdout that takes no more.
    pub fn print(self, page: &Page) -> miette::Result<()> {
        let width = if self.wide { None } else { super::width() };
        super::print(&page.render(width)).map_err(input::cannot_print)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Align, Column};
    use super::*;

    #[test]
    fn a_page_is_laid_out_when_it_is_printed() {
        let mut page = Page::default();
        let _ = write!(page, "a line of {} words\n  indented and", 6);
        page.prose(" longer\n");
        let mut table =
            Table::new(vec![Column::new("step", Align::Left), Column::new("peak", Align::Right).expendable(1)]);
        table.row(vec!["qkv".into(), "1,344,512".into()]);
        page.table(table);
        page.legend("peak", "peak: bytes\n");
        let plain = |width| anstream::adapter::strip_str(&page.render(width)).to_string();
        let wide = "a line of 6 words\n  indented and longer\nstep       peak\nqkv   1,344,512\npeak: bytes\n";
        assert_eq!(plain(None), wide);
        assert_eq!(plain(Some(100)), wide);
        assert_eq!(plain(Some(12)), "a line of 6\nwords\n  indented\n  and longer\nstep\nqkv\n");
    }
}
