//! `tidewire admin restore` and `verify`: what was kept on disk, back from one file, and whether it
//! is whole.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{CliError, Globals};
use crate::backup::{BackupError, Reader, Restore, Summary, restore};
use crate::cli::output::{Output, note};
use crate::journal;

/// Exit code of what is damaged.
const DAMAGED: u8 = 1;

#[derive(Args, Clone, Debug)]
pub(super) struct RestoreArgs {
    /// The backup
    file: PathBuf,

    /// The data directory, which must not hold a journal
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: PathBuf,

    /// Name of the node that it is for [default: that of the backup]
    #[arg(long)]
    node: Option<String>,

    /// The master key [default: the data directory with `.master-key` behind its name]
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<PathBuf>,

    /// Do without the master key that the voters were hashed with: polls can be read and are closed
    /// for good
    #[arg(long)]
    without_master_key: bool,
}

#[derive(Args, Clone, Debug)]
pub(super) struct VerifyArgs {
    /// A backup, or a data directory that no server uses
    path: PathBuf,
}

/// Makes a data directory from a backup.
///
/// # Errors
/// When the backup is damaged, the directory is in use, or the key is another one.
pub(super) fn restored(args: RestoreArgs, globals: &Globals) -> Result<(), CliError> {
    let node = match args.node {
        Some(node) => node,
        None => Reader::open(&args.file).map_err(damaged)?.header().node.clone(),
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let how = Restore {
        file: args.file,
        directory: args.data_dir,
        node,
        master_key_file: args.master_key_file,
        without_master_key: args.without_master_key,
        now_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
    };
    let bar = progress("restored");
    let done = restore(&how, &|bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    let Summary { shards, bytes } =
        done.map_err(|error| CliError { exit_code: DAMAGED, message: error.to_string() })?;
    let mut output = Output::new();
    let (directory, node) = (how.directory.display(), &how.node);
    if globals.json {
        output.json(&json!({
            "data_dir": directory.to_string(), "node": node, "shards": shards, "bytes": bytes,
        }))?;
    } else {
        output.line(&format!("{directory}: {shards} shards, {bytes} bytes, for node '{node}'"))?;
        note("topics and cells have new epochs: clients that had seen more are told so");
    }
    output.flush()
}

/// Reads a backup or a data directory and says what is damaged.
///
/// # Errors
/// When something is, or it cannot be read.
pub(super) fn verify(args: &VerifyArgs, globals: &Globals) -> Result<(), CliError> {
    let bar = progress("read");
    if args.path.is_file() {
        let outcome = Reader::open(&args.path).and_then(Reader::verify);
        bar.finish_and_clear();
        let Summary { shards, bytes } = outcome.map_err(damaged)?;
        let mut output = Output::new();
        match globals.json {
            true => output.json(&json!({ "whole": true, "shards": shards, "bytes": bytes }))?,
            false => output.line(&format!("whole: {shards} shards, {bytes} bytes"))?,
        }
        return output.flush();
    }
    let report = journal::verify(&args.path, &|bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    let report = report.map_err(|error| CliError { exit_code: 2, message: error.to_string() })?;
    show(&args.path, &report, globals)
}

fn show(path: &Path, report: &journal::Report, globals: &Globals) -> Result<(), CliError> {
    let journal::Report { blocks, entries, bytes, checkpoints, findings, damaged, holes } = report;
    let mut output = Output::new();
    if globals.json {
        output.json(&json!({
            "whole": report.is_whole(), "blocks": blocks, "entries": entries, "bytes": bytes,
            "checkpoints": checkpoints, "damaged": damaged, "findings": findings,
            "holes": holes,
        }))?;
    } else {
        for finding in findings {
            output.line(finding)?;
        }
        for (topic, ranges) in holes {
            for (from, next) in ranges {
                output.line(&format!("topic {topic} lacks the records {from} to {}", next - 1))?;
            }
        }
        output.line(&format!(
            "{}: {checkpoints} checkpoints, {blocks} blocks with {entries} changes, {bytes} bytes",
            if report.is_whole() { "whole" } else { "damaged" }
        ))?;
    }
    output.flush()?;
    if report.is_whole() {
        return Ok(());
    }
    let message = format!(
        "{} is damaged in {damaged} places: restore a backup, or a copy of the directory",
        path.display()
    );
    Err(CliError { exit_code: DAMAGED, message })
}

pub(super) fn damaged(error: BackupError) -> CliError {
    CliError { exit_code: DAMAGED, message: error.to_string() }
}

/// Bytes so far, on a terminal.
pub(super) fn progress(done: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {bytes} {msg} ({bytes_per_sec})") {
        bar.set_style(style);
    }
    bar.set_message(done);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
