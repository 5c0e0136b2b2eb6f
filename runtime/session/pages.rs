//! The cache blocks of the users: which ones each has for its own, and which it reads from now.

use bitnetc_plan::{BufferRole, Plan};

use crate::RuntimeError;
use crate::device::ABSENT;

/// The page table, `[users, blocks per user]`.
#[derive(Debug)]
pub(super) struct Pages {
    /// As it was loaded: every block belongs to one user.
    own: Vec<u32>,
    /// As it is: a user may have blocks of another user's at the start of its context.
    now: Vec<u32>,
    /// Blocks of a user.
    per_user: usize,
    /// Tokens of a block.
    pub block: usize,
}

impl Pages {
    /// The table that `given` says, or user after user.
    ///
    /// # Errors
    /// [`RuntimeError::PageTable`] unless it is a permutation of all blocks.
    pub fn new(plan: &Plan, given: Option<&[u32]>) -> Result<Self, RuntimeError> {
        let buffer =
            plan.buffer_for(BufferRole::PageTable).ok_or_else(|| RuntimeError::Lacks("PageTable buffer".into()))?;
        let entries: u32 = buffer.spec.shape.iter().product();
        let own = match given {
            None => (0..entries).collect(),
            Some(table) => permutation(table, entries)?,
        };
        let per_user = buffer.spec.columns() as usize;
        Ok(Pages { now: own.clone(), own, per_user, block: plan.options.block as usize })
    }

    /// All of it.
    pub fn table(&self) -> &[u32] {
        &self.now
    }

    /// The blocks of a user's context, in order.
    pub fn of(&self, user: usize) -> &[u32] {
        &self.now[user * self.per_user..(user + 1) * self.per_user]
    }

    /// The blocks that `tokens` tokens from position `start` on are written to, as many as hold `bucket` tokens; -1 for those without any.
    pub fn chunk(&self, user: usize, start: usize, tokens: usize, bucket: usize, out: &mut Vec<u32>) {
        let written = tokens.div_ceil(self.block);
        out.clear();
        out.extend(self.of(user).iter().skip(start / self.block).take(written));
        out.resize(bucket.div_ceil(self.block), ABSENT);
    }

    /// Has `user` read the first `blocks` blocks of `of`'s context and its own after them. True when that changes the table.
    pub fn share(&mut self, user: usize, of: usize, blocks: usize) -> bool {
        let mut wanted = self.own[user * self.per_user..(user + 1) * self.per_user].to_vec();
        wanted[..blocks].copy_from_slice(&self.of(of)[..blocks]);
        let changed = self.of(user) != wanted;
        self.now[user * self.per_user..(user + 1) * self.per_user].copy_from_slice(&wanted);
        changed
    }
}

fn permutation(table: &[u32], entries: u32) -> Result<Vec<u32>, RuntimeError> {
    let mut seen = vec![false; entries as usize];
    for &block in table {
        match seen.get_mut(block as usize) {
            None => return Err(RuntimeError::PageTable(format!("block {block}; there are {entries} blocks"))),
            Some(true) => return Err(RuntimeError::PageTable(format!("block {block} twice"))),
            Some(seen) => *seen = true,
        }
    }
    if table.len() != entries as usize {
        return Err(RuntimeError::PageTable(format!("{} entries where {entries} are needed", table.len())));
    }
    Ok(table.to_vec())
}
