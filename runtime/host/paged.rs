//! The paged KV caches: `[blocks, Hkv, block, D]`, a user's position `p` in block `page_table[user][p / block]`.

use bitnetc_numerics::NumericsError;

use super::run::Run;
use super::tensor::HostTensor;
use crate::DeviceError;

/// Index of the first element of head 0 at `position` of `user`; heads lie `block * D` elements apart.
///
/// # Errors
/// A position outside of the user's pages, a page that the cache does not have.
pub fn place(cache: &HostTensor, pages: &HostTensor, user: usize, position: i64) -> Result<usize, DeviceError> {
    let (blocks, heads, block, dim) = (cache.dim(0), cache.dim(1), cache.dim(2), cache.dim(3));
    let per_user = pages.columns();
    let table = pages.integers(1)?;
    let context = per_user * block;
    let outside = || NumericsError::Position { user, position, context };
    let at = usize::try_from(position).ok().filter(|&p| p < context).ok_or_else(outside)?;
    let page = table.get(user * per_user + at / block).map(|&page| i64::from(page as i32)).ok_or_else(outside)?;
    let wrong = || NumericsError::Page { user, block: page, blocks };
    let page = usize::try_from(page).ok().filter(|&p| p < blocks).ok_or_else(wrong)?;
    Ok((page * heads * block + at % block) * dim)
}

/// Writes each user's row of operand `rows`, `[1, B, Hkv, D]`, to its position of operand `cache`; nothing of a user at a negative position.
/// The page table is the operand after the positions.
pub fn update(run: &mut Run<'_>, cache: usize, rows: usize, positions: usize) -> Result<(), DeviceError> {
    run.change(cache, |x, cache| {
        write_rows(cache, x.tensor(rows)?, rows, x.integers(positions)?, x.tensor(positions + 1)?)
    })
}

/// As [`update`]; `operand` is the number of `rows`.
pub fn write_rows(
    cache: &mut HostTensor,
    rows: &HostTensor,
    operand: usize,
    positions: &[u32],
    pages: &HostTensor,
) -> Result<(), DeviceError> {
    let (users, heads, dim) = (rows.dim(1), rows.dim(2), rows.dim(3));
    check(cache, rows, operand, heads)?;
    if positions.len() < users {
        return Err(NumericsError::Length { what: "positions", got: positions.len(), want: users }.into());
    }
    let stride = cache.dim(2) * dim;
    let mut row = [0f32; MAX_DIM];
    for (user, &position) in positions.iter().enumerate().take(users) {
        if (position as i32) < 0 {
            continue;
        }
        let at = place(cache, pages, user, i64::from(position))?;
        for head in 0..heads {
            rows.read_at((user * heads + head) * dim, &mut row[..dim]);
            cache.write_at(at + head * stride, &mut row[..dim]);
        }
    }
    Ok(())
}

/// Largest head TT-NN's attention takes.
pub const MAX_DIM: usize = 512;

/// `Ok` when the heads of operand `operand` are those of the cache.
///
/// # Errors
/// Another number of heads, or heads of another size or too large.
pub fn check(cache: &HostTensor, rows: &HostTensor, operand: usize, heads: usize) -> Result<(), DeviceError> {
    let fits = heads == cache.dim(1) && rows.dim(3) == cache.dim(3) && rows.dim(3) <= MAX_DIM;
    if fits { Ok(()) } else { Err(rows.unexpected(operand, format!("heads of {:?}", cache.spec.shape))) }
}
