//! `paged_fill_cache`: a chunk of a prompt into a cache. The rows go to the blocks of the page table's first row.

use super::constraint::{constraints, values};
use super::paged_cache::{require_cache, require_pages, stick};
use super::{Answer, Checks, Outcome};
use crate::op::CacheFill;
use crate::ttnn::checks::operands;
use crate::{Card, Layout, TILE, TensorSpec};

constraints! { "cache_fill", "paged_fill_cache_device_operation.cpp", also [paged_cache];
    SAME_TYPE: "The input has the cache's type."
        => "input is {input}, the cache {cache}: typecast K/V to the cache dtype first", "{cache} input";
    TILED_INTERLEAVED: "The input is tiled and interleaved."
        => "Expect input_tensor to have memory layout INTERLEAVED", "tiled, interleaved";
    SHAPE: "The input is [1, kv_heads, S, head_dim], the cache's heads."
        => "input {shape} is not [1, {heads}, S, {head_dim}], the cache's heads", "as many heads and columns as the cache";
    PAGES_ROW_MAJOR: "The page table is row-major."
        because "TT-NN does not look; the kernel reads words in their order"
        => "a page table of tiles", "row-major layout";
    PAGES: "The rows of the input, padded to tiles, fit the user's blocks."
        => "Input seq_len ({length}) must fit in max_num_blocks_per_seq ({pages}) * block_size ({block})",
           "a longer page table or a shorter prompt";
}

/// `[1,Hkv,S,D]` into the cache, in place.
pub(super) fn check(_args: &CacheFill, given: &[&TensorSpec], card: &Card) -> Answer {
    let [cache, input, page_table] = operands(given)?;
    let mut checks = Checks::new();
    require_cache(cache, &mut checks);
    require_pages(page_table, None, &mut checks);
    checks.require(&PAGES_ROW_MAJOR, page_table.layout == Layout::RowMajor, values![]);
    checks.require(&SAME_TYPE, input.dtype == cache.dtype, values![input = input.dtype, cache = cache.dtype]);
    checks.require(&TILED_INTERLEAVED, input.layout == Layout::Tile && !input.memory.is_sharded(), values![]);
    checks.settle()?;
    let (heads, block, head_dim) = (cache.shape[1], cache.shape[2], cache.shape[3]);
    checks.require(
        &SHAPE,
        matches!(*input.shape.as_slice(), [1, h, 1..=u32::MAX, d] if h == heads && d == head_dim),
        values![shape = input.shape, heads, head_dim],
    );
    let length = u64::from(input.rows()).next_multiple_of(u64::from(TILE));
    let pages = page_table.columns();
    checks.require(&PAGES, length <= u64::from(block) * u64::from(pages), values![length, pages, block]);
    checks.finish(|| Outcome {
        // A row of tiles of one head, twice, and the user's row of the page table.
        circular_buffers: 2 * cache.tile_columns() * cache.dtype.tile_bytes() + stick(pages, card),
        programs: 1,
        ..Outcome::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Ref;
    use crate::ttnn::mock::{integers, n150, p150, refusal};
    use crate::{DType, MemoryConfig};

    fn name() -> Ref {
        Ref::Buffer("b".into())
    }

    fn cache(blocks: u32, heads: u32, block: u32, head_dim: u32, dtype: DType) -> TensorSpec {
        TensorSpec::tile([blocks, heads, block, head_dim], dtype, MemoryConfig::DRAM)
    }

    fn fill(card: &Card, cache: &TensorSpec, input: &TensorSpec, table: &TensorSpec) -> Answer {
        let args = CacheFill { cache: name(), input: name(), pages: name() };
        check(&args, &[cache, input, table], card)
    }

    fn prompt(heads: u32, rows: u32, head_dim: u32, dtype: DType) -> TensorSpec {
        TensorSpec::tile([1, heads, rows, head_dim], dtype, MemoryConfig::DRAM)
    }

    #[test]
    fn fill_bytes_are_the_mocks() {
        use DType::{Bf16, Bfp4, Bfp8};
        for (card, head_dim, rows, per, dtype, bytes) in [
            (n150(), 32, 128, 4, Bfp8, 2_208),
            (n150(), 96, 128, 4, Bfp8, 6_560),
            (n150(), 128, 100, 4, Bfp8, 8_736),
            (n150(), 256, 128, 4, Bfp8, 17_440),
            (n150(), 128, 4096, 64, Bfp8, 8_960),
            (n150(), 128, 32, 9, Bfp8, 8_768),
            (n150(), 128, 32, 4096, Bfp8, 25_088),
            (n150(), 128, 128, 4, Bf16, 16_416),
            (n150(), 128, 128, 4, Bfp4, 4_640),
            (p150(), 128, 128, 4, Bfp8, 8_768),
            (p150(), 128, 128, 4, Bf16, 16_448),
        ] {
            let cache = cache(8 * per, 5, 64, head_dim, dtype);
            let outcome = fill(&card, &cache, &prompt(5, rows, head_dim, dtype), &integers([8, per])).unwrap();
            assert_eq!(outcome.circular_buffers, bytes, "{} {head_dim} {per} {dtype}", card.name);
            assert!(outcome.outputs.is_empty());
        }
    }

    #[test]
    fn fill_refusals_are_tt_nns() {
        let (card, table) = (n150(), integers([8, 4]));
        let kept = cache(32, 5, 64, 128, DType::Bfp8);
        let refused = |input: TensorSpec| refusal(fill(&card, &kept, &input, &table));
        assert!(refused(prompt(5, 257, 128, DType::Bfp8)).contains("Input seq_len (288) must fit"));
        assert!(refused(prompt(5, 128, 128, DType::Bf16)).contains("typecast K/V to the cache dtype first"));
        assert!(refused(prompt(5, 128, 64, DType::Bfp8)).contains("is not [1, 5, S, 128]"));
        assert!(refused(prompt(4, 128, 128, DType::Bfp8)).contains("is not [1, 5, S, 128]"));
        let mut unsigned = table.clone();
        unsigned.dtype = DType::U32;
        let answer = fill(&card, &kept, &prompt(5, 128, 128, DType::Bfp8), &unsigned);
        assert!(refusal(answer).contains("datatype INT32"));
    }
}
