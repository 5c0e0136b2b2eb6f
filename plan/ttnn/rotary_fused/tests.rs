//! Checks against the answers that TT-NN gave on the mock n150 and p150.

use super::*;
use crate::op::Ref;
use crate::program::{ComputeKernel, Fidelity};
use crate::ttnn::mock::{n150, p150, refusal, users};
use crate::{Cores, DType, MemoryConfig};

fn compute(fp32_dest_acc: bool) -> ComputeKernel {
    ComputeKernel { fidelity: Fidelity::HiFi4, fp32_dest_acc, packer_l1_acc: true }
}

/// q on the first users' cores, k on the next, cos and sin on both, trans on twice as many cores.
fn operands_of(card: &Card, batch: u32, heads: (u32, u32), head_dim: u32) -> [TensorSpec; 5] {
    let angle = users(card, 0, 2 * batch, 32, head_dim);
    let trans = TensorSpec::tile(
        [1, 1, 64 * batch, 32],
        DType::Bf16,
        MemoryConfig::height(Cores::row_major(2 * batch, card.grid), [32, 32]),
    );
    let (q, k) = (users(card, 0, batch, heads.0, head_dim), users(card, batch, batch, heads.1, head_dim));
    [q, k, angle.clone(), angle, trans]
}

fn fused(card: &Card, tensors: &[TensorSpec; 5], fp32: bool) -> Answer {
    let [q, k, cos, sin, trans] = ["q", "k", "cos", "sin", "trans"].map(|n| Ref::Value(n.into()));
    let args = RotaryFused { q, k, cos, sin, trans, compute: compute(fp32) };
    check(&args, &tensors.each_ref(), card)
}

#[test]
fn decode_bytes_are_the_mocks() {
    for (card, batch, heads, head_dim, fp32, bytes) in [
        (n150(), 8, (20, 5), 32, true, 6_144),
        (n150(), 8, (20, 5), 64, true, 12_288),
        (n150(), 5, (16, 16), 96, true, 18_432),
        (n150(), 32, (20, 5), 128, true, 24_576),
        (n150(), 8, (20, 5), 160, false, 30_720),
        (n150(), 8, (20, 5), 256, false, 49_152),
        (p150(), 32, (20, 5), 128, true, 24_576),
        (p150(), 1, (32, 8), 128, false, 24_576),
    ] {
        let tensors = operands_of(&card, batch, heads, head_dim);
        let outcome = fused(&card, &tensors, fp32).unwrap();
        assert_eq!(outcome.circular_buffers, bytes);
        assert_eq!(outcome.outputs, tensors[..2]);
    }
}

#[test]
fn decode_refusals_are_tt_nns() {
    let card = n150();
    let change = |at: usize, to: TensorSpec| {
        let mut tensors = operands_of(&card, 8, (20, 5), 128);
        tensors[at] = to;
        refusal(fused(&card, &tensors, true))
    };
    assert!(change(1, users(&card, 4, 8, 5, 128)).contains("Q and K must not overlap"));
    assert!(change(1, users(&card, 8, 7, 5, 128)).contains("Q and K must have the equal batch size"));
    assert!(change(2, users(&card, 0, 8, 32, 128)).contains("Cos and Sin dims must match"));
    let mut flat = users(&card, 0, 8, 20, 128);
    flat.memory = MemoryConfig::DRAM;
    assert!(change(0, flat).contains("inputs for RoPE must be HEIGHT_SHARDED"));
    let mut block = users(&card, 0, 8, 20, 128);
    block.dtype = DType::Bfp8;
    assert!(change(0, block).contains("Q input tensor must be bfloat16"));
    let small =
        TensorSpec::tile([1, 1, 256, 32], DType::Bf16, MemoryConfig::height(Cores::row_major(8, card.grid), [32, 32]));
    assert!(change(4, small).contains("must be sharded over core grid of Q and K"));
    let wide = refusal(fused(&card, &operands_of(&card, 8, (20, 5), 256), true));
    assert!(wide.contains("If head_dim is > 128, fp32_dest_acc_en must be False"), "{wide}");
}

/// TT-NN takes these and computes with whatever the cores hold.
#[test]
fn angles_elsewhere_are_refused() {
    let card = n150();
    let mut tensors = operands_of(&card, 8, (20, 5), 128);
    let shifted = users(&card, 5, 16, 32, 128);
    (tensors[2], tensors[3]) = (shifted.clone(), shifted);
    assert!(refusal(fused(&card, &tensors, true)).contains("does not lie on the cores it is read from"));
    let mut tensors = operands_of(&card, 8, (20, 5), 128);
    tensors.swap(0, 1);
    // k first, q after it: the angles would have to follow.
    assert!(refusal(fused(&card, &tensors, true)).contains("does not lie on the cores it is read from"));
}

#[test]
fn one_transformation_matrix_serves_every_batch() {
    let card = n150();
    for batch in [1, 5, 8, 32] {
        let mut tensors = operands_of(&card, batch, (20, 5), 128);
        tensors[4] = operands_of(&card, 32, (20, 5), 128)[4].clone();
        assert!(fused(&card, &tensors, true).is_ok(), "{batch}");
    }
}
