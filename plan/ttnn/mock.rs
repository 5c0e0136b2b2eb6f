//! The cards the tests' figures were read from, as [TT-NN](crate::release) describes them on a mock cluster, and short forms of tensors.

use crate::card::{Dram, L1};
use crate::{Arch, Card, Cores, DType, MemoryConfig, TensorSpec};

/// n150, and what one chip of an n300 looks like.
pub(crate) fn n150() -> Card {
    Card {
        name: "n150".into(),
        arch: Arch::Wormhole,
        grid: (8, 8),
        l1: L1 { base: 105_824, end: 1_499_136, alignment: 16 },
        dram: Dram { banks: 12, base: 1_048_640, bank_bytes: 1_072_693_184, alignment: 32, readers_per_bank: 1 },
    }
}

/// p150; a p100 differs in its 7 DRAM banks.
pub(crate) fn p150() -> Card {
    Card {
        name: "p150".into(),
        arch: Arch::Blackhole,
        grid: (11, 10),
        l1: L1 { base: 111_744, end: 1_572_864, alignment: 16 },
        dram: Dram { banks: 8, base: 1_048_704, bank_bytes: 4_277_141_376, alignment: 64, readers_per_bank: 3 },
    }
}

/// One user per core: `[1, users, heads, head_dim]` bf16 on `users` cores of the card, row by row, from the `first` on.
pub(crate) fn users(card: &Card, first: u32, users: u32, heads: u32, head_dim: u32) -> TensorSpec {
    let cores = Cores::row_major_from(first, users, card.grid);
    TensorSpec::tile([1, users, heads, head_dim], DType::Bf16, MemoryConfig::height(cores, [32, head_dim]))
}

/// A row-major i32 tensor in DRAM.
pub(crate) fn integers(shape: impl Into<Vec<u32>>) -> TensorSpec {
    TensorSpec::row_major(shape, DType::I32, MemoryConfig::DRAM)
}

/// The texts of an answer's violations, one a line.
pub(crate) fn refusal(answer: super::Answer) -> String {
    let violations = answer.expect_err("this call is refused");
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// `[1, 1, rows, columns]` bf16, width-sharded over the first `cores` cores of the card in shards of `tiles` columns of tiles.
pub(crate) fn row(card: &Card, rows: u32, columns: u32, cores: u32, tiles: u32) -> TensorSpec {
    let memory = MemoryConfig::width(Cores::row_major(cores, card.grid), [32, tiles * 32]);
    TensorSpec::tile([1, 1, rows, columns], DType::Bf16, memory)
}

/// A tensor's name, where it does not matter.
pub(crate) fn any() -> crate::Ref {
    crate::Ref::Value("x".into())
}

/// The bytes of circular buffers of a legal call.
pub(crate) fn bytes(op: impl Into<crate::Op>, operands: &[&TensorSpec], card: &Card) -> u64 {
    super::check(&op.into(), operands, card).expect("this call is legal").circular_buffers
}
