//! Scaled dot-product attention with grouped KV heads over paged caches: decode, and causal prefill of a chunk.
//!
//! Scores, the online softmax and the weighted sum are f32; keys and values are bf16, which holds what a bfp8_b
//! cache does (see [`crate::cast_through`]); the result is rounded once. The device's flash kernels keep bf16 between chunks and approximate exp (1.7e-3, or
//! 3 % with `exp_approx_mode`), so this is a better-rounded result of the same formula, not its bits:
//! relative error here is below 1e-5 of the largest value. A query's result depends on its own keys alone
//! and on no other query, block order or batch, so prefill, decode and permuted page tables agree bit for bit.

mod kernel;
mod vectors;

use half::bf16;
use rayon::prelude::*;

use crate::element::Element;
use crate::error::{NumericsError, check_dim, check_len, check_multiple};
use crate::rounding::widen_slice;
use kernel::{Query, Rows, attend};

/// Largest head dimension the kernels take.
pub const MAX_HEAD_DIM: usize = 256;

/// The keys, or the values, of one layer: [blocks, kv_heads, block, head_dim]. A contiguous cache [users, kv_heads,
/// context, head_dim] is one with a block per user.
#[derive(Debug, Clone, Copy)]
pub struct Cache<'a> {
    blocks: usize,
    kv_heads: usize,
    block: usize,
    head_dim: usize,
    data: &'a [bf16],
}

impl<'a> Cache<'a> {
    /// Takes `data` as [blocks, kv_heads, block, head_dim].
    ///
    /// # Errors
    /// [`NumericsError::Length`] if it has not as many elements.
    pub fn new(
        (blocks, kv_heads, block, head_dim): (usize, usize, usize, usize),
        data: &'a [bf16],
    ) -> Result<Self, NumericsError> {
        check_len("KV cache", data.len(), blocks * kv_heads * block * head_dim)?;
        Ok(Cache { blocks, kv_heads, block, head_dim, data })
    }

    /// KV heads and head dimension.
    pub(crate) fn heads(&self) -> (usize, usize) {
        (self.kv_heads, self.head_dim)
    }

    /// The row of `user`'s `head` at `position`; [`check_pages`] has seen that its block exists.
    pub(crate) fn row(&self, table: Option<&[u32]>, user: usize, head: usize, position: usize) -> &'a [bf16] {
        let block = table.map_or(user, |table| table[position / self.block] as usize);
        let row = (block * self.kv_heads + head) * self.block + position % self.block;
        &self.data[row * self.head_dim..(row + 1) * self.head_dim]
    }

    /// [`NumericsError::Dimension`] unless `values` has this shape as well.
    pub(crate) fn check_same(&self, values: &Cache<'_>) -> Result<(), NumericsError> {
        check_dim("head dimension of the values", values.head_dim, self.head_dim)?;
        check_dim("KV heads of the values", values.kv_heads, self.kv_heads)?;
        check_dim("block of the values", values.block, self.block)?;
        check_dim("blocks of the values", values.blocks, self.blocks)
    }
}

/// Where each user's positions lie in the cache.
#[derive(Debug, Clone, Copy)]
pub enum Pages<'a> {
    /// User u has block u, which is its whole context.
    Contiguous,
    /// Shape \[users, entries per user\], int32 bits: entry i names the block of a user's positions `i * block ..`.
    Table(&'a [u32]),
}

impl<'a> Pages<'a> {
    /// The table of a user that is the only one.
    pub(crate) const fn of_only_user(self) -> Option<&'a [u32]> {
        match self {
            Pages::Contiguous => None,
            Pages::Table(table) => Some(table),
        }
    }
}

/// Decode: one query position per user.
///
/// q and out are [users, heads, head_dim]. A user attends positions 0 to `positions[user]`, int32 bits; a negative
/// position (an idle user) gives zeros. Allocates nothing.
///
/// # Errors
/// [`NumericsError::Dimension`] or [`NumericsError::Multiple`] if shapes disagree, [`NumericsError::Position`] or
/// [`NumericsError::Page`] if a position or a block it needs does not exist.
pub fn decode_attention<O: Element>(
    q: &[bf16],
    keys: Cache<'_>,
    values: Cache<'_>,
    pages: Pages<'_>,
    positions: &[u32],
    scale: f32,
    out: &mut [O],
) -> Result<(), NumericsError> {
    let (users, dim, kv_heads) = (positions.len(), keys.head_dim, keys.kv_heads);
    check_head_dim(dim)?;
    keys.check_same(&values)?;
    check_dim("output elements", out.len(), q.len())?;
    check_multiple("elements of the queries", q.len(), users * kv_heads * dim)?;
    let per_user = check_pages(pages, positions, keys)?;
    let group = q.len() / (users * kv_heads * dim);
    out.par_chunks_mut(group * dim).zip(q.par_chunks(group * dim)).enumerate().for_each(|(task, (out, q))| {
        let (user, head) = (task / kv_heads, task % kv_heads);
        let table = match pages {
            Pages::Contiguous => None,
            Pages::Table(t) => Some(&t[user * per_user..(user + 1) * per_user]),
        };
        let limit = usize::try_from(positions[user] as i32).map_or(0, |p| p + 1);
        let rows = Paged { keys, values, table, user, head };
        attend_all(dim, q, |_| limit, scale, &rows, out);
    });
    Ok(())
}

/// The query positions of a chunk of one user's prompt: `start .. start + rows`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// The first.
    pub start: usize,
    /// How many.
    pub rows: usize,
}

impl Chunk {
    /// Heads of `q`, [heads, rows, head_dim], when `out` and the caches fit it and the blocks of all its positions exist.
    pub(crate) fn check(
        self,
        (q, out): (usize, usize),
        (keys, values): (Cache<'_>, Cache<'_>),
        pages: Pages<'_>,
    ) -> Result<usize, NumericsError> {
        keys.check_same(&values)?;
        check_dim("output elements", out, q)?;
        check_multiple("elements of the queries", q, self.rows * keys.kv_heads * keys.head_dim)?;
        // A position that is no 32-bit integer is beyond any context.
        let last = i32::try_from((self.start + self.rows).saturating_sub(1)).unwrap_or(i32::MAX);
        check_pages(pages, &[last as u32], keys)?;
        Ok(q / (self.rows * keys.head_dim))
    }
}

/// Causal prefill of a chunk of one user's prompt: query position s attends positions 0..=s.
///
/// q and out are [heads, rows, head_dim]. Allocates nothing.
///
/// # Errors
/// [`NumericsError::Dimension`] or [`NumericsError::Multiple`] if shapes disagree, [`NumericsError::Position`] or
/// [`NumericsError::Page`] if a position or a block it needs does not exist.
pub fn prefill_attention<O: Element>(
    q: &[bf16],
    (keys, values): (Cache<'_>, Cache<'_>),
    pages: Pages<'_>,
    chunk: Chunk,
    scale: f32,
    out: &mut [O],
) -> Result<(), NumericsError> {
    let (kv_heads, dim) = keys.heads();
    check_head_dim(dim)?;
    let heads = chunk.check((q.len(), out.len()), (keys, values), pages)?;
    let table = pages.of_only_user();
    let plane = chunk.rows * dim;
    out.par_chunks_mut(plane).zip(q.par_chunks(plane)).enumerate().for_each(|(head, (out, q))| {
        let rows = Paged { keys, values, table, user: 0, head: head * kv_heads / heads };
        let group = QUERIES * dim;
        out.par_chunks_mut(group).zip(q.par_chunks(group)).enumerate().for_each(|(i, (out, q))| {
            attend_all(dim, q, |j| chunk.start + i * QUERIES + j + 1, scale, &rows, out);
        });
    });
    Ok(())
}

/// Queries that share one pass over the keys.
const QUERIES: usize = kernel::QUERIES;

/// Attends with each query of q, [n, dim]; query j sees the first `limit(j)` positions.
fn attend_all<O: Element>(
    dim: usize,
    q: &[bf16],
    limit: impl Fn(usize) -> usize,
    scale: f32,
    rows: &impl Rows,
    out: &mut [O],
) {
    let chunk = QUERIES * dim;
    for (i, (out, q)) in out.chunks_mut(chunk).zip(q.chunks(chunk)).enumerate() {
        let mut queries = [Query::EMPTY; QUERIES];
        for (j, (query, q)) in queries.iter_mut().zip(q.chunks(dim)).enumerate() {
            query.load(q, scale, limit(i * QUERIES + j));
        }
        let live = &mut queries[..q.len() / dim];
        attend(dim, live, rows);
        for (query, out) in live.iter().zip(out.chunks_mut(dim)) {
            for (o, v) in out.iter_mut().zip(query.result()) {
                *o = O::put(v);
            }
        }
    }
}

fn check_head_dim(dim: usize) -> Result<(), NumericsError> {
    if dim > MAX_HEAD_DIM {
        let what = "head dimension, at most";
        return Err(NumericsError::Dimension { what, got: dim, want: MAX_HEAD_DIM });
    }
    Ok(())
}

/// Checks that every position has its block. Returns the entries of a user's page table.
pub(crate) fn check_pages(pages: Pages<'_>, positions: &[u32], cache: Cache<'_>) -> Result<usize, NumericsError> {
    let per_user = match pages {
        Pages::Contiguous => 1,
        Pages::Table(table) => {
            check_multiple("entries of the page table", table.len(), positions.len())?;
            table.len() / positions.len()
        }
    };
    let context = per_user * cache.block;
    for (user, &position) in positions.iter().enumerate() {
        let Ok(last) = usize::try_from(position as i32) else { continue };
        if last >= context {
            let position = i64::from(position);
            return Err(NumericsError::Position { user, position, context });
        }
        for page in 0..=last / cache.block {
            let block = match pages {
                Pages::Contiguous => user as i64,
                Pages::Table(table) => i64::from(table[user * per_user + page] as i32),
            };
            if !usize::try_from(block).is_ok_and(|b| b < cache.blocks) {
                return Err(NumericsError::Page { user, block, blocks: cache.blocks });
            }
        }
    }
    Ok(per_user)
}

/// Keys and values of one user and head in a cache.
struct Paged<'a> {
    keys: Cache<'a>,
    values: Cache<'a>,
    table: Option<&'a [u32]>,
    user: usize,
    head: usize,
}

impl Paged<'_> {
    #[inline(always)]
    fn read(&self, cache: &Cache<'_>, position: usize, out: &mut [f32]) {
        widen_slice(cache.row(self.table, self.user, self.head, position), out);
    }
}

impl Rows for Paged<'_> {
    #[inline(always)]
    fn key(&self, position: usize, out: &mut [f32]) {
        self.read(&self.keys, position, out);
    }

    #[inline(always)]
    fn value(&self, position: usize, out: &mut [f32]) {
        self.read(&self.values, position, out);
    }
}

#[cfg(test)]
mod tests;
