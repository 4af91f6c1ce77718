//! What another node says first.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| tidewire_fuzz::check(input, tidewire::fuzzing::hello));
