//! Checks against the answers that TT-NN gave on the mock n150 and p150.

use super::*;
use crate::op::Ref;
use crate::ttnn::mock::{n150, p150, refusal};

fn name() -> Ref {
    Ref::Value("x".into())
}

/// A fused projection in shards of `width` columns.
fn projection(card: &Card, users: u32, columns: u32, width: u32) -> TensorSpec {
    let cores = Cores::row_major(columns.div_ceil(width), card.grid);
    TensorSpec::tile([1, 1, users, columns], DType::Bf16, MemoryConfig::width(cores, [32, width]))
}

fn decode(card: &Card, heads: (u32, u32), head_dim: u32, input: &TensorSpec, out: Cores) -> Answer {
    let memory = MemoryConfig::height(out, [heads.0.next_multiple_of(32), head_dim]);
    let args = CreateHeadsDecode { input: name(), heads: heads.0, kv_heads: heads.1, overlap: false, memory };
    check(&args, &[input], card)
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
        (decode(&card, (40, 8), 128, &input(16, 7168, 128), whole(&card)), "DFB 'v_out'"),
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
    let memory = MemoryConfig::height(out, [heads.0.next_multiple_of(32), head_dim]);
    let args = CreateHeadsDecode { input: name(), heads: heads.0, kv_heads: heads.1, overlap: true, memory };
    check(&args, &[input], card)
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

/// More than 32 heads of a user are rows of several tiles on its core.
#[test]
fn many_heads_come_from_an_interleaved_input() {
    for (card, heads, head_dim, rows) in
        [(n150(), (40, 10), 128, 64), (n150(), (64, 8), 64, 64), (p150(), (71, 1), 64, 96), (p150(), (48, 12), 128, 64)]
    {
        let sharded = projection(&card, 8, (heads.0 + 2 * heads.1) * head_dim, head_dim);
        let input = TensorSpec { memory: MemoryConfig::L1, ..sharded.clone() };
        let outcome = overlapping(&card, heads, head_dim, &input, whole(&card)).unwrap();
        let shards: Vec<_> = outcome.outputs.iter().map(|o| o.memory.shard().unwrap()).collect();
        assert_eq!(shards, [[rows, head_dim], [32, head_dim], [32, head_dim]]);
        assert!(refusal(overlapping(&card, heads, head_dim, &sharded, whole(&card))).contains("DFB 'v_out'"));
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
