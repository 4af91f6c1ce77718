//! What `tidewire serve` does on SIGHUP: reads its configuration again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::CliError;
use crate::config::Config;
use crate::server::Server;

/// What is taken while the server runs.
const APPLIED: [&str; 2] = ["auth", "tenant"];

/// The configuration as it was read last.
pub(super) struct Reload {
    file: Option<PathBuf>,
    known: Table,
}

impl Reload {
    /// The file that was read, if there is one.
    pub(super) fn new(file: Option<&Path>) -> Self {
        let known = file.and_then(table).unwrap_or_default();
        Self { file: file.map(Path::to_owned), known }
    }

    /// Takes what can be taken, all of it or nothing, and says of each key what has become of it.
    pub(super) fn run(&mut self, config: Result<Config, CliError>, server: &Server) {
        let config = config.and_then(|config| {
            config.check_exposure().map_err(|error| CliError::usage(error.to_string()))?;
            Ok(config)
        });
        let table = self.file.as_deref().and_then(table).unwrap_or_default();
        let config = match config {
            Ok(config) => config,
            Err(error) => {
                server.reload_rejected(&error.message);
                return tracing::error!("rejected, nothing has changed: {}", error.message);
            }
        };
        if let Err(error) = server.reload(&config) {
            return tracing::error!("rejected, nothing has changed: {error}");
        }
        tracing::info!("the certificate, the accounts and the tenants were read again");
        for key in changed(&self.known, &table) {
            let section = key.split(['.', '[']).next().unwrap_or_default();
            match APPLIED.contains(&section) {
                true => tracing::info!(key, "applied"),
                false => tracing::warn!(key, "needs a restart"),
            }
        }
        // What needs a restart is said again next time.
        let kept = |(key, _): &(String, Value)| !APPLIED.contains(&key.as_str());
        let applied = table.into_iter().filter(|(key, _)| APPLIED.contains(&key.as_str()));
        let before = std::mem::take(&mut self.known).into_iter().filter(kept);
        self.known = before.chain(applied).collect();
    }
}

fn table(file: &Path) -> Option<Table> {
    std::fs::read_to_string(file).ok()?.parse().ok()
}

/// The keys whose values differ.
fn changed(before: &Table, after: &Table) -> BTreeSet<String> {
    let mut flat = [BTreeSet::new(), BTreeSet::new()];
    for (into, table) in flat.iter_mut().zip([before, after]) {
        flatten("", &Value::Table(table.clone()), into);
    }
    let [before, after] = flat;
    before.symmetric_difference(&after).map(|(key, _)| key.clone()).collect()
}

fn flatten(key: &str, value: &Value, into: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                let dot = if key.is_empty() { "" } else { "." };
                flatten(&format!("{key}{dot}{name}"), value, into);
            }
        }
        Value::Array(values) if values.iter().any(Value::is_table) => {
            for (index, value) in values.iter().enumerate() {
                flatten(&format!("{key}[{index}]"), value, into);
            }
        }
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_) => {
            into.insert((key.to_owned(), value.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_said_by_its_key() {
        let before = "listen = \"a\"\n[limits]\nnames_max = 1\n[[auth.role]]\nname = \"a\"\n";
        let after = "listen = \"b\"\n[limits]\nnames_max = 1\n[[auth.role]]\nname = \"c\"\n";
        let keys: Vec<String> =
            changed(&before.parse().unwrap(), &after.parse().unwrap()).into_iter().collect();
        assert_eq!(keys, ["auth.role[0].name", "listen"]);
        assert!(changed(&before.parse().unwrap(), &before.parse().unwrap()).is_empty());
    }
}
