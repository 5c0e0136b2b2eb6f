//! The roles operands have in a call, and what a call does to them.
//!
//! A role says what an operand is *for*: a table that rows are looked up in, the cosines of a rotary embedding, a page table. Everything
//! that depends on more than the operand's shape follows from it: which persistent buffers may be given ([`mod@crate::verify`]), how many of
//! its bytes a call reads (the compiler's traffic model), which numbers of two phases have to agree. So a new op states the roles of
//! its operands and needs no line in any of those places.

use crate::Ref;

/// Everything that operands are used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Numbers to calculate with, read from the first to the last; a value or a weight.
    Tensor,
    /// The result has the same elements, in another place, format or order.
    Moved,
    /// The result has some of its rows, and only those are read.
    Cut,
    /// The result has its columns beside those of the other parts.
    Part,
    /// Rows to be looked up. Only those that are looked up are read.
    Table,
    /// `u32` numbers of the rows to look up: tokens or positions.
    Indices,
    /// Per-column factors of a norm. The call's scalar is the norm's epsilon.
    Gamma,
    /// The right operand of a matrix product, whose data type the matrix unit's speed and precision depend on.
    Matrix,
    /// Query heads, key heads and value heads side by side.
    Projection,
    /// Cosines of a rotary embedding.
    Cosines,
    /// Sines of a rotary embedding.
    Sines,
    /// Queries of attention. The call's scalar multiplies the scores.
    Queries,
    /// The paged key cache.
    KeyCache,
    /// The paged value cache.
    ValueCache,
    /// The paged key or value cache.
    Cache,
    /// One row of each user for the cache that stands before it among the operands.
    TokenRows,
    /// The rows of a chunk of one user's prompt for the cache that stands before them among the operands.
    PromptRows,
    /// `[1, blocks]` i32 cache blocks that the rows of a chunk go to.
    ChunkPages,
    /// `[1, blocks]` i32 cache blocks of the context of the user whose prompt it is.
    ContextPages,
    /// `[1]` i32 position of the first row of a chunk.
    ChunkStart,
    /// `[4]` u32 first indices of the rows that are cut out.
    Starts,
    /// `[4]` u32 indices after the last of the rows that are cut out.
    Ends,
    /// `[B]` i32 positions of the users in their caches.
    Positions,
    /// `[B, blocks per user]` i32 cache blocks of the users.
    PageTable,
    /// Logits that a token is picked of.
    Logits,
    /// The largest logits of each user, largest first, that a token is drawn among.
    Candidates,
    /// `u32` tokens of the [`Role::Candidates`].
    CandidateTokens,
    /// `[B]` u32 numbers of candidates that are kept.
    TopK,
    /// `[B]` bf16 probabilities that the candidates kept have together.
    TopP,
    /// `[B]` bf16 factors of the logits.
    InverseTemperature,
    /// `[B]` u32 seeds of random numbers.
    Seeds,
    /// `[B]` u32 cores whose random numbers are seeded.
    Generators,
    /// A row of integers to calculate with: a value, or the numbers of the users.
    Integers,
    /// Receives the token that the next run of the phase reads, or that generation starts with.
    NextToken,
    /// Positions that are counted on for the next run of the phase.
    Counter,
}

impl Role {
    /// True when the elements of the result are elements of the operand, so that they come from wherever the operand's come from.
    pub const fn is_source(self) -> bool {
        match self {
            Role::Moved | Role::Cut | Role::Table => true,
            Role::Tensor
            | Role::Part
            | Role::Indices
            | Role::Integers
            | Role::Gamma
            | Role::Matrix
            | Role::Projection => false,
            Role::Cosines | Role::Sines | Role::Queries | Role::KeyCache | Role::ValueCache | Role::Cache => false,
            Role::TokenRows | Role::PromptRows | Role::ChunkPages | Role::ContextPages | Role::ChunkStart => false,
            Role::Starts | Role::Ends => false,
            Role::Candidates | Role::CandidateTokens | Role::TopK | Role::TopP | Role::InverseTemperature => false,
            Role::Seeds | Role::Generators => false,
            Role::Positions | Role::PageTable | Role::Logits | Role::NextToken | Role::Counter => false,
        }
    }
}

/// The effect of a call on an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// It stays as it is.
    Read,
    /// Its contents are replaced, in whole or in part.
    Write,
    /// The result takes over its memory. No device program runs, and the operand's name ends.
    Rename,
    /// Its memory is given back. No device program runs, and the operand's name ends.
    Free,
}

/// One operand of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use<'a> {
    /// The tensor.
    pub tensor: &'a Ref,
    /// Its purpose in the call.
    pub role: Role,
    /// The effect of the call on it.
    pub access: Access,
}
