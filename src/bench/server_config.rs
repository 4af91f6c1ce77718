//! The configuration of the server that a bench starts: the operator's own or the defaults, with
//! what the workload needs raised in it.

use std::path::Path;

use tidewire_core::SHARDS_MAX;
use toml::{Table, Value};

use super::accounts::Accounts;
use super::payload::Batch;
use crate::config::{LimitsConfig, PolicyConfig};

/// Connections and subscriptions beside those of the workload.
const BESIDE: usize = 64;

/// What a workload needs of its server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    /// Connections at the same time.
    pub(crate) connections: usize,
    /// Subscriptions and watches of one connection.
    pub(crate) subscriptions: usize,
    /// Records that a topic is to keep for its slowest subscriber, and their size.
    pub(crate) kept: Option<(u64, Batch)>,
    /// Whether its connections are somebody's.
    pub(crate) accounts: bool,
    /// Whether a cluster keeps its names on disk.
    pub(crate) is_kept: bool,
}

/// The configuration as TOML.
///
/// # Errors
/// When the file cannot be read or is no TOML.
pub(crate) fn server_config(
    file: Option<&Path>,
    needs: &Needs,
    accounts: Option<&Accounts>,
) -> Result<String, String> {
    let mut config = match file {
        Some(file) => {
            let name = file.display();
            let text = std::fs::read_to_string(file)
                .map_err(|error| format!("--config {name} cannot be read: {error}"))?;
            text.parse::<Table>().map_err(|error| format!("--config {name}: {error}"))?
        }
        None => Table::new(),
    };
    let default = LimitsConfig::default();
    let (connections, subscriptions) = (needs.connections + BESIDE, needs.subscriptions + BESIDE);
    raise(&mut config, "connections_max", default.connections_max as u64, connections as u64);
    raise(&mut config, "subscriptions_max", default.subscriptions_max as u64, subscriptions as u64);
    if let Some((records, batch)) = needs.kept {
        keep(&mut config, records, batch);
    }
    if let Some(accounts) = accounts {
        accounts.add_to(&mut config);
    }
    Ok(config.to_string())
}

/// Raises one of the limits if it is lower.
fn raise(config: &mut Table, key: &str, default: u64, needed: u64) {
    let limits = config.entry("limits").or_insert_with(|| Value::Table(Table::new()));
    // Anything else is for the server to refuse.
    let Value::Table(limits) = limits else { return };
    let (default, needed) = (integer(default), integer(needed));
    let value = limits.entry(key).or_insert(Value::Integer(default));
    if value.as_integer().is_some_and(|value| value < needed) {
        *value = Value::Integer(needed);
    }
}

/// Lets the topics of the bench keep what a full window holds, when the defaults do not.
fn keep(config: &mut Table, records: u64, batch: Batch) {
    let default = PolicyConfig::live_maps();
    let bytes = records.saturating_mul(batch.record_bytes() as u64);
    if records <= default.retention_records && bytes <= default.retention_bytes {
        return;
    }
    // The topic is in one of the shards, which have equal shares.
    let of_all = bytes.saturating_mul(SHARDS_MAX.into());
    raise(config, "topic_bytes_max", LimitsConfig::default().topic_bytes_max, of_all);
    let mut policy = Table::new();
    policy.insert("names".to_owned(), Value::String("bench.>".to_owned()));
    let kept = [
        ("retention_records", records.max(default.retention_records)),
        ("retention_bytes", bytes.max(default.retention_bytes)),
    ];
    policy.extend(kept.map(|(key, kept)| (key.to_owned(), Value::Integer(integer(kept)))));
    let policies = config.entry("policy").or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(policies) = policies {
        policies.insert(0, Value::Table(policy));
    }
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config(text: &str, needs: &Needs) -> Config {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let config: Config =
            toml::from_str(&server_config(Some(file.path()), needs, None).unwrap()).unwrap();
        config.validate().unwrap();
        assert_eq!(config.warnings(), [""; 0]);
        config
    }

    #[test]
    fn limits_are_raised_and_never_lowered() {
        let needs = Needs { connections: 19_000, ..Needs::default() };
        let raised = config("", &needs).limits;
        assert_eq!((raised.connections_max, raised.subscriptions_max), (19_064, 4096));
        let own =
            config("node = 'n'\n[limits]\nconnections_max = 50000\nsubscriptions_max = 5", &needs);
        assert_eq!((own.limits.connections_max, own.limits.subscriptions_max), (50_000, 64));
        assert_eq!(own.node, "n");
    }

    #[test]
    fn a_window_that_topics_do_not_keep_gets_a_policy_before_the_others() {
        let batch = Batch { payload_bytes: 60_000, records: 1 };
        let needs = |records| Needs { kept: Some((records, batch)), ..Needs::default() };
        assert_eq!(config("", &needs(100)).policy.len(), 1);
        let kept = config("[[policy]]\nnames = 'bench.>'", &needs(2_000)).policy;
        assert_eq!((kept.len(), kept[0].names.as_str()), (2, "bench.>"));
        assert!(kept[0].retention_bytes > 120_000_000 && kept[0].retention_records == 100_000);
    }

    #[test]
    fn a_file_that_is_no_toml_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "limits = [").unwrap();
        let refusal = server_config(Some(file.path()), &Needs::default(), None).unwrap_err();
        assert!(refusal.contains("--config") && refusal.contains("line 1"), "{refusal}");
        let refusal =
            server_config(Some(Path::new("/no/file")), &Needs::default(), None).unwrap_err();
        assert!(refusal.contains("--config /no/file cannot be read"), "{refusal}");
    }
}
