//! `cargo bench`: how long the operations take.
#![allow(missing_docs, reason = "Criterion's macros make functions of their own")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidewire_benches::operations;
use tidewire_benches::sink::ByteCount;

fn core(criterion: &mut Criterion) {
    for operation in operations() {
        let (group, name) = operation.name.split_once('/').unwrap_or(("core", operation.name));
        let mut group = criterion.benchmark_group(group);
        group.throughput(Throughput::Elements(operation.elements));
        // Prepared only when it is among those that are wanted.
        group.bench_function(name, |bencher| {
            let mut step = (operation.prepare)();
            let mut sink = ByteCount::default();
            for _ in 0..operation.warm_up {
                step(&mut sink);
            }
            bencher.iter(|| step(black_box(&mut sink)));
        });
        group.finish();
    }
}

criterion_group!(benches, core);
criterion_main!(benches);
