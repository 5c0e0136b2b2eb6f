//! Text whose mistakes are shown in their places, whatever its lines are like.
//!
//! Reports are drawn by [`miette`], which pads lines with spaces up to a mistake's column and cannot pad more than 65,535, and which walks
//! a file from its start for every mistake. An [`Excerpt`] knows where lines start, and of a line that no screen holds it gives the
//! surroundings of the mistake alone.

use std::ops::Range;

use miette::{LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// Bytes of a line, or of a mistake, that are shown whole.
const MOST_SHOWN: usize = 2000;
/// Bytes before and after a mistake that are shown of a longer line.
const AROUND: usize = 100;
/// Bytes between the places of a line whose columns are known.
const STRIDE: usize = 4096;

/// A text and its name.
#[derive(Debug, Clone)]
pub struct Excerpt {
    name: String,
    text: String,
    lines: Lines,
}

impl Excerpt {
    /// `name` is what the report calls the text; empty for none.
    pub fn new(name: &str, text: &str) -> Self {
        let text = text.chars().map(harmless).collect::<String>();
        Excerpt { name: name.to_string(), lines: Lines::new(&text), text }
    }

    /// The name of the text in the report.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Another character of as many bytes for one that a terminal obeys.
fn harmless(letter: char) -> char {
    match letter {
        '\n' | '\r' | '\t' => letter,
        '\0'..' ' | '\x7f' => '?',
        '\u{80}'..='\u{9f}' => '·',
        _ => letter,
    }
}

/// A mark at bytes of a text; of a very long piece its start.
pub fn label(text: &str, span: Range<usize>) -> LabeledSpan {
    LabeledSpan::at(span.start..span.end.min(span.start.saturating_add(MOST_SHOWN)), text)
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let text = &self.text;
        let (start, end) = (span.offset(), span.offset().saturating_add(span.len()));
        if end > text.len() {
            return Err(MietteError::OutOfBounds);
        }
        let last = self.lines.line(end) + after + 1;
        let mut line = self.lines.line(start).saturating_sub(before).max(1);
        let (mut from, mut to) = (self.lines.start(line), self.lines.start(last + 1).min(text.len()));
        let mut column = 0;
        if text[from..to].split('\n').any(|line| line.len() > MOST_SHOWN) {
            let near = (0..=start.saturating_sub(AROUND)).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
            if near > from {
                let place = self.lines.position(text, near);
                (from, line, column) = (near, place.0, place.1 - 1);
            }
            to = to.min((end + AROUND..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len()));
        }
        let inner: SourceSpan = (start - from, end - start).into();
        let part = &text.as_bytes()[from..to];
        let contents = part.read_span(&inner, before, after)?;
        let (at, length) = (contents.span().offset() + from, contents.span().len());
        let (data, line, lines) =
            (&part[at - from..at - from + length], line - 1 + contents.line(), contents.line_count());
        let column = contents.column() + if contents.line() == 0 { column } else { 0 };
        let span = (at, length).into();
        Ok(Box::new(match self.name.is_empty() {
            true => MietteSpanContents::new(data, span, line, column, lines),
            false => MietteSpanContents::new_named(self.name.clone(), data, span, line, column, lines),
        }))
    }
}

/// Where the lines of a text start, and in long lines which character every few thousandth byte belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Lines {
    /// Byte, line and column in characters, the latter from 1, in order.
    marks: Vec<(usize, usize, usize)>,
    /// Bytes at which lines start.
    starts: Vec<usize>,
}

impl Lines {
    pub fn new(text: &str) -> Self {
        let (mut marks, mut starts) = (vec![(0, 1, 1)], vec![0]);
        let (mut line, mut column, mut marked) = (1, 1, 0);
        for (at, letter) in text.char_indices() {
            if letter == '\n' {
                (line, column, marked) = (line + 1, 1, at + 1);
                starts.push(marked);
                marks.push((marked, line, column));
                continue;
            }
            if at - marked >= STRIDE {
                marked = at;
                marks.push((marked, line, column));
            }
            column += 1;
        }
        Lines { marks, starts }
    }

    /// The line of a byte, from 1.
    pub fn line(&self, byte: usize) -> usize {
        self.starts.partition_point(|start| *start <= byte)
    }

    /// The byte a line starts at, or one that no text has.
    fn start(&self, line: usize) -> usize {
        self.starts.get(line.saturating_sub(1)).copied().unwrap_or(usize::MAX)
    }

    /// Line and column in characters, from 1, of a byte of the text.
    pub fn position(&self, text: &str, byte: usize) -> (usize, usize) {
        let known = self.marks.partition_point(|(at, _, _)| *at <= byte).saturating_sub(1);
        let (at, line, column) = self.marks[known];
        (line, column + text.get(at..byte).map_or(0, |between| between.chars().count()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_those_of_a_walk_from_the_start() {
        let text = format!("a\n\n{}é\nlast", "语x".repeat(5000));
        let lines = Lines::new(&text);
        for byte in (0..=text.len()).filter(|byte| text.is_char_boundary(*byte)).step_by(7) {
            let before = &text[..byte];
            let start = before.rfind('\n').map_or(0, |at| at + 1);
            let walked = (before.matches('\n').count() + 1, before[start..].chars().count() + 1);
            assert_eq!(lines.position(&text, byte), walked);
            assert_eq!(lines.line(byte), walked.0);
        }
    }

    #[test]
    fn short_lines_are_given_as_miette_gives_them() {
        let text = "one\ntwo\n\tthree\n\nfive 语\nsix\n";
        let excerpt = Excerpt::new("", text);
        for start in 0..text.len() {
            for length in [1, 5].into_iter().filter(|length| start + length <= text.len()) {
                for context in 0..3 {
                    let span = (start, length).into();
                    let ours = excerpt.read_span(&span, context, context);
                    let theirs = text.read_span(&span, context, context);
                    let shown = |c: Box<dyn SpanContents<'_> + '_>| (c.data().to_vec(), *c.span(), c.line());
                    assert_eq!(ours.map(shown).ok(), theirs.map(shown).ok(), "{span:?} {context}");
                }
            }
        }
    }

    #[test]
    fn what_a_terminal_obeys_is_not_shown() {
        let text = "a\u{1b}[31m\u{9b}31m\0b\r\n\tc";
        let excerpt = Excerpt::new("", text);
        let contents = excerpt.read_span(&(0, text.len()).into(), 0, 0).unwrap();
        assert_eq!(contents.data(), "a?[31m·31m?b\r\n\tc".as_bytes());
    }

    #[test]
    fn of_a_long_line_the_surroundings_are_shown() {
        let text = format!("{}!{}", "\t语".repeat(50_000), "x".repeat(100_000));
        let excerpt = Excerpt::new("long", &text);
        let at = text.find('!').unwrap();
        let contents = excerpt.read_span(&(at, 1).into(), 1, 1).unwrap();
        assert!(contents.data().len() <= 2 * AROUND + 8 && contents.span().offset() >= at - AROUND - 4);
        assert_eq!(contents.column(), text[..contents.span().offset()].chars().count());
    }
}
