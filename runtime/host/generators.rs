//! The random numbers of a card's cores, one sequence for each user.
//!
//! A card has a shift register in each core, which no source of TT-NN's describes so far that the same numbers could be made here. The host
//! has ChaCha8 with the seed and the user's number in its place: a seed repeats a text on either device, but not the text of the other.

use bitnetc_plan::LEAVE;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Sequences of random numbers, by the number of their core.
#[derive(Debug, Default)]
pub struct Generators(Vec<ChaCha8Rng>);

impl Generators {
    /// Starts the numbers of a core anew, unless the seed is [`LEAVE`].
    pub fn seed(&mut self, core: usize, seed: u32) {
        let fresh = (self.0.len()..=core).map(|core| start(core, 0));
        self.0.extend(fresh.collect::<Vec<_>>());
        if seed != LEAVE {
            self.0[core] = start(core, seed);
        }
    }

    /// The next number of a core, from 0 to below 1, in steps of 2^-16 as on a card. A core that was never seeded has the numbers of seed 0.
    pub fn next(&mut self, core: usize) -> f32 {
        self.seed(core, LEAVE);
        f32::from(self.0[core].random::<u16>()) / 65_536.0
    }
}

fn start(core: usize, seed: u32) -> ChaCha8Rng {
    let mut numbers = ChaCha8Rng::seed_from_u64(u64::from(seed));
    numbers.set_stream(core as u64);
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_the_numbers_of_its_core_alone() {
        let mut generators = Generators::default();
        let mut draw = |seed, core| {
            generators.seed(core, seed);
            (0..8).map(|_| generators.next(core)).collect::<Vec<_>>()
        };
        let first = draw(7, 1);
        assert_ne!(draw(7, 0), first);
        assert_ne!(draw(LEAVE, 1), first, "they go on");
        assert_eq!(draw(7, 1), first);
        assert!(first.iter().all(|number| (0.0..1.0).contains(number)));
    }
}
