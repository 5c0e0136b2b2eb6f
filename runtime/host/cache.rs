//! The paged KV caches: `[blocks, Hkv, block, D]`, a user's position `p` in block `page_table[user][p / block]`.

use bitnetc_numerics::NumericsError;

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

/// Decode: one row per user into the cache; `rows` is `[1, B, Hkv, D]`, operand `operand` of the call.
pub fn update(
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
        let at = place(cache, pages, user, i64::from(position as i32))?;
        for head in 0..heads {
            rows.read_at((user * heads + head) * dim, &mut row[..dim]);
            cache.write_at(at + head * stride, &mut row[..dim]);
        }
    }
    Ok(())
}

/// Prefill: the rows of one user from position 0 on; `rows` is `[1, Hkv, S, D]`.
pub fn fill(cache: &mut HostTensor, rows: &HostTensor, user: usize, pages: &HostTensor) -> Result<(), DeviceError> {
    let (heads, count, dim) = (rows.dim(1), rows.dim(2), rows.dim(3));
    check(cache, rows, 1, heads)?;
    let stride = cache.dim(2) * dim;
    let mut row = [0f32; MAX_DIM];
    for position in 0..count {
        let at = place(cache, pages, user, position as i64)?;
        for head in 0..heads {
            rows.read_at((head * count + position) * dim, &mut row[..dim]);
            cache.write_at(at + head * stride, &mut row[..dim]);
        }
    }
    Ok(())
}

/// Largest head TT-NN's attention takes.
const MAX_DIM: usize = 512;

fn check(cache: &HostTensor, rows: &HostTensor, operand: usize, heads: usize) -> Result<(), DeviceError> {
    let fits = heads == cache.dim(1) && rows.dim(3) == cache.dim(3) && rows.dim(3) <= MAX_DIM;
    if fits { Ok(()) } else { Err(rows.unexpected(operand, format!("heads of {:?}", cache.spec.shape))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tensor::{Data, Pool, elements};
    use bitnetc_plan::{DType, MemoryConfig, TensorSpec};
    use std::sync::Arc;

    fn tensor(shape: &[u32], dtype: DType) -> HostTensor {
        Pool::default().zeros(&Arc::new(TensorSpec::tile(shape, dtype, MemoryConfig::DRAM))).unwrap()
    }

    #[test]
    fn filling_and_updating_write_the_same_places_through_any_pages() {
        let mut pages = tensor(&[2, 2], DType::I32);
        pages.data = Data::Integer(vec![3, 1, 0, 2]);
        let mut filled = tensor(&[4, 2, 32, 32], DType::Bf16);
        let mut updated = tensor(&[4, 2, 32, 32], DType::Bf16);
        let mut prompt = tensor(&[1, 2, 40, 32], DType::Bf16);
        let mut all: Vec<f32> = (0..elements(&prompt.spec)).map(|i| (i % 251) as f32).collect();
        prompt.write_at(0, &mut all);
        fill(&mut filled, &prompt, 1, &pages).unwrap();
        for position in 0..40u32 {
            let mut row = tensor(&[1, 2, 2, 32], DType::Bf16);
            let mut values = [0f32; 32];
            for head in 0..2 {
                prompt.read_at((head * 40 + position as usize) * 32, &mut values);
                row.write_at((2 + head) * 32, &mut values);
            }
            update(&mut updated, &row, 1, &[63, position], &pages).unwrap();
        }
        for position in 0..40 {
            let at = place(&filled, &pages, 1, position).unwrap();
            let (mut a, mut b) = ([0f32; 32], [0f32; 32]);
            filled.read_at(at + 32 * 32, &mut a);
            updated.read_at(at + 32 * 32, &mut b);
            assert_eq!(a, b);
        }
        let error = |user, position| place(&filled, &pages, user, position).unwrap_err();
        assert!(error(0, 64).to_string().contains("position 64"));
        assert!(error(0, -1).to_string().contains("position -1"));
    }
}
