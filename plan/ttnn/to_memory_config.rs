//! `ttnn.to_memory_config`: the same tensor elsewhere.
//!
//! Between shards, and between shards and interleaved memory, nothing is buffered.

use super::constraint::{constraints, values};
use super::placement::alignment;
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::ToMemoryConfig;
use crate::ttnn::checks::operands;
use crate::{Card, Layout, MemoryConfig, TensorSpec};

constraints! { "to_memory_config", "", also [placement];
    MOVES: "The placement changes."
        because "TT-NN returns the same tensor otherwise, and a step has a result of its own"
        => "the tensor already is in {memory}: no copy is made", "leave the call out";
    TILES_OR_INTERLEAVED: "A row-major tensor moves between interleaved placements only."
        because "no plan shards rows; the buffers were not studied"
        => "row-major tensor from {from} to {to}", "a tiled tensor, or interleaved placements";
}

/// Any tiled tensor to any placement; a row-major one between interleaved L1 and DRAM.
pub(super) fn check(args: &ToMemoryConfig, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    moved(x, &args.memory, card, Checks::new())
}

/// `x` copied to `memory`.
pub(super) fn moved(x: &TensorSpec, memory: &MemoryConfig, card: &Card, mut checks: Checks) -> Answer {
    checks.require(&MOVES, x.memory != *memory, values![memory]);
    checks.require(
        &TILES_OR_INTERLEAVED,
        x.layout == Layout::Tile || (!x.memory.is_sharded() && !memory.is_sharded()),
        values![from = x.memory, to = memory],
    );
    let output = TensorSpec { memory: memory.clone(), ..x.clone() };
    require_placement(&output, card, &mut checks);
    let circular_buffers = match (x.memory.is_sharded() || memory.is_sharded(), x.layout) {
        (true, _) => 0,
        (false, Layout::Tile) => 2 * x.dtype.tile_bytes(),
        (false, Layout::RowMajor) => {
            let row = u64::from(x.columns()) * x.dtype.element_bytes().unwrap_or(0);
            2 * row.next_multiple_of(alignment(memory.memory(), card)) + row
        }
    };
    checks.finish(|| Outcome { outputs: vec![output], circular_buffers, temporaries: Vec::new(), programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, bytes, integers, n150, p150, refusal, row};
    use crate::{Cores, DType};

    fn to(memory: MemoryConfig) -> ToMemoryConfig {
        ToMemoryConfig { input: any(), memory }
    }

    #[test]
    fn shards_move_without_buffers() {
        let card = n150();
        let (x, y) = (row(&card, 8, 2560, 8, 10), row(&card, 8, 2560, 20, 4));
        for memory in [y.memory.clone(), MemoryConfig::L1, MemoryConfig::DRAM] {
            let answer = check(&to(memory.clone()).into(), &[&x], &card).unwrap();
            assert_eq!((answer.circular_buffers, answer.programs), (0, 1));
            assert_eq!(answer.outputs, [TensorSpec { memory, ..x.clone() }]);
        }
        assert!(refusal(check(&to(x.memory.clone()).into(), &[&x], &card)).contains("no copy is made"));
        let short = MemoryConfig::width(Cores::rectangle(0, 0, 8, 1), [20, 320]);
        assert!(refusal(check(&to(short).into(), &[&x], &card)).contains("(20, 320) must be tile {32, 32} sized!"));
    }

    #[test]
    fn interleaved_copies() {
        let dram = TensorSpec::tile([1, 1, 32, 2560], DType::Bfp8, MemoryConfig::DRAM);
        assert_eq!(bytes(to(MemoryConfig::L1), &[&dram], &n150()), 2176);
        assert_eq!(bytes(to(MemoryConfig::L1), &[&integers([1, 17])], &n150()), 228);
        let l1 = TensorSpec { memory: MemoryConfig::L1, ..integers([1, 17]) };
        assert_eq!(bytes(to(MemoryConfig::DRAM), &[&l1], &n150()), 260);
        assert_eq!(bytes(to(MemoryConfig::DRAM), &[&l1], &p150()), 324);
    }
}
