//! Rotary frequencies. The rules for long contexts are applied here and nowhere else.

use super::{Rope, RopeScaling};

impl Rope {
    /// The longest sequence that turns by the short factors of [`RopeScaling::LongRope`].
    pub fn short_sequence(&self) -> Option<usize> {
        match &self.scaling {
            RopeScaling::LongRope { original_context, .. } => Some(*original_context),
            RopeScaling::None | RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. } | RopeScaling::Yarn { .. } => {
                None
            }
        }
    }

    /// The radians per position of each of the `dim/2` pairs, and the factor of cosines and sines, in a sequence of `length` tokens.
    pub fn frequencies(&self, length: usize) -> (Vec<f64>, f64) {
        let pairs = self.dim / 2;
        let plain = (0..pairs).map(|i| self.theta.powf(-2.0 * i as f64 / self.dim as f64));
        match &self.scaling {
            RopeScaling::None => (plain.collect(), 1.0),
            RopeScaling::Linear { factor } => (plain.map(|f| f / factor).collect(), 1.0),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let original = *original_context as f64;
                let stretch = |frequency: f64| {
                    let turns = original * frequency / std::f64::consts::TAU;
                    let keep = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                    frequency * (keep + (1.0 - keep) / factor)
                };
                (plain.map(stretch).collect(), 1.0)
            }
            RopeScaling::Yarn { factor, beta_fast, beta_slow, original_context, attention_factor, truncate } => {
                // The pair, counted from 0 with a fraction, that turns so often in the original context.
                let pair = |turns: f64| {
                    let wavelength = *original_context as f64 / (turns * std::f64::consts::TAU);
                    self.dim as f64 * wavelength.ln() / (2.0 * self.theta.ln())
                };
                let (low, high) = (pair(*beta_fast), pair(*beta_slow));
                let (low, high) = if *truncate { (low.floor(), high.ceil()) } else { (low, high) };
                let (low, high) = (low.max(0.0), high.min(self.dim as f64 - 1.0));
                // transformers keeps the bounds apart by this much.
                let high = if low == high { high + 0.001 } else { high };
                let stretch = |(pair, frequency): (usize, f64)| {
                    let stretched = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    frequency * (1.0 - stretched + stretched / factor)
                };
                (plain.enumerate().map(stretch).collect(), *attention_factor)
            }
            RopeScaling::LongRope { short, long, original_context, attention_factor } => {
                let divisors = if length <= *original_context { short } else { long };
                let frequencies = plain.enumerate().map(|(i, f)| f / divisors.get(i).copied().unwrap_or(1.0)).collect();
                (frequencies, *attention_factor)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(scaling: RopeScaling) -> Rope {
        Rope { theta: 10_000.0, dim: 4, scaling }
    }

    #[test]
    fn plain_and_linear() {
        assert_eq!(rope(RopeScaling::None).frequencies(8), (vec![1.0, 0.01], 1.0));
        assert_eq!(rope(RopeScaling::Linear { factor: 2.0 }).frequencies(8).0, vec![0.5, 0.005]);
    }

    #[test]
    fn llama3_keeps_short_wavelengths_and_divides_long_ones() {
        let scaling =
            RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 64 };
        let (f, _) = rope(scaling).frequencies(128);
        assert_eq!(f[0], 1.0);
        assert_eq!(f[1], 0.01 / 8.0);
    }

    /// The bounds are pairs 0.81 and 2.02, rounded to 0 and 3.
    #[test]
    fn yarn_stretches_slow_pairs() {
        let scaling = |truncate| RopeScaling::Yarn {
            factor: 4.0,
            beta_fast: 4.0,
            beta_slow: 1.0,
            original_context: 64,
            attention_factor: 1.25,
            truncate,
        };
        let of = |truncate| Rope { theta: 100.0, dim: 8, scaling: scaling(truncate) }.frequencies(256);
        let (f, amplitude) = of(true);
        let plain: Vec<f64> = (0..4).map(|i| 100f64.powf(-f64::from(i) / 4.0)).collect();
        assert_eq!((f[0], amplitude), (plain[0], 1.25));
        for (pair, share) in [(1, 0.75), (2, 0.5), (3, 0.25)] {
            assert!((f[pair] - plain[pair] * share).abs() < 1e-12, "{pair} of {f:?}");
        }
        assert!(of(false).0[1] > f[1] && of(false).0[2] < f[2]);
    }

    #[test]
    fn longrope_chooses_by_length() {
        let scaling = RopeScaling::LongRope {
            short: vec![1.0, 1.0],
            long: vec![2.0, 4.0],
            original_context: 16,
            attention_factor: 1.5,
        };
        assert_eq!(rope(scaling.clone()).frequencies(16).0, vec![1.0, 0.01]);
        assert_eq!(rope(scaling).frequencies(17), (vec![0.5, 0.0025], 1.5));
    }
}
