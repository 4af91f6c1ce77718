//! `tidewire group consume`: a worker on the command line.

use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tidewire_client::{Client, ConsumeOptions, Consumer, Error, Job};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use super::Of;
use crate::cli::connection::ConnectionArgs;
use crate::cli::interrupt::{interrupted, stopped};
use crate::cli::output::{Output, note, put_bytes, unless_pipe_closed};
use crate::cli::{CliError, Globals};

/// Bytes of a command's complaint that are passed on as the reason.
const REASON_BYTES_MAX: usize = 200;

#[derive(Args, Clone, Debug)]
pub(super) struct ConsumeArgs {
    #[command(flatten)]
    of: Of,

    /// Run this command (by `sh -c`) for each record: the payload on its standard input, the topic,
    /// offset, key and number of the delivery in TIDEWIRE_TOPIC, _OFFSET, _KEY and _DELIVERIES. Exit
    /// code 0 acknowledges the record, 65 makes it a dead letter, any other has it delivered again.
    /// Without it payloads are printed, and acknowledged when they are
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,

    /// Records that are worked on at once
    #[arg(long, value_name = "N", default_value_t = 1, requires = "exec",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: u16,

    /// End after so many records
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// Exit code of a command for a record that nobody can do (EX_DATAERR of BSD's sysexits).
const CANNOT_BE_DONE: i32 = 65;

/// Works until the count is reached or the command is stopped.
///
/// # Errors
/// When there is no connection, no such group, or a command cannot be run.
pub(super) async fn run(
    args: ConsumeArgs,
    connection: &ConnectionArgs,
    globals: &Globals,
) -> Result<(), CliError> {
    let client = connection.connect_lasting().await?;
    let worked = work(&client, &args, globals).await;
    client.close().await;
    unless_pipe_closed(worked)
}

async fn work(client: &Client, args: &ConsumeArgs, globals: &Globals) -> Result<(), CliError> {
    let Of { topic, group } = &args.of;
    let info = client.group_status(topic, group).await?;
    let in_flight = args.exec.as_ref().map(|_| u64::from(args.parallel));
    let in_flight = in_flight.or(args.count.map(|count| count.clamp(1, 64)));
    let options = ConsumeOptions { in_flight };
    let mut consumer = client.consume(topic, group, options).await?;
    let beat = Duration::from_millis((info.ack_timeout_ms / 3).max(30));
    let mut done = 0;
    let followed = tokio::select! {
        followed = follow(&mut consumer, args, globals, beat, &mut done) => followed,
        () = interrupted() => stopped(done, args.count),
    };
    // An acknowledgement that came too late says less than why the consumer has ended.
    let ended = consumer.end();
    drop(consumer);
    match (followed, ended) {
        (Err(_), Some(error)) => Err(error.into()),
        (followed, _) => followed,
    }
}

async fn follow(
    consumer: &mut Consumer,
    args: &ConsumeArgs,
    globals: &Globals,
    beat: Duration,
    done: &mut u64,
) -> Result<(), CliError> {
    let mut output = Output::new();
    let mut running: JoinSet<Result<(), CliError>> = JoinSet::new();
    let mut begun = 0;
    loop {
        let wants_more = args.count.is_none_or(|count| begun < count);
        if !wants_more && running.is_empty() {
            return Ok(());
        }
        let has_room = running.len() < usize::from(args.parallel);
        tokio::select! {
            job = consumer.next(), if wants_more && has_room => {
                let Some(job) = job else { return ended(consumer) };
                begun += 1;
                match &args.exec {
                    None => {
                        print(&mut output, &job, globals)?;
                        told(job.ack().await)?;
                        *done += 1;
                    }
                    Some(command) => {
                        let command = command.clone();
                        running.spawn(execute(command, job, beat));
                    }
                }
            }
            Some(finished) = running.join_next(), if !running.is_empty() => {
                finished.map_err(|error| CliError {
                    exit_code: 1,
                    message: format!("a worker has failed: {error}"),
                })??;
                *done += 1;
            }
        }
    }
}

fn ended(consumer: &Consumer) -> Result<(), CliError> {
    match consumer.end() {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

fn print(output: &mut Output, job: &Job, globals: &Globals) -> Result<(), CliError> {
    let record = job.record();
    let payload = record.and_then(|record| record.payload);
    if globals.json {
        let mut object = json!({
            "topic": job.topic().as_str(),
            "offset": job.offset(),
            "partition": job.partition(),
            "deliveries": job.deliveries(),
            "time_ms": job.time_ms(),
            "key": record.and_then(|record| record.key),
        });
        put_bytes(&mut object, "payload", payload);
        output.json(&object)?;
    } else {
        output.bytes(payload.unwrap_or_default())?;
    }
    output.flush()
}

/// Runs the command for one record; while it runs the record's time does not run out.
async fn execute(command: String, job: Job, beat: Duration) -> Result<(), CliError> {
    let cannot = |error: std::io::Error| CliError {
        exit_code: 1,
        message: format!("the command cannot be run: {error}"),
    };
    let record = job.record();
    let payload = record.and_then(|record| record.payload).unwrap_or_default().to_vec();
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", &command])
        .env("TIDEWIRE_TOPIC", job.topic().as_str())
        .env("TIDEWIRE_OFFSET", job.offset().to_string())
        .env("TIDEWIRE_KEY", record.and_then(|record| record.key).unwrap_or_default())
        .env("TIDEWIRE_DELIVERIES", job.deliveries().to_string())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot)?;
    if let Some(mut stdin) = child.stdin.take() {
        // Beside it, since a command may write before it reads, or not read at all.
        tokio::spawn(async move { drop(stdin.write_all(&payload).await) });
    }
    let mut ending = std::pin::pin!(child.wait_with_output());
    let output = loop {
        tokio::select! {
            output = &mut ending => break output.map_err(cannot)?,
            () = tokio::time::sleep(beat) => {
                // If that fails the record is delivered again, and acknowledging it says so.
                drop(job.extend().await);
            }
        }
    };
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if !said.is_empty() {
        note(&said);
    }
    let reason = reason_of(&said, &output.status.to_string());
    match output.status.code() {
        Some(0) => told(job.ack().await),
        Some(CANNOT_BE_DONE) => told(job.reject(Some(reason)).await),
        Some(_) | None => told(job.nack(None, Some(reason)).await),
    }
}

/// What the server was told of a record. If that was lost the record comes again, and the worker goes
/// on.
fn told(outcome: Result<bool, Error>) -> Result<(), CliError> {
    match outcome {
        Ok(_counts) => Ok(()),
        Err(error @ (Error::ConnectionLost { .. } | Error::NotConnected { .. })) => {
            note(&format!("{error}; the record comes again"));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// The last line of what the command said, or how it ended.
fn reason_of(said: &str, status: &str) -> String {
    let line = said.lines().last().filter(|line| !line.is_empty()).unwrap_or(status);
    let end = line.floor_char_boundary(REASON_BYTES_MAX);
    line.get(..end).unwrap_or(status).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_last_line_and_not_too_long() {
        assert_eq!(reason_of("", "exit status: 1"), "exit status: 1");
        assert_eq!(reason_of("one\ntwo", "exit status: 1"), "two");
        let long = reason_of(&"ä".repeat(200), "");
        assert_eq!(long.len(), REASON_BYTES_MAX);
    }
}
