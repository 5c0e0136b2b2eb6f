//! The next token from logits: greedy, or sampled with temperature, top-k and top-p.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::RuntimeError;

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f32,
    /// Only this many of the most likely tokens; 0 for all.
    pub top_k: usize,
    /// Only the most likely tokens that together have at least this probability; 1 for all.
    pub top_p: f32,
    /// The same seed samples the same tokens.
    pub seed: u64,
}

impl Sampling {
    /// The most likely token each time.
    pub const GREEDY: Sampling = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0, seed: 0 };

    /// True when no chance takes part.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0 || self.top_k == 1
    }

    /// Checks the parameters' ranges.
    ///
    /// # Errors
    /// [`RuntimeError::Sampling`].
    pub fn check(&self) -> Result<(), RuntimeError> {
        let wrong = |what, got: f32, want| Err(RuntimeError::Sampling { what, got: got.to_string(), want });
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return wrong("temperature", self.temperature, "a number from 0");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return wrong("top-p", self.top_p, "more than 0 and at most 1");
        }
        Ok(())
    }
}

/// Samples for one user; reuses its memory.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    rng: ChaCha8Rng,
    candidates: Vec<(f32, u32)>,
}

impl Sampler {
    /// A sampler whose chances are those of `user` alone.
    pub fn new(sampling: Sampling, user: u32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(sampling.seed);
        rng.set_stream(u64::from(user));
        Sampler { sampling, rng, candidates: Vec::new() }
    }

    /// The next token; `logits` is not empty. NaN is never chosen unless nothing else is there.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        if self.sampling.is_greedy() {
            return argmax(logits);
        }
        let candidates = &mut self.candidates;
        candidates.clear();
        candidates.extend(logits.iter().zip(0..).filter(|(l, _)| !l.is_nan()).map(|(&l, i)| (l, i)));
        let keep = if self.sampling.top_k == 0 { candidates.len() } else { self.sampling.top_k.min(candidates.len()) };
        // Equal logits in the order of their tokens, so that the choice does not hang on the sort.
        let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if keep < candidates.len() {
            candidates.select_nth_unstable_by(keep, order);
            candidates.truncate(keep);
        }
        candidates.sort_unstable_by(order);
        let Some(&(largest, first)) = candidates.first() else { return 0 };
        let mut total = 0.0;
        for (weight, _) in candidates.iter_mut() {
            *weight = ((*weight - largest) / self.sampling.temperature).exp();
            total += *weight;
        }
        let mut kept = 0.0;
        let nucleus = candidates.iter().position(|(weight, _)| {
            kept += weight;
            kept >= self.sampling.top_p * total
        });
        candidates.truncate(nucleus.map_or(candidates.len(), |last| last + 1));
        let total: f32 = candidates.iter().map(|c| c.0).sum();
        let mut left = self.rng.random::<f32>() * total;
        for &(weight, token) in candidates.iter() {
            left -= weight;
            if left < 0.0 {
                return token;
            }
        }
        candidates.last().map_or(first, |c| c.1)
    }
}

/// Index of the largest, the first among equals; NaN counts as smallest.
pub fn argmax(logits: &[f32]) -> u32 {
    let mut best = (f32::NEG_INFINITY, 0);
    for (&logit, token) in logits.iter().zip(0..) {
        if logit > best.0 {
            best = (logit, token);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, f32::NAN, 2.0, 3.0];

    fn tokens(sampling: Sampling, count: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling, 0);
        (0..count).map(|_| sampler.sample(&LOGITS)).collect()
    }

    #[test]
    fn greedy_takes_the_first_largest() {
        assert_eq!(tokens(Sampling::GREEDY, 1), [1]);
        assert_eq!(tokens(Sampling { temperature: 2.0, top_k: 1, ..Sampling::GREEDY }, 1), [1]);
    }

    #[test]
    fn a_seed_repeats_itself_and_users_differ() {
        let sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, seed: 5 };
        assert_eq!(tokens(sampling, 50), tokens(sampling, 50));
        assert_ne!(tokens(sampling, 50), tokens(Sampling { seed: 6, ..sampling }, 50));
        let mut other = Sampler::new(sampling, 1);
        let other: Vec<u32> = (0..50).map(|_| other.sample(&LOGITS)).collect();
        assert_ne!(tokens(sampling, 50), other);
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let sampling = Sampling { temperature: 0.5, top_k: 0, top_p: 1.0, seed: 1 };
        let drawn = tokens(sampling, 20_000);
        let weights: Vec<f64> =
            LOGITS.iter().map(|l| if l.is_nan() { 0.0 } else { (f64::from(*l) * 2.0).exp() }).collect();
        let total: f64 = weights.iter().sum();
        for (token, weight) in weights.iter().enumerate() {
            let share = drawn.iter().filter(|&&t| t as usize == token).count() as f64 / 20_000.0;
            assert!((share - weight / total).abs() < 0.015, "{token}: {share}");
        }
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let sampling = Sampling { temperature: 10.0, top_k: 2, top_p: 1.0, seed: 1 };
        assert!(tokens(sampling, 200).iter().all(|t| [1, 4].contains(t)));
        let sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 0.75, seed: 1 };
        let drawn = tokens(sampling, 500);
        assert!(drawn.contains(&1) && drawn.contains(&4) && !drawn.contains(&3) && !drawn.contains(&0));
    }

    #[test]
    fn senseless_parameters_are_refused() {
        for sampling in [
            Sampling { temperature: -1.0, ..Sampling::GREEDY },
            Sampling { temperature: f32::NAN, ..Sampling::GREEDY },
            Sampling { top_p: 0.0, ..Sampling::GREEDY },
        ] {
            assert!(sampling.check().is_err());
        }
    }
}
