//! A table that fits its width: columns of prose give way first, then the least important columns go.

use std::borrow::Cow;

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, Width};

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
    /// Narrowest it may be wrapped to; `None` when it is never wrapped.
    wrap: Option<usize>,
    /// 0 stays; of the others the largest goes first.
    expendable: u8,
}

impl Column {
    /// A column of numbers or short words, never wrapped, never dropped.
    pub fn new(title: impl Into<Cow<'static, str>>, align: Align) -> Self {
        Column { title: title.into(), align, wrap: None, expendable: 0 }
    }

    /// Wraps down to `narrowest` columns of text.
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

    /// The table in `width` columns of text, or as wide as it is; every line ends in a newline.
    pub fn render(&self, width: Option<usize>) -> String {
        let widths = self.widths(width);
        let mut table = comfy_table::Table::new();
        table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled).enforce_styling();
        let shown = || widths.iter().enumerate().filter_map(|(i, w)| w.map(|w| (i, w)));
        let title = |(i, _): (usize, usize)| Cell::new(&self.columns[i].title).add_attribute(Attribute::Bold);
        table.set_header(shown().map(title).collect::<Vec<_>>());
        for row in &self.rows {
            table.add_row(shown().map(|(i, _)| Cell::new(row.get(i).map_or("", String::as_str))).collect::<Vec<_>>());
        }
        if width.is_some() {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        let last = shown().count().saturating_sub(1);
        for (at, (i, width)) in shown().enumerate() {
            let Some(column) = table.column_mut(at) else { continue };
            let gap = if at == last { 0 } else { GAP };
            column.set_padding((0, gap as u16));
            column.set_constraint(ColumnConstraint::Absolute(Width::Fixed((width + gap) as u16)));
            column.set_cell_alignment(match self.columns[i].align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
        }
        table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// Width of the content of each column, `None` for those left out.
    fn widths(&self, width: Option<usize>) -> Vec<Option<usize>> {
        let natural = |i: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(i)).flat_map(|cell| cell.lines());
            cells.chain([&*self.columns[i].title]).map(|text| text.chars().count()).max().unwrap_or(0)
        };
        let mut widths: Vec<_> = (0..self.columns.len()).map(|i| Some(natural(i))).collect();
        // A column without any content says nothing.
        for (i, w) in widths.iter_mut().enumerate() {
            if self.columns[i].expendable > 0 && self.rows.iter().all(|row| row.get(i).is_none_or(String::is_empty)) {
                *w = None;
            }
        }
        let Some(width) = width else { return widths };
        let total =
            |widths: &[Option<usize>]| widths.iter().flatten().map(|w| w + GAP).sum::<usize>().saturating_sub(GAP);
        let narrowest = |widths: &[Option<usize>]| {
            let least =
                |(i, w): (usize, &Option<usize>)| w.map(|w| self.columns[i].wrap.map_or(w, |least| w.min(least)));
            total(&widths.iter().enumerate().map(least).collect::<Vec<_>>())
        };
        while narrowest(&widths) > width {
            let shown = widths.iter().enumerate().filter(|(i, w)| w.is_some() && self.columns[*i].expendable > 0);
            let Some((least, _)) = shown.max_by_key(|(i, _)| self.columns[*i].expendable) else { break };
            widths[least] = None;
        }
        self.narrow(&mut widths, width, total);
        widths
    }

    /// Takes from the widest wrapped column, one by one, until the table fits.
    fn narrow(&self, widths: &mut [Option<usize>], width: usize, total: impl Fn(&[Option<usize>]) -> usize) {
        while total(widths) > width {
            let spare = |(i, w): (usize, &Option<usize>)| {
                let (w, least) = ((*w)?, self.columns[i].wrap?);
                (w > least).then_some((w, i))
            };
            let Some((_, widest)) = widths.iter().enumerate().filter_map(spare).max() else { break };
            widths[widest] = widths[widest].map(|w| w - 1);
        }
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
    fn without_a_terminal_nothing_is_wrapped_or_dropped() {
        let text = plain(&table().render(None));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[1], "attn.qkv  [1, 1, 32, 2560] bf16 L1  12.5  proved exact by counting  Dram");
        assert_eq!(lines[2], "o         x                          3.0                            Launch");
    }

    #[test]
    fn every_width_is_kept_by_wrapping_then_by_dropping() {
        for width in 30..100 {
            let text = table().render(Some(width));
            assert!(widest(&text) <= width, "{width}:\n{text}");
            assert!(text.contains("attn.qkv") && text.contains("12.5"), "{width}:\n{text}");
        }
        let narrow = table().render(Some(50));
        assert!(plain(&narrow).contains("proved"), "wrapped:\n{narrow}");
        let narrower = table().render(Some(40));
        assert!(!narrower.contains("proved") && narrower.contains("Launch"), "{narrower}");
        assert!(!table().render(Some(28)).contains("Launch"));
    }
}
