//! `ttnn.manual_seed`: every core of the grid looks for its number among the generators, and takes the seed that stands there.

use super::constraint::{constraints, values};
use super::{Answer, Checks, Outcome, Temporary};
use crate::op::ManualSeed;
use crate::ttnn::checks::operands;
use crate::{Card, DType, Layout, MemoryConfig, TensorSpec};

constraints! { "manual_seed", "manual_seed_operation.cpp", also [];
    WORDS: "Seeds and generators are u32 and row-major."
        => "Seeds tensor must be of type UINT32 with ROW_MAJOR layout: {seeds}, {generators}", "row-major u32 tensors in DRAM";
    IN_DRAM: "Seeds and generators are interleaved in DRAM."
        because "plans keep them there; other placements were not studied"
        => "seeds {seeds} of {generators}", "tensors in DRAM";
    ONE_SHAPE: "There is a seed for each generator, in one dimension."
        => "Seeds tensor and User IDs tensor must have the same shape and be 1-dimensional: {seeds} and {generators}",
           "two tensors [B]";
    FEW: "There are at most 32 of them."
        because "a plan has no more users, and longer lists were not studied"
        => "{count} seeds", "at most 32";
}

/// `[B]` u32 twice. TT-NN returns a tensor of one word that nobody reads.
pub(super) fn check(_args: &ManualSeed, given: &[&TensorSpec], _card: &Card) -> Answer {
    let [seeds, generators] = operands(given)?;
    let mut checks = Checks::new();
    let words = |x: &TensorSpec| x.dtype == DType::U32 && x.layout == Layout::RowMajor;
    checks.require(&WORDS, words(seeds) && words(generators), values![seeds, generators]);
    let in_dram = seeds.memory == MemoryConfig::DRAM && generators.memory == MemoryConfig::DRAM;
    checks.require(&IN_DRAM, in_dram, values![seeds, generators]);
    checks.require(&ONE_SHAPE, seeds.shape == generators.shape && seeds.shape.len() == 1, values![seeds, generators]);
    checks.require(&FEW, seeds.columns() <= 32, values![count = seeds.columns()]);
    // A tile of each, and one between the kernels of a core.
    let circular_buffers = 3 * DType::U32.tile_bytes();
    let word = TensorSpec::row_major([1], DType::U32, MemoryConfig::DRAM);
    let temporaries = vec![Temporary { spec: word, before_output: true }];
    checks.finish(|| Outcome { outputs: Vec::new(), circular_buffers, temporaries, programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, bytes, n150, refusal};

    #[test]
    fn seeds_go_with_generators() {
        let words = |shape: &[u32]| TensorSpec::row_major(shape, DType::U32, MemoryConfig::DRAM);
        let seed = || ManualSeed { seeds: any(), generators: any() };
        assert_eq!(bytes(seed(), &[&words(&[32]), &words(&[32])], &n150()), 12_288);
        let answer = check(&seed().into(), &[&words(&[5]), &words(&[32])], &n150());
        assert!(refusal(answer).contains("must have the same shape"));
    }
}
