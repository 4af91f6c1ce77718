//! Watches.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidewire_client::{CellKind, Client, Entry, Error, WatchOptions, WatchValue};
use tokio::sync::Notify;

use crate::{name, say};

pub(crate) async fn watch(client: Client, command: &Value, ended: &Notify) -> Result<(), Error> {
    let kinds = [
        (CellKind::Counter, "counter"),
        (CellKind::Tally, "tally"),
        (CellKind::Presence, "presence"),
    ];
    let Some((kind, key)) = kinds.into_iter().find(|(_, key)| command[key].is_string()) else {
        return Err(Error::Config("a watch is of a counter, a tally or a presence set".to_owned()));
    };
    let cell = name(command, key)?;
    let label = &command["as"];
    let mut watch = client.watch(kind, &cell, WatchOptions::default()).await?;
    loop {
        let event = tokio::select! {
            event = watch.next() => event,
            () = ended.notified() => break,
        };
        let Some(event) = event else { break };
        let value = match event.value {
            WatchValue::Counter(value) => json!(value),
            WatchValue::Standings(standings) => json!(standings.counts),
            WatchValue::Entries { all, .. } => texts(all),
            WatchValue::Absent => Value::Null,
        };
        let version = event.version;
        say(json!({ "event": "value", "as": label, "value": value, "version": version }));
    }
    let code = watch.end_reason().map(|error| error.code());
    say(json!({ "event": "unsubscribed", "as": label, "code": code }));
    Ok(())
}

/// Entries whose values are text.
pub(crate) fn texts(entries: &BTreeMap<String, Entry>) -> Value {
    let text = |(key, entry): (&String, &Entry)| {
        (key.clone(), String::from_utf8_lossy(&entry.value).into_owned().into())
    };
    Value::Object(entries.iter().map(text).collect())
}
