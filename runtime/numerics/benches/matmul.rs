//! Emulated, integer and dense matmuls: multiply-accumulates and weight bytes per second.
#![allow(missing_docs, reason = "criterion's macro writes an undocumented function")]
#![allow(clippy::expect_used, reason = "a bench that cannot go on fails")]

use bitnetc_numerics::*;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn bf16_rows(m: usize, k: usize) -> Vec<half::bf16> {
    (0..m * k).map(|i| bf16_host(((i * 7919) % 1013) as f32 / 300.0 - 1.7)).collect()
}

fn ternary(r: usize, c: usize) -> f32 {
    ((r * 31 + c * 17 + (r * c) % 7) % 3) as f32 - 1.0
}

fn emulated(c: &mut Criterion) {
    let mut g = c.benchmark_group("emulated");
    g.sample_size(10);
    let (k, n) = (2560, 2560);
    for format in [Format::Bfp4, Format::Bfp8] {
        let w = Tiled::pack_with(format, k, n, ternary);
        for m in [1, 32, 128] {
            let mut x = SrcB::new();
            x.load_bf16(m, k, &bf16_rows(m, k)).expect("the shape is right");
            for fidelity in [Fidelity::LoFi, Fidelity::HiFi2, Fidelity::HiFi4] {
                for fp32_dest in [false, true] {
                    let config = MatmulConfig {
                        arch: Arch::Wormhole,
                        fidelity,
                        fp32_dest,
                        spill: Spill::Reload,
                        in0_block_w: 8,
                        out_format: Format::Bf16,
                    };
                    let mut out = Tiled::zeros(Format::Bf16, m, n);
                    g.throughput(Throughput::Elements((m * k * n) as u64));
                    let id = format!("{format:?}/{fidelity:?}/fp32_dest={fp32_dest}");
                    g.bench_function(BenchmarkId::new(id, m), |b| {
                        b.iter(|| matmul_into(&x, w.view(), &config, &mut out).expect("legal"))
                    });
                }
            }
        }
    }
}

/// The seven ternary matrices of one BitNet 2B-4T layer, as (k, n).
const LAYER: [(usize, usize); 5] = [(2560, 3840), (2560, 2560), (2560, 6912), (2560, 6912), (6912, 2560)];

/// Enough layers that the weights come from memory, not from a cache.
fn integer(c: &mut Criterion) {
    let mut g = c.benchmark_group("integer");
    g.sample_size(10);
    let layers: Vec<Vec<TernaryWeights>> = (0..6)
        .map(|l| {
            let one = |&(k, n): &(usize, usize)| {
                TernaryWeights::from_fn(k, n, |r, c| ternary(r + l, c) as i8).expect("ternary")
            };
            LAYER.iter().map(one).collect()
        })
        .collect();
    let bytes: usize = layers.iter().flatten().map(TernaryWeights::bytes).sum();
    let weights: usize = layers.iter().flatten().map(|w| w.k() * w.n()).sum();
    let mut scratch = TernaryScratch::default();
    for m in [1, 2, 4, 8, 16, 32, 128] {
        let x: Vec<i8> = (0..m * 6912).map(|i| ((i * 7919) % 255) as i8).collect();
        let mut out = vec![0i32; m * 6912];
        let mut run = || {
            for w in layers.iter().flatten() {
                w.matmul(m, &x[..m * w.k()], &mut out[..m * w.n()], &mut scratch).expect("legal");
            }
        };
        g.throughput(Throughput::Elements((m * weights) as u64));
        g.bench_function(BenchmarkId::new("mac", m), |b| b.iter(&mut run));
        if m <= 32 {
            g.throughput(Throughput::Bytes(bytes as u64));
            g.bench_function(BenchmarkId::new("weight-bytes", m), |b| b.iter(&mut run));
        }
    }
}

/// The LM head of BitNet 2B-4T, a quarter of its columns.
fn dense(c: &mut Criterion) {
    let mut g = c.benchmark_group("dense");
    g.sample_size(10);
    let (k, n) = (2560, 128_256 / 4);
    for format in [Format::Bfp8, Format::Bf16] {
        let tiles = Tiled::pack_with(format, k, n, |r, c| ternary(r, c) * 0.37 + 0.01);
        let w = DenseWeights::from_tiled(tiles.view());
        for m in [1, 8, 32] {
            let x = bf16_rows(m, k);
            let mut out = vec![0f32; m * n];
            g.throughput(Throughput::Bytes(w.bytes() as u64));
            g.bench_function(BenchmarkId::new(format!("{format:?}"), m), |b| {
                b.iter(|| w.matmul(m, &x, &mut out).expect("legal"))
            });
        }
    }
}

/// The attention of one BitNet 2B-4T layer.
fn attention(c: &mut Criterion) {
    let mut g = c.benchmark_group("attention");
    g.sample_size(10);
    let (heads, kv, dim) = (20, 5, 128);
    for (users, context) in [(1, 512), (1, 4096), (32, 512)] {
        let q = bf16_rows(users * heads, dim);
        let k = bf16_rows(users * kv * context, dim);
        let cache = Cache::new((users, kv, context, dim), &k).expect("the shape is right");
        let positions = vec![context as u32 - 1; users];
        let mut out = q.clone();
        g.throughput(Throughput::Bytes(2 * size_of_val(k.as_slice()) as u64));
        g.bench_function(BenchmarkId::new(format!("decode/{users}"), context), |b| {
            let mut run = || decode_attention(&q, cache, cache, Pages::Contiguous, &positions, 0.088, &mut out);
            b.iter(|| run().expect("legal"))
        });
    }
    for seq in [128, 1024] {
        let (q, k) = (bf16_rows(heads * seq, dim), bf16_rows(kv * seq, dim));
        let cache = Cache::new((1, kv, seq, dim), &k).expect("the shape is right");
        let chunk = Chunk { start: 0, rows: seq };
        let mut out = q.clone();
        g.throughput(Throughput::Elements((heads * seq * (seq + 1) * dim) as u64));
        g.bench_function(BenchmarkId::new("prefill", seq), |b| {
            let mut run = || prefill_attention(&q, (cache, cache), Pages::Contiguous, chunk, 0.088, &mut out);
            b.iter(|| run().expect("legal"))
        });
    }
}

criterion_group!(benches, emulated, integer, dense, attention);
criterion_main!(benches);
