//! The variables of the environment: `TIDEWIRE_LIMITS_NAMES_MAX` is `names_max` in `[limits]`.
//!
//! Each key of the schema that is not in a list of tables has one, so there is nothing to keep in step.

use std::ffi::OsString;

use serde::Deserialize as _;
use serde_json::Value as Schema;
use toml::{Table, Value};

use super::layers::{Setting, insert};
use super::nearest::nearest;
use super::place::printable;
use super::schema::{self, Key};
use super::{Config, ConfigError};

/// What all variables begin with.
const PREFIX: &str = "TIDEWIRE_";

/// Variables that begin in the same way and are no keys, and who reads them.
pub const OTHERS: [(&str, &str); 20] = [
    ("TIDEWIRE_CONFIG", "the configuration file itself"),
    ("TIDEWIRE_LOG", "what is logged"),
    ("TIDEWIRE_URL", "the command line as a client"),
    ("TIDEWIRE_TOKEN", "the command line as a client"),
    ("TIDEWIRE_ADMIN", "the command line, to look after a server"),
    ("TIDEWIRE_TOPIC", "what `group consume --exec` runs"),
    ("TIDEWIRE_OFFSET", "what `group consume --exec` runs"),
    ("TIDEWIRE_KEY", "what `group consume --exec` runs"),
    ("TIDEWIRE_DELIVERIES", "what `group consume --exec` runs"),
    ("TIDEWIRE_BIN", "tests"),
    ("TIDEWIRE_CRASHES", "tests"),
    ("TIDEWIRE_CRASH_SEED", "tests"),
    ("TIDEWIRE_SOAK_SECONDS", "tests"),
    ("TIDEWIRE_SOAK_RATE", "tests"),
    ("TIDEWIRE_POWER_CUTS", "tests"),
    ("TIDEWIRE_FAULTS", "tests"),
    ("TIDEWIRE_GOSSIP_DEATHS", "tests"),
    ("TIDEWIRE_FAULTS_SEED", "tests"),
    ("TIDEWIRE_FAULTS_ONLY", "tests"),
    ("TIDEWIRE_FAULTS_REPORT", "tests"),
];

/// The names of all variables that set a key.
pub fn variables() -> impl Iterator<Item = String> {
    schema::keys().into_iter().map(|key| variable(&key.path))
}

fn variable(path: &str) -> String {
    PREFIX.to_owned() + &path.replace('.', "_").to_uppercase()
}

/// What the environment sets.
///
/// # Errors
/// When a variable is no key and nobody else's, or has a value that its key cannot have.
pub(super) fn settings(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<Setting>, ConfigError> {
    let keys: Vec<(String, Key)> =
        schema::keys().into_iter().map(|key| (variable(&key.path), key)).collect();
    let mut settings = Vec::new();
    for (name, value) in environment {
        let name = name.to_string_lossy();
        if !name.starts_with(PREFIX) || is_of_others(&name, &value.to_string_lossy()) {
            continue;
        }
        let Some((name, key)) = keys.iter().find(|(known, _)| *known == name) else {
            return Err(unknown(&name, &keys));
        };
        settings.push(setting(name, key, &value)?);
    }
    settings.sort_by(|one: &Setting, other| one.key.cmp(&other.key));
    Ok(settings)
}

/// Kubernetes and linked containers tell what else there is: a service of this name is in the
/// environment of each of its own processes (`TIDEWIRE_PORT=tcp://10.0.0.7:7171`).
fn is_of_others(name: &str, value: &str) -> bool {
    let is_of_service = name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT");
    let port = name.split_once("_PORT").map(|(_, rest)| rest);
    let is_of_port = port.is_some_and(|rest| {
        let number = rest.strip_prefix('_').unwrap_or_default();
        rest.is_empty() && value.contains("://") || number.starts_with(|c: char| c.is_ascii_digit())
    });
    is_of_service || is_of_port || OTHERS.iter().any(|(other, _)| *other == name)
}

fn unknown(name: &str, keys: &[(String, Key)]) -> ConfigError {
    let rest = |name: &str| name.strip_prefix(PREFIX).unwrap_or_default().to_owned();
    let known: Vec<String> = keys.iter().map(|(name, _)| rest(name)).collect();
    let own = OTHERS.iter().map(|(name, _)| name.strip_prefix(PREFIX).unwrap_or_default());
    let rule = match nearest(&rest(name), known.iter().map(String::as_str).chain(own)) {
        Some(nearest) => format!("no such variable: did you mean {PREFIX}{nearest}?"),
        None => format!(
            "no such variable: {PREFIX}<SECTION>_<KEY> sets a key of config/tidewire.toml, such as \
             TIDEWIRE_LIMITS_NAMES_MAX; lists of tables stand in the file only"
        ),
    };
    ConfigError::Set { by: printable(name), key: None, rule }
}

fn setting(name: &str, key: &Key, value: &OsString) -> Result<Setting, ConfigError> {
    let refuse = |text: &str, rule: String| {
        let (by, key) = (format!("{name}={}", printable(text)), Some(key.path.clone()));
        Err(ConfigError::Set { by, key, rule })
    };
    let Some(text) = value.to_str() else {
        return refuse(&value.to_string_lossy(), "is not UTF-8".to_owned());
    };
    let expected = schema::expected(key.schema);
    let Some(value) = parse(key.schema, text) else {
        return refuse(text, format!("expected {expected}"));
    };
    let mut alone = Table::new();
    insert(&mut alone, &key.path, value.clone());
    if let Err(error) = Config::deserialize(Value::Table(alone)) {
        let message = error.message();
        // What the type says of itself is more than what the schema knows.
        let rule = match schema::kind(key.schema) {
            Some("string" | "array") => {
                super::nearest::shortened(message).unwrap_or_else(|| message.to_owned())
            }
            _ => format!("expected {expected}"),
        };
        return refuse(text, rule);
    }
    Ok(Setting::variable(&key.path, name, text, value))
}

/// The value in TOML's terms: text as it is, numbers as in the file, a list as there or with commas.
fn parse(schema: &Schema, text: &str) -> Option<Value> {
    let text = text.trim();
    match schema::kind(schema) {
        Some("integer") => toml_value(text).filter(Value::is_integer),
        Some("boolean") => match text {
            "true" | "1" => Some(Value::Boolean(true)),
            "false" | "0" => Some(Value::Boolean(false)),
            _ => None,
        },
        Some("array") if text.starts_with('[') => toml_value(text).filter(Value::is_array),
        Some("array") if text.is_empty() => Some(Value::Array(Vec::new())),
        Some("array") => {
            let items = text.split(',').map(str::trim);
            let item = |item: &str| (!item.is_empty()).then(|| Value::String(item.to_owned()));
            items.map(item).collect::<Option<_>>().map(Value::Array)
        }
        _ if text.is_empty() => None,
        _ => Some(Value::String(text.to_owned())),
    }
}

fn toml_value(text: &str) -> Option<Value> {
    let mut table = format!("value = {text}").parse::<Table>().ok()?;
    let value = table.remove("value");
    // Nothing may follow in lines of its own.
    value.filter(|_| table.is_empty())
}

#[cfg(test)]
mod tests;
