//! `ttnn.experimental.paged_fill_cache`: a chunk's rows into one KV cache.

use bitnetc_plan::op::CacheFill;

use crate::DeviceError;
use crate::device::ABSENT;
use crate::host::paged::{MAX_DIM, check, place};
use crate::host::run::Run;
use crate::host::tensor::HostTensor;

pub fn execute(_: &CacheFill, run: &mut Run<'_>) -> Result<(), DeviceError> {
    run.change(0, |x, cache| fill(cache, x.tensor(1)?, x.tensor(2)?))
}

/// Writes the rows, `[1, Hkv, S, D]`, to the blocks of the first row of `pages`. Rows of a block -1 are left out.
pub(super) fn fill(cache: &mut HostTensor, rows: &HostTensor, pages: &HostTensor) -> Result<(), DeviceError> {
    let (heads, count, dim) = (rows.dim(1), rows.dim(2), rows.dim(3));
    check(cache, rows, 1, heads)?;
    let (block, table) = (cache.dim(2), pages.integers(2)?);
    let mut row = [0f32; MAX_DIM];
    for position in (0..count).filter(|position| table.get(position / block) != Some(&ABSENT)) {
        let at = place(cache, pages, 0, position as i64)?;
        for head in 0..heads {
            rows.read_at((head * count + position) * dim, &mut row[..dim]);
            cache.write_at(at + head * block * dim, &mut row[..dim]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::paged::write_rows;
    use crate::host::tensor::{Data, Pool, elements};
    use bitnetc_plan::{DType, MemoryConfig, TensorSpec};
    use std::sync::Arc;

    fn tensor(shape: &[u32], dtype: DType) -> HostTensor {
        Pool::default().zeros(&Arc::new(TensorSpec::tile(shape, dtype, MemoryConfig::DRAM))).unwrap()
    }

    #[test]
    fn blocks_that_are_not_named_are_not_written() {
        let mut pages = tensor(&[1, 2], DType::I32);
        pages.data = Data::Integer(vec![ABSENT, 1]);
        let (mut cache, mut rows) = (tensor(&[2, 1, 32, 32], DType::Bf16), tensor(&[1, 1, 64, 32], DType::Bf16));
        rows.write_at(0, &mut vec![1.0; 64 * 32]);
        fill(&mut cache, &rows, &pages).unwrap();
        let mut all = vec![0f32; 2 * 32 * 32];
        cache.read_at(0, &mut all);
        assert!(all[..32 * 32].iter().all(|v| *v == 0.0) && all[32 * 32..].iter().all(|v| *v == 1.0));
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
        // The second user's blocks, and a third one that is not to be written.
        let mut chunk = tensor(&[1, 3], DType::I32);
        chunk.data = Data::Integer(vec![0, 2, ABSENT]);
        fill(&mut filled, &prompt, &chunk).unwrap();
        for position in 0..40u32 {
            let mut row = tensor(&[1, 2, 2, 32], DType::Bf16);
            let mut values = [0f32; 32];
            for head in 0..2 {
                prompt.read_at((head * 40 + position as usize) * 32, &mut values);
                row.write_at((2 + head) * 32, &mut values);
            }
            write_rows(&mut updated, &row, 1, &[u32::MAX, position], &pages).unwrap();
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
