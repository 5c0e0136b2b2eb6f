//! Tensors of a decode step, `[1, B, heads, head_dim]`: one user on a core, the user's heads the rows of one tile.

use super::Checks;
use crate::{Cores, Memory, MemoryConfig, Strategy, TILE, TensorSpec};

/// Users of a decode batch, and heads of one user: each fill one tile of rows.
pub const MOST: u32 = TILE;

/// True for a side that whole tiles fill.
pub const fn whole_tiles(side: u32) -> bool {
    side > 0 && side.is_multiple_of(TILE)
}

/// `[1, B, heads, head_dim]` of up to 32 users with up to 32 heads. `refused` is what TT-NN says of another first dimension; more users
/// or heads it takes in places, without a decode op after that would.
pub fn require_users(tensor: &TensorSpec, refused: &str, checks: &mut Checks) {
    checks.require(
        matches!(*tensor.shape.as_slice(), [1, _, _, _]),
        format_args!("{refused}: {:?}", tensor.shape),
        format_args!("[1, B, heads, head_dim]"),
    );
    checks.narrow(
        matches!(*tensor.shape.as_slice(), [_, 1..=MOST, 1..=MOST, 1..=u32::MAX]),
        format_args!("shape {:?}: more than 32 users or 32 heads", tensor.shape),
        format_args!("[1, B, heads, head_dim], up to 32 users and heads"),
    );
}

/// The cores of the users, one each; `refused` is what TT-NN says of any other placement.
pub fn user_cores<'a>(tensor: &'a TensorSpec, refused: &str, checks: &mut Checks) -> Option<&'a Cores> {
    let (users, columns) = (tensor.shape[1], tensor.columns());
    let cores = height_shards(tensor, [TILE, columns]).filter(|cores| cores.len() == users);
    checks.require(
        cores.is_some(),
        format_args!("{refused}, one user per core; it is {}", tensor.memory),
        format_args!("L1 HS[32,{columns}] on {users} cores"),
    );
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
