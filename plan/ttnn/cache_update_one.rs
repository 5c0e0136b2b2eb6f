//! `paged_update_cache` with `update_idxs_tensor` and `page_table`: one row per user into one cache.

use super::constraint::constraints;
use super::paged_cache::{edited_rows, require_cache, require_match, require_rows, rows};
use super::users::user_cores;
use super::{Answer, Checks, Outcome};
use crate::op::CacheUpdateOne;
use crate::ttnn::checks::operands;
use crate::{Card, DType, TensorSpec};

constraints! { "cache_update_one", "", also [paged_cache, paged_cache::positions, paged_cache::rows, users]; }

/// The cache in place.
pub(super) fn check(_args: &CacheUpdateOne, given: &[&TensorSpec], _card: &Card) -> Answer {
    let [cache, input, positions, page_table] = operands(given)?;
    let mut checks = Checks::new();
    require_cache(cache, &mut checks);
    require_rows(input, &mut checks);
    checks.settle()?;
    require_match(cache, input, positions, page_table, &mut checks);
    user_cores(input, &rows::ROWS_SHARDED, &mut checks);
    checks.finish(|| Outcome {
        // Positions take a tile of integers, whatever their number, and the user's row of the page table its bare length.
        circular_buffers: edited_rows(cache, input.shape[1])
            + DType::I32.tile_bytes()
            + 4 * u64::from(page_table.columns()),
        programs: 1,
        ..Outcome::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryConfig;
    use crate::op::Ref;
    use crate::ttnn::mock::{integers, n150, p150, refusal, users};

    fn name() -> Ref {
        Ref::Buffer("b".into())
    }

    fn cache(blocks: u32, heads: u32, block: u32, head_dim: u32, dtype: DType) -> TensorSpec {
        TensorSpec::tile([blocks, heads, block, head_dim], dtype, MemoryConfig::DRAM)
    }

    fn update_one(card: &Card, given: [&TensorSpec; 4]) -> Answer {
        let args = CacheUpdateOne { cache: name(), input: name(), positions: name(), page_table: name() };
        check(&args, &given, card)
    }

    #[test]
    fn updates_of_one_cache_are_the_mocks() {
        use DType::{Bf16, Bfp4, Bfp8};
        for (card, batch, heads, block, head_dim, dtype, per, bytes) in [
            (n150(), 1, 4, 128, 256, Bfp4, 1, 83_460),
            (n150(), 8, 8, 32, 128, Bf16, 2, 118_792),
            (n150(), 1, 5, 32, 128, Bfp8, 64, 50_176),
            (n150(), 32, 32, 128, 128, Bfp8, 16, 184_896),
            (n150(), 27, 4, 128, 256, Bfp8, 33, 322_180),
            (n150(), 24, 32, 64, 96, Bfp4, 16, 73_664),
            (p150(), 8, 8, 32, 128, Bf16, 2, 118_792),
            (p150(), 32, 5, 64, 32, Bf16, 2, 81_928),
        ] {
            let cache = cache(batch * per, heads, block, head_dim, dtype);
            let rows = users(&card, 5, batch, heads, head_dim);
            let (positions, table) = (integers([batch]), integers([batch, per]));
            let outcome = update_one(&card, [&cache, &rows, &positions, &table]).unwrap();
            assert_eq!(outcome.circular_buffers, bytes, "{} B{batch} {head_dim} {dtype} {per}", card.name);
            assert_eq!((outcome.outputs.len(), outcome.programs), (0, 1));
        }
    }

    #[test]
    fn updates_of_one_cache_are_refused_as_tt_nn_does() {
        let card = n150();
        let (cache, rows) = (cache(16, 8, 64, 128, DType::Bfp8), users(&card, 0, 8, 8, 128));
        let given = |positions: TensorSpec, table: TensorSpec| update_one(&card, [&cache, &rows, &positions, &table]);
        assert!(given(integers([8]), integers([8, 2])).is_ok());
        assert!(refusal(given(integers([9]), integers([8, 2]))).contains("should match batch size (8)"));
        assert!(refusal(given(integers([8]), integers([8, 17]))).contains("max_num_blocks=16"));
        let loose = TensorSpec { memory: MemoryConfig::L1, ..rows.clone() };
        let answer = update_one(&card, [&cache, &loose, &integers([8]), &integers([8, 2])]);
        assert!(refusal(answer).contains("Expect input_tensor to be sharded"));
    }
}
