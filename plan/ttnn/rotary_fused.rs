//! `rotary_embedding_llama_fused_qk`: q and k of a decode step turned at once.

use super::constraint::{constraints, values};
use super::rotary_pairs::{
    decode, decode_bytes, require_angles, require_bf16_tiles, require_head_dim, require_trans_shards, rotated_cores,
};
use super::users::require_users;
use super::{Answer, Checks, Outcome};
use crate::op::RotaryFused;
use crate::ttnn::checks::operands;
use crate::{Card, TensorSpec};

constraints! { "rotary_fused", "rotary_embedding_llama_fused_qk_device_operation.cpp",
    also [users, rotary_pairs, rotary_pairs::decode];
    SAME_HEAD_DIM: "q and k have one head_dim."
        => "Q input tensor and K input tensor must have same head dimensions", "k of {head_dim} columns";
    SAME_USERS: "q and k have as many users."
        => "Q and K must have the equal batch size", "k of {users} users";
    DISJOINT: "q and k lie on different cores."
        => "Q and K must not overlap", "k on cores on which there is no q";
}

/// q and k where they are; the angles on q's cores, then k's.
pub(super) fn check(args: &RotaryFused, given: &[&TensorSpec], _card: &Card) -> Answer {
    let [q, k, cos, sin, trans] = operands(given)?;
    let mut checks = Checks::new();
    for (name, tensor) in [("Q input", q), ("K input", k), ("Cos", cos), ("Sin", sin), ("Trans mat", trans)] {
        require_bf16_tiles(name, tensor, &mut checks);
    }
    require_users(q, &decode::ONE_TOKEN, &mut checks);
    require_users(k, &decode::ONE_TOKEN, &mut checks);
    checks.settle()?;
    let (users, head_dim) = (q.shape[1], q.columns());
    checks.require(&SAME_HEAD_DIM, k.columns() == head_dim, values![head_dim]);
    checks.require(&SAME_USERS, k.shape[1] == users, values![users]);
    require_head_dim(head_dim, args.compute, &mut checks);
    let (q_cores, k_cores) = (rotated_cores(q, &mut checks), rotated_cores(k, &mut checks));
    let (Some(q_cores), Some(k_cores)) = (q_cores, k_cores) else { return checks.finish(Outcome::default) };
    checks.require(&DISJOINT, q_cores.is_disjoint(k_cores), values![]);
    let both = || q_cores.iter().chain(k_cores.iter());
    require_angles(cos, sin, 2 * users, head_dim, both, &mut checks);
    require_trans_shards(trans, both, &mut checks);
    checks.finish(|| Outcome {
        outputs: vec![q.clone(), k.clone()],
        circular_buffers: decode_bytes(head_dim),
        programs: 1,
        ..Outcome::default()
    })
}

#[cfg(test)]
mod tests;
