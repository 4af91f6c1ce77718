//! Counting: each operation runs once under callgrind, in an environment that is always the same.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::baseline::Tools;
use crate::install;
use crate::steps::{root, run};

/// Where callgrind's output stays, for `callgrind_annotate`.
pub(super) const OUTPUT: &str = "target/guard";

const PROGRAM: &str = "count-instructions";

/// The function of that program in which counting is on; the set-up is outside of it.
const COUNTED: &str = "--toggle-collect=count_instructions::counted*";

/// The whole environment of what is counted.
const ENVIRONMENT: [(&str, &str); 2] = [
    // Valgrind shows the program what the machine's CPU can do up to AVX2, and the C library
    // chooses its memcpy and memcmp by it. Every x86_64 machine has the ones for SSE2. Names that
    // a version of the library does not know are ignored; those with `_Usable` are of old ones.
    (
        "GLIBC_TUNABLES",
        "glibc.cpu.hwcaps=-AVX2,-AVX,-AVX512F,-AVX_Fast_Unaligned_Load,-AVX2_Usable,-AVX_Usable,\
         -ERMS,-FSRM,-SSSE3,-SSE4_1,-SSE4_2,-BMI1,-BMI2,-LZCNT,-MOVBE,-POPCNT",
    ),
    // The allocator gives memory back after a while: by the clock.
    ("MIMALLOC_PURGE_DELAY", "-1"),
];

/// Instructions per step of every operation, in the order in which the program lists them.
pub(super) fn count_all() -> Result<Vec<(String, u64)>, String> {
    install::debian("valgrind", "valgrind")?;
    let build =
        ["build", "--release", "--quiet", "--package", "tidewire-benches", "--bin", PROGRAM];
    run(root(), "cargo", &build, &[])?;
    let output = root().join(OUTPUT);
    std::fs::create_dir_all(&output).map_err(|error| format!("{OUTPUT}: {error}"))?;
    let output = output.canonicalize().map_err(|error| format!("{OUTPUT}: {error}"))?;
    let list = finish(&mut Command::new(root().join("target/release").join(PROGRAM)))?;
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let operations = list.lines().map(|line| {
        let broken = || format!("{PROGRAM} lists '{line}', which is not a name and a number");
        let (name, steps) = line.split_once(' ').ok_or_else(broken)?;
        let steps = steps.parse().ok().filter(|steps| *steps > 0).ok_or_else(broken)?;
        Ok((name.to_owned(), count(name, steps, &output)?))
    });
    operations.collect()
}

/// Instructions per step of one operation.
fn count(name: &str, steps: u64, output: &Path) -> Result<u64, String> {
    let file = output.join(format!("{}.out", name.replace('/', ".")));
    let valgrind = install::find("valgrind").ok_or("valgrind is not in PATH")?;
    // A relative path of fixed length: how the stack is aligned depends on it, too.
    finish(
        Command::new(valgrind)
            .args(["--tool=callgrind", "--collect-atstart=no", COUNTED])
            .arg(format!("--callgrind-out-file={}", file.display()))
            .args([&format!("./{PROGRAM}"), name])
            .current_dir(root().join("target/release"))
            .env_clear()
            .envs(ENVIRONMENT),
    )?;
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{name}: {error}"))?;
    match total(&text) {
        Some(total) if total >= steps => Ok(total / steps),
        Some(_) | None => Err(format!(
            "{name}: callgrind counted nothing: it does not find the function of '{COUNTED}'"
        )),
    }
}

/// The sum over everything, from callgrind's output file.
fn total(output: &str) -> Option<u64> {
    output.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok())
}

/// What the counts depend on besides our code.
pub(super) fn tools() -> Result<Tools, String> {
    let version = |tool: &str, program: &str, argument: &str| {
        let output = finish(Command::new(program).arg(argument))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok((tool.to_owned(), text.lines().next().unwrap_or_default().to_owned()))
    };
    let tools: Result<_, String> = [
        version("rustc", "rustc", "--version"),
        version("valgrind", "valgrind", "--version"),
        version("libc", "getconf", "GNU_LIBC_VERSION"),
        // Compiles the allocator.
        version("cc", "cc", "--version"),
    ]
    .into_iter()
    .collect();
    tools.map(Tools)
}

fn finish(command: &mut Command) -> Result<Output, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program} does not start: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} ended with {}: {said}", output.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found_in_what_callgrind_writes() {
        let output = "version: 1\nevents: Ir\nfn=(1) counted\n12 30\n\ntotals: 7099528\n";
        assert_eq!(total(output), Some(7_099_528));
        assert_eq!(total("events: Ir\n"), None);
    }
}
