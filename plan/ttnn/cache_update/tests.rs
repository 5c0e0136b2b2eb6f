//! Checks against the answers that TT-NN gave on the mock n150 and p150.

use super::*;
use crate::op::Ref;
use crate::ttnn::mock::{integers, n150, p150, refusal, users};
use crate::{DType, MemoryConfig};

fn name() -> Ref {
    Ref::Buffer("b".into())
}

fn cache(blocks: u32, heads: u32, block: u32, head_dim: u32, dtype: DType) -> TensorSpec {
    TensorSpec::tile([blocks, heads, block, head_dim], dtype, MemoryConfig::DRAM)
}

fn update_args() -> CacheUpdate {
    CacheUpdate { k_cache: name(), k: name(), v_cache: name(), v: name(), positions: name(), page_table: name() }
}

/// k cache, k, v cache, v, positions, page table of `per` blocks per user.
fn tensors(card: &Card, batch: u32, heads: u32, head_dim: u32, dtype: DType, per: u32) -> [TensorSpec; 6] {
    let cache = cache(batch * per, heads, 64, head_dim, dtype);
    let (k, v) = (users(card, batch, batch, heads, head_dim), users(card, 0, batch, heads, head_dim));
    [cache.clone(), k, cache, v, integers([batch]), integers([batch, per])]
}

fn update(card: &Card, tensors: &[TensorSpec; 6]) -> Answer {
    check(&update_args(), &tensors.each_ref(), card)
}

#[test]
fn update_bytes_are_the_mocks() {
    use DType::{Bf16, Bfp4, Bfp8};
    for (card, batch, heads, head_dim, dtype, per, bytes) in [
        (n150(), 8, 5, 32, Bfp8, 4, 19_136),
        (n150(), 8, 5, 96, Bfp8, 4, 57_280),
        (n150(), 8, 5, 256, Bfp8, 4, 152_640),
        (n150(), 1, 5, 128, Bfp8, 4, 45_888),
        (n150(), 5, 5, 128, Bfp8, 4, 63_296),
        (n150(), 16, 5, 128, Bfp8, 4, 111_200),
        (n150(), 32, 5, 128, Bfp8, 4, 180_896),
        (n150(), 1, 5, 128, Bfp8, 9, 45_920),
        (n150(), 1, 5, 128, Bfp8, 4096, 62_240),
        (n150(), 8, 32, 128, Bfp8, 4, 76_352),
        (n150(), 8, 5, 128, Bf16, 4, 114_752),
        (n150(), 8, 5, 128, Bfp4, 4, 55_872),
        (p150(), 8, 5, 128, Bfp8, 4, 76_416),
        (p150(), 32, 5, 128, Bfp8, 4, 180_928),
        (p150(), 1, 5, 128, Bfp8, 512, 47_936),
        (p150(), 8, 5, 128, Bfp4, 4, 55_936),
    ] {
        let outcome = update(&card, &tensors(&card, batch, heads, head_dim, dtype, per)).unwrap();
        assert_eq!(outcome.circular_buffers, bytes, "{} B{batch} {head_dim} {dtype} {per}", card.name);
        assert_eq!((outcome.outputs.len(), outcome.programs), (0, 1));
    }
}

#[test]
fn update_refusals_are_tt_nns() {
    let card = n150();
    let change = |at: usize, to: TensorSpec| {
        let mut tensors = tensors(&card, 8, 5, 128, DType::Bfp8, 4);
        tensors[at] = to;
        refusal(update(&card, &tensors))
    };
    assert!(change(1, users(&card, 4, 8, 5, 128)).contains("must not overlap"));
    assert!(change(4, integers([7])).contains("Number of update_idxs [7] should match batch size (8)"));
    assert!(change(5, integers([7, 4])).contains("must match"));
    assert!(change(5, integers([8, 33])).contains("max_num_blocks_per_seq=33, max_num_blocks=32"));
    let with = |mut spec: TensorSpec, edit: fn(&mut TensorSpec)| {
        edit(&mut spec);
        spec
    };
    let unsigned = |s: &mut TensorSpec| s.dtype = DType::U32;
    assert!(change(4, with(integers([8]), unsigned)).contains("Expected update_idxs to have datatype INT32"));
    assert!(change(5, with(integers([8, 4]), unsigned)).contains("Expect page table to have datatype INT32"));
    let l1 = |s: &mut TensorSpec| s.memory = MemoryConfig::L1;
    assert!(change(4, with(integers([8]), l1)).contains("update_idxs to be DRAM"));
    assert!(change(5, with(integers([8, 4]), l1)).contains("a page table in"));
    let block = |s: &mut TensorSpec| s.dtype = DType::Bfp8;
    assert!(change(1, with(users(&card, 8, 8, 5, 128), block)).contains("must be FLOAT32 or BFLOAT16"));
    assert!(change(3, with(users(&card, 0, 8, 5, 128), l1)).contains("Expect input_tensor to be sharded"));
    let narrow = cache(32, 5, 64, 64, DType::Bfp8);
    let mut both = tensors(&card, 8, 5, 128, DType::Bfp8, 4);
    (both[0], both[2]) = (narrow.clone(), narrow);
    assert!(refusal(update(&card, &both)).contains("Last dim of input tensor must match last dim of cache"));
}

/// Refused for a limit of the rule's own.
fn left_out(answer: Answer, what: &str) {
    let broken = answer.unwrap_err();
    assert!(broken.iter().all(|v| v.is_narrower()) && broken.iter().any(|v| v.what().contains(what)), "{broken:?}");
}

/// TT-NN takes these.
#[test]
fn update_refuses_what_would_write_beside() {
    let card = n150();
    let mut other_heads = tensors(&card, 8, 5, 128, DType::Bfp8, 4);
    let eight = cache(32, 8, 64, 128, DType::Bfp8);
    (other_heads[0], other_heads[2]) = (eight.clone(), eight);
    left_out(update(&card, &other_heads), "input has 5 heads, the cache 8");
    let mut one_more = tensors(&card, 8, 5, 128, DType::Bfp8, 4);
    one_more[1] = users(&card, 8, 8, 6, 128);
    left_out(update(&card, &one_more), "k [1, 8, 6, 128] and v [1, 8, 5, 128] differ");
    let mut half = tensors(&card, 8, 5, 128, DType::Bfp8, 4);
    let sixteen = cache(32, 5, 16, 128, DType::Bfp8);
    (half[0], half[2]) = (sixteen.clone(), sixteen);
    assert!(refusal(update(&card, &half)).contains("cache shape [32, 5, 16, 128]"));
}
