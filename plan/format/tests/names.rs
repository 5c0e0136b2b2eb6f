//! Misspells every name of the contract: an optional field whose name is misspelt must not be taken for one that was left out.

use std::collections::HashSet;
use std::ops::Range;

use super::super::*;
use super::sample;

/// Where the names of fields and variants stand in a RON text: of each struct or variant, each name once.
fn names(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    // The name before each open bracket, and the name before the current position.
    let (mut around, mut last) = (Vec::new(), "");
    let (mut seen, mut found) = (HashSet::new(), Vec::new());
    // The lines at the top that enable extensions hold no names of the contract.
    let mut at = text.find("\n(").unwrap();
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'(' | b'[' => around.push(last),
            b')' | b']' => last = around.pop().unwrap(),
            b if is_word(b) => {
                let end = at + bytes[at..].iter().position(|&b| !is_word(b)).unwrap();
                let word = &text[at..end];
                if !b.is_ascii_digit() && !matches!(word, "true" | "false" | "None") {
                    last = word;
                    if seen.insert((around.last().copied(), word)) {
                        found.push(at..end);
                    }
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

#[test]
fn a_misspelt_name_in_ron_is_told() {
    let text = to_ron(&Plan { phases: sample(0.5, 0.5).phases[..1].to_vec(), ..sample(0.5, 0.5) }).unwrap();
    let names = names(&text);
    assert!(names.len() > 250, "{}", names.len());
    for name in names {
        let misspelt = format!("{}_x", &text[name.clone()]);
        let changed = format!("{}{misspelt}{}", &text[..name.start], &text[name.end..]);
        match read_bytes(changed.as_bytes()) {
            Err(FormatError::Syntax { what, .. }) if what.contains(&format!("`{misspelt}`")) => {}
            // A text without the field `format` is reported as no plan at all.
            Err(FormatError::NotAPlan { .. }) if misspelt == "format_x" => {}
            other => panic!("`{misspelt}` at {}: {:?}", name.start, other.map(|_| "read as a plan")),
        }
    }
}

#[test]
fn a_misspelt_name_in_a_binary_is_told() {
    let (text, binary) = (to_ron(&sample(0.5, 0.5)).unwrap(), to_binary(&sample(0.5, 0.5)).unwrap());
    let names: HashSet<&str> = names(&text).into_iter().map(|name| &text[name]).collect();
    for name in names {
        let misspelt = format!("{}Z", &name[..name.len() - 1]);
        // MessagePack writes a short text as its length, followed by its bytes.
        let written = |text: &str| [&[0xa0 | text.len() as u8], text.as_bytes()].concat();
        let (old, new) = (written(name), written(&misspelt));
        let mut changed = binary.clone();
        while let Some(at) = changed.windows(old.len()).position(|window| window == old) {
            changed[at..at + new.len()].copy_from_slice(&new);
        }
        let sum = checksum(&[&changed[8..20], &changed[HEADER_BYTES..]]);
        changed[20..24].copy_from_slice(&sum.to_le_bytes());
        match read_bytes(&changed) {
            Err(FormatError::Payload { what }) if what.contains(&format!("`{misspelt}`")) => {}
            other => panic!("`{misspelt}`: {:?}", other.map(|_| "read as a plan")),
        }
    }
}
