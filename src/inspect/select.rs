//! Which phases `--phase` means.

use std::str::FromStr;

use bitnetc_plan::{PhaseKind, Plan};

/// `decode`, `prefill`, `prefill-128`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// The decode phase.
    Decode,
    /// Every prefill phase, or the one of a bucket.
    Prefill(Option<u32>),
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(['-', ' ', '=']) {
            None if text == "decode" => Ok(Selection::Decode),
            None if text == "prefill" => Ok(Selection::Prefill(None)),
            Some(("prefill", tokens)) => tokens.parse().map(|n| Selection::Prefill(Some(n))).map_err(|_| {
                format!("`{tokens}` is no number of tokens; `prefill-128` is the prefill phase for 128 tokens")
            }),
            _ => Err("expected `decode`, `prefill` or `prefill-TOKENS`".into()),
        }
    }
}

impl Selection {
    fn matches(self, kind: PhaseKind) -> bool {
        match (self, kind) {
            (Selection::Decode, PhaseKind::Decode { .. }) | (Selection::Prefill(None), PhaseKind::Prefill { .. }) => {
                true
            }
            (Selection::Prefill(Some(asked)), PhaseKind::Prefill { tokens }) => asked == tokens,
            _ => false,
        }
    }

    /// The numbers of the phases meant; at least one.
    ///
    /// # Errors
    /// When the plan has none of them.
    pub fn phases(self, plan: &Plan) -> miette::Result<Vec<usize>> {
        let phases = plan.phases.iter().enumerate();
        let found: Vec<usize> = phases.filter(|(_, p)| self.matches(p.kind)).map(|(i, _)| i).collect();
        if found.is_empty() {
            let kinds: Vec<_> = plan.phases.iter().map(|p| p.kind.to_string().replace(' ', "-")).collect();
            miette::bail!(help = format!("it has {}", kinds.join(", ")), "the plan has no such phase");
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_named_in_words() {
        assert_eq!("decode".parse(), Ok(Selection::Decode));
        assert_eq!("prefill".parse(), Ok(Selection::Prefill(None)));
        for text in ["prefill-128", "prefill 128", "prefill=128"] {
            assert_eq!(text.parse(), Ok(Selection::Prefill(Some(128))));
        }
        for text in ["", "Decode", "prefill-", "prefill-x", "decode-3", "prefill128"] {
            assert!(text.parse::<Selection>().is_err(), "{text}");
        }
    }
}
