//! `count-instructions OPERATION`: runs one operation for callgrind, which counts what happens
//! within [`counted`]. Without an argument it lists the operations, with the number of counted steps.
#![expect(clippy::print_stdout, reason = "the list is for the guard, which reads it")]

use std::hint::black_box;
use std::process::ExitCode;

use tidewire_benches::sink::ByteCount;
use tidewire_benches::{Step, TIMED_ONLY, operations};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Some(wanted) = std::env::args().nth(1) else {
        for operation in operations().filter(|operation| operation.counted != TIMED_ONLY) {
            println!("{} {}", operation.name, operation.counted);
        }
        return ExitCode::SUCCESS;
    };
    let Some(operation) = operations().find(|operation| operation.name == wanted) else {
        println!("there is no operation '{wanted}'");
        return ExitCode::from(2);
    };
    let mut step = (operation.prepare)();
    let mut sink = ByteCount::default();
    for _ in 0..operation.warm_up {
        step(&mut sink);
    }
    counted(&mut step, operation.counted, &mut sink);
    black_box(sink);
    // Without taking the situation apart: under callgrind that takes long, and is not counted.
    std::process::exit(0)
}

/// The guard tells callgrind to count in here only, and finds it by its name.
#[inline(never)]
fn counted(step: &mut Step, steps: u32, sink: &mut ByteCount) {
    for _ in 0..steps {
        step(sink);
    }
}
