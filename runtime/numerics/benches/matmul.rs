//! Emulated, integer and dense matmuls: multiply-accumulates and weight bytes per second.

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

criterion_group!(benches, emulated);
criterion_main!(benches);
