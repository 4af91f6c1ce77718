//! The property that fuzzing checks.

use super::Config;
use tidewire_protocol::Name;

/// No text makes reading it fail otherwise than by saying why, and what passes the checks can be used.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let config = match toml::from_str::<Config>(text) {
        Ok(config) => config,
        Err(error) => {
            assert!(!error.message().is_empty());
            return;
        }
    };
    if let Err(refused) = config.validate() {
        assert!(!refused.to_string().is_empty());
        return;
    }
    let policies = config.policies();
    if let Ok(name) = Name::parse("map.a") {
        assert!(policies.explain(&name).1.partitions >= 1);
        assert!(policies.home(&name) < policies.shards());
    }
    assert!(config.warnings().iter().all(|warning| !warning.is_empty()));
    assert!((1..=64).contains(&config.cores()));
}
