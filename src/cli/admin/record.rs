//! `tidewire admin record`: starting and stopping a recording of a running server.

use std::net::SocketAddr;

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::http::ask;
use super::{CliError, Globals};
use crate::cli::output::{Output, note};

const PATH: &str = "/v1/recording";

pub(super) const HELP: &str = "\
A recording holds payloads, keys and values of maps, names of presence members, and every ballot
with a keyed hash of its voter. It is written by the server, into a file that only the server's user
may read (recordings_dir of its configuration, or `recordings` in its data directory).

Examples:
  tidewire admin record start --out incident-7.twr --max-seconds 60
  tidewire admin record status
  tidewire admin record stop
  tidewire replay /var/lib/tidewire/recordings/incident-7.twr";

/// What to do with a recording.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum RecordCommand {
    /// Begin a recording, with the state of the server as it is now
    Start {
        /// Name of the file, in the server's directory of recordings [default: the time]
        #[arg(long, visible_alias = "file", value_name = "NAME")]
        out: Option<String>,
        /// End it when the file has so many bytes [default: 1073741824]
        #[arg(long, value_name = "N")]
        max_bytes: Option<u64>,
        /// End it after so long [default: 600]
        #[arg(long, value_name = "S")]
        max_seconds: Option<u64>,
        /// Record a server that has eventual counters, without them
        #[arg(long)]
        without_eventual: bool,
    },
    /// End the recording and wait until its file is complete
    Stop,
    /// Show the recording that is under way, or the last one
    Status,
}

pub(super) async fn run(
    admin: SocketAddr,
    command: RecordCommand,
    globals: &Globals,
) -> Result<(), CliError> {
    let answer = match command {
        RecordCommand::Start { out, max_bytes, max_seconds, without_eventual } => {
            let mut body = json!({ "max_bytes": max_bytes, "max_seconds": max_seconds,
                "without_eventual": without_eventual });
            if let (Some(out), Some(fields)) = (out, body.as_object_mut()) {
                fields.insert("name".to_owned(), out.into());
            }
            ask(admin, Method::POST, PATH, Some(&body)).await?
        }
        RecordCommand::Stop => ask(admin, Method::DELETE, PATH, None).await?,
        RecordCommand::Status => ask(admin, Method::GET, PATH, None).await?,
    };
    let mut output = Output::new();
    if globals.json {
        output.json(&answer)?;
    } else {
        output.line(&sentence(&answer))?;
    }
    output.flush()?;
    if let Some(notice) = text(&answer, "notice") {
        note(&format!("note: {notice}"));
    }
    Ok(())
}

fn sentence(status: &Value) -> String {
    let number = |name: &str| status.get(name).and_then(Value::as_u64).unwrap_or_default();
    let file = text(status, "file").unwrap_or_default();
    let (inputs, bytes, shards) = (number("inputs"), number("bytes"), number("shards"));
    let pause_us = number("longest_pause_us");
    let (pause_ms, rest_us) = (pause_us / 1000, pause_us % 1000);
    let so_far = if shards == 0 {
        "no shard has joined yet".to_owned()
    } else {
        format!(
            "{inputs} inputs of {shards} shards, {bytes} bytes; to be copied at the start, no shard \
             stood still for more than {pause_ms}.{rest_us:03} ms"
        )
    };
    match text(status, "state").unwrap_or_default() {
        "recording" => format!(
            "recording to {file}: {so_far}; ends after {} seconds or {} bytes",
            number("max_seconds"),
            number("max_bytes")
        ),
        "stopping" => format!("stopping {file}: {so_far}"),
        "finished" => {
            let reason = text(status, "stop_reason").unwrap_or("it is over");
            format!("recorded {file}: {so_far}; {reason}")
        }
        _ => "nothing is being recorded".to_owned(),
    }
}

fn text<'a>(status: &'a Value, name: &str) -> Option<&'a str> {
    status.get(name)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_said_in_one_line() {
        let mut status = json!({ "state": "finished", "file": "/r/a", "inputs": 3, "shards": 16,
            "bytes": 99, "longest_pause_us": 2_034, "stop_reason": "the file has reached its bound" });
        let said = sentence(&status);
        assert!(said.contains("/r/a") && said.contains("3 inputs") && said.contains("its bound"));
        assert!(said.contains("2.034 ms"), "{said}");
        status["state"] = "recording".into();
        assert!(sentence(&status).starts_with("recording to /r/a"));
        assert_eq!(sentence(&json!({ "state": "idle" })), "nothing is being recorded");
    }
}
