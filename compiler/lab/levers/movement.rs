//! Levers of the norms, the KV cache and the host.

use bitnetc_plan::Op;

use super::{How, Lever, device_us};
use crate::bench::{Bench, is_cache};
use crate::host;
use crate::rows::Use;

impl Bench<'_> {
    pub(super) fn norms(&self) -> Lever {
        let sharded = self.steps().filter(|(_, s)| matches!(s.op, Op::RmsNorm(_)));
        let (count, to) = sharded.fold((0, 0.0), |(n, us), (times, s)| (n + times, us + f64::from(times) * s.cost.us));
        Lever {
            name: "norms".into(),
            positions: ("interleaved".into(), "sharded".into()),
            us: self.interleaved_norms(true).map(|from| (from, to)),
            how: self.rests_on("norm.interleaved_tile_us"),
            note: format!("{count} norms; an interleaved one leaves its shards and returns to them"),
        }
    }

    pub(super) fn cache(&self) -> Lever {
        let to = self.sum_us(is_cache);
        Lever {
            name: "KV cache".into(),
            positions: ("concatenated".into(), "in place".into()),
            us: self.concatenated_cache().map(|from| (from, to)),
            how: How::Priced,
            note: format!("at position {}; keys and values read and written whole", self.options.priced_at()),
        }
    }

    /// The lever of picking the token on the card. Its evidence is a measured argmax of one user, a host loop fitted to one user, and the
    /// speed of a link.
    pub(super) fn token_rests_on(&self) -> How {
        let (own, several) = (&self.target.card.name, self.options.batch > 1);
        let mut reasons = Vec::new();
        if let Some(card) = self.measured_on("movement.argmax_gb_per_s").filter(|card| several || *card != own) {
            reasons.push(format!("argmax measured on {card}{}", if several { ", one user" } else { "" }));
        }
        let mut fitted = self.rows.steps.iter().filter(|r| r.used == Use::Fit).map(|r| &r.target);
        if let Some(card) = fitted.clone().next().filter(|_| fitted.all(|card| card != own)) {
            reasons.push(format!("host loop fitted on {card}"));
        }
        if several {
            reasons.push("link assumed".into());
        }
        if reasons.is_empty() {
            How::Priced
        } else {
            How::Extrapolated(format!("extrapolated, {}", reasons.join("; ")))
        }
    }

    fn token(&self) -> Lever {
        let (vocab, users) = (self.compiled.plan.model.vocab, self.options.batch);
        let c = &self.target.cost;
        let argmax = self.sum_us(|s| matches!(s.op, Op::ArgMax(_)));
        let on_card = argmax + c.host_us;
        let us = host::sampling_us(self.target, vocab, users).map(|host| (host, on_card)).map_err(|e| e.to_string());
        let more = host::logit_bytes(vocab, users.saturating_sub(1)) as f64;
        let note = if users == 1 {
            "host: the fitted loop; card: argmax, the trace's start and a read of the token".to_string()
        } else {
            let link = self.published.link(self.target);
            let link = link.map_or_else(String::new, |l| format!(" over a link of {} GB/s ({})", l.gb_per_s, l.source));
            let even = (on_card - c.host_sampling_us).max(0.0);
            let while_ = if even > 0.0 { format!("below {:.1} GB/s", more / even / 1000.0) } else { "always".into() };
            format!("host: the loop fitted to one user, and {:.1} MB more{link}; the card wins {while_}", more / 1e6,)
        };
        Lever {
            name: "token".into(),
            positions: ("host samples".into(), "argmax on the card".into()),
            us,
            how: self.token_rests_on(),
            note,
        }
    }

    pub(super) fn host(&self) -> Vec<Lever> {
        let device = device_us(&self.compiled.plan);
        let programs: u32 = self.steps().filter(|(_, s)| s.cost.us > 0.0).map(|(times, _)| times).sum();
        let copies = &self.published.copies;
        let second = Lever {
            name: "second queue".into(),
            positions: ("one queue".into(), "copies on a second".into()),
            us: Ok((device, device)),
            how: How::Priced,
            note: format!(
                "nothing to hide: the token stays on the card and is read a step behind, and no event can be in a trace; a loop whose \
                 host copies three or four tensors a step waited {:.2} ms on {} ({})",
                copies.us / 1000.0,
                copies.card,
                copies.source
            ),
        };
        let trace = Lever {
            name: "trace".into(),
            positions: ("dispatched one by one".into(), "traced".into()),
            us: Err("no published figure of untraced dispatch".into()),
            how: How::Unknown,
            note: format!(
                "{programs} calls a step: dispatch is hidden only while the host takes less than {:.1} us a call",
                device / f64::from(programs.max(1))
            ),
        };
        vec![self.token(), second, trace]
    }
}
