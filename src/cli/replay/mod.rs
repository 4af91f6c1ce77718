//! `tidewire replay`: a recording of a server, done again without the server.
//!
//! Exit codes: 0 the outcome is the recorded one, 1 it is not, 2 the file cannot be read.

mod brief;
mod report;
mod until;

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

use clap::Args;

use super::output::{Output, note, unless_pipe_closed};
use super::{CliError, Globals};
use crate::recording::{Divergence, Look, ReadError, Replay};
use until::Until;

/// Options of `tidewire replay`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Each shard is restored from its state at the start of the recording, told again what it was told, and
held against the figures after every turn and the state hashes in the file.

Examples:
  tidewire replay incident-7.twr
  tidewire replay incident-7.twr --until 1200            # what was there after 1,200 inputs
  tidewire replay incident-7.twr --until 3:57 --step     # input by input from there on
  tidewire replay incident-7.twr --until 2026-11-24T12:00:00Z --json

--step reads standard input: Enter tells the next input, q quits.")]
pub(crate) struct ReplayArgs {
    /// The recording
    file: PathBuf,
    /// Stop there and show the state: after an input (N), after an input of a shard (SHARD:N), or
    /// before the first input later than a time (2026-11-24T12:00:00Z). With --step: step from there
    #[arg(long, value_name = "WHERE", value_parser = Until::parse)]
    until: Option<Until>,
    /// Tell one input at a time, and show it, what it told the dispatchers, and the state hash
    #[arg(long)]
    step: bool,
    /// Replay this shard only
    #[arg(long, value_name = "N")]
    shard: Option<u16>,
}

/// How a replay ended.
#[derive(Debug)]
enum Ending {
    /// With the recording.
    Over,
    /// Where it was to stop.
    Stopped,
    /// The state is not the recorded one.
    Diverged(Divergence),
    /// The file cannot be read on.
    Unreadable(ReadError),
}

/// Exit codes.
const DIVERGED: u8 = 1;
const UNREADABLE: u8 = 2;

pub(super) fn run(args: &ReplayArgs, globals: &Globals) -> Result<(), CliError> {
    let unreadable = |error: ReadError| CliError {
        exit_code: UNREADABLE,
        message: format!("{}: {error}", args.file.display()),
    };
    let file = File::open(&args.file).map_err(|error| unreadable(error.into()))?;
    let reader = BufReader::with_capacity(1024 * 1024, file);
    let mut replay = Replay::open(reader, args.shard).map_err(unreadable)?;
    let mut output = Output::new();
    unless_pipe_closed(perform(args, globals, &mut replay, &mut output))
}

fn perform(
    args: &ReplayArgs,
    globals: &Globals,
    replay: &mut Replay<BufReader<File>>,
    output: &mut Output,
) -> Result<(), CliError> {
    if args.step {
        note("Enter: tell the next input, q: quit");
    }
    let ending = drive(args, globals, replay, output)?;
    report::print(&args.file, args.until.is_some(), replay, &ending, globals, output)?;
    output.flush()?;
    match ending {
        Ending::Over | Ending::Stopped => Ok(()),
        Ending::Diverged(divergence) => {
            Err(CliError { exit_code: DIVERGED, message: report::divergence(&divergence) })
        }
        Ending::Unreadable(error) => Err(CliError {
            exit_code: UNREADABLE,
            message: format!(
                "{}: {error}; the {} inputs before that have been replayed",
                args.file.display(),
                replay.number()
            ),
        }),
    }
}

fn drive(
    args: &ReplayArgs,
    globals: &Globals,
    replay: &mut Replay<BufReader<File>>,
    output: &mut Output,
) -> Result<Ending, CliError> {
    let mut until = args.until;
    loop {
        let coming = match replay.look() {
            Ok(Look::Input(coming)) => coming,
            Ok(Look::Equal(checked)) => {
                if args.step && until.is_none() {
                    report::equal(&checked, globals, output)?;
                }
                continue;
            }
            Ok(Look::Diverged(divergence)) => return Ok(Ending::Diverged(divergence)),
            Ok(Look::Over) => {
                if until.is_some() {
                    note("the recording is over before --until is reached");
                }
                return Ok(Ending::Over);
            }
            Err(error) => return Ok(Ending::Unreadable(error)),
        };
        if until.is_some_and(|until| until.is_before(&coming)) {
            if !args.step {
                return Ok(Ending::Stopped);
            }
            until = None;
        }
        let steps = args.step && until.is_none();
        if steps && !goes_on(output)? {
            return Ok(Ending::Stopped);
        }
        let Some(done) = replay.tell(steps) else { continue };
        if steps {
            report::step(&done, replay, globals, output)?;
        }
        if let Some(divergence) = done.diverged {
            return Ok(Ending::Diverged(divergence));
        }
        if until.is_some_and(|until| until.is_at(&coming)) {
            if !args.step {
                return Ok(Ending::Stopped);
            }
            until = None;
        }
    }
}

/// Waits for Enter; false for `q` and at the end of standard input.
fn goes_on(output: &mut Output) -> Result<bool, CliError> {
    output.flush()?;
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line).map_err(|error| CliError {
        exit_code: UNREADABLE,
        message: format!("cannot read standard input: {error}"),
    })?;
    Ok(read > 0 && line.trim() != "q")
}
