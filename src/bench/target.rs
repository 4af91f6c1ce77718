//! The server that is measured.

use std::fmt;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tidewire_client::{Client, Error, Trust};

use super::USAGE;
use super::args::{TargetArgs, TransportArg};
use super::child::ChildServer;
use super::process::UsageSource;
use crate::cli::CliError;

const CLIENT_NAME: &str = concat!("tidewire-bench/", env!("CARGO_PKG_VERSION"));
/// Connections that are made at the same time.
const CONNECTING_MAX: usize = 32;
/// Handshakes of many connections share the processors with everything else.
const CONNECT_TIMEOUT_MS: u64 = 30_000;

/// A server, and how to reach it.
#[derive(Debug)]
pub(crate) struct Target {
    url: String,
    trust: Trust,
    usage: UsageSource,
    child: Option<ChildServer>,
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
    pub(crate) async fn start(args: &TargetArgs) -> Result<Self, CliError> {
        if let Some(url) = &args.url {
            let trust = match (&args.ca, args.fingerprint) {
                (Some(file), _) => Trust::CaFile(file.clone()),
                (None, Some(sha256)) => Trust::Fingerprint(sha256),
                (None, None) => Trust::System,
            };
            let usage = args.admin.map_or(UsageSource::Unknown, UsageSource::Metrics);
            return Ok(Self { url: url.clone(), trust, usage, child: None });
        }
        let child =
            ChildServer::start().await.map_err(|message| CliError { exit_code: USAGE, message })?;
        // Without encryption there is no certificate to be checked.
        let (scheme, trust) = match args.transport {
            TransportArg::Ws => ("ws", Trust::System),
            TransportArg::Quic => ("quic", Trust::Fingerprint(child.certificate_sha256())),
        };
        Ok(Self {
            url: format!("{scheme}://{}", child.address()),
            trust,
            usage: UsageSource::Process(child.pid()),
            child: Some(child),
        })
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
