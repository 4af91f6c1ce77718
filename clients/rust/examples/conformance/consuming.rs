//! Consumers, and what becomes of their records.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tidewire_client::{Client, ConsumeOptions, Error, Job};
use tokio::sync::Notify;

use crate::{Running, locked, name, say, text};

/// Records that were leased last, by the consumer's label and the offset.
pub(crate) type Jobs = Arc<Mutex<HashMap<(String, u64), Job>>>;

pub(crate) async fn consume(
    client: Client,
    command: &Value,
    running: &Running,
    ended: &Notify,
) -> Result<(), Error> {
    let (topic, group) = (name(command, "topic")?, name(command, "group")?);
    let label = &command["as"];
    let options = ConsumeOptions { in_flight: command["in_flight"].as_u64() };
    let mut consumer = client.consume(&topic, &group, options).await?;
    loop {
        let job = tokio::select! {
            job = consumer.next() => job,
            () = ended.notified() => break,
        };
        let Some(job) = job else { break };
        let payload = job.record().and_then(|record| record.payload.map(String::from_utf8_lossy));
        say(json!({
            "event": "job", "as": label, "offset": job.offset(), "payload": payload,
            "deliveries": job.deliveries(),
        }));
        locked(&running.jobs).insert((text(command, "as").to_owned(), job.offset()), job);
    }
    let code = consumer.end().map(|error| error.code());
    say(json!({ "event": "unsubscribed", "as": label, "code": code }));
    Ok(())
}

/// Says what became of a record, which is told apart by its consumer and offset.
pub(crate) async fn settle(running: &Running, command: &Value) -> Result<bool, Error> {
    let key = (text(command, "consumer").to_owned(), command["offset"].as_u64().unwrap_or(0));
    let Some(job) = locked(&running.jobs).remove(&key) else {
        return Err(Error::Config(format!("no record {key:?} was leased")));
    };
    match text(command, "op") {
        "ack" => job.ack().await,
        "nack" => job.nack(command["delay_ms"].as_u64(), None).await,
        "reject" => job.reject(command["reason"].as_str().map(str::to_owned)).await,
        _ => {
            let outcome = job.extend().await;
            locked(&running.jobs).insert(key, job);
            outcome
        }
    }
}
