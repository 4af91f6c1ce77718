//! The Rust client as a program that the conformance suite drives: JSON commands on standard input, JSON events on
//! standard output (`clients/conformance/README.md`). It decides nothing.
#![allow(clippy::print_stdout, reason = "events are what it is for")]
#![allow(clippy::indexing_slicing, reason = "what is missing in a JSON value is null")]

mod asking;
mod connecting;
mod consuming;
mod subscribing;
mod watching;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tidewire_client::{Client, Error, Name};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::Notify;

use crate::consuming::Jobs;

/// What runs, by its label.
#[derive(Clone, Default)]
struct Running {
    ends: Arc<Mutex<HashMap<String, Arc<Notify>>>>,
    /// Subscriptions that are not read yet.
    held: Arc<Mutex<HashMap<String, Arc<Notify>>>>,
    jobs: Jobs,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn say(event: Value) {
    println!("{event}");
}

fn failed(label: &Value, error: &Error) {
    say(json!({
        "event": "failed", "as": label, "code": error.code(), "retryable": error.is_retryable(),
        "retry_after_ms": error.retry_after_ms(),
    }));
}

fn text<'a>(command: &'a Value, key: &str) -> &'a str {
    command[key].as_str().unwrap_or_default()
}

fn name(command: &Value, key: &str) -> Result<Name, Error> {
    Name::parse(text(command, key)).map_err(Error::from)
}

/// Carries out one command; what takes longer goes on by itself.
async fn take(url: &str, client: &mut Option<Client>, running: &Running, command: Value) {
    let label = text(&command, "as").to_owned();
    let op = text(&command, "op").to_owned();
    if op == "connect" {
        // The state has said why.
        *client = connecting::connect(url, &command).await.ok();
        return;
    }
    let Some(connected) = client.clone() else { return };
    let running = running.clone();
    match op.as_str() {
        "close" => drop(tokio::spawn(connected.close())),
        "unsubscribe" => {
            locked(&running.ends).remove(&label).inspect(|end| end.notify_one());
        }
        "read" => {
            locked(&running.held).remove(&label).inspect(|held| held.notify_one());
        }
        "subscribe" | "watch" | "consume" => {
            let ended = Arc::new(Notify::new());
            locked(&running.ends).insert(label.clone(), Arc::clone(&ended));
            tokio::spawn(async move {
                let outcome = match op.as_str() {
                    "watch" => watching::watch(connected, &command, &ended).await,
                    "consume" => consuming::consume(connected, &command, &running, &ended).await,
                    _ => subscribing::subscribe(connected, &command, &running, &ended).await,
                };
                outcome.unwrap_or_else(|error| failed(&command["as"], &error));
            });
        }
        _ => drop(tokio::spawn(async move {
            asking::ask(&connected, &running, &command).await;
        })),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: conformance URL")?;
    let (mut client, running) = (None, Running::default());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let command: Value = serde_json::from_str(&line)?;
        if command["op"] == "exit" {
            break;
        }
        take(&url, &mut client, &running, command).await;
    }
    // A blocked read of standard input would hold the end up.
    std::process::exit(0)
}
