//! Text in lines of a certain width, cut where a reader expects it: at spaces, and names that are longer than a line at their joints. Words
//! and numbers stay whole.

use unicode_width::UnicodeWidthStr as _;

/// Columns of the terminal that a text takes; the codes of colours take none.
pub fn columns(text: &str) -> usize {
    anstream::adapter::strip_str(text).map(|part| part.width()).sum()
}

/// A line in lines of at most `width` columns, as far as its words and the parts of its names allow. Those that follow are indented as it is.
pub fn wrap(line: &str, width: usize) -> Vec<String> {
    let text = line.trim_start_matches(' ');
    let indent = &line[..line.len() - text.len()];
    let mut lines = vec![indent.to_owned()];
    let mut at = indent.len();
    for word in words(text, width.saturating_sub(indent.len())) {
        let longest = columns(word.trim_end());
        let pieces = if indent.len() + longest > width { parts(word) } else { vec![word] };
        for piece in pieces {
            let bare = columns(piece.trim_end());
            if at > indent.len() && at + bare > width {
                lines.push(indent.to_owned());
                at = indent.len();
            }
            if let Some(last) = lines.last_mut() {
                last.push_str(piece);
            }
            at += columns(piece);
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// Units, which stay with their number.
const UNITS: [&str; 9] = ["%", "B", "kB", "MB", "GB", "us", "ms", "s", "GB/s"];

/// The words of a line, each with the spaces after it; a number and its unit are one, where both have room.
fn words(line: &str, room: usize) -> Vec<&str> {
    let (mut words, mut start) = (Vec::new(), 0);
    let ends: Vec<usize> = line.match_indices(' ').map(|(at, _)| at + 1).chain([line.len()]).collect();
    for (at, &end) in ends.iter().enumerate() {
        let number = line[start..end].trim_end().ends_with(|c: char| c.is_ascii_digit());
        let next = ends.get(at + 1).map(|&next| (line[end..next].trim_matches([' ', ',', ';', ')', ':', '.']), next));
        let joined = next.is_some_and(|(unit, next)| {
            number && UNITS.contains(&unit) && columns(line[start..next].trim_end()) <= room
        });
        if !joined {
            words.push(&line[start..end]);
            start = end;
        }
    }
    words
}

/// Width of the longest part of a text that is never cut.
pub fn longest_part(text: &str) -> usize {
    text.split_whitespace().flat_map(parts).map(columns).max().unwrap_or(0)
}

/// The parts of a word, each with the joint that it ends in: `paged_`, `attention_`, `decode`. A joint before a digit is none, because it may
/// stand inside a number.
fn parts(word: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut chars) = (0, word.char_indices().peekable());
    while let Some((_, c)) = chars.next() {
        let Some(&(next, following)) = chars.peek() else { break };
        if "_./+-:,;=)]".contains(c) && !following.is_ascii_digit() && following != ' ' {
            parts.push(&word[start..next]);
            start = next;
        }
    }
    parts.push(&word[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_spaces_and_names_at_their_joints() {
        assert_eq!(wrap("decode of a model: 18 calls", 12), ["decode of a", "model: 18", "calls"]);
        assert_eq!(wrap("  a b c d", 5), ["  a b", "  c d"]);
        assert_eq!(wrap("x paged_attention_decode", 10), ["x paged_", "attention_", "decode"]);
        assert_eq!(wrap("on (0,0)-(7,2)+(0,3)-(5,3)", 16), ["on (0,0)-(7,2)+", "(0,3)-(5,3)"]);
        assert_eq!(wrap("1,344,512 -1.5e-05 b1.58-2b", 4), ["1,344,512", "-1.5e-05", "b1.58-2b"]);
        assert_eq!(wrap("banks of 1.07 GB, 60 % of it", 14), ["banks of", "1.07 GB, 60 %", "of it"]);
        assert_eq!(wrap("takes 12.5 us", 4), ["takes", "12.5", "us"]);
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("\u{1b}[1mdecode\u{1b}[0m of", 9), ["\u{1b}[1mdecode\u{1b}[0m of"]);
    }

    #[test]
    fn columns_are_those_of_a_terminal() {
        assert_eq!((columns("\u{1b}[1mab\u{1b}[0m"), columns("语")), (2, 2));
        assert_eq!((longest_part("a paged_attention_decode 1,344,512"), longest_part(" ")), (10, 0));
    }
}
