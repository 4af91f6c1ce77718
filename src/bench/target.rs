//! The server that is measured.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tidewire_client::{Client, Error, Trust};

use super::USAGE;
use super::accounts::Accounts;
use super::args::TargetArgs;
use super::lean::Endpoint;
use super::process::UsageSource;
use super::server_config::{Needs, server_config};
use crate::child::ChildServer;
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
    child: Option<ChildServer>,
    accounts: Option<Accounts>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.child {
            Some(child) => write!(f, "a server of its own ({}, process {})", self.url, child.pid()),
            None => f.write_str(&self.url),
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
            return Self::new(url.clone(), trust, usage, None);
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
        let target = Self::new(url, trust, UsageSource::Process(child.pid()), Some(child))?;
        Ok(Self { accounts, ..target })
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

    fn new(
        url: String,
        trust: Trust,
        usage: UsageSource,
        child: Option<ChildServer>,
    ) -> Result<Self, CliError> {
        let endpoint = Endpoint::of(&url, &trust)?;
        Ok(Self { url, trust, endpoint, usage, child, accounts: None })
    }

    /// The server of another process of the bench.
    ///
    /// # Errors
    /// When its URL cannot be used.
    pub(crate) fn elsewhere(url: &str, trust: Trust) -> Result<Self, CliError> {
        Self::new(url.to_owned(), trust, UsageSource::Unknown, None)
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
        self.child.is_none().then_some(self.url.as_str())
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
        match self.child {
            Some(child) => child.stop().await,
            None => Ok(()),
        }
    }
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
