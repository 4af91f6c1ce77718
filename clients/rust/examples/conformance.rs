//! The Rust client as a program that the conformance suite drives: JSON commands on standard input, JSON events on
//! standard output (`clients/conformance/README.md`). It decides nothing.
#![allow(clippy::print_stdout, reason = "events are what it is for")]
#![allow(clippy::indexing_slicing, reason = "what is missing in a JSON value is null")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tidewire_client::{
    CellKind, Choice, Client, ConnectionState, Error, GapReason, Name, Pattern, Start, StartStatus,
    SubscribeOptions, Subscription, SubscriptionEvent, WatchOptions, WatchValue,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::oneshot;

/// Ends of subscriptions and watches, by their labels.
type Ends = Arc<Mutex<HashMap<String, oneshot::Sender<()>>>>;

fn say(event: Value) {
    println!("{event}");
}

fn failed(label: &Value, error: &Error) {
    let (code, retryable) = (error.code(), error.is_retryable());
    say(json!({ "event": "failed", "as": label, "code": code, "retryable": retryable }));
}

fn text<'a>(command: &'a Value, key: &str) -> &'a str {
    command[key].as_str().unwrap_or_default()
}

fn name(command: &Value, key: &str) -> Result<Name, Error> {
    Name::parse(text(command, key)).map_err(Error::from)
}

async fn connect(url: &str, command: &Value) -> Result<Client, Error> {
    say(json!({ "event": "state", "state": "connecting" }));
    let mut builder = Client::builder(url)?.client_name("runner");
    if let Some(token) = command["token"].as_str() {
        builder = builder.token(token);
    }
    if let Some(later) = command["tokens"].as_array() {
        let left: Vec<String> =
            later.iter().rev().filter_map(|token| token.as_str().map(str::to_owned)).collect();
        let left = Arc::new(Mutex::new(left));
        builder = builder.token_source(move || {
            let next = left.lock().unwrap_or_else(PoisonError::into_inner).pop();
            async move { next.ok_or_else(|| "no token is left".to_owned()) }
        });
    }
    if let (Some(min), Some(max)) =
        (command["backoff_min_ms"].as_u64(), command["backoff_max_ms"].as_u64())
    {
        builder = builder.reconnect_delay_ms(min, max);
    }
    if let Some(max) = command["offline_queue"].as_u64() {
        builder = builder.offline_requests_max(usize::try_from(max).unwrap_or(usize::MAX));
    }
    match builder.connect().await {
        Ok(client) => {
            tokio::spawn(tell_states(client.states()));
            Ok(client)
        }
        Err(error) => {
            say(json!({ "event": "state", "state": "failed", "code": error.code() }));
            Err(error)
        }
    }
}

async fn tell_states(mut states: tokio::sync::watch::Receiver<ConnectionState>) {
    loop {
        let state = states.borrow_and_update().clone();
        let name = match state {
            ConnectionState::Connecting => "connecting",
            ConnectionState::Connected { .. } => "connected",
            ConnectionState::Disconnected { .. } | ConnectionState::Closed => "disconnected",
            ConnectionState::Failed { .. } => "failed",
        };
        say(json!({ "event": "state", "state": name }));
        if states.changed().await.is_err() {
            return;
        }
    }
}

fn start_of(command: &Value) -> Start {
    let start = &command["start"];
    match (start["offset"].as_u64(), start.as_str()) {
        (Some(offset), _) => Start::Offset { epoch: start["epoch"].as_u64().unwrap_or(0), offset },
        (None, Some("earliest")) => Start::Earliest,
        (None, _) => Start::Latest,
    }
}

async fn subscribe(
    client: Client,
    command: Value,
    ended: oneshot::Receiver<()>,
) -> Result<(), Error> {
    let pattern = Pattern::parse(text(&command, "topic"))?;
    let label = command["as"].clone();
    let options = SubscribeOptions::default();
    let opened = client.subscribe(&pattern, start_of(&command), options).await;
    let code = match opened {
        Ok(subscription) => follow(subscription, &label, ended).await,
        Err(error) => Some(error.code()),
    };
    say(json!({ "event": "unsubscribed", "as": label, "code": code }));
    Ok(())
}

async fn follow(
    mut subscription: Subscription,
    label: &Value,
    mut ended: oneshot::Receiver<()>,
) -> Option<&'static str> {
    loop {
        let event = tokio::select! {
            event = subscription.next() => event?,
            _ = &mut ended => return None,
        };
        match event {
            SubscriptionEvent::Started(info) => {
                let mut told = json!({
                    "event": "subscribed", "as": label, "epoch": info.epoch, "offset": info.offset,
                });
                if info.status != StartStatus::Fresh {
                    told["resumed"] = true.into();
                }
                say(told);
                tell_missing(label, &info);
            }
            SubscriptionEvent::Delivery(delivery) => {
                for (offset, record) in delivery.records() {
                    let payload = record.payload.map(String::from_utf8_lossy);
                    say(json!({
                        "event": "record", "as": label, "offset": offset, "payload": payload,
                    }));
                }
            }
            SubscriptionEvent::Gap(gap) => {
                let reason = match gap.reason {
                    GapReason::Retention => "retention",
                    GapReason::NewEpoch => "new_epoch",
                    GapReason::Jumped => "jumped",
                    GapReason::Unexplained | GapReason::Other(_) => "unexplained",
                };
                say(json!({
                    "event": "gap", "as": label, "reason": reason, "from": gap.from, "to": gap.next,
                }));
            }
            SubscriptionEvent::Progress(_) => {}
            SubscriptionEvent::Ended(refusal) => return Some(refusal.code.name()),
        }
    }
}

/// What is missing before the place where a subscription goes on.
fn tell_missing(label: &Value, info: &tidewire_client::SubscribedInfo) {
    let (reason, (from, to)) = match info.status {
        StartStatus::Gap => ("retention", info.missing.unwrap_or_default()),
        StartStatus::NewEpoch => ("new_epoch", (0, info.offset)),
        StartStatus::Fresh | StartStatus::Resumed | StartStatus::Other(_) => return,
    };
    say(json!({ "event": "gap", "as": label, "reason": reason, "from": from, "to": to }));
}

async fn watch(
    client: Client,
    command: Value,
    mut ended: oneshot::Receiver<()>,
) -> Result<(), Error> {
    let (kind, key) = match command["counter"].is_string() {
        true => (CellKind::Counter, "counter"),
        false => (CellKind::Tally, "tally"),
    };
    let cell = name(&command, key)?;
    let mut watch = client.watch(kind, &cell, WatchOptions::default()).await?;
    loop {
        let event = tokio::select! {
            event = watch.next() => event,
            _ = &mut ended => break,
        };
        let Some(event) = event else { break };
        let value = match event.value {
            WatchValue::Counter(value) => json!(value),
            WatchValue::Standings(standings) => json!(standings.counts),
            WatchValue::Absent | WatchValue::Entries { .. } => Value::Null,
        };
        let (label, version) = (&command["as"], event.version);
        say(json!({ "event": "value", "as": label, "value": value, "version": version }));
    }
    let code = watch.end_reason().map(|error| error.code());
    say(json!({ "event": "unsubscribed", "as": command["as"], "code": code }));
    Ok(())
}

async fn ask(client: &Client, command: &Value) -> Result<Value, Error> {
    let mut done = json!({ "event": "done", "as": command["as"] });
    match text(command, "op") {
        "publish" => {
            let published =
                client.publish(text(command, "topic"), text(command, "payload")).await?;
            done["offset"] = json!(published.offset);
            if published.duplicate {
                done["duplicate"] = true.into();
            }
        }
        "incr" => {
            let delta = command["delta"].as_i64().unwrap_or(1);
            let counted = client.incr(&name(command, "counter")?, delta).await?;
            done["value"] = json!(counted.value);
        }
        "get" => {
            let value = client.get_counter(&name(command, "counter")?).await?;
            done = json!({ "event": "value", "as": command["as"], "value": value });
        }
        "vote" => {
            let choices = vec![Choice::Name(text(command, "choice").to_owned())];
            let tally = name(command, "tally")?;
            let voted = client.vote(&tally, text(command, "voter"), choices, None).await?;
            if voted.status == tidewire_client::VoteStatus::Duplicate {
                done["duplicate"] = true.into();
            }
        }
        "presence_join" => {
            let data = command["data"].as_str().map(|data| bytes::Bytes::from(data.to_owned()));
            let (set, member) = (name(command, "presence")?, text(command, "as"));
            client.presence_join(&set, member, data).await?;
        }
        other => return Err(Error::Config(format!("{other} is no command"))),
    }
    Ok(done)
}

/// Carries out one command; what takes longer goes on by itself.
async fn take(url: &str, client: &mut Option<Client>, ends: &Ends, command: Value) {
    let op = text(&command, "op").to_owned();
    if op == "connect" {
        // The state has said why.
        *client = connect(url, &command).await.ok();
        return;
    }
    let Some(connected) = client.clone() else { return };
    let (sender, ended) = oneshot::channel();
    let mut running = ends.lock().unwrap_or_else(PoisonError::into_inner);
    match op.as_str() {
        "close" => drop(tokio::spawn(connected.close())),
        "unsubscribe" => drop(running.remove(text(&command, "as"))),
        "subscribe" | "watch" => {
            running.insert(text(&command, "as").to_owned(), sender);
            tokio::spawn(async move {
                let label = command["as"].clone();
                let outcome = match op.as_str() {
                    "watch" => watch(connected, command, ended).await,
                    _ => subscribe(connected, command, ended).await,
                };
                outcome.unwrap_or_else(|error| failed(&label, &error));
            });
        }
        _ => drop(tokio::spawn(async move {
            match ask(&connected, &command).await {
                Ok(done) => say(done),
                Err(error) => failed(&command["as"], &error),
            }
        })),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: conformance WS-URL")?;
    let (mut client, ends) = (None, Ends::default());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let command: Value = serde_json::from_str(&line)?;
        if command["op"] == "exit" {
            break;
        }
        take(&url, &mut client, &ends, command).await;
    }
    // A blocked read of standard input would hold the end up.
    std::process::exit(0)
}
