//! `ttnn.transformer.paged_scaled_dot_product_attention_decode`: attention of one token per user over the paged KV caches.

use bitnetc_numerics::kernels::{Compute, DecodeSoftmax, sdpa_decode};
use bitnetc_numerics::{Cache, NumericsError, Pages, decode_attention};
use bitnetc_plan::TILE;
use bitnetc_plan::op::SdpaDecode;
use bitnetc_plan::program::SdpaProgram;
use bitnetc_plan::ttnn::Split;

use crate::DeviceError;
use crate::host::rows::settle;
use crate::host::run::Run;
use crate::host::tensor::{Data, HostTensor};

pub fn execute(op: &SdpaDecode, run: &mut Run<'_>) -> Result<(), DeviceError> {
    let kernel = run.kernel(op.compute).map(|how| (op.program, how));
    run.produce(|x, [out]| {
        let caches = (x.tensor(1)?, x.tensor(2)?);
        decode(x.tensor(0)?, caches, x.integers(3)?, x.tensor(4)?, op.scale.value, kernel, out)
    })
}

/// The kernel's softmax under a program, for `users` with `kv_heads` each.
fn softmax(scale: f32, program: SdpaProgram, users: u32, kv_heads: u32) -> DecodeSoftmax {
    let cores = Split::of(program.grid.0 * program.grid.1, users, kv_heads).map_or(1, |split| split.cores_per_head);
    DecodeSoftmax { scale, k_chunk: program.k_chunk as usize, cores: cores as usize }
}

/// q `[1, B, H, D]` over the paged caches; user `b` sees rows up to `positions[b]`.
fn decode(
    q: &HostTensor,
    (k, v): (&HostTensor, &HostTensor),
    positions: &[u32],
    pages: &HostTensor,
    scale: f64,
    kernel: Option<(SdpaProgram, Compute)>,
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
    let tiles = k.dim(3).is_multiple_of(TILE as usize);
    let (q, pages) = (q.bf16(0)?, Pages::Table(table));
    if let (Some((program, how)), Data::Bf16(out), true) = (kernel, &mut out.data, tiles) {
        let softmax = softmax(scale, program, users as u32, shape.1 as u32);
        sdpa_decode(q, (keys, values), pages, positions, softmax, how, out)?;
        return Ok(());
    }
    match &mut out.data {
        Data::Bf16(out) => decode_attention(q, keys, values, pages, positions, scale, out)?,
        Data::F32(out) => decode_attention(q, keys, values, pages, positions, scale, out)?,
        Data::Integer(_) => return Err(out.unexpected(5, "floats")),
    }
    settle(out)
}

#[cfg(test)]
mod tests {
    use super::super::cache_fill::fill;
    use super::super::sdpa::tests::{D, H, KV, S, prompt, row, tensor};
    use super::*;
    use bitnetc_plan::DType;

    #[test]
    fn decode_through_pages_equals_the_last_row_of_prefill() {
        let [q, k, v, out] = prompt();
        let mut pages = tensor(&[2, 3], DType::I32, 0);
        pages.data = Data::Integer(vec![5, 0, 2, 4, 1, 3]);
        let mut caches = [4, 5].map(|seed| tensor(&[6, KV as u32, 32, D as u32], DType::Bf16, seed));
        let mut chunk = tensor(&[1, 3], DType::I32, 0);
        chunk.data = Data::Integer(vec![4, 1, 3]);
        fill(&mut caches[0], &k, &chunk).unwrap();
        fill(&mut caches[1], &v, &chunk).unwrap();
        let mut query = tensor(&[1, 2, H as u32, D as u32], DType::Bf16, 0);
        for head in 0..H {
            let mut values: Vec<f32> = row(&q, head * S + S - 1).into_iter().map(|v| v as f32).collect();
            query.write_at((H + head) * D, &mut values);
        }
        let mut got = tensor(&[1, 2, H as u32, D as u32], DType::Bf16, 0);
        let [k, v] = &caches;
        decode(&query, (k, v), &[3, S as u32 - 1], &pages, 0.3, None, &mut got).unwrap();
        for head in 0..H {
            assert_eq!(row(&got, H + head), row(&out, head * S + S - 1));
        }
        let mut refuse = |positions: &[u32]| decode(&query, (k, v), positions, &pages, 0.3, None, &mut got).is_err();
        assert!(refuse(&[0, 96]) && refuse(&[0]) && !refuse(&[u32::MAX, 0]));
    }
}
