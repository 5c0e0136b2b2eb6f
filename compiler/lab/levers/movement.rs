//! Levers of the norms, the KV cache and the host.

use bitnetc_plan::Op;

use super::{How, Lever};
use crate::bench::{Bench, is_cache};

impl Bench<'_> {
    pub(super) fn norms(&self) -> Lever {
        let sharded = self.steps().filter(|(_, s)| matches!(s.op, Op::RmsNorm(_)));
        let (count, to) = sharded.fold((0, 0.0), |(n, us), (times, s)| (n + times, us + f64::from(times) * self.us(s)));
        Lever {
            name: "norms".into(),
            positions: ("interleaved".into(), "sharded".into()),
            us: self.interleaved_norms(true).map(|from| (from, to)),
            band_us: (0.0, 0.0),
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
            band_us: (0.0, 0.0),
            how: How::Priced,
            note: format!("at position {}; keys and values read and written whole", self.options.priced_at()),
        }
    }

    /// The lever of picking the token on the card.
    fn token(&self) -> Lever {
        let (vocab, users) = (self.compiled.plan.model.vocab, self.options.batch);
        let host = &self.target.cost.host;
        let argmax = self.token_us();
        Lever {
            name: "token".into(),
            positions: ("host samples".into(), "argmax on the card".into()),
            us: Ok((host.sampled_us(users, vocab), argmax + host.replay_us)),
            band_us: (0.0, 0.0),
            how: self.rests_on("argmax"),
            note: format!(
                "host: a loop of {:.0} us, {:.0} us a user, and the logits over a link of {} GB/s; card: argmax, the trace's start and a read \
                 of the tokens",
                host.sampling_us, host.user_us, host.link_gb_per_s
            ),
        }
    }

    pub(super) fn host(&self) -> Vec<Lever> {
        let device = self.compiled.plan.decode().map_or(0.0, |p| p.cost.device_us);
        let programs: u32 = self.steps().filter(|(_, s)| s.cost.us > 0.0).map(|(times, _)| times).sum();
        let copies = &self.published.copies;
        let second = Lever {
            name: "second queue".into(),
            positions: ("one queue".into(), "copies on a second".into()),
            us: Ok((device, device)),
            band_us: (0.0, 0.0),
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
            band_us: (0.0, 0.0),
            how: How::Unknown,
            note: format!(
                "{programs} calls a step: dispatch is hidden only while the host takes less than {:.1} us a call",
                device / f64::from(programs.max(1))
            ),
        };
        vec![self.token(), second, trace]
    }
}
