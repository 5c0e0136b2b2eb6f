//! A table that fits its width: headings and columns of prose give way first, then the least important columns go.

use std::borrow::Cow;

use owo_colors::OwoColorize as _;

use super::wrap::{columns, longest_part, wrap};

/// Side of a column on which its cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// A column of a [`Table`].
#[derive(Debug, Clone)]
pub struct Column {
    title: Cow<'static, str>,
    align: Align,
    /// Narrowest its cells may be wrapped to; `None` when they never are.
    wrap: Option<usize>,
    /// 0 stays; of the others the largest goes first.
    expendable: u8,
}

impl Column {
    /// A column of numbers or short words, never wrapped, never dropped.
    pub fn new(title: impl Into<Cow<'static, str>>, align: Align) -> Self {
        Column { title: title.into(), align, wrap: None, expendable: 0 }
    }

    /// Wraps down to `narrowest` columns of text, or its longest word where that is longer.
    #[must_use]
    pub const fn wrapped(mut self, narrowest: usize) -> Self {
        self.wrap = Some(narrowest);
        self
    }

    /// Left out when there is no room; the larger `rank`, the earlier.
    #[must_use]
    pub const fn expendable(mut self, rank: u8) -> Self {
        self.expendable = rank;
        self
    }
}

/// Spaces between two columns.
const GAP: usize = 2;

/// Rows of text under columns.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// Width of a column's content.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// As it is to be.
    width: usize,
    /// The least that it can be.
    least: usize,
}

impl Table {
    /// An empty table.
    pub fn new(columns: Vec<Column>) -> Self {
        Table { columns, rows: Vec::new() }
    }

    /// Adds a row, one cell for each column.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Titles of the columns that a table of that width has.
    pub fn shown(&self, width: Option<usize>) -> impl Iterator<Item = &str> {
        let extents = self.extents(width);
        self.columns.iter().zip(extents).filter_map(|(column, extent)| extent.map(|_| &*column.title))
    }

    /// The table in `width` columns of text, or as wide as it is; every line ends in a newline.
    pub fn render(&self, width: Option<usize>) -> String {
        let shown: Vec<(usize, usize)> =
            self.extents(width).into_iter().enumerate().filter_map(|(i, extent)| Some((i, extent?.width))).collect();
        let mut text = String::new();
        for line in self.lines(&shown, |i| &self.columns[i].title) {
            text.push_str(&format!("{}\n", line.bold()));
        }
        for row in &self.rows {
            for line in self.lines(&shown, |i| row.get(i).map_or("", String::as_str)) {
                text.push_str(&line);
                text.push('\n');
            }
        }
        text
    }

    /// The lines of a row whose cells are wrapped to the widths of the columns.
    fn lines<'t>(&self, shown: &[(usize, usize)], cell: impl Fn(usize) -> &'t str) -> Vec<String> {
        let wrapped: Vec<Vec<String>> =
            shown.iter().map(|&(i, width)| cell(i).lines().flat_map(|line| wrap(line, width)).collect()).collect();
        let height = wrapped.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let line = |at: usize| {
            let mut line = String::new();
            for (&(i, width), cells) in shown.iter().zip(&wrapped) {
                let text = cells.get(at).map_or("", String::as_str);
                let room = " ".repeat(width.saturating_sub(columns(text)));
                let (before, after) = match self.columns[i].align {
                    Align::Left => ("", &*room),
                    Align::Right => (&*room, ""),
                };
                line.extend([before, text, after, &" ".repeat(GAP)]);
            }
            line.trim_end().to_owned()
        };
        (0..height).map(line).collect()
    }

    /// The extent of each column, `None` for those left out.
    fn extents(&self, width: Option<usize>) -> Vec<Option<Extent>> {
        let mut extents: Vec<_> = (0..self.columns.len()).map(|i| self.natural(i)).collect();
        let Some(width) = width else { return extents };
        let total = |extents: &[Option<Extent>], of: fn(&Extent) -> usize| {
            extents.iter().flatten().map(|extent| of(extent) + GAP).sum::<usize>().saturating_sub(GAP)
        };
        while total(&extents, |extent| extent.least) > width {
            let expendable = |i: &usize| extents[*i].is_some() && self.columns[*i].expendable > 0;
            let least = (0..extents.len()).filter(expendable).max_by_key(|i| self.columns[*i].expendable);
            let Some(least) = least else { break };
            extents[least] = None;
        }
        // What is still too much is taken from the widest, one by one.
        while total(&extents, |extent| extent.width) > width {
            let spare = extents.iter_mut().flatten().filter(|extent| extent.width > extent.least);
            let Some(widest) = spare.max_by_key(|extent| extent.width) else { break };
            widest.width -= 1;
        }
        extents
    }

    /// The extent of a column with all the room it wants. A column that can be left out is, where it says nothing.
    fn natural(&self, i: usize) -> Option<Extent> {
        let Column { title, wrap, expendable, .. } = &self.columns[i];
        let cells = || self.rows.iter().filter_map(|row| row.get(i)).flat_map(|cell| cell.lines());
        if *expendable > 0 && cells().all(str::is_empty) {
            return None;
        }
        let widest = cells().map(columns).max().unwrap_or(0);
        let least = match wrap {
            Some(narrowest) => cells().map(longest_part).max().unwrap_or(0).max(widest.min(*narrowest)),
            None => widest,
        };
        let heading = title.split_whitespace().map(columns).max().unwrap_or(0);
        Some(Extent { width: widest.max(columns(title)), least: least.max(heading) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(vec![
            Column::new("step", Align::Left),
            Column::new("output", Align::Left).wrapped(10),
            Column::new("us", Align::Right),
            Column::new("note", Align::Left).wrapped(8).expendable(2),
            Column::new("bound", Align::Left).expendable(1),
            Column::new("empty", Align::Left).expendable(3),
        ]);
        let cells = ["attn.qkv", "[1, 1, 32, 2560] bf16 L1", "12.5", "proved exact by counting", "Dram", ""];
        table.row(cells.map(str::to_owned).to_vec());
        table.row(["o", "x", "3.0", "", "Launch", ""].map(str::to_owned).to_vec());
        table
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn widest(text: &str) -> usize {
        plain(text).lines().map(|l| l.chars().count()).max().unwrap()
    }

    #[test]
    fn every_width_is_kept_by_wrapping_then_by_dropping() {
        for width in 30..100 {
            let text = table().render(Some(width));
            assert!(widest(&text) <= width, "{width}:\n{text}");
            assert!(text.contains("attn.qkv") && text.contains("12.5"), "{width}:\n{text}");
            assert!(plain(&text).lines().all(|line| line == line.trim_end()), "{width}:\n{text}");
        }
        let narrow = table().render(Some(50));
        assert!(plain(&narrow).contains("proved"), "wrapped:\n{narrow}");
        let narrower = table().render(Some(40));
        assert!(!narrower.contains("proved") && narrower.contains("Launch"), "{narrower}");
        assert!(!table().render(Some(28)).contains("Launch"));
    }

    #[test]
    fn headings_are_wrapped_and_numbers_are_not() {
        let mut table =
            Table::new(vec![Column::new("step", Align::Left), Column::new("L1 at its worst", Align::Right)]);
        table.row(vec!["qkv".into(), "1,344,512".into()]);
        assert_eq!(plain(&table.render(Some(16))), "step   L1 at its\n           worst\nqkv    1,344,512\n");
        assert_eq!(plain(&table.render(Some(9))), "step  L1 at its\n          worst\nqkv   1,344,512\n");
    }
}
