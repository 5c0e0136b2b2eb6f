//! The name a person may have meant.

/// The candidate that takes the fewest edits to become `name`, if no more than a third of it need be edited.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let best = candidates.into_iter().map(|c| (edits(name, c), c)).min_by_key(|(edits, _)| *edits);
    best.filter(|(edits, _)| *edits <= name.chars().count().div_ceil(3)).map(|(_, c)| c)
}

/// Insertions, deletions and substitutions between two words.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let names = ["down", "ffn_norm", "attended", "logits.0.tiles"];
        assert_eq!(nearest("downs", names), Some("down"));
        assert_eq!(nearest("ffnnorm", names), Some("ffn_norm"));
        assert_eq!(nearest("logits.0.tile", names), Some("logits.0.tiles"));
        assert_eq!(nearest("embedding", names), None);
        assert_eq!(nearest("", names), None);
        assert_eq!((edits("kitten", "sitting"), edits("", "abc"), edits("abc", "abc")), (3, 3, 0));
    }
}
