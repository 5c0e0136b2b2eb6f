//! For the tests of commands: a page fits every terminal.

use std::collections::BTreeSet;

use super::Page;

/// The words and numbers of a text. A point or comma between digits is part of a number.
fn words(text: &str) -> BTreeSet<String> {
    let text: Vec<char> = text.chars().collect();
    let digit = |at: usize| text.get(at).is_some_and(char::is_ascii_digit);
    let part =
        |at: usize| text[at].is_alphanumeric() || ".,".contains(text[at]) && at > 0 && digit(at - 1) && digit(at + 1);
    let (mut words, mut word) = (BTreeSet::new(), String::new());
    for at in 0..=text.len() {
        if at < text.len() && part(at) {
            word.push(text[at]);
        } else {
            words.insert(std::mem::take(&mut word));
        }
    }
    words
}

/// Checks at the usual widths of terminals that no line is wider, and that no word and no number is cut.
pub fn fits(page: &Page) {
    let plain = |width| anstream::adapter::strip_str(&page.render(width)).to_string();
    let whole = words(&plain(None));
    for width in [80, 90, 100, 120, 140, 160, 200] {
        let text = plain(Some(width));
        let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > width).collect();
        assert!(wide.is_empty(), "{width}: {wide:#?}");
        let cut: Vec<_> = words(&text).into_iter().filter(|word| !whole.contains(word)).collect();
        assert!(cut.is_empty(), "{width}: {cut:?} in\n{text}");
        assert!(text.lines().all(|line| line == line.trim_end()), "{width}:\n{text}");
    }
}

#[test]
fn a_cut_number_is_another_number() {
    assert_eq!(words("at 1,344,512 (96 %)."), ["", "1,344,512", "96", "at"].map(String::from).into());
    assert!(words("at 1,344\n,512").is_disjoint(&["1,344,512".to_owned()].into()));
}
