//! `quantize_rows`: rows as integers, with kernels of bitnetc's own.
//!
//! `ttnn.generic_op` accepts any program; the constraints are those of the kernels in `cpp/kernels/quantize_rows`.

use super::checks::operands;
use super::constraint::{constraints, values};
use super::ternary_linear::in_equal_shards;
use super::{Answer, Checks, Outcome, require_placement};
use crate::op::QuantizeRows;
use crate::{Card, DType, MemoryConfig, TILE, TensorSpec, kernels};

constraints! { "quantize_rows", "generic_op.cpp", also [placement];
    SHARDED: "The tensor is one row of bf16 tiles in equal width shards in L1."
        because "a core quantises the columns of its shard"
        => "rows in {input}", "[1, 1, 32, N] bf16, width-sharded evenly in L1";
    KERNELS: "The kernels are those of this bitnetc."
        because "a plan is priced and compared for the kernels it names"
        => "kernels {found}; this bitnetc has {own}", "plan the model again";
}

/// `[1,1,rows,N] -> [1,1,rows,N], [1,1,rows,1]`.
pub(super) fn check(args: &QuantizeRows, given: &[&TensorSpec], card: &Card) -> Answer {
    let [x] = operands(given)?;
    let mut checks = Checks::new();
    let sharded = x.dtype == DType::Bf16 && in_equal_shards(x, x.columns().div_ceil(TILE));
    checks.require(&SHARDED, sharded, values![input = x]);
    let (found, own) = (args.kernels.0, kernels::QUANTIZE_ROWS.fingerprint());
    checks.require(&KERNELS, found == own, values![found, own]);
    checks.settle()?;
    let mut shape = x.shape.clone();
    if let Some(last) = shape.last_mut() {
        *last = 1;
    }
    let maxima = TensorSpec::tile(shape, DType::F32, MemoryConfig::L1);
    require_placement(&maxima, card, &mut checks);
    let cores = x.memory.l1_cores().map_or(1, crate::Cores::len);
    // Seven tiles of each core's own, those of the maxima of all cores, and the maxima in f32.
    let circular_buffers = u64::from(7 + cores.div_ceil(TILE)) * DType::Bf16.tile_bytes() + DType::F32.tile_bytes();
    checks.finish(|| Outcome {
        outputs: vec![x.clone(), maxima],
        circular_buffers,
        temporaries: Vec::new(),
        programs: 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttnn::check;
    use crate::ttnn::mock::{any, n150, refusal, row};
    use crate::{Fingerprint, Op};

    #[test]
    fn a_row_of_shards_is_quantised_where_it_lies() {
        let card = n150();
        let of = |kernels| Op::from(QuantizeRows { input: any(), floor: 1e-5.into(), kernels: Fingerprint(kernels) });
        let own = kernels::QUANTIZE_ROWS.fingerprint();
        let x = row(&card, 32, 6912, 54, 4);
        let outcome = check(&of(own), &[&x], &card).unwrap();
        assert_eq!((outcome.circular_buffers, outcome.programs), (9 * 2048 + 4096, 1));
        assert_eq!(outcome.outputs, [x.clone(), TensorSpec::tile([1, 1, 32, 1], DType::F32, MemoryConfig::L1)]);
        assert!(refusal(check(&of(own ^ 1), &[&x], &card)).contains("this bitnetc has"));
        let dram = TensorSpec { memory: MemoryConfig::DRAM, ..x.clone() };
        assert!(refusal(check(&of(own), &[&dram], &card)).contains("rows in [1, 1, 32, 6912] bf16 DRAM"));
        let wide = TensorSpec { dtype: DType::F32, ..x };
        assert!(refusal(check(&of(own), &[&wide], &card)).contains("rows in [1, 1, 32, 6912] f32"));
    }
}
