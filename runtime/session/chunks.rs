//! How a prompt is cut into chunks, each for one run of a prefill phase.
//!
//! A chunk starts where its cache blocks and its attention's chunks of queries and keys start: at a multiple of the plan's *stride*. Of all
//! ways to cover a prompt, the one is taken that is predicted to take the least time; a chunk that starts later attends to more, which is
//! the same for all of them.

use bitnetc_plan::{Op, PhaseKind, Plan};

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

/// The prefill phases of a plan, and where chunks may start.
#[derive(Debug)]
pub(super) struct Buckets {
    phases: Vec<Bucket>,
    stride: usize,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    phase: usize,
    tokens: usize,
    /// Predicted time.
    us: f64,
}

impl Buckets {
    pub fn of(plan: &Plan) -> Self {
        let phases = plan.phases.iter().enumerate().filter_map(|(phase, p)| match p.kind {
            PhaseKind::Prefill { tokens } => Some(Bucket { phase, tokens: tokens as usize, us: p.cost.device_us }),
            PhaseKind::Decode { .. } => None,
        });
        let attention = plan.phases.iter().flat_map(|phase| phase.steps()).filter_map(|step| {
            let Op::Sdpa(args) = &step.op else { return None };
            Some([args.program.q_chunk as usize, args.program.k_chunk as usize])
        });
        let stride = attention.flatten().fold(plan.options.block as usize, least_common_multiple);
        Buckets { phases: phases.collect(), stride }
    }

    /// Tokens of each phase.
    pub fn tokens(&self) -> impl Iterator<Item = usize> {
        self.phases.iter().map(|bucket| bucket.tokens)
    }

    /// Positions at which a chunk may start are the multiples of this.
    pub const fn stride(&self) -> usize {
        self.stride
    }

    /// Tokens that a chunk takes which another one follows.
    fn advance(&self, bucket: Bucket) -> usize {
        bucket.tokens / self.stride * self.stride
    }

    /// Whether any chunk can be followed by another.
    pub fn go_on(&self) -> bool {
        self.phases.iter().any(|bucket| self.advance(*bucket) > 0)
    }

    /// The chunks of positions `start..end`, in order. `None` when no phase takes them: `start` is no multiple of the stride, or there are more
    /// tokens than the largest phase holds and none can be followed by another.
    pub fn chunks(&self, start: usize, end: usize) -> Option<Vec<Chunk>> {
        if !start.is_multiple_of(self.stride) {
            return None;
        }
        // The best chunk at each multiple of the stride from the end on, with the time of it and all after it.
        let starts = (end - start).div_ceil(self.stride);
        let mut best: Vec<Option<(f64, Chunk)>> = vec![None; starts];
        for at in (0..starts).rev() {
            let (first, left) = (start + at * self.stride, end - start - at * self.stride);
            for bucket in &self.phases {
                let (tokens, after) = if bucket.tokens >= left {
                    (left, Some(0.0))
                } else {
                    let tokens = self.advance(*bucket);
                    let next = best.get(at + tokens / self.stride).copied().flatten().filter(|_| tokens > 0);
                    (tokens, next.map(|(us, _)| us))
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
            at += chunk.tokens.div_ceil(self.stride);
        }
        Some(chunks)
    }
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    if x == 0 { a.max(b) } else { a / x * b }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(tokens: &[(usize, f64)], stride: usize) -> Buckets {
        let phases = tokens.iter().enumerate().map(|(phase, &(tokens, us))| Bucket { phase, tokens, us });
        Buckets { phases: phases.collect(), stride }
    }

    fn lengths(of: &Buckets, start: usize, end: usize) -> Option<Vec<(usize, usize)>> {
        Some(of.chunks(start, end)?.into_iter().map(|c| (c.bucket, c.tokens)).collect())
    }

    #[test]
    fn the_cheapest_cover_is_taken() {
        let of = buckets(&[(128, 40.0), (512, 110.0)], 128);
        assert_eq!(lengths(&of, 0, 100), Some(vec![(128, 100)]));
        assert_eq!(lengths(&of, 0, 256), Some(vec![(128, 128), (128, 128)]));
        assert_eq!(lengths(&of, 0, 300), Some(vec![(512, 300)]));
        assert_eq!(lengths(&of, 0, 600), Some(vec![(128, 128), (512, 472)]));
        assert_eq!(lengths(&of, 512, 600), Some(vec![(128, 88)]));
        assert_eq!(lengths(&of, 64, 600), None);
        assert_eq!(lengths(&of, 0, 0), Some(vec![]));
    }

    #[test]
    fn chunks_lie_end_to_end_on_the_stride() {
        let of = buckets(&[(96, 3.0), (160, 4.0)], 64);
        for end in 1..700 {
            let chunks = of.chunks(0, end).unwrap();
            let mut at = 0;
            for chunk in &chunks {
                assert!(chunk.start == at && at % 64 == 0 && chunk.tokens <= chunk.bucket, "{end}: {chunks:?}");
                at += chunk.tokens;
            }
            assert_eq!(at, end);
        }
    }

    #[test]
    fn phases_shorter_than_the_stride_take_one_chunk() {
        let of = buckets(&[(32, 1.0)], 64);
        assert!(!of.go_on());
        assert_eq!((lengths(&of, 0, 32), lengths(&of, 0, 33)), (Some(vec![(32, 32)]), None));
        assert_eq!(buckets(&[], 64).chunks(0, 1), None);
        assert_eq!((least_common_multiple(64, 96), least_common_multiple(64, 512)), (192, 512));
    }
}
