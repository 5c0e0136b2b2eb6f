//! Tokens drawn on the device: what each user wants is in buffers, which the host writes once for a text.

use bitnetc_plan::ttnn::CANDIDATES;
use bitnetc_plan::{BufferRole, LEAVE};
use half::bf16;

use super::Session;
use crate::RuntimeError;
use crate::device::{Device, Slot};
use crate::sampler::Sampling;

/// The buffers that a draw reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw {
    k: Slot,
    p: Slot,
    inverse_temperature: Slot,
    seeds: Slot,
    /// The seeds have not been used by a step yet. They are then to be left out of the next.
    fresh: bool,
}

impl Draw {
    /// Those of a plan; `None` where the device takes the likeliest token.
    pub(super) fn of(slot: impl Fn(BufferRole) -> Option<Slot>) -> Option<Self> {
        Some(Draw {
            k: slot(BufferRole::TopK)?,
            p: slot(BufferRole::TopP)?,
            inverse_temperature: slot(BufferRole::InverseTemperature)?,
            seeds: slot(BufferRole::Seeds)?,
            fresh: false,
        })
    }
}

impl<D: Device> Session<D> {
    /// Whether the decode phase picks tokens by `sampling` itself. Without a draw in the plan it takes the likeliest; with one, one of up to 32.
    pub fn picks(&self, sampling: &Sampling) -> bool {
        let few = (1..=CANDIDATES as usize).contains(&sampling.top_k);
        sampling.is_greedy() || few && self.draw.is_some()
    }

    /// Has the decode phase draw the tokens of each user by these parameters, one for each user of the plan, and starts the users' random
    /// numbers anew. Users of one seed have different numbers. Nothing changes in a plan that takes the likeliest token.
    ///
    /// # Errors
    /// Parameters out of range, or of another number of users; a device that refuses.
    pub fn set_sampling(&mut self, users: &[Sampling]) -> Result<(), RuntimeError> {
        let Some(draw) = self.draw else { return Ok(()) };
        if users.len() != self.batch() {
            return Err(RuntimeError::Batch { prompts: users.len(), batch: self.plan.options.batch });
        }
        let of = users.iter().enumerate().map(|(user, sampling)| Parameters::of(sampling, user as u64));
        let all = of.collect::<Result<Vec<_>, _>>()?;
        let mut put = |what, slot, of: fn(&Parameters) -> u32| {
            let data: Vec<u32> = all.iter().map(of).collect();
            self.write(what, slot, &data)
        };
        put("top-k", draw.k, |user| user.k)?;
        put("top-p", draw.p, |user| user.p)?;
        put("inverse temperatures", draw.inverse_temperature, |user| user.inverse_temperature)?;
        put("seeds", draw.seeds, |user| user.seed)?;
        self.draw = Some(Draw { fresh: true, ..draw });
        Ok(())
    }

    /// Writes what a draw needs before the first: parameters that the kernels can compute with.
    pub(super) fn prepare_draw(&mut self) -> Result<(), RuntimeError> {
        if self.draw.is_none() {
            return Ok(());
        }
        self.set_sampling(&vec![Sampling::GREEDY; self.batch()])
    }

    /// After a step: random numbers that it has seeded go on from there.
    pub(super) fn leave_seeds(&mut self) -> Result<(), RuntimeError> {
        match self.draw {
            Some(draw) if draw.fresh => {
                self.draw = Some(Draw { fresh: false, ..draw });
                self.write("seeds", draw.seeds, &vec![LEAVE; self.batch()])
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// What is written for a user; bf16 as their bits.
struct Parameters {
    k: u32,
    p: u32,
    inverse_temperature: u32,
    seed: u32,
}

impl Parameters {
    fn of(sampling: &Sampling, user: u64) -> Result<Self, RuntimeError> {
        sampling.check()?;
        let bits = |value: f32| u32::from(bf16::from_f32(value).to_bits());
        let seed = seed(sampling.seed, user);
        if sampling.is_greedy() {
            return Ok(Parameters { k: 1, p: 0, inverse_temperature: bits(1.0), seed });
        }
        let inverse = bf16::from_f32(1.0 / sampling.temperature);
        let wrong = |what, got: String, want| RuntimeError::Sampling { what, got, want };
        if !inverse.is_finite() {
            return Err(wrong(
                "temperature",
                sampling.temperature.to_string(),
                "0, or large enough that 1 / temperature is a bf16",
            ));
        }
        let k = u32::try_from(sampling.top_k).ok().filter(|k| (1..=CANDIDATES).contains(k));
        let k = k.ok_or_else(|| wrong("top-k", sampling.top_k.to_string(), "1 to 32 for a draw on the device"))?;
        Ok(Parameters { k, p: bits(sampling.top_p), inverse_temperature: bits(inverse.to_f32()), seed })
    }
}

/// The seed of a user's random numbers: SplitMix64 of both, so that neighbours have nothing in common.
fn seed(seed: u64, user: u64) -> u32 {
    let mut z = seed.wrapping_add(user.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    let word = (z ^ z >> 31) as u32;
    if word == LEAVE { 0 } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_those_of_the_kernel() {
        let sampling = Sampling { temperature: 0.5, top_k: 20, top_p: 0.75, seed: 3 };
        let user = Parameters::of(&sampling, 0).unwrap();
        assert_eq!((user.k, user.p, user.inverse_temperature), (20, 0x3f40, 0x4000));
        let greedy = Parameters::of(&Sampling { temperature: 0.0, ..sampling }, 0).unwrap();
        assert_eq!((greedy.k, greedy.p, greedy.inverse_temperature), (1, 0, 0x3f80));
        for wrong in [
            Sampling { top_k: 0, ..sampling },
            Sampling { top_k: 33, ..sampling },
            Sampling { temperature: 1e-39, ..sampling },
        ] {
            assert!(Parameters::of(&wrong, 0).is_err());
        }
        assert_ne!(seed(3, 0), seed(3, 1));
        assert_ne!(seed(3, 0), seed(4, 0));
    }
}
