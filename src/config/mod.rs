//! Configuration: one TOML file, environment variables over it, flags over both.
//!
//! Unknown keys and bad values are refused with the file, the line and a caret. The schema is made from the
//! types; bounds stand in it, and so beside their keys only.

mod audit;
mod auth;
mod bounds;
mod cluster;
mod environment;
mod error;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod layers;
mod limits;
mod nearest;
mod place;
mod policy;
mod proxy;
mod schema;
mod storage;
mod tenant;
mod webhook;

pub use audit::AuditConfig;
pub use auth::{
    ApiKeyConfig, AuthConfig, CertificateConfig, RoleConfig, TicketConfig, TokenKeyConfig,
};
pub use cluster::ClusterConfig;
pub use environment::{OTHERS, variables};
pub use error::ConfigError;
pub use layers::{Loaded, Setting, Source};
pub use limits::LimitsConfig;
pub use policy::{Consistency, Durability, PolicyConfig, Priority};
pub use proxy::{Forwarded, ProxyConfig};
pub use schema::{is_secret, schema_text};
pub use storage::StorageConfig;
pub use tenant::TenantConfig;
pub use webhook::{WebhookConfig, WebhookOperation, WhenFailed};

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidewire_core::shard::{ShardLimits, TenantTable};
use tidewire_core::topic::PolicyTable;

/// The largest number that TOML holds.
const INTEGER_MAX: u64 = i64::MAX.unsigned_abs();

/// Threads that serve connections, at most.
const CORES_MAX: usize = 64;

/// Everything that can be configured. `config/tidewire.toml` names every key with its default.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Configuration of Tidewire")]
pub struct Config {
    /// Address of WebSocket and HTTP (TCP) and of QUIC (UDP).
    pub listen: SocketAddr,
    /// Address of health, metrics and administration.
    pub admin_listen: SocketAddr,
    /// Where the made certificate and what is on disk are kept; none: in memory.
    pub data_dir: Option<PathBuf>,
    /// Where recordings are written; none: `recordings` in the data directory.
    pub recordings_dir: Option<PathBuf>,
    /// Name of the node, told to clients.
    pub node: String,
    /// Threads that serve connections; 0: one per processor.
    #[schemars(range(min = 0, max = CORES_MAX))]
    pub cores: usize,
    /// A silent client is pinged after so long and given up after three times as long.
    #[schemars(range(min = 100, max = 3_600_000))]
    pub heartbeat_ms: u64,
    /// A client has so long for its handshake and HELLO.
    #[schemars(range(min = 100, max = 600_000))]
    pub handshake_timeout_ms: u64,
    /// Clients have so long to leave when the server stops.
    #[schemars(range(min = 0, max = 600_000))]
    pub drain_ms: u64,
    /// Without accounts, and without TLS, also where others than this machine can connect.
    pub insecure: bool,
    /// The certificate.
    pub tls: TlsConfig,
    /// Browsers.
    pub http: HttpConfig,
    /// Proxies.
    pub proxy: ProxyConfig,
    /// Accounts.
    pub auth: AuthConfig,
    /// An application that is asked, too.
    pub webhook: WebhookConfig,
    /// The record of who did what.
    pub audit: AuditConfig,
    /// QUIC's packets.
    pub quic: QuicConfig,
    /// The cluster.
    pub cluster: ClusterConfig,
    /// What is kept on disk, and how.
    pub storage: StorageConfig,
    /// The bounds.
    pub limits: LimitsConfig,
    /// Policies by name pattern; the first that matches applies.
    pub policy: Vec<PolicyConfig>,
    /// Tenants: prefixes of names with limits and keys of their own.
    pub tenant: Vec<TenantConfig>,
}

/// The certificate for `wss` and `quic`; without one, one is made for development.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate and its chain, PEM.
    pub certificate: Option<PathBuf>,
    /// The private key, PEM.
    pub key: Option<PathBuf>,
    /// Certificates, PEM, that those of clients are issued by; absent: clients are not asked for any.
    pub client_ca: Option<PathBuf>,
}

/// What pages in browsers may do.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Origins whose pages may connect, beside those that the server itself serves.
    pub allowed_origins: Vec<String>,
    /// A stream of events says so often that it is alive, when nothing else comes.
    #[schemars(range(min = 100, max = 600_000))]
    pub event_heartbeat_ms: u64,
    /// A connection of HTTP is closed when nothing has been asked for so long.
    #[schemars(range(min = 100, max = 3_600_000))]
    pub idle_timeout_ms: u64,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { allowed_origins: Vec::new(), event_heartbeat_ms: 15_000, idle_timeout_ms: 60_000 }
    }
}

/// What the operator knows of the network that QUIC crosses.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuicConfig {
    /// Bytes of UDP payload that every path to every client carries, so packets never get smaller.
    #[schemars(range(min = 1_200, max = 1_472))]
    pub min_packet_bytes: u16,
}

impl Default for QuicConfig {
    /// What QUIC demands of every path (RFC 9000, section 14).
    fn default() -> Self {
        Self { min_packet_bytes: 1_200 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 7171).into(),
            admin_listen: (Ipv4Addr::LOCALHOST, 7173).into(),
            data_dir: None,
            recordings_dir: None,
            node: "tidewire-1".to_owned(),
            cores: 0,
            heartbeat_ms: 25_000,
            handshake_timeout_ms: 10_000,
            drain_ms: 2_000,
            insecure: false,
            tls: TlsConfig::default(),
            http: HttpConfig::default(),
            proxy: ProxyConfig::default(),
            auth: AuthConfig::default(),
            webhook: WebhookConfig::default(),
            audit: AuditConfig::default(),
            quic: QuicConfig::default(),
            cluster: ClusterConfig::default(),
            storage: StorageConfig::default(),
            limits: LimitsConfig::default(),
            policy: vec![PolicyConfig::live_maps()],
            tenant: Vec::new(),
        }
    }
}

impl Config {
    /// Reads a file, without the environment.
    ///
    /// # Errors
    /// When the file cannot be read or is not valid; the message says where and why.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Loaded::read(Some(path), [], Vec::new()).map(|loaded| loaded.config)
    }

    /// Checks what the types alone do not.
    ///
    /// # Errors
    /// The first value that is out of its bounds.
    pub fn validate(&self) -> Result<(), ConfigError> {
        bounds::check_all(self)?;
        self.proxy.validate()?;
        self.auth.validate()?;
        tenant::validate(&self.tenant, &self.auth)?;
        if self.tls.client_ca.is_none() && !self.auth.certificate.is_empty() {
            let rule = "nobody can show a certificate: tls.client_ca says whose are taken";
            let (key, rule) = ("auth.certificate".to_owned(), rule.to_owned());
            return Err(ConfigError::Value { key, rule });
        }
        self.webhook.validate(self.insecure, self.handshake_timeout_ms)?;
        self.cluster.validate()?;
        if self.cluster.is_there() && self.recordings_dir.is_some() {
            let (key, other) = ("recordings_dir".to_owned(), "cluster.certificate".to_owned());
            let rule = "is of no use: a node of a cluster is not recorded, since its shards are told things by other \
                        nodes as well; leave it out, and record a server of its own";
            return Err(ConfigError::Together { key, other, rule: rule.to_owned() });
        }
        self.limits.validate()?;
        self.policy.iter().enumerate().try_for_each(|(index, policy)| policy.validate(index))
    }

    /// Refuses to be open to others than this machine by mistake.
    ///
    /// # Errors
    /// When another address than loopback is listened on, and neither are there accounts nor does the
    /// configuration say that none are wanted.
    pub fn check_exposure(&self) -> Result<(), ConfigError> {
        if self.insecure {
            return Ok(());
        }
        let refuse = |key: &str, rule: &str| {
            Err(ConfigError::Value { key: key.to_owned(), rule: rule.to_owned() })
        };
        if !self.listen.ip().is_loopback() && !self.auth.has_accounts() {
            let rule = "another address than loopback needs accounts ([auth]), or insecure = true, \
                        with which everybody who reaches it may do everything";
            return refuse("listen", rule);
        }
        if !self.proxy.trusted.is_empty() && !self.auth.has_accounts() {
            let rule = "who comes through a proxy comes from elsewhere: it needs accounts ([auth]), or \
                        insecure = true, with which everybody who reaches it may do everything";
            return refuse("proxy.trusted", rule);
        }
        if !self.admin_listen.ip().is_loopback() {
            let rule = "administration knows no accounts: keep it on loopback, or set \
                        insecure = true if only administrators reach it";
            return refuse("admin_listen", rule);
        }
        Ok(())
    }

    /// Refuses to keep names on a disk that nobody has named.
    ///
    /// # Errors
    /// When a policy has durability "disk" and there is no data directory.
    pub fn check_data_dir(&self) -> Result<(), ConfigError> {
        let on_disk = |policy: &PolicyConfig| policy.durability == Durability::Disk;
        let on_disk = self.policy.iter().position(on_disk);
        let Some(index) = on_disk.filter(|_| self.data_dir.is_none()) else { return Ok(()) };
        let key = format!("policy[{index}].durability");
        let rule = "\"disk\" needs a data directory: --data-dir, TIDEWIRE_DATA_DIR or data_dir";
        Err(ConfigError::Together { key, other: "data_dir".to_owned(), rule: rule.to_owned() })
    }

    /// What is valid and yet does not do what it says, a sentence each. Call it on a configuration that
    /// has been checked.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let shards = self.policies().shards();
        let policies = self.policy.iter().enumerate();
        let warnings = |(index, policy): (usize, &PolicyConfig)| {
            policy.warnings(index, &self.limits, shards).collect::<Vec<_>>()
        };
        let tenants = tenant::warnings(&self.tenant, &self.auth, &self.limits);
        policies.flat_map(warnings).chain(self.auth.warnings()).chain(tenants).collect()
    }

    /// One shard's share of the bounds, of so many, with what tenants have of it.
    #[must_use]
    pub fn shard_limits(&self, shards: u16) -> ShardLimits {
        let tenants = self.tenants(shards).into();
        ShardLimits { tenants, ..self.limits.shard(shards) }
    }

    /// The tenants, as each of so many shards knows them.
    #[must_use]
    pub fn tenants(&self, shards: u16) -> TenantTable {
        tenant::table(&self.tenant, shards)
    }

    /// Threads that serve connections.
    #[must_use]
    pub fn cores(&self) -> usize {
        match self.cores {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(CORES_MAX),
            cores => cores,
        }
    }

    /// Where recordings are written, if there is a place for them.
    #[must_use]
    pub fn recordings_dir(&self) -> Option<PathBuf> {
        let in_data_dir = || self.data_dir.as_ref().map(|data_dir| data_dir.join("recordings"));
        self.recordings_dir.clone().or_else(in_data_dir)
    }

    /// The policies in the core's form. Call it on a configuration that has been checked: a
    /// pattern that is none is left out.
    #[must_use]
    pub fn policies(&self) -> PolicyTable {
        let rules = self.policy.iter().filter_map(PolicyConfig::rule).collect();
        let policies = PolicyTable::new(rules, tidewire_core::topic::Policy::default());
        if self.cluster.is_there() { policies.replicated() } else { policies }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn the_shipped_file_says_what_the_defaults_are() {
        let shipped = parse(include_str!("../../config/tidewire.toml")).unwrap();
        let shown = |config: &Config| format!("{config:#?}");
        assert_eq!(shown(&shipped), shown(&Config::default()));
        shipped.validate().unwrap();
    }

    #[test]
    fn a_typo_is_refused_with_its_line() {
        let error = parse("heartbeat_ms = 1000\nlissten = \"127.0.0.1:1\"\n").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        assert!(error.to_string().contains("lissten"), "{error}");
    }

    #[test]
    fn retention_beyond_a_shards_share_is_warned_of() {
        let text = |bytes: u64, of_all: u64, durability: &str| {
            format!(
                "[limits]\ntopic_bytes_max = {of_all}\n[[policy]]\nnames = \"a\"\n\
                 retention_bytes = {bytes}\ndurability = \"{durability}\"\n"
            )
        };
        let warnings = |text: String| parse(&text).unwrap().warnings();
        let share = 64 << 20;
        assert_eq!(warnings(text(share, share * 16, "memory")), [""; 0]);
        // What is on disk does not have to fit into memory.
        assert_eq!(warnings(text(share * 100, share, "disk")), [""; 0]);
        let said = warnings(text(share, share * 16 - 1, "memory"));
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("policy[0].retention_bytes"), "{said:?}");
        assert!(said[0].contains("1073741824"), "{said:?}");
        let many =
            "[[policy]]\nnames = \"a\"\ndurability = \"disk\"\nretention_records = 1000000\n";
        let said = warnings(many.to_owned());
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("keeps 262144 at most"), "{said:?}");
        assert!(said[0].contains("32000000"), "{said:?}");
        assert_eq!(Config::default().warnings(), [""; 0]);
    }

    #[test]
    fn values_out_of_bounds_name_their_key() {
        let config = parse("heartbeat_ms = 1").unwrap();
        assert!(config.validate().unwrap_err().to_string().contains("heartbeat_ms"));
        let config = parse("[[policy]]\nnames = \"a\"\npartitions = 17").unwrap();
        assert!(config.validate().unwrap_err().to_string().contains("policy[0].partitions"));
        let both = "[[policy]]\nnames = \"a\"\npartitions = 2\nmap_keys_max = 9";
        let message = parse(both).unwrap().validate().unwrap_err().to_string();
        assert!(message.contains("a topic with partitions keeps no map"), "{message}");
        let config = parse("[[policy]]\nnames = \"a..b\"").unwrap();
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains("policy[0].names") && message.contains("a..b"), "{message}");
    }
}
