//! `ttnn.transformer.chunked_scaled_dot_product_attention`: causal attention of a chunk of a prompt over the paged KV caches.

use bitnetc_numerics::kernels::{Compute, PrefillSoftmax, sdpa_prefill};
use bitnetc_numerics::{Cache, Chunk, Pages, prefill_attention};
use bitnetc_plan::TILE;
use bitnetc_plan::op::Sdpa;

use crate::DeviceError;
use crate::host::rows::settle;
use crate::host::run::Run;
use crate::host::tensor::{Data, HostTensor};

pub fn execute(op: &Sdpa, run: &mut Run<'_>) -> Result<(), DeviceError> {
    let kernel = run.kernel(op.compute).map(|how| (op.program.k_chunk as usize, how));
    run.produce(|x, [out]| {
        let (caches, place) = ((x.tensor(1)?, x.tensor(2)?), (x.integers(3)?, x.integers(4)?));
        prefill(x.tensor(0)?, caches, place, op.scale.value, kernel, out)
    })
}

/// q `[1, H, S, D]` over the paged caches by one user's page table; row `s` sees the positions up to `start + s`.
fn prefill(
    q: &HostTensor,
    (k, v): (&HostTensor, &HostTensor),
    (pages, start): (&[u32], &[u32]),
    scale: f64,
    kernel: Option<(usize, Compute)>,
    out: &mut HostTensor,
) -> Result<(), DeviceError> {
    let (dim, scale) = (k.dim(3), scale as f32);
    if dim != q.dim(3) || k.spec.shape != v.spec.shape {
        return Err(k.unexpected(1, format!("heads of {}, as the values'", q.dim(3))));
    }
    let &[start] = start else {
        let got = format!("{} numbers", start.len());
        return Err(DeviceError::Operand { operand: 4, got, want: "the position of the chunk's first row".into() });
    };
    let shape = (k.dim(0), k.dim(1), k.dim(2), dim);
    let caches = (Cache::new(shape, k.bf16(1)?)?, Cache::new(shape, v.bf16(2)?)?);
    let (chunk, pages) = (Chunk { start: start as usize, rows: q.dim(2) }, Pages::Table(pages));
    let q = q.bf16(0)?;
    if let (Some((k_chunk, how)), Data::Bf16(out), true) = (kernel, &mut out.data, dim.is_multiple_of(TILE as usize)) {
        sdpa_prefill(q, caches, pages, chunk, PrefillSoftmax { scale, k_chunk }, how, out)?;
        return Ok(());
    }
    match &mut out.data {
        Data::Bf16(out) => prefill_attention(q, caches, pages, chunk, scale, out)?,
        Data::F32(out) => prefill_attention(q, caches, pages, chunk, scale, out)?,
        Data::Integer(_) => return Err(out.unexpected(5, "floats")),
    }
    settle(out)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::host::tensor::{Pool, elements};
    use bitnetc_plan::{DType, MemoryConfig, TensorSpec};
    use std::sync::Arc;

    pub(in crate::host::ops) fn tensor(shape: &[u32], dtype: DType, seed: usize) -> HostTensor {
        let spec = Arc::new(TensorSpec::tile(shape, dtype, MemoryConfig::DRAM));
        let mut tensor = Pool::default().zeros(&spec).unwrap();
        let number = |i: usize| ((i * 37 + seed * 101) % 97) as f32 / 48.0 - 1.0;
        tensor.write_at(0, &mut (0..elements(&spec)).map(number).collect::<Vec<_>>());
        tensor
    }

    pub(in crate::host::ops) fn row(tensor: &HostTensor, row: usize) -> Vec<f64> {
        let mut out = vec![0f32; tensor.columns()];
        tensor.read_row(row, &mut out);
        out.into_iter().map(f64::from).collect()
    }

    pub(in crate::host::ops) const H: usize = 4;
    pub(in crate::host::ops) const KV: usize = 2;
    pub(in crate::host::ops) const S: usize = 70;
    pub(in crate::host::ops) const D: usize = 40;

    /// q, k, v and their attention.
    pub(in crate::host::ops) fn prompt() -> [HostTensor; 4] {
        let shape = |heads: usize| [1, heads as u32, S as u32, D as u32];
        let [q, k, v] = [(H, 1), (KV, 2), (KV, 3)].map(|(heads, seed)| tensor(&shape(heads), DType::Bf16, seed));
        let mut out = tensor(&shape(H), DType::Bf16, 0);
        // One block holds all rows.
        prefill(&q, (&k, &v), (&[0], &[0]), 0.3, None, &mut out).unwrap();
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
}
