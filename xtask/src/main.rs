//! `cargo xtask test`: every check of the project, in one command.
//!
//! It installs what the checks need (Debian packages, npm and PyPI packages by name) and fails
//! where it cannot. `cargo xtask test STEP...` runs some of the steps. `cargo xtask guard --accept`
//! makes the instructions that are counted now the baseline of the step `guard`.
#![expect(clippy::print_stdout, reason = "the output of this tool is for people")]

mod fuzz;
mod guard;
mod install;
mod package;
mod steps;

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["test", wanted @ ..] => test(wanted),
        ["guard"] => test(&["guard"]),
        ["guard", "--accept"] => accept(),
        _ => {
            println!(
                "usage: cargo xtask test [STEP...]\n       cargo xtask guard [--accept]\n\nsteps:"
            );
            for (name, _) in steps::STEPS {
                println!("  {name}");
            }
            ExitCode::from(2)
        }
    }
}

fn accept() -> ExitCode {
    match guard::accept() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("{reason}");
            ExitCode::FAILURE
        }
    }
}

/// Runs these steps; all of them if none is named.
fn test(wanted: &[&str]) -> ExitCode {
    if let Some(unknown) =
        wanted.iter().find(|name| steps::STEPS.iter().all(|(step, _)| step != *name))
    {
        println!("there is no step '{unknown}'");
        return ExitCode::from(2);
    }
    let mut failed = Vec::new();
    let mut passed = 0;
    for (name, step) in steps::STEPS {
        if !wanted.is_empty() && wanted.iter().all(|wanted| wanted != name) {
            continue;
        }
        println!("\n== {name}");
        let started = Instant::now();
        let outcome = step();
        let seconds = started.elapsed().as_secs();
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("== {name}: passed in {seconds} s");
            }
            Err(reason) => {
                println!("== {name}: FAILED after {seconds} s: {reason}");
                failed.push(*name);
            }
        }
    }
    if !failed.is_empty() {
        println!("\nfailed: {}", failed.join(", "));
    }
    println!("\nsteps: {passed} passed, {} failed", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
