//! The cluster in the configuration: which node this is, and where the others are.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::cluster::NodeAddress;

/// Seeds at most: they are dialed all at once.
const SEEDS_MAX: usize = 64;
/// Longest URL that other nodes' clients are told.
const URL_BYTES_MAX: usize = 256;

/// A cluster of servers that this one is a node of. Its id and the cluster's stand in its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// Address of the links between nodes (UDP).
    pub listen: SocketAddr,
    /// Host and port that the other nodes reach it at; absent: the address that is listened on.
    pub advertise: Option<String>,
    /// What clients of other nodes are told, to reach this one; absent: nothing.
    pub client_url: Option<String>,
    /// Host and port of nodes that are dialed to find the cluster.
    pub seeds: Vec<String>,
    /// The certificate of the cluster's authority, PEM.
    pub ca: Option<PathBuf>,
    /// The node's certificate, PEM; absent: there is no cluster.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// Bytes of states of shards that other nodes are given in a second, all of them together.
    #[schemars(range(min = 1_048_576, max = 1_u64 << 40))]
    pub state_bytes_per_second: u64,
    /// Percent by which the connections of this node may exceed the average of the nodes before some of them are
    /// asked to go to others; 0: none are.
    #[schemars(range(min = 0, max = 10_000))]
    pub balance_percent: u32,
    /// Connections by which they may exceed it in any case.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub balance_connections_min: u64,
    /// Connections that are asked to go in a second: at most where they are too many, at least where the node is
    /// drained.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub moves_per_second: u64,
    /// A connection that has just come, or was asked to go, is left alone for so long.
    #[schemars(range(min = 100, max = 86_400_000))]
    pub move_rest_ms: u64,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::UNSPECIFIED, 7172).into(),
            advertise: None,
            client_url: None,
            seeds: Vec::new(),
            ca: None,
            certificate: None,
            key: None,
            state_bytes_per_second: 64 * 1024 * 1024,
            balance_percent: 20,
            balance_connections_min: 500,
            moves_per_second: 50,
            move_rest_ms: 60_000,
        }
    }
}

impl ClusterConfig {
    /// Whether this server is a node of a cluster.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.certificate.is_some()
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, rule: &str| {
            Err(ConfigError::Value { key: format!("cluster.{key}"), rule: rule.to_owned() })
        };
        if *self == Self::default() {
            return Ok(());
        }
        for (key, file) in
            [("ca", &self.ca), ("certificate", &self.certificate), ("key", &self.key)]
        {
            if file.is_none() {
                let rule = "is missing: a node shows its own certificate and verifies those of the \
                            others; `tidewire admin cluster ca` makes them";
                return refuse(key, rule);
            }
        }
        if self.seeds.len() > SEEDS_MAX {
            return refuse("seeds", "has at most 64 entries: a few nodes know all others");
        }
        for (index, seed) in self.seeds.iter().enumerate() {
            if let Err(rule) = NodeAddress::parse(seed) {
                return refuse(&format!("seeds[{index}]"), &rule);
            }
        }
        match &self.advertise {
            Some(address) => {
                if let Err(rule) = NodeAddress::parse(address) {
                    return refuse("advertise", &rule);
                }
            }
            None if self.listen.ip().is_unspecified() => {
                return Err(ConfigError::Together {
                    key: "cluster.advertise".to_owned(),
                    other: "cluster.listen".to_owned(),
                    rule: "is missing: cluster.listen is every address of this machine, and the other \
                           nodes have to be told one, as HOST:PORT"
                        .to_owned(),
                });
            }
            None => {}
        }
        let is_url = |url: &String| url.contains("://") && url.len() <= URL_BYTES_MAX;
        if self.client_url.as_ref().is_some_and(|url| !is_url(url)) {
            return refuse("client_url", "is written as wss://HOST:PORT, in 256 bytes at most");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut ClusterConfig);

    fn said(change: impl FnOnce(&mut ClusterConfig)) -> Option<String> {
        let mut config = ClusterConfig {
            advertise: Some("node-1.example:7172".to_owned()),
            ca: Some("ca".into()),
            certificate: Some("certificate".into()),
            key: Some("key".into()),
            ..ClusterConfig::default()
        };
        change(&mut config);
        config.validate().err().map(|error| error.to_string())
    }

    #[test]
    fn it_is_off_or_complete() {
        assert_eq!(said(|_| {}), None);
        assert_eq!(said(|config| *config = ClusterConfig::default()), None);
        let cases: [(&str, Change); 7] = [
            ("cluster.ca: is missing", |config| config.ca = None),
            ("cluster.certificate: is missing", |config| config.certificate = None),
            ("cluster.key: is missing", |config| config.key = None),
            ("cluster.advertise: is missing", |config| config.advertise = None),
            ("cluster.advertise: is written", |config| config.advertise = Some("a".to_owned())),
            ("cluster.seeds[1]: ends with a port", |config| {
                config.seeds = vec!["a:1".to_owned(), "a:b".to_owned()];
            }),
            ("cluster.client_url", |config| config.client_url = Some("a".to_owned())),
        ];
        for (expected, change) in cases {
            let said = said(change).unwrap();
            assert!(said.contains(expected), "{said}");
        }
        assert_eq!(
            said(|config| {
                config.advertise = None;
                config.listen = (Ipv4Addr::LOCALHOST, 7172).into();
            }),
            None
        );
    }
}
