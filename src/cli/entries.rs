//! Entries of maps and presence sets, printed and followed alike.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidewire_client::{CellKind, Client, Entry, Name, WatchOptions, WatchValue};

use super::interrupt::{interrupted, stopped};
use super::output::{Output, put_bytes, readable};
use super::{CliError, Globals};

/// What the columns of a cell's entries are called.
#[derive(Clone, Copy)]
pub(crate) struct Labels {
    /// `map` or `presence`.
    pub(crate) cell: &'static str,
    /// `key` or `member`.
    pub(crate) key: &'static str,
    /// `value` or `data`.
    pub(crate) value: &'static str,
}

/// Prints all entries: `KEY<tab>VALUE`, or one object.
pub(crate) fn print_all(
    labels: Labels,
    name: &Name,
    entries: &BTreeMap<String, Entry>,
    globals: &Globals,
) -> Result<(), CliError> {
    let mut output = Output::new();
    if globals.json {
        let list: Vec<Value> =
            entries.iter().map(|(key, entry)| entry_json(labels, key, Some(entry))).collect();
        output.json(&json!({ labels.cell: name.as_str(), "entries": list }))?;
    } else {
        for (key, entry) in entries {
            output.line(&entry_line(key, entry))?;
        }
    }
    output.flush()
}

/// Follows the entries: first all of them, then each that changes. Those that are gone have a `-`
/// before them, the others a `+`.
pub(crate) async fn follow(
    client: &Client,
    kind: CellKind,
    labels: Labels,
    name: &Name,
    options: WatchOptions,
    count: Option<u64>,
    globals: &Globals,
) -> Result<(), CliError> {
    let mut watch = client.watch(kind, name, options).await?;
    let mut output = Output::new();
    let mut seen = 0;
    while count.is_none_or(|count| seen < count) {
        let event = tokio::select! {
            event = watch.next() => event,
            () = interrupted() => return stopped(seen, count),
        };
        let Some(event) = event else { break };
        let WatchValue::Entries { all, changed } = event.value else { continue };
        for key in changed {
            if count.is_some_and(|count| seen >= count) {
                break;
            }
            seen += 1;
            let entry = all.get(&key);
            match (globals.json, entry) {
                (true, entry) => output.json(&entry_json(labels, &key, entry))?,
                (false, Some(entry)) => output.line(&format!("+ {}", entry_line(&key, entry)))?,
                (false, None) => output.line(&format!("- {key}"))?,
            }
        }
        output.flush()?;
    }
    watch.end_reason().map_or(Ok(()), |error| Err(error.into()))
}

fn entry_json(labels: Labels, key: &str, entry: Option<&Entry>) -> Value {
    let mut object = json!({ labels.key: key, "version": entry.map(|entry| entry.version) });
    put_bytes(&mut object, labels.value, entry.map(|entry| entry.value.as_ref()));
    object
}

fn entry_line(key: &str, entry: &Entry) -> String {
    if entry.value.is_empty() {
        return key.to_owned();
    }
    format!("{key}\t{}", readable(&entry.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: Labels = Labels { cell: "map", key: "key", value: "value" };

    #[test]
    fn an_entry_that_is_gone_has_no_value() {
        let entry = Entry { version: 3, value: "x".into() };
        let there = json!({ "key": "a", "version": 3, "value": "x" });
        assert_eq!(entry_json(LABELS, "a", Some(&entry)), there);
        let gone = json!({ "key": "a", "version": null, "value": null });
        assert_eq!(entry_json(LABELS, "a", None), gone);
    }
}
