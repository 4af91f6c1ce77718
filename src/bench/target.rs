//! The server that is measured.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tidewire_client::{Client, Error, Trust};
use toml::Table;

use super::USAGE;
use super::accounts::Accounts;
use super::args::TargetArgs;
use super::lean::Endpoint;
use super::process::UsageSource;
use super::quota::Quotas;
use super::server_config::{Needs, server_config};
use crate::child::ChildServer;
use crate::child::cluster::{ChildCluster, Shape};
use crate::cli::CliError;

/// The name by which connections of the bench are known to the server.
pub(crate) const CLIENT_NAME: &str = concat!("tidewire-bench/", env!("CARGO_PKG_VERSION"));
/// Connections that are made at the same time.
const CONNECTING_MAX: usize = 32;
/// Handshakes of many connections share the processors with everything else.
const CONNECT_TIMEOUT_MS: u64 = 30_000;

/// Exit code when there is no connection.
const NOT_CONNECTED: u8 = 3;

/// A server, and how to reach it.
pub(crate) struct Target {
    url: String,
    trust: Trust,
    /// For lean connections, where the transport has them.
    endpoint: Option<Endpoint>,
    usage: UsageSource,
    own: Own,
    accounts: Option<Accounts>,
}

/// The servers that the bench has started.
enum Own {
    None,
    One(ChildServer, Quotas),
    Cluster(ChildCluster, Quotas),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.own {
            Own::One(child, _) => {
                write!(f, "a server of its own ({}, process {})", self.url, child.pid())
            }
            Own::Cluster(cluster, _) => {
                write!(f, "{} servers of its own, which are one cluster", cluster.pids().len())
            }
            Own::None => f.write_str(&self.url),
        }
    }
}

impl Target {
    /// The server of these options, which is started unless it has a URL.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) async fn start(args: &TargetArgs, needs: &Needs) -> Result<Self, CliError> {
        if let Some(url) = &args.url {
            let trust = trust(args.ca.as_ref(), args.fingerprint);
            let usage = args.admin.map_or(UsageSource::Unknown, UsageSource::Metrics);
            return Self::new(url.clone(), trust, usage, Own::None);
        }
        if let Some(nodes) = args.nodes {
            return Self::cluster(args, needs, nodes.into()).await;
        }
        let failed = |message| CliError { exit_code: USAGE, message };
        let accounts = needs.accounts.then(Accounts::make).transpose().map_err(failed)?;
        let config = server_config(args.config.as_deref(), needs, accounts.as_ref());
        let config = config.map_err(failed)?;
        let child = ChildServer::start(config).await.map_err(failed)?;
        let scheme = args.scheme();
        // Without encryption there is no certificate to be checked.
        let trust = match scheme {
            "ws" => Trust::System,
            _ => Trust::Fingerprint(child.certificate_sha256()),
        };
        let url = format!("{scheme}://{}", child.address());
        let usage = UsageSource::Process(child.pid());
        let quotas = quotas(args, &[child.pid()])?;
        let target = Self::new(url, trust, usage, Own::One(child, quotas))?;
        Ok(Self { accounts, ..target })
    }

    /// Several servers, which are one cluster.
    async fn cluster(args: &TargetArgs, needs: &Needs, nodes: usize) -> Result<Self, CliError> {
        let failed = |message| CliError { exit_code: USAGE, message };
        if needs.accounts || args.scheme() != "ws" {
            let message =
                "--nodes goes with --transport ws, and not with workloads that need accounts";
            return Err(failed(message.to_owned()));
        }
        let beside = server_config(None, needs, None).map_err(failed)?;
        let beside: Table = beside.parse().map_err(|error| failed(format!("{error}")))?;
        let kept = if needs.is_kept { "bench.>" } else { "bench-kept.>" };
        let listen = (Ipv4Addr::LOCALHOST, 0).into();
        let shape = Shape { nodes, listen, kept, cores: 1, beside: Some(&beside) };
        let cluster = ChildCluster::start(shape).await.map_err(failed)?;
        let pids = cluster.pids();
        let quotas = quotas(args, &pids)?;
        let urls: Vec<String> =
            cluster.addresses().iter().map(|address| format!("ws://{address}")).collect();
        let first = urls.first().cloned().unwrap_or_default();
        let own = Own::Cluster(cluster, quotas);
        let mut target = Self::new(first, Trust::System, UsageSource::processes(&pids), own)?;
        let others = urls.iter().skip(1).map(|url| Endpoint::of(url, &Trust::System));
        let others = others.collect::<Result<Vec<_>, Error>>()?;
        let others = others.into_iter().flatten().collect();
        target.endpoint = target.endpoint.map(|endpoint| endpoint.among(others));
        Ok(target)
    }

    /// What somebody shows to be who they are; nothing where connections are nobody's.
    ///
    /// # Errors
    /// When no token can be made.
    pub(crate) fn token(&self, subject: &str) -> Result<Option<Arc<str>>, CliError> {
        let failed = |message| CliError { exit_code: USAGE, message };
        let token = self.accounts.as_ref().map(|accounts| accounts.token(subject));
        Ok(token.transpose().map_err(failed)?.map(Arc::from))
    }

    /// The same server for somebody whose connections all show who they are.
    ///
    /// # Errors
    /// When no token can be made, or it is reached in a way that shows none.
    pub(crate) fn shown_as(&self, subject: &str) -> Result<Self, CliError> {
        let mut target = Self::elsewhere(&self.url, self.trust.clone())?;
        let token = self.token(subject)?;
        target.endpoint = target.endpoint.map(|endpoint| endpoint.showing(token));
        Ok(target)
    }

    fn new(url: String, trust: Trust, usage: UsageSource, own: Own) -> Result<Self, CliError> {
        let endpoint = Endpoint::of(&url, &trust)?;
        Ok(Self { url, trust, endpoint, usage, own, accounts: None })
    }

    /// The server of another process of the bench.
    ///
    /// # Errors
    /// When its URL cannot be used.
    pub(crate) fn elsewhere(url: &str, trust: Trust) -> Result<Self, CliError> {
        Self::new(url.to_owned(), trust, UsageSource::Unknown, Own::None)
    }

    /// For lean connections; `None` where the client has to make them.
    pub(crate) fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_ref()
    }

    /// Where the server is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whose certificate is accepted.
    pub(crate) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// How frames travel: the scheme of the URL.
    pub(crate) fn transport(&self) -> &str {
        self.url.split(':').next().unwrap_or_default()
    }

    /// Where the server's usage is read.
    pub(crate) fn usage(&self) -> UsageSource {
        self.usage
    }

    /// Where the server is, if it is not the bench's own.
    pub(crate) fn foreign_url(&self) -> Option<&str> {
        matches!(self.own, Own::None).then_some(self.url.as_str())
    }

    /// One connection, which is not made again when it is cut: what is measured then is not what
    /// was asked for.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub(crate) async fn connect(&self) -> Result<Client, Error> {
        Client::builder(&self.url)?
            .trust(self.trust.clone())
            .client_name(CLIENT_NAME)
            .connect_timeout_ms(CONNECT_TIMEOUT_MS)
            .reconnect(false)
            .connect()
            .await
    }

    /// So many connections.
    ///
    /// # Errors
    /// When one of them cannot be made.
    pub(crate) async fn connect_many(&self, count: usize) -> Result<Vec<Client>, Error> {
        stream::iter((0..count).map(|_| self.connect()))
            .buffer_unordered(CONNECTING_MAX)
            .try_collect()
            .await
    }

    /// Ends the server if it is the bench's own.
    ///
    /// # Errors
    /// When it does not end as it should.
    pub(crate) async fn stop(self) -> Result<(), String> {
        match self.own {
            Own::One(child, _quotas) => child.stop().await,
            Own::Cluster(cluster, _quotas) => cluster.stop().await,
            Own::None => Ok(()),
        }
    }
}

fn quotas(args: &TargetArgs, pids: &[u32]) -> Result<Quotas, CliError> {
    let failed = |message| CliError { exit_code: USAGE, message };
    let quotas = args.cpu_quota.map(|processors| Quotas::hold(pids, processors));
    Ok(quotas.transpose().map_err(failed)?.unwrap_or_default())
}

/// What these options trust.
pub(crate) fn trust(ca: Option<&PathBuf>, fingerprint: Option<[u8; 32]>) -> Trust {
    match (ca, fingerprint) {
        (Some(file), _) => Trust::CaFile(file.clone()),
        (None, Some(sha256)) => Trust::Fingerprint(sha256),
        (None, None) => Trust::System,
    }
}

/// There is no connection, or not any more.
pub(crate) fn not_connected(reason: &str) -> CliError {
    CliError { exit_code: NOT_CONNECTED, message: reason.to_owned() }
}
