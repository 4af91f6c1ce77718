//! The step `fuzz`: each target for some seconds, from the seeds in `fuzz/corpus`. `fuzz/README.md` says how to go on
//! for longer.
//!
//! The targets are built without a sanitizer, which takes half the time: no code of ours is unsafe, and how much memory an
//! input needs they measure themselves. Crates are built in several parts at once for the same reason.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::install;
use super::steps::{root, run};

/// Seconds for each target, and what sets others.
const SECONDS: u64 = 30;
const SECONDS_VARIABLE: &str = "TIDEWIRE_FUZZ_SECONDS";
/// Longest input in bytes.
const INPUT_BYTES_MAX: u64 = 4096;
/// Of a target in all, and of one input.
const MEMORY_MIB_MAX: u64 = 1024;
const INPUT_SECONDS_MAX: u64 = 10;
/// Lines of what a target says that are shown.
const LINES_MAX: usize = 60;
/// What libFuzzer says at the end.
const EXECUTED: &str = "stat::number_of_executed_units:";

/// Builds the targets and runs each.
pub(crate) fn check() -> Result<(), String> {
    let seconds = match std::env::var(SECONDS_VARIABLE) {
        Ok(text) => {
            text.parse().map_err(|_error| format!("{SECONDS_VARIABLE}: '{text}' is no number"))?
        }
        Err(_absent) => SECONDS,
    };
    let built = build()?;
    // Each target runs on one processor: as many at a time as there are.
    let (targets, failed) = (Mutex::new(targets()?.into_iter()), Mutex::new(Vec::new()));
    let next = || targets.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(target) = next() {
                    match fuzz(&built.join(&target), &target, seconds) {
                        Ok(executed) => println!("{target}: {executed} inputs"),
                        Err(reason) => {
                            println!("{target}: {reason}");
                            failed.lock().unwrap_or_else(PoisonError::into_inner).push(target);
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("targets with findings: {}", failed.join(", ")))
    }
}

/// Builds all targets; returns where they are.
fn build() -> Result<PathBuf, String> {
    let path = install::cargo_tools()?;
    let folder = root().join("target/fuzz");
    let (target_dir, host) = (folder.to_string_lossy(), host()?);
    let quick = ["--sanitizer", "none", "--codegen-units", "16"];
    let places = ["--target", &host, "--target-dir", &target_dir];
    let args = [&["fuzz", "build"][..], &quick, &places].concat();
    run(root(), "cargo", &args, &[("PATH", &path), ("RUSTC_BOOTSTRAP", "1")])?;
    Ok(folder.join(&host).join("release"))
}

/// What the compiler builds for where nothing else is said.
fn host() -> Result<String, String> {
    let said =
        Command::new("rustc").arg("-vV").output().map_err(|error| format!("rustc: {error}"))?;
    let said = String::from_utf8_lossy(&said.stdout);
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc -vV does not name its host".to_owned())
}

/// Their names, sorted.
fn targets() -> Result<Vec<String>, String> {
    let folder = root().join("fuzz/fuzz_targets");
    let listed =
        std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut targets: Vec<String> = listed
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    targets.sort();
    if targets.is_empty() { Err(format!("{} is empty", folder.display())) } else { Ok(targets) }
}

/// Runs one target; returns how many inputs it has seen.
fn fuzz(program: &Path, target: &str, seconds: u64) -> Result<u64, String> {
    let cannot = |error: std::io::Error| format!("{target}: {error}");
    // What it finds of interest is not for the repository.
    let found = root().join("target/fuzz/found").join(target);
    std::fs::create_dir_all(&found).map_err(cannot)?;
    let artifacts = root().join("target/fuzz/artifacts");
    std::fs::create_dir_all(&artifacts).map_err(cannot)?;
    let output = Command::new(program)
        .arg(&found)
        .arg(root().join("fuzz/corpus").join(target))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-artifact_prefix={}/{target}-", artifacts.display()))
        .arg("-print_final_stats=1")
        .stdin(Stdio::null())
        .output()
        .map_err(cannot)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let executed = said.lines().find_map(|line| line.strip_prefix(EXECUTED)?.trim().parse().ok());
    match executed {
        Some(executed) if output.status.success() && executed > 0 => Ok(executed),
        _ => {
            let lines: Vec<&str> = said.lines().collect();
            let last = lines.get(lines.len().saturating_sub(LINES_MAX)..).unwrap_or_default();
            Err(format!("{}\n{}", output.status, last.join("\n")))
        }
    }
}
