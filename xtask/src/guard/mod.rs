//! The performance guard: instructions of the core's operations, compared with a committed
//! baseline. Instructions and never time, so that a busy machine cannot fail it.
//!
//! Why it is made this way: `docs/decisions/0006-counted-instructions.md`.

mod baseline;
mod callgrind;
mod comparison;

use baseline::Baseline;
use comparison::Comparison;

/// The step: fails when an operation needs noticeably more instructions than its baseline.
pub(crate) fn check() -> Result<(), String> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        println!("nothing is compared: the baseline is for x86_64 Linux");
        return Ok(());
    }
    let baseline = Baseline::read()?;
    let now = callgrind::count_all()?;
    let comparison = Comparison::of(&baseline.instructions_per_step, &now);
    comparison.print_table();
    for improvement in &comparison.improvements {
        println!("{improvement}");
    }
    if !comparison.improvements.is_empty() {
        println!("lower the baseline, so that the gain is kept: cargo xtask guard --accept");
    }
    if comparison.failures.is_empty() {
        return Ok(());
    }
    for difference in baseline.made_with.differences(&callgrind::tools()?) {
        println!("{difference}");
    }
    Err(format!(
        "{}\n  where: callgrind_annotate {}/OPERATION.out (with a dot for the slash)\
         \n  if this is wanted: cargo xtask guard --accept, and say why in the commit",
        comparison.failures.join("\n  "),
        callgrind::OUTPUT,
    ))
}

/// Makes what is counted now the baseline.
pub(crate) fn accept() -> Result<(), String> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return Err("the baseline is for x86_64 Linux: accept it on such a machine".to_owned());
    }
    let now = callgrind::count_all()?;
    if let Ok(earlier) = Baseline::read() {
        Comparison::of(&earlier.instructions_per_step, &now).print_table();
    }
    let instructions_per_step = now.into_iter().collect();
    let made_with = callgrind::tools()?;
    let path = Baseline { made_with, instructions_per_step }.write()?;
    println!("{path} is written: commit it with the change that it belongs to");
    Ok(())
}
