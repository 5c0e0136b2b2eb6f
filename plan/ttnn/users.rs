//! Tensors of a decode step, `[1, B, heads, head_dim]`: one user on a core, the user's heads the rows of as many tiles as they need.

use super::Checks;
use super::constraint::{Constraint, constraints, values};
use crate::{Cores, Memory, MemoryConfig, Strategy, TILE, TensorSpec};

constraints! { "users", "";
    MOST_USERS: "A decode tensor [1, B, heads, head_dim] holds at most 32 users with at most 128 heads each."
        because "TT-NN takes more in places, and no decode call after that takes the result"
        => "shape {shape}: more than 32 users or 128 heads", "[1, B, heads, head_dim], up to 32 users and 128 heads";
}

/// Users of a decode batch: they fill one tile of rows.
pub const MOST: u32 = TILE;

/// Heads of one user that the rules look at: four tiles of rows.
pub const MOST_HEADS: u32 = 4 * TILE;

/// Rows of the shard that holds all heads of a user.
pub const fn head_rows(heads: u32) -> u32 {
    heads.next_multiple_of(TILE)
}

/// True for a side that whole tiles fill.
pub const fn whole_tiles(side: u32) -> bool {
    side > 0 && side.is_multiple_of(TILE)
}

/// `[1, B, heads, head_dim]` of up to 32 users with up to 128 heads. `one` is the rule's own constraint on the first dimension.
pub fn require_users(tensor: &TensorSpec, one: &'static Constraint, checks: &mut Checks) {
    checks.require(one, matches!(*tensor.shape.as_slice(), [1, _, _, _]), values![shape = tensor.shape]);
    checks.require(
        &MOST_USERS,
        matches!(*tensor.shape.as_slice(), [_, 1..=MOST, 1..=MOST_HEADS, 1..=u32::MAX]),
        values![shape = tensor.shape],
    );
}

/// The cores of the users, one each; `sharded` is the rule's own constraint on their placement.
pub fn user_cores<'a>(tensor: &'a TensorSpec, sharded: &'static Constraint, checks: &mut Checks) -> Option<&'a Cores> {
    let (users, columns) = (tensor.shape[1], tensor.columns());
    let cores = height_shards(tensor, [head_rows(tensor.shape[2]), columns]).filter(|cores| cores.len() == users);
    checks.require(sharded, cores.is_some(), values![memory = tensor.memory, columns, users]);
    cores
}

/// The cores of an L1 height-sharded tensor with such shards.
pub fn height_shards(tensor: &TensorSpec, wanted: [u32; 2]) -> Option<&Cores> {
    match &tensor.memory {
        MemoryConfig::Sharded { memory: Memory::L1, strategy: Strategy::Height, cores, shard } if *shard == wanted => {
            Some(cores)
        }
        _ => None,
    }
}
