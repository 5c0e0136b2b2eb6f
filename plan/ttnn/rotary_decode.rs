//! `rotary_embedding_llama` with `is_decode_mode=True`: q or k of a decode step alone.

use super::constraint::constraints;
use super::rotary_pairs::{
    decode, decode_bytes, require_angles, require_bf16_tiles, require_head_dim, require_trans_shards, rotated_cores,
};
use super::users::require_users;
use super::{Answer, Checks, Outcome};
use crate::op::RotaryDecode;
use crate::ttnn::checks::operands;
use crate::{Card, TensorSpec};

constraints! { "rotary_decode", "", also [users, rotary_pairs, rotary_pairs::decode]; }

/// The input where it is; the angles on its cores.
pub(super) fn check(args: &RotaryDecode, given: &[&TensorSpec], _card: &Card) -> Answer {
    let [input, cos, sin, trans] = operands(given)?;
    let mut checks = Checks::new();
    for (name, tensor) in [("Input", input), ("Cos", cos), ("Sin", sin), ("Trans mat", trans)] {
        require_bf16_tiles(name, tensor, &mut checks);
    }
    require_users(input, &decode::ONE_TOKEN, &mut checks);
    checks.settle()?;
    let (users, head_dim) = (input.shape[1], input.columns());
    require_head_dim(head_dim, args.compute, &mut checks);
    let Some(cores) = rotated_cores(input, &mut checks) else { return checks.finish(Outcome::default) };
    require_angles(cos, sin, users, head_dim, || cores.iter(), &mut checks);
    require_trans_shards(trans, || cores.iter(), &mut checks);
    checks.finish(|| Outcome {
        outputs: vec![input.clone()],
        circular_buffers: decode_bytes(head_dim),
        programs: 1,
        ..Outcome::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Ref;
    use crate::program::{ComputeKernel, Fidelity};
    use crate::ttnn::mock::{n150, p150, refusal, users};
    use crate::{Cores, DType, MemoryConfig};

    fn compute(fp32_dest_acc: bool) -> ComputeKernel {
        ComputeKernel { fidelity: Fidelity::HiFi4, fp32_dest_acc, packer_l1_acc: true }
    }

    fn alone(card: &Card, first: u32, batch: u32, head_dim: u32, angles: u32, trans: u32, fp32: bool) -> Answer {
        let [input, cos, sin, matrix] = ["x", "cos", "sin", "trans"].map(|n| Ref::Value(n.into()));
        let args = RotaryDecode { input, cos, sin, trans: matrix, compute: compute(fp32) };
        let angle = users(card, first, angles, 32, head_dim);
        let trans = TensorSpec::tile(
            [1, 1, 32 * trans, 32],
            DType::Bf16,
            MemoryConfig::height(Cores::row_major(trans, card.grid), [32, 32]),
        );
        check(&args, &[&users(card, first, batch, 20, head_dim), &angle, &angle, &trans], card)
    }

    #[test]
    fn decode_alone_is_the_mocks() {
        for (card, first, batch, head_dim, fp32, bytes) in [
            (n150(), 0, 8, 32, true, 6_144),
            (n150(), 0, 1, 128, true, 24_576),
            (n150(), 0, 32, 96, true, 18_432),
            (n150(), 32, 32, 128, true, 24_576),
            (p150(), 0, 32, 128, true, 24_576),
            (p150(), 7, 5, 256, false, 49_152),
        ] {
            let outcome = alone(&card, first, batch, head_dim, batch, 64, fp32).unwrap();
            assert_eq!(outcome.circular_buffers, bytes);
            assert_eq!(outcome.outputs, [users(&card, first, batch, 20, head_dim)]);
        }
        let card = n150();
        assert!(refusal(alone(&card, 0, 8, 128, 16, 64, true)).contains("must have the same batch size as the input"));
        assert!(refusal(alone(&card, 0, 8, 256, 8, 64, true)).contains("fp32_dest_acc_en must be False"));
        // TT-NN takes it, and the last user's core has no matrix.
        assert!(refusal(alone(&card, 0, 8, 128, 8, 7, true)).contains("must be sharded over core grid"));
    }
}
