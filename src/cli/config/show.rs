//! `tidewire config show`: what a server would have, as a file that says who has set what.

use serde_json::{Map, Value as Json, json};
use toml::{Table, Value};

use super::super::output::Output;
use super::super::{CliError, Globals};
use crate::config::{Loaded, Source, is_secret};

/// Stands for a value that is not shown.
const HIDDEN: &str = "(hidden)";

pub(super) fn show(
    loaded: &Loaded,
    globals: &Globals,
    output: &mut Output,
) -> Result<(), CliError> {
    let table = Table::try_from(&loaded.config);
    let mut table = table.map_err(|error| CliError::usage(format!("configuration: {error}")))?;
    let keys = hide_secrets(&mut table);
    if globals.json {
        let sources = keys.iter().filter_map(|key| Some((key.clone(), of(loaded.source(key)?))));
        let sources: Map<String, Json> = sources.collect();
        return output.json(&json!({
            "config": table, "sources": sources, "warnings": loaded.config.warnings()
        }));
    }
    output
        .raw(written(&table, &|key| loaded.source(key).map(|source| source.to_string())).as_bytes())
}

fn of(source: Source<'_>) -> Json {
    match source {
        Source::File(path, line) => json!({ "file": path, "line": line }),
        Source::Variable(name) => json!({ "variable": name }),
        Source::Flag(flag) => json!({ "flag": flag }),
    }
}

/// The keys of all values. What is secret is not in the table afterwards.
fn hide_secrets(table: &mut Table) -> Vec<String> {
    fn walk(key: String, value: &mut Value, keys: &mut Vec<String>) {
        match value {
            Value::Table(table) => table.iter_mut().for_each(|(name, value)| {
                let dot = if key.is_empty() { "" } else { "." };
                walk(format!("{key}{dot}{name}"), value, keys);
            }),
            Value::Array(items) if items.iter().any(Value::is_table) => {
                for (index, item) in items.iter_mut().enumerate() {
                    walk(format!("{key}[{index}]"), item, keys);
                }
            }
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_) => {
                if is_secret(&key) {
                    *value = Value::String(HIDDEN.to_owned());
                }
                keys.push(key);
            }
        }
    }
    let (mut keys, mut all) = (Vec::new(), Value::Table(std::mem::take(table)));
    walk(String::new(), &mut all, &mut keys);
    if let Value::Table(all) = all {
        *table = all;
    }
    keys
}

type SourceOf<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The table as a file: plain keys, then sections, then lists of sections.
fn written(table: &Table, source: &SourceOf<'_>) -> String {
    let mut text = String::new();
    values("", table.iter().filter(|(_, value)| !is_section(value)), source, &mut text);
    for (name, value) in table.iter().filter(|(_, value)| is_section(value)) {
        section(name, value, source, &mut text);
    }
    text
}

fn section(path: &str, value: &Value, source: &SourceOf<'_>, text: &mut String) {
    if let Value::Table(table) = value {
        text.push_str(&format!("\n[{path}]\n"));
        values(path, table.iter().filter(|(_, value)| !is_section(value)), source, text);
        for (name, value) in table.iter().filter(|(_, value)| is_section(value)) {
            section(&format!("{path}.{name}"), value, source, text);
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        text.push_str(&format!("\n[[{path}]]\n"));
        // What is nested in one of these stands in one line.
        let item = item.as_table().into_iter().flatten();
        values(&format!("{path}[{index}]"), item, source, text);
    }
}

fn values<'a>(
    path: &str,
    entries: impl Iterator<Item = (&'a String, &'a Value)>,
    source: &SourceOf<'_>,
    text: &mut String,
) {
    for (name, value) in entries {
        let dot = if path.is_empty() { "" } else { "." };
        let by = source(&format!("{path}{dot}{name}")).map(|source| format!("  # {source}"));
        text.push_str(&format!("{name} = {value}{}\n", by.unwrap_or_default()));
    }
}

/// Whether it has a header of its own.
fn is_section(value: &Value) -> bool {
    let is_list =
        |value: &Value| value.as_array().is_some_and(|items| items.iter().any(Value::is_table));
    value.is_table() || is_list(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const TEXT: &str = "node = \"a \\\"b\\\"\"\n[[auth.role]]\nname = \"r\"\n\
        rules = [{ names = \"a.>\", allow = [\"publish\"] }]\n[[auth.api_key]]\nname = \"k\"\n\
        sha256 = \"00000000000000000000000000000000000000000000000000000000000000ff\"\nroles = []\n";

    #[test]
    fn what_is_shown_is_a_file_with_the_same_meaning_but_for_secrets() {
        let config: Config = toml::from_str(TEXT).unwrap();
        let table = Table::try_from(&config).unwrap();
        let text = written(&table, &|key| (key == "node").then(|| "here:1".to_owned()));
        let again: Config = toml::from_str(&text).unwrap();
        assert_eq!(format!("{again:?}"), format!("{config:?}"), "{text}");
        assert!(text.contains("node = 'a \"b\"'  # here:1\n"), "{text}");
        assert!(text.contains("\n[[auth.role]]\n") && text.contains("\n[limits]\n"), "{text}");
    }

    #[test]
    fn secrets_are_hidden_and_all_keys_are_named() {
        let config: Config = toml::from_str(TEXT).unwrap();
        let mut table = Table::try_from(&config).unwrap();
        let keys = hide_secrets(&mut table);
        let text = written(&table, &|_| None);
        assert!(!text.contains("00ff") && text.contains("sha256 = \"(hidden)\"\n"), "{text}");
        for key in ["node", "limits.names_max", "auth.api_key[0].sha256", "policy[0].names"] {
            assert!(keys.iter().any(|known| known == key), "{key}: {keys:?}");
        }
    }
}
