//! The `tidewire` binary: everything is in the library; see [`tidewire::cli`].

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The first touch of a huge page clears two mebibytes: a core that needs memory would hold up everybody
    // on it for milliseconds. A kernel that knows of no huge pages has none to turn off.
    nix::sys::prctl::set_thp_disable(true).unwrap_or_default();
    tidewire::cli::main()
}
