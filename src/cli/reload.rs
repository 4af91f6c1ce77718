//! What `tidewire serve` does on SIGHUP: reads its configuration again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::config::{Config, ConfigError, Loaded};
use crate::server::Server;

/// What is taken while the server runs.
const APPLIED: [&str; 3] = ["auth", "tenant", "webhook"];
/// Stands for a key where something is wrong that is about none.
const WHOLE: &str = "configuration";

/// What the server runs with, by key.
pub(super) struct Reload {
    running: BTreeMap<String, Value>,
}

/// What becomes of a key whose value is another one now.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Applied,
    NeedsRestart,
    /// And why.
    Rejected(String),
}

/// The key that a reload fails by, and why.
struct Refused {
    key: String,
    why: String,
}

impl Refused {
    fn of(error: &ConfigError) -> Self {
        Self { key: error.key().unwrap_or(WHOLE).to_owned(), why: error.in_one_line() }
    }
}

impl Reload {
    pub(super) fn new(config: &Config) -> Self {
        Self { running: flat(config) }
    }

    /// Takes what can be taken, all of it or nothing, and says of each key what has become of it.
    pub(super) fn run(&mut self, loaded: Result<Loaded, ConfigError>, server: &Server) {
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                server.reload_rejected(&error.in_one_line());
                return say(&rejected(&BTreeMap::new(), &BTreeMap::new(), &Refused::of(&error)));
            }
        };
        let wanted = flat(&loaded.config);
        if let Err(error) = server.reload(&loaded.config) {
            let refused = match error.of_configuration() {
                Ok(error) => Refused::of(&loaded.placed(error)),
                Err(error) => Refused { key: WHOLE.to_owned(), why: error.to_string() },
            };
            return say(&rejected(&self.running, &wanted, &refused));
        }
        tracing::info!("the certificate, the accounts and the tenants were read again");
        say(&taken(&self.running, &wanted));
        // What needs a restart is said again next time.
        self.running.retain(|key, _| !is_applied(key));
        self.running.extend(wanted.into_iter().filter(|(key, _)| is_applied(key)));
    }
}

fn say(outcomes: &BTreeMap<String, Outcome>) {
    for (key, outcome) in outcomes {
        match outcome {
            Outcome::Applied => tracing::info!(key, "applied"),
            Outcome::NeedsRestart => tracing::warn!(key, "needs a restart"),
            Outcome::Rejected(why) => tracing::error!(key, "rejected, nothing has changed: {why}"),
        }
    }
}

fn taken(
    running: &BTreeMap<String, Value>,
    wanted: &BTreeMap<String, Value>,
) -> BTreeMap<String, Outcome> {
    let outcome = |key: String| {
        let outcome = if is_applied(&key) { Outcome::Applied } else { Outcome::NeedsRestart };
        (key, outcome)
    };
    changed(running, wanted).map(outcome).collect()
}

/// The key that is refused, and with it all others that have changed.
fn rejected(
    running: &BTreeMap<String, Value>,
    wanted: &BTreeMap<String, Value>,
    refused: &Refused,
) -> BTreeMap<String, Outcome> {
    let Refused { key, why } = refused;
    let beside = || Outcome::Rejected(format!("{key} is refused, and all or nothing is taken"));
    let mut outcomes: BTreeMap<String, Outcome> =
        changed(running, wanted).map(|key| (key, beside())).collect();
    outcomes.insert(key.clone(), Outcome::Rejected(why.clone()));
    outcomes
}

fn is_applied(key: &str) -> bool {
    APPLIED.contains(&key.split(['.', '[']).next().unwrap_or_default())
}

/// The keys whose values differ.
fn changed(
    before: &BTreeMap<String, Value>,
    after: &BTreeMap<String, Value>,
) -> impl Iterator<Item = String> {
    let differs = |key: &&String| before.get(*key) != after.get(*key);
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    keys.into_iter().filter(differs).cloned().collect::<Vec<_>>().into_iter()
}

/// Each value by its key. What is not set has none.
fn flat(config: &Config) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    // It was checked, so it can be written.
    if let Ok(config) = serde_json::to_value(config) {
        flatten(String::new(), config, &mut values);
    }
    values
}

fn flatten(key: String, value: Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                let dot = if key.is_empty() { "" } else { "." };
                flatten(format!("{key}{dot}{name}"), value, into);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, value) in items.into_iter().enumerate() {
                flatten(format!("{key}[{index}]"), value, into);
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            into.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> BTreeMap<String, Value> {
        flat(&toml::from_str(text).unwrap())
    }

    fn shown(outcomes: BTreeMap<String, Outcome>) -> Vec<(String, Outcome)> {
        outcomes.into_iter().collect()
    }

    const BEFORE: &str = "node = \"a\"\ncores = 0\n[[auth.role]]\nname = \"a\"\n";
    const AFTER: &str = "node = \"b\"\nheartbeat_ms = 25000\n[[auth.role]]\nname = \"c\"\n";

    #[test]
    fn each_key_that_has_changed_is_applied_or_needs_a_restart() {
        let outcomes = shown(taken(&of(BEFORE), &of(AFTER)));
        let expected = [
            ("auth.role[0].name".to_owned(), Outcome::Applied),
            ("node".to_owned(), Outcome::NeedsRestart),
        ];
        // A default that is written down, or no more, is no change.
        assert_eq!(outcomes, expected);
        assert!(taken(&of(BEFORE), &of(BEFORE)).is_empty());
    }

    #[test]
    fn what_is_refused_takes_the_other_changes_with_it() {
        let (key, rule) = ("auth.role[0].rules[0]".to_owned(), "is none".to_owned());
        let outcomes = shown(rejected(
            &of(BEFORE),
            &of(AFTER),
            &Refused::of(&ConfigError::Value { key, rule }),
        ));
        let beside = "auth.role[0].rules[0] is refused, and all or nothing is taken".to_owned();
        let why = "configuration: auth.role[0].rules[0]: is none".to_owned();
        let expected = [
            ("auth.role[0].name".to_owned(), Outcome::Rejected(beside.clone())),
            ("auth.role[0].rules[0]".to_owned(), Outcome::Rejected(why)),
            ("node".to_owned(), Outcome::Rejected(beside)),
        ];
        assert_eq!(outcomes, expected);
    }

    #[test]
    fn what_cannot_even_be_read_is_rejected_as_a_whole() {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        let error = ConfigError::Read { path: "/nowhere".into(), source };
        let outcomes = shown(rejected(&BTreeMap::new(), &BTreeMap::new(), &Refused::of(&error)));
        let why = "cannot read configuration /nowhere: entity not found".to_owned();
        assert_eq!(outcomes, [("configuration".to_owned(), Outcome::Rejected(why))]);
    }
}
