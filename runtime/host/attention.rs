//! Scaled dot product attention over host tensors: [`bitnetc_numerics::decode_attention`] and `prefill_attention`.

use bitnetc_numerics::{Cache, NumericsError, Pages, decode_attention, prefill_attention};

use super::rows::settle;
use super::tensor::{Data, HostTensor};
use crate::DeviceError;

/// Prefill: q `[1, H, S, D]`, k and v `[1, Hkv, S, D]`; row `s` sees rows up to `s`.
pub fn prefill(
    q: &HostTensor,
    k: &HostTensor,
    v: &HostTensor,
    scale: f64,
    out: &mut HostTensor,
) -> Result<(), DeviceError> {
    let (rows, dim, scale) = (q.dim(2), q.dim(3), scale as f32);
    for (operand, tensor) in [(1, k), (2, v)] {
        if (tensor.dim(2), tensor.dim(3)) != (rows, dim) {
            return Err(tensor.unexpected(operand, format!("{rows} rows of {dim}")));
        }
    }
    let (q, k, v) = (q.bf16(0)?, k.bf16(1)?, v.bf16(2)?);
    let wrong = out.unexpected(3, "floats");
    match &mut out.data {
        Data::Bf16(out) => prefill_attention(q, k, v, rows, dim, scale, out)?,
        Data::F32(out) => prefill_attention(q, k, v, rows, dim, scale, out)?,
        Data::Integer(_) => return Err(wrong),
    }
    settle(out)
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
    let (users, scale) = (q.dim(1), scale as f32);
    if k.dim(3) != q.dim(3) || k.spec.shape != v.spec.shape {
        return Err(k.unexpected(1, format!("heads of {}, as the values'", q.dim(3))));
    }
    let too_few = || NumericsError::Length { what: "positions", got: positions.len(), want: users };
    let positions = positions.get(..users).ok_or_else(too_few)?;
    let table = pages.integers(4)?;
    let entries = users * pages.columns();
    let table = table.get(..entries).ok_or_else(|| pages.unexpected(4, format!("{users} rows or more")))?;
    let shape = (k.dim(0), k.dim(1), k.dim(2), k.dim(3));
    let (keys, values) = (Cache::new(shape, k.bf16(1)?)?, Cache::new(shape, v.bf16(2)?)?);
    let (q, pages, wrong) = (q.bf16(0)?, Pages::Table(table), out.unexpected(5, "floats"));
    match &mut out.data {
        Data::Bf16(out) => decode_attention(q, keys, values, pages, positions, scale, out)?,
        Data::F32(out) => decode_attention(q, keys, values, pages, positions, scale, out)?,
        Data::Integer(_) => return Err(wrong),
    }
    settle(out)
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
        let mut tensor = Pool::default().zeros(&spec).unwrap();
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
        assert!(refuse(&[0, 96]) && refuse(&[0]) && !refuse(&[u32::MAX, 0]));
    }
}
