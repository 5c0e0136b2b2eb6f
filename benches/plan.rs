//! How long planning takes: BitNet 2B-4T, decode and three prefill buckets, on each card. `bitnetc plan --timings` splits it by pass.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench of shipped models")]

use bitnetc_compiler::model::find;
use bitnetc_compiler::target::{NAMES, Target};
use bitnetc_compiler::{Options, compile};
use criterion::{Criterion, criterion_group, criterion_main};

fn planning(c: &mut Criterion) {
    let model = find("bitnet-2b-4t").unwrap().model().unwrap();
    let mut group = c.benchmark_group("plan bitnet-2b-4t");
    group.sample_size(20);
    for target in NAMES {
        let target = Target::find(target).unwrap();
        for batch in [1, 32] {
            let mut options = Options::for_model(&model);
            options.batch = batch;
            group.bench_function(format!("{} batch {batch}", target.card.name), |b| {
                b.iter(|| compile(&model, &target, &options).unwrap());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, planning);
criterion_main!(benches);
