//! How a prompt is cut into chunks, each for one run of a prefill phase.
//!
//! A chunk starts at a multiple of the phase's [stride](bitnetc_plan::Phase::stride). Of all
//! ways to cover a prompt, the one is taken that is predicted to take the least time; a chunk that starts later attends to more, which is
//! the same for all of them.

use bitnetc_plan::{PhaseKind, Plan};

/// One run of a prefill phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The phase.
    pub phase: usize,
    /// Tokens that the phase takes.
    pub bucket: usize,
    /// Position of the first token.
    pub start: usize,
    /// Tokens, up to `bucket`.
    pub tokens: usize,
}

/// The prefill phases of a plan.
#[derive(Debug)]
pub(super) struct Buckets {
    all: Vec<Bucket>,
    /// The longest prompt that turns by the model's first rotary frequencies: longer ones have phases of their own.
    short: usize,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    phase: usize,
    tokens: usize,
    /// A chunk starts at a multiple of this.
    stride: usize,
    /// Predicted time.
    us: f64,
}

impl Bucket {
    fn of(plan: &Plan, index: usize) -> Option<Self> {
        let phase = &plan.phases[index];
        let PhaseKind::Prefill { tokens } = phase.kind else { return None };
        let stride = phase.stride(plan.options.block) as usize;
        Some(Bucket { phase: index, tokens: tokens as usize, stride, us: phase.cost.device_us })
    }

    /// Tokens of a chunk that another one follows: the same phase can take it.
    const fn advance(&self) -> usize {
        self.tokens / self.stride * self.stride
    }
}

impl Buckets {
    pub fn of(plan: &Plan) -> Self {
        let all = (0..plan.phases.len()).filter_map(|index| Bucket::of(plan, index)).collect();
        Buckets { all, short: plan.short_sequence().map_or(usize::MAX, |short| short as usize) }
    }

    /// Tokens of each phase.
    pub fn tokens(&self) -> impl Iterator<Item = usize> {
        self.all.iter().map(|bucket| bucket.tokens)
    }

    /// Where prefill may start, however many tokens follow: at multiples of this. `None` when no chunk can be followed by another.
    pub fn stride(&self) -> Option<usize> {
        self.all.iter().filter(|bucket| bucket.advance() > 0).map(|bucket| bucket.stride).min()
    }

    /// The phases that a prompt of `tokens` may be prefilled by. See [`bitnetc_plan::weight::LongAngles`].
    fn of_prompt(&self, tokens: usize) -> impl Iterator<Item = &Bucket> {
        self.all.iter().filter(move |bucket| (tokens <= self.short) == (bucket.tokens <= self.short))
    }

    /// How many tokens of a prompt of `tokens` are prefilled: all of them, unless no chunk can be followed by another.
    pub fn prefilled(&self, tokens: usize) -> usize {
        match self.of_prompt(tokens).any(|bucket| bucket.advance() > 0) {
            true => tokens,
            false => tokens.min(self.of_prompt(tokens).map(|bucket| bucket.tokens).max().unwrap_or(0)),
        }
    }

    /// The chunks of positions `start..end` of a prompt of `end` tokens, in order. `None` when no phase takes them: none starts at `start`, or there are more tokens than
    /// the largest phase holds and none can be followed by another.
    pub fn chunks(&self, start: usize, end: usize) -> Option<Vec<Chunk>> {
        let unit = self.of_prompt(end).map(|bucket| bucket.stride).reduce(greatest_common_divisor)?;
        // The best chunk at each multiple of the unit from the end on, with the time of it and all after it.
        let starts = (end - start).div_ceil(unit);
        let mut best: Vec<Option<(f64, Chunk)>> = vec![None; starts];
        for at in (0..starts).rev() {
            let (first, left) = (start + at * unit, end - start - at * unit);
            for bucket in self.of_prompt(end).filter(|bucket| first.is_multiple_of(bucket.stride)) {
                let (tokens, after) = match bucket.advance() {
                    _ if bucket.tokens >= left => (left, Some(0.0)),
                    0 => continue,
                    tokens => (tokens, best.get(at + tokens / unit).copied().flatten().map(|(us, _)| us)),
                };
                let Some(us) = after.map(|after| after + bucket.us) else { continue };
                if best[at].is_none_or(|(least, _)| us < least) {
                    let Bucket { phase, tokens: bucket, .. } = *bucket;
                    best[at] = Some((us, Chunk { phase, bucket, start: first, tokens }));
                }
            }
        }
        let mut chunks = Vec::new();
        let mut at = 0;
        while at < starts {
            let (_, chunk) = best[at]?;
            chunks.push(chunk);
            at += chunk.tokens.div_ceil(unit);
        }
        Some(chunks)
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Phases of `(tokens, stride, us)`.
    fn buckets(of: &[(usize, usize, f64)]) -> Buckets {
        let bucket = |(phase, &(tokens, stride, us))| Bucket { phase, tokens, stride, us };
        Buckets { all: of.iter().enumerate().map(bucket).collect(), short: usize::MAX }
    }

    fn lengths(of: &Buckets, start: usize, end: usize) -> Option<Vec<(usize, usize)>> {
        Some(of.chunks(start, end)?.into_iter().map(|c| (c.bucket, c.tokens)).collect())
    }

    #[test]
    fn the_cheapest_cover_is_taken() {
        let of = buckets(&[(128, 128, 40.0), (512, 256, 110.0)]);
        assert_eq!(of.stride(), Some(128));
        assert_eq!(lengths(&of, 0, 100), Some(vec![(128, 100)]));
        assert_eq!(lengths(&of, 0, 256), Some(vec![(128, 128), (128, 128)]));
        assert_eq!(lengths(&of, 0, 300), Some(vec![(512, 300)]));
        // The longer phase does not start at 128.
        assert_eq!(lengths(&of, 0, 600), Some(vec![(512, 512), (128, 88)]));
        assert_eq!(lengths(&of, 512, 600), Some(vec![(128, 88)]));
        assert_eq!(lengths(&of, 64, 600), None);
        assert_eq!(lengths(&of, 0, 0), Some(vec![]));
    }

    #[test]
    fn chunks_lie_end_to_end_on_their_strides() {
        let of = buckets(&[(96, 64, 3.0), (160, 128, 4.0)]);
        for (from, end) in (1..700).map(|end| (0, end)).chain((65..700).map(|end| (64, end))) {
            let chunks = of.chunks(from, end).unwrap();
            let mut at = from;
            for chunk in &chunks {
                let stride = of.all[chunk.phase].stride;
                assert!(chunk.start == at && at % stride == 0 && chunk.tokens <= chunk.bucket, "{end}: {chunks:?}");
                at += chunk.tokens;
            }
            assert_eq!(at, end);
        }
    }

    #[test]
    fn a_prompt_turns_by_the_frequencies_of_its_length() {
        let of = Buckets { short: 128, ..buckets(&[(128, 64, 40.0), (512, 64, 110.0)]) };
        assert_eq!(lengths(&of, 0, 128), Some(vec![(128, 128)]));
        assert_eq!(lengths(&of, 0, 129), Some(vec![(512, 129)]));
        assert_eq!(lengths(&of, 0, 600), Some(vec![(512, 512), (512, 88)]));
        let short = Buckets { short: 128, ..buckets(&[(128, 64, 40.0)]) };
        assert_eq!((short.prefilled(100), short.prefilled(129)), (100, 0));
    }

    #[test]
    fn phases_shorter_than_their_stride_take_one_chunk() {
        let of = buckets(&[(32, 64, 1.0)]);
        assert_eq!(of.stride(), None);
        assert_eq!((lengths(&of, 0, 32), lengths(&of, 0, 33)), (Some(vec![(32, 32)]), None));
        assert_eq!(buckets(&[]).chunks(0, 1), None);
    }
}
