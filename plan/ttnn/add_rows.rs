//! `add_rows`: a sum with rows that are multiplied by a number each, with kernels of bitnetc's own.
//!
//! `ttnn.generic_op` accepts any program; the constraints are those of the kernels in `cpp/kernels/add_rows`.

use super::checks::operands;
use super::constraint::{constraints, values};
use super::ternary_linear::in_equal_shards;
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::AddRows;
use crate::{Arch, Card, DType, Layout, TILE, TensorSpec, kernels};

constraints! { "add_rows", "generic_op.cpp", also [placement];
    SHARDED: "The sum is one row of bf16 tiles in equal width shards in L1."
        because "a core adds the columns of its shard"
        => "a sum in {a}", "[1, 1, 32, N] bf16, width-sharded evenly in L1";
    ALIKE: "What is added is f32, of the sum's shape and in its place."
        because "a core multiplies what it holds"
        => "{b} added to {a}", "f32 of the same shape and memory config";
    FACTORS: "There is one number in f32 for each row, interleaved."
        because "every core reads the one tile that holds them"
        => "factors in {factors}", "[1, 1, B, 1] f32, tiled and interleaved";
    CHIP: "The card is a Wormhole."
        because "on Blackhole's simulator a step with this call did not end"
        => "a sum of rows on {arch}", "ttnn.mul and ttnn.add";
    KERNELS: "The kernels are those of this bitnetc."
        because "a plan is priced and compared for the kernels it names"
        => "kernels {found}; this bitnetc has {own}", "plan the model again";
}

/// `[1,1,rows,N] += [1,1,rows,N] * [1,1,rows,1]`.
pub(super) fn check(args: &AddRows, given: &[&TensorSpec], card: &Card) -> Answer {
    let [a, b, factors] = operands(given)?;
    let mut checks = Checks::new();
    let sharded = a.dtype == DType::Bf16 && in_equal_shards(a, a.columns().div_ceil(TILE));
    checks.require(&SHARDED, sharded, values![a]);
    let alike = *b == TensorSpec { dtype: DType::F32, ..a.clone() };
    checks.require(&ALIKE, alike, values![a, b]);
    let column = factors.dtype == DType::F32
        && factors.layout == Layout::Tile
        && !factors.memory.is_sharded()
        && factors.shape.last() == Some(&1)
        && factors.shape.split_last().map(|(_, sides)| sides) == a.shape.split_last().map(|(_, sides)| sides);
    checks.require(&FACTORS, column, values![factors]);
    checks.require(&CHIP, card.arch == Arch::Wormhole, values![arch = format!("{:?}", card.arch)]);
    let (found, own) = (args.kernels.0, kernels::ADD_ROWS.fingerprint());
    checks.require(&KERNELS, found == own, values![found, own]);
    require_placement(a, card, &mut checks);
    let circular_buffers = DType::F32.tile_bytes();
    checks.finish(|| Outcome { outputs: Vec::new(), circular_buffers, temporaries: Vec::new(), programs: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, n150, refusal, row};
    use crate::{Fingerprint, MemoryConfig, Op};

    #[test]
    fn rows_are_added_where_they_lie() {
        let card = n150();
        let of = |kernels| {
            let (floor, scale, kernels) = (1e-5.into(), 0.01.into(), Fingerprint(kernels));
            Op::from(AddRows { a: any(), b: any(), factors: any(), floor, scale, kernels })
        };
        let own = kernels::ADD_ROWS.fingerprint();
        let a = row(&card, 32, 2560, 40, 2);
        let b = TensorSpec { dtype: DType::F32, ..a.clone() };
        let factors = TensorSpec::tile([1, 1, 32, 1], DType::F32, MemoryConfig::L1);
        let outcome = check(&of(own), &[&a, &b, &factors], &card).unwrap();
        assert_eq!((outcome.outputs.len(), outcome.circular_buffers, outcome.programs), (0, 4096, 1));
        assert!(refusal(check(&of(own ^ 1), &[&a, &b, &factors], &card)).contains("this bitnetc has"));
        assert!(refusal(check(&of(own), &[&a, &a, &factors], &card)).contains("added to [1, 1, 32, 2560] bf16"));
        assert!(refusal(check(&of(own), &[&a, &b, &b], &card)).contains("factors in [1, 1, 32, 2560]"));
        assert!(refusal(check(&of(own), &[&b, &b, &factors], &card)).contains("a sum in"));
    }
}
