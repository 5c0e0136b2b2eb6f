//! Scaled dot product attention: bf16 in and out, fp32 inside, softmax with a subtracted maximum.
//!
//! TT-NN's kernels keep running maxima and sums in bf16 or fp32 by their config and use an `exp` of 1.7e-3 relative error in bf16; this
//! one is closer to the real numbers, and the same for every program config.

use bitnetc_numerics::NumericsError;
use half::bf16;

use super::cache::place;
use super::rows::each_row;
use super::tensor::HostTensor;
use crate::DeviceError;

/// Prefill: q `[1, H, S, D]`, k and v `[1, Hkv, S, D]`; row `s` sees rows up to `s`.
pub fn prefill(
    q: &HostTensor,
    k: &HostTensor,
    v: &HostTensor,
    scale: f64,
    out: &mut HostTensor,
) -> Result<(), DeviceError> {
    let (heads, kv_heads, rows, dim) = (q.dim(1), k.dim(1), q.dim(2), q.dim(3));
    for (operand, tensor) in [(1, k), (2, v)] {
        if tensor.dim(2) != rows || tensor.dim(3) != dim || tensor.dim(1) != kv_heads {
            return Err(tensor.unexpected(operand, format!("{rows} rows of {dim}")));
        }
    }
    let group = group(q, heads, kv_heads, out)?;
    let (q, k, v) = (q.bf16(0)?, k.bf16(1)?, v.bf16(2)?);
    each_row(out, |row, buffers, out| {
        let (head, position) = (row / rows % heads, row % rows);
        let first = head / group * rows;
        let at = |i: usize| (first + i) * dim..(first + i + 1) * dim;
        let (sum, scores) = (&mut buffers.a, &mut buffers.b);
        let q = &q[row * dim..(row + 1) * dim];
        attend(q, position + 1, scale as f32, scores, sum, |i| &k[at(i)], |i| &v[at(i)]);
        out.write(sum);
    });
    Ok(())
}

/// Decode: q `[1, B, H, D]` over the paged caches; user `b` sees rows up to `positions[b]`.
pub fn decode(
    q: &HostTensor,
    (k, v): (&HostTensor, &HostTensor),
    positions: &[u32],
    pages: &HostTensor,
    scale: f64,
    out: &mut HostTensor,
) -> Result<(), DeviceError> {
    let (users, heads, kv_heads, dim) = (q.dim(1), q.dim(2), k.dim(1), q.dim(3));
    if k.dim(3) != dim || k.spec.shape != v.spec.shape {
        return Err(k.unexpected(1, format!("heads of {dim}")));
    }
    let group = group(q, heads, kv_heads, out)?;
    if positions.len() < users {
        return Err(NumericsError::Length { what: "positions", got: positions.len(), want: users }.into());
    }
    for (user, &position) in positions.iter().enumerate().take(users) {
        let (position, block) = (i64::from(position as i32), k.dim(2));
        place(k, pages, user, position)?;
        // So the position is not negative; its user's earlier pages are not checked by it.
        (0..position).step_by(block).try_for_each(|first| place(k, pages, user, first).map(drop))?;
    }
    let (block, table, per_user) = (k.dim(2), pages.integers(4)?, pages.columns());
    let (q, k, v) = (q.bf16(0)?, k.bf16(1)?, v.bf16(2)?);
    each_row(out, |row, buffers, out| {
        let (user, head) = (row / heads, row % heads);
        let at = |i: usize| {
            let page = table[user * per_user + i / block] as usize;
            let start = ((page * kv_heads + head / group) * block + i % block) * dim;
            start..start + dim
        };
        let (sum, scores) = (&mut buffers.a, &mut buffers.b);
        let q = &q[row * dim..(row + 1) * dim];
        let seen = positions[user] as usize + 1;
        attend(q, seen, scale as f32, scores, sum, |i| &k[at(i)], |i| &v[at(i)]);
        out.write(sum);
    });
    Ok(())
}

/// Query heads per key and value head.
fn group(q: &HostTensor, heads: usize, kv_heads: usize, out: &HostTensor) -> Result<usize, DeviceError> {
    if out.spec.shape != q.spec.shape || kv_heads == 0 || heads % kv_heads != 0 {
        return Err(q.unexpected(0, format!("shape {:?} of a multiple of {kv_heads} heads", out.spec.shape)));
    }
    Ok(heads / kv_heads)
}

/// `softmax(scale * q k^T) v` over `seen` rows.
fn attend<'a>(
    q: &[bf16],
    seen: usize,
    scale: f32,
    scores: &mut Vec<f32>,
    sum: &mut Vec<f32>,
    k: impl Fn(usize) -> &'a [bf16],
    v: impl Fn(usize) -> &'a [bf16],
) {
    scores.clear();
    scores.extend((0..seen).map(|i| dot(q, k(i)) * scale));
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0f32;
    for score in scores.iter_mut() {
        *score = (*score - largest).exp();
        total += *score;
    }
    sum.clear();
    sum.resize(q.len(), 0.0);
    for (i, weight) in scores.iter().enumerate() {
        let weight = weight / total;
        sum.iter_mut().zip(v(i)).for_each(|(s, v)| *s += weight * f32::from_bits(u32::from(v.to_bits()) << 16));
    }
}

fn dot(a: &[bf16], b: &[bf16]) -> f32 {
    let wide = |h: bf16| f32::from_bits(u32::from(h.to_bits()) << 16);
    let mut lanes = [0f32; 16];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    for (a, b) in a.iter().zip(b) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += wide(*a) * wide(*b);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| wide(*a) * wide(*b)).sum();
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cache;
    use crate::host::tensor::{Data, Pool, elements};
    use bitnetc_plan::{DType, MemoryConfig, TensorSpec};
    use std::sync::Arc;

    fn tensor(shape: &[u32], dtype: DType, seed: usize) -> HostTensor {
        let spec = Arc::new(TensorSpec::tile(shape, dtype, MemoryConfig::DRAM));
        let mut tensor = Pool::default().take(&spec).unwrap();
        let number = |i: usize| ((i * 37 + seed * 101) % 97) as f32 / 48.0 - 1.0;
        tensor.write_at(0, &mut (0..elements(&spec)).map(number).collect::<Vec<_>>());
        tensor
    }

    fn row(tensor: &HostTensor, row: usize) -> Vec<f64> {
        let mut out = vec![0f32; tensor.columns()];
        tensor.read_row(row, &mut out);
        out.into_iter().map(f64::from).collect()
    }

    const H: usize = 4;
    const KV: usize = 2;
    const S: usize = 70;
    const D: usize = 40;

    fn prompt() -> [HostTensor; 4] {
        let shape = |heads: usize| [1, heads as u32, S as u32, D as u32];
        let [q, k, v] = [(H, 1), (KV, 2), (KV, 3)].map(|(heads, seed)| tensor(&shape(heads), DType::Bf16, seed));
        let mut out = tensor(&shape(H), DType::Bf16, 0);
        prefill(&q, &k, &v, 0.3, &mut out).unwrap();
        [q, k, v, out]
    }

    #[test]
    fn prefill_is_causal_softmax_attention() {
        let [q, k, v, out] = prompt();
        for head in 0..H {
            for s in [0, 1, 33, S - 1] {
                let query = row(&q, head * S + s);
                let kv = head / (H / KV) * S;
                let dot = |i: usize| row(&k, kv + i).iter().zip(&query).map(|(a, b)| a * b).sum::<f64>();
                let weights: Vec<f64> = (0..=s).map(|i| (dot(i) * 0.3).exp()).collect();
                let total: f64 = weights.iter().sum();
                for (d, got) in row(&out, head * S + s).into_iter().enumerate() {
                    let want: f64 = weights.iter().enumerate().map(|(i, w)| w / total * row(&v, kv + i)[d]).sum();
                    assert!((got - want).abs() < 4e-3, "{head} {s} {d}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn decode_through_pages_equals_the_last_row_of_prefill() {
        let [q, k, v, out] = prompt();
        let mut pages = tensor(&[2, 3], DType::I32, 0);
        pages.data = Data::Integer(vec![5, 0, 2, 4, 1, 3]);
        let mut caches = [4, 5].map(|seed| tensor(&[6, KV as u32, 32, D as u32], DType::Bf16, seed));
        cache::fill(&mut caches[0], &k, 1, &pages).unwrap();
        cache::fill(&mut caches[1], &v, 1, &pages).unwrap();
        let mut query = tensor(&[1, 2, H as u32, D as u32], DType::Bf16, 0);
        for head in 0..H {
            let mut values: Vec<f32> = row(&q, head * S + S - 1).into_iter().map(|v| v as f32).collect();
            query.write_at((H + head) * D, &mut values);
        }
        let mut got = tensor(&[1, 2, H as u32, D as u32], DType::Bf16, 0);
        let [k, v] = &caches;
        decode(&query, (k, v), &[3, S as u32 - 1], &pages, 0.3, &mut got).unwrap();
        for head in 0..H {
            assert_eq!(row(&got, H + head), row(&out, head * S + S - 1));
        }
        let mut refuse = |positions: &[u32]| decode(&query, (k, v), positions, &pages, 0.3, &mut got).is_err();
        assert!(refuse(&[0, 96]) && refuse(&[0]) && refuse(&[u32::MAX, 0]));
    }
}
