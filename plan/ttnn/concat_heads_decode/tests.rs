//! Checks against the answers that TT-NN gave on the mock n150 and p150.

use super::*;
use crate::Cores;
use crate::op::Ref;
use crate::ttnn::mock::{n150, p150, refusal, users};

fn name() -> Ref {
    Ref::Value("x".into())
}

fn concat(card: &Card, input: &TensorSpec, heads: u32, cores: Cores) -> Answer {
    check(&ConcatHeadsDecode { input: name(), heads, cores }, &[input], card)
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
