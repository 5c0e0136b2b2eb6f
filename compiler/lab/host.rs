//! Published figures of the host's part of a decode step, read from `host.ron`: the link to the card, copies that wait, and sampling.

use std::sync::LazyLock;

use bitnetc_compiler::target::Target;
use bitnetc_plan::Arch;
use serde::Deserialize;

use crate::rows::RowsError;

/// The speed at which a host reads from a card.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The cards it was measured on.
    pub arch: Arch,
    /// The speed in 1e9 bytes per second.
    pub gb_per_s: f64,
    /// The publication.
    pub source: String,
}

/// The host copies of a decode step that does not use a second command queue.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copies {
    /// The time of all copies of a step, in microseconds.
    pub us: f64,
    /// The card and model it was measured on.
    pub card: String,
    /// The publication.
    pub source: String,
}

/// The contents of `host.ron`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The speed of the link, by architecture.
    pub links: Vec<Link>,
    /// Host copies.
    pub copies: Copies,
}

static PUBLISHED: LazyLock<Result<Published, RowsError>> = LazyLock::new(|| {
    let syntax = |e: ron::error::SpannedError| RowsError::Syntax {
        path: "compiler/lab/host.ron".into(),
        position: e.span.start.to_string(),
        reason: e.code.to_string(),
    };
    ron::from_str(include_str!("host.ron")).map_err(syntax)
});

/// The published figures.
///
/// # Errors
/// None for the file as shipped; a test reads it.
pub fn published() -> Result<&'static Published, RowsError> {
    PUBLISHED.as_ref().map_err(Clone::clone)
}

impl Published {
    /// The link of a card.
    pub fn link(&self, target: &Target) -> Option<&Link> {
        self.links.iter().find(|l| l.arch == target.card.arch)
    }
}

/// The bytes of the bf16 logits of `users` users.
pub fn logit_bytes(vocab: u32, users: u32) -> u64 {
    2 * u64::from(vocab) * u64::from(users)
}

/// Microseconds of a step in which the host reads the logits and samples.
///
/// `host_sampling_us` was fitted to one user and includes the time of that user's logits. The logits of every further user take their time
/// on the link. The computation of the host for them is left out, so for many users this is a lower bound.
///
/// # Errors
/// None for the file as shipped.
pub fn sampling_us(target: &Target, vocab: u32, users: u32) -> Result<f64, RowsError> {
    let link = published()?.link(target).map_or(f64::INFINITY, |l| l.gb_per_s);
    Ok(target.cost.host_sampling_us + logit_bytes(vocab, users.saturating_sub(1)) as f64 / (link * 1000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_card_has_a_link_and_further_users_cost_their_bytes() {
        for name in bitnetc_compiler::target::NAMES {
            let target = Target::find(name).unwrap();
            let link = published().unwrap().link(&target).unwrap();
            let one = sampling_us(&target, 128_256, 1).unwrap();
            assert_eq!(one, target.cost.host_sampling_us);
            let bytes = 31.0 * 2.0 * 128_256.0;
            let more = sampling_us(&target, 128_256, 32).unwrap() - one;
            assert!((more * link.gb_per_s * 1000.0 - bytes).abs() < 1.0, "{name}: {more}");
        }
    }
}
