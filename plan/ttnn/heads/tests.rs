//! What TT-NN 0.81.1 answered on the mock n150 and p150.

use super::*;
use crate::op::Ref;
use crate::ttnn::mock::{n150, p150, refusal, users};
use crate::{Cores, TensorSpec};

fn name() -> Ref {
    Ref::Value("x".into())
}

/// A fused projection in shards of `width` columns.
fn projection(card: &Card, users: u32, columns: u32, width: u32) -> TensorSpec {
    let cores = Cores::row_major(columns.div_ceil(width), card.grid);
    TensorSpec::tile([1, 1, users, columns], DType::Bf16, MemoryConfig::width(cores, [32, width]))
}

fn decode(card: &Card, heads: (u32, u32), head_dim: u32, input: &TensorSpec, out: Cores) -> Answer {
    let memory = MemoryConfig::height(out, [32, head_dim]);
    let args = CreateHeadsDecode { input: name(), heads: heads.0, kv_heads: heads.1, overlap: false, memory };
    check_create_heads_decode(&args, &[input], card)
}

fn whole(card: &Card) -> Cores {
    Cores::rectangle(0, 0, card.grid.0, card.grid.1)
}

#[test]
fn decode_heads_land_where_tt_nn_puts_them() {
    for (card, users_count, q, k) in [
        (n150(), 32, "8x4", "(0,4)-(7,7)"),
        (n150(), 8, "8x1", "(0,1)-(7,1)"),
        (n150(), 5, "5x1", "(5,0)-(7,0)+(0,1)-(1,1)"),
        (n150(), 1, "1x1", "(1,0)-(1,0)"),
        (p150(), 32, "(0,0)-(10,1)+(0,2)-(9,2)", "(10,2)-(10,2)+(0,3)-(10,4)+(0,5)-(8,5)"),
        (p150(), 16, "(0,0)-(10,0)+(0,1)-(4,1)", "(5,1)-(10,1)+(0,2)-(9,2)"),
        (p150(), 8, "8x1", "(8,0)-(10,0)+(0,1)-(4,1)"),
    ] {
        let input = projection(&card, users_count, 3840, 128);
        let outcome = decode(&card, (20, 5), 128, &input, whole(&card)).unwrap();
        let cores: Vec<String> = outcome.outputs.iter().map(|o| o.memory.l1_cores().unwrap().to_string()).collect();
        assert_eq!(cores, [q, k, q], "{users_count} users on {}", card.name);
        assert_eq!(outcome.outputs[0].shape, [1, users_count, 20, 128]);
        assert_eq!(outcome.outputs[1].shape, [1, users_count, 5, 128]);
        assert_eq!((outcome.circular_buffers, outcome.programs), (0, 1));
    }
}

#[test]
fn decode_takes_every_models_heads() {
    let card = p150();
    for (heads, head_dim, widths) in [
        ((20, 5), 128, &[64, 128][..]),
        ((20, 5), 32, &[32]),
        ((16, 16), 96, &[96]),
        ((32, 32), 128, &[128]),
        ((32, 8), 128, &[128]),
        ((8, 4), 256, &[256, 128]),
        ((12, 4), 256, &[128]),
        ((32, 8), 64, &[64, 32]),
        ((32, 32), 96, &[96]),
    ] {
        for &width in widths {
            let input = projection(&card, 16, (heads.0 + 2 * heads.1) * head_dim, width);
            assert!(decode(&card, heads, head_dim, &input, whole(&card)).is_ok(), "{heads:?} {head_dim} {width}");
        }
    }
}

#[test]
fn decode_refusals_are_tt_nns() {
    let card = n150();
    let input = |users, columns, width| projection(&card, users, columns, width);
    let partial = "We don't support partial heads in shards";
    for (answer, said) in [
        (decode(&card, (20, 5), 128, &input(16, 3840, 96), whole(&card)), partial),
        (decode(&card, (20, 5), 128, &input(16, 3840, 256), whole(&card)), partial),
        (decode(&card, (20, 5), 128, &input(32, 3840, 128), Cores::rectangle(0, 0, 8, 4)), "double of num_users"),
        (
            decode(&card, (21, 5), 128, &input(16, 3840, 128), whole(&card)),
            "must be divisible by num_heads + 2*num_kv_heads = 31",
        ),
        (
            decode(&card, (20, 40), 32, &input(16, 3200, 64), whole(&card)),
            "num_q_heads=20 must be greater than or equal to num_kv_heads=40",
        ),
        (decode(&card, (40, 8), 128, &input(16, 7168, 128), whole(&card)), "only 32 are supported"),
        (decode(&card, (20, 5), 100, &input(16, 3000, 96), whole(&card)), "Unsupported input shape"),
        (
            decode(&card, (16, 8), 100, &input(16, 3200, 64), whole(&card)),
            "Physical shard shape (32, 100) must be tile",
        ),
    ] {
        let refused = refusal(answer);
        assert!(refused.contains(said), "{refused}");
    }
    let mut interleaved = input(16, 3840, 128);
    interleaved.memory = MemoryConfig::L1;
    assert!(
        refusal(decode(&card, (20, 5), 128, &interleaved, whole(&card))).contains("heads split over disjoint cores")
    );
    let mut block = input(16, 3840, 128);
    block.dtype = DType::Bfp8;
    assert!(refusal(decode(&card, (20, 5), 128, &block, whole(&card))).contains("Unsupported data format"));
}

fn overlapping(card: &Card, heads: (u32, u32), head_dim: u32, input: &TensorSpec, out: Cores) -> Answer {
    let memory = MemoryConfig::height(out, [32, head_dim]);
    let args = CreateHeadsDecode { input: name(), heads: heads.0, kv_heads: heads.1, overlap: true, memory };
    check_create_heads_decode(&args, &[input], card)
}

#[test]
fn overlapping_heads_share_the_cores_tt_nn_takes() {
    for (card, batch, heads, head_dim, width, grid, on) in [
        (n150(), 32, (32, 32), 128, 384, (8, 8), "8x4"),
        (n150(), 30, (20, 5), 128, 96, (8, 8), "(0,0)-(7,2)+(0,3)-(5,3)"),
        (n150(), 9, (32, 8), 64, 64, (8, 8), "(0,0)-(7,0)+(0,1)-(0,1)"),
        (n150(), 8, (32, 32), 96, 9216, (8, 4), "8x1"),
        (n150(), 1, (32, 32), 96, 192, (8, 8), "1x1"),
        (p150(), 32, (32, 32), 128, 128, (11, 10), "(0,0)-(10,1)+(0,2)-(9,2)"),
    ] {
        let sharded = projection(&card, batch, (heads.0 + 2 * heads.1) * head_dim, width);
        for memory in [sharded.memory.clone(), MemoryConfig::L1] {
            let input = TensorSpec { memory, ..sharded.clone() };
            let outcome = overlapping(&card, heads, head_dim, &input, Cores::rectangle(0, 0, grid.0, grid.1)).unwrap();
            let shapes: Vec<_> = outcome.outputs.iter().map(|o| o.shape[2]).collect();
            assert_eq!(shapes, [heads.0, heads.1, heads.1]);
            for output in &outcome.outputs {
                assert_eq!(output.memory.l1_cores().unwrap().to_string(), on);
                assert_eq!(output.memory.shard(), Some([32, head_dim]));
            }
            assert_eq!((outcome.circular_buffers, outcome.programs), (0, 1));
        }
    }
}

#[test]
fn overlapping_refusals() {
    let card = n150();
    let said = |heads, width, out| refusal(overlapping(&card, heads, 128, &projection(&card, 28, 3840, width), out));
    assert!(said((20, 5), 384, Cores::rectangle(0, 0, 2, 2)).contains("greater than total available cores 4"));
    assert!(said((20, 5), 384, Cores::rectangle(1, 1, 7, 7)).contains("does not start at core (0, 0)"));
    // TT-NN takes it, divides the tiles by the cores and reads beside.
    assert!(said((20, 5), 512, whole(&card)).contains("3840 columns in shards of 512 on 8 cores"));
}

fn concat(card: &Card, input: &TensorSpec, heads: u32, cores: Cores) -> Answer {
    check_concat_heads_decode(&ConcatHeadsDecode { input: name(), heads, cores }, &[input], card)
}

#[test]
fn decode_heads_are_joined_on_the_cores_tt_nn_takes() {
    let (wormhole, blackhole) = (n150(), p150());
    for (card, batch, heads, head_dim, grid, out) in [
        (&wormhole, 32, 20, 128, Cores::rectangle(0, 0, 5, 4), "5x4"),
        (&wormhole, 1, 20, 128, Cores::rectangle(0, 0, 5, 4), "5x4"),
        (&wormhole, 8, 20, 128, Cores::row_major(20, (8, 8)), "(0,0)-(7,1)+(0,2)-(3,2)"),
        (&wormhole, 8, 20, 128, Cores::rectangle(0, 0, 8, 8), "(0,0)-(7,1)+(0,2)-(3,2)"),
        (&wormhole, 8, 16, 96, Cores::rectangle(0, 0, 8, 2), "8x2"),
        (&wormhole, 8, 32, 64, Cores::rectangle(0, 0, 8, 4), "8x4"),
        (&wormhole, 8, 8, 256, Cores::rectangle(0, 0, 8, 1), "8x1"),
        (&wormhole, 8, 12, 256, Cores::rectangle(0, 0, 4, 3), "4x3"),
        (&blackhole, 32, 20, 128, Cores::rectangle(0, 0, 5, 4), "5x4"),
        (&blackhole, 8, 20, 128, Cores::rectangle(0, 0, 11, 10), "(0,0)-(10,0)+(0,1)-(8,1)"),
        (&blackhole, 8, 20, 128, Cores::rectangle(0, 0, 10, 10), "10x2"),
    ] {
        let outcome = concat(card, &users(card, 0, batch, heads, head_dim), heads, grid).unwrap();
        let [output] = outcome.outputs.as_slice() else { panic!("one output") };
        assert_eq!(output.shape, [1, 1, 32, heads * head_dim]);
        assert_eq!(output.memory.shard(), Some([32, head_dim]));
        assert_eq!(output.memory.l1_cores().unwrap().to_string(), out);
        assert_eq!(outcome.circular_buffers, 0);
    }
}

#[test]
fn decode_joins_are_refused_as_tt_nn_does() {
    let card = n150();
    let input = users(&card, 0, 8, 20, 128);
    let few = Cores::row_major(19, card.grid);
    assert!(refusal(concat(&card, &input, 20, few)).contains("at least num_heads cores"));
    let away = Cores::rectangle(1, 1, 5, 4);
    assert!(refusal(concat(&card, &input, 20, away)).contains("Start core must be inside sub_core_grids"));
    let late = users(&card, 9, 8, 20, 128);
    let behind = refusal(concat(&card, &late, 20, Cores::rectangle(0, 0, 5, 4)));
    assert!(behind.contains("Failed to assign all 20 requested cores"), "{behind}");
    let outside = Cores::rectangle(0, 0, 10, 10);
    assert!(refusal(concat(&card, &input, 20, outside)).contains("not within the 8x8 cores"));
    let mut loose = input.clone();
    loose.memory = MemoryConfig::L1;
    assert!(refusal(concat(&card, &loose, 20, Cores::rectangle(0, 0, 5, 4))).contains("Input tensor must be sharded"));
    let mut two = input;
    two.memory = MemoryConfig::height(Cores::row_major(16, card.grid), [32, 128]);
    assert!(refusal(concat(&card, &two, 20, Cores::rectangle(0, 0, 5, 4))).contains("must be equal to num users"));
}

#[test]
fn prefill_bytes_are_the_mocks() {
    let card = n150();
    for (heads, head_dim, dtype, split, join) in [
        ((20, 5), 128, DType::Bf16, 16_384, 327_680),
        ((20, 5), 128, DType::Bfp8, 8_704, 174_080),
        ((20, 5), 128, DType::F32, 32_768, 655_360),
        ((20, 5), 32, DType::Bf16, 8_192, 81_920),
        ((16, 16), 96, DType::Bf16, 8_192, 196_608),
        ((8, 4), 256, DType::Bf16, 32_768, 262_144),
    ] {
        let columns = (heads.0 + 2 * heads.1) * head_dim;
        let input = TensorSpec::tile([1, 1, 100, columns], dtype, MemoryConfig::DRAM);
        let args = CreateHeads { input: name(), heads: heads.0, kv_heads: heads.1, memory: MemoryConfig::DRAM };
        let outcome = check_create_heads(&args, &[&input], &card).unwrap();
        assert_eq!(outcome.circular_buffers, split);
        assert_eq!(outcome.outputs[0].shape, [1, heads.0, 100, head_dim]);
        assert_eq!(outcome.outputs[2].shape, [1, heads.1, 100, head_dim]);
        let args = ConcatHeads { input: name(), memory: MemoryConfig::L1 };
        let joined = check_concat_heads(&args, &[&outcome.outputs[0]], &card).unwrap();
        assert_eq!(joined.circular_buffers, join);
        let want = TensorSpec::tile([1, 1, 100, heads.0 * head_dim], dtype, MemoryConfig::L1);
        assert_eq!(joined.outputs, [want]);
    }
}

#[test]
fn prefill_refuses_what_it_cannot_split() {
    let card = n150();
    let args = |memory| CreateHeads { input: name(), heads: 20, kv_heads: 5, memory };
    let input = |columns, dtype| TensorSpec::tile([1, 1, 128, columns], dtype, MemoryConfig::DRAM);
    let check = |memory, columns, dtype| check_create_heads(&args(memory), &[&input(columns, dtype)], &card);
    assert!(refusal(check(MemoryConfig::DRAM, 3841, DType::Bf16)).contains("Unsupported input shape"));
    assert!(refusal(check(MemoryConfig::DRAM, 3840, DType::Bfp4)).contains("Unsupported data format"));
    assert!(refusal(check(MemoryConfig::DRAM, 3000, DType::Bf16)).contains("head_dim 100"));
    let sharded = MemoryConfig::height(Cores::rectangle(0, 0, 4, 5), [128, 128]);
    assert!(refusal(check(sharded, 3840, DType::Bf16)).contains("must be INTERLEAVED"));
}
