//! The `tidewire` binary: everything is in the library; see [`tidewire::cli`].

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidewire::cli::main()
}
