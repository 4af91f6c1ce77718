//! `cargo bench`: how long the operations take.
#![allow(missing_docs, reason = "Criterion's macros make functions of their own")]

use std::hint::black_box;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use tidewire_benches::sink::ByteCount;
use tidewire_benches::{Operation, Step, TIMED_ONLY, operations};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SAMPLES_OF_LONG_STEPS: usize = 20;

fn core(criterion: &mut Criterion) {
    for operation in operations() {
        let (group, name) = operation.name.split_once('/').unwrap_or(("core", operation.name));
        let mut group = criterion.benchmark_group(group);
        group.throughput(Throughput::Elements(operation.elements));
        if operation.counted == TIMED_ONLY {
            // Steps that take long: each sample has few of them.
            group.sampling_mode(SamplingMode::Flat).sample_size(SAMPLES_OF_LONG_STEPS);
        }
        // Prepared only when it is among those that are wanted, and once for all samples.
        let (mut prepared, mut sink) = (None, ByteCount::default());
        group.bench_function(name, |bencher| {
            let step = prepared.get_or_insert_with(|| prepare(operation, &mut sink));
            bencher.iter(|| step(black_box(&mut sink)));
        });
        group.finish();
    }
}

fn prepare(operation: &Operation, sink: &mut ByteCount) -> Step {
    let mut step = (operation.prepare)();
    for _ in 0..operation.warm_up {
        step(sink);
    }
    step
}

criterion_group!(benches, core);
criterion_main!(benches);
