//! How to reach a server, and whom to trust.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;

use crate::actor;
use crate::backoff::Backoff;
use crate::client::Client;
use crate::connector::Connector;
use crate::error::Error;
use crate::link::Link;
use crate::renewing;
use crate::target::Target;
use crate::targets::Targets;
use crate::token::Token;
use crate::transport;

/// Whose certificate to accept. For `wss://` and `quic://`; verification cannot be switched off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Certificates that the operating system trusts.
    #[default]
    System,
    /// Certificates issued by those in this PEM file.
    CaFile(PathBuf),
    /// The one certificate whose DER bytes have this SHA-256. Names, dates and issuers in it are
    /// not looked at.
    Fingerprint([u8; 32]),
}

impl Trust {
    /// The TLS settings with this trust, for a program that speaks the protocol over connections
    /// of its own. Their application protocols are left empty.
    ///
    /// # Errors
    /// [`Error::Config`] when what is to be trusted cannot be read.
    pub fn tls_config(&self) -> Result<rustls::ClientConfig, Error> {
        transport::tls_config(self, None)
    }
}

/// The files of a certificate that proves who the client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Settings of a [`Client`], made by [`Client::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    targets: Targets,
    trust: Trust,
    certificate: Option<CertificateFiles>,
    client_name: String,
    token: Token,
    connect_timeout: Duration,
    patience: Duration,
    offline_requests_max: usize,
    repeat_for: Duration,
    fail_fast: bool,
    reconnect: bool,
    reconnect_delay_ms: (u64, u64),
}

impl Builder {
    pub(crate) fn new(url: &str) -> Result<Self, Error> {
        Ok(Self {
            targets: Targets::new(Target::parse(url)?),
            trust: Trust::System,
            certificate: None,
            client_name: concat!("tidewire-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            token: Token::default(),
            connect_timeout: Duration::from_secs(5),
            patience: Duration::from_secs(10),
            offline_requests_max: 1_024,
            repeat_for: Duration::from_secs(15),
            fail_fast: true,
            reconnect: true,
            reconnect_delay_ms: (500, 20_000),
        })
    }

    /// Another node of the same cluster. When a connection cannot be made or is lost, the client tries
    /// them all. Nodes tell their clients of the others (`cluster.client_url`) as well, so one URL is
    /// enough as long as that node is there at first.
    ///
    /// # Errors
    /// [`Error::Config`] when the URL cannot be used, or is encrypted and another one is not.
    pub fn also(mut self, url: &str) -> Result<Self, Error> {
        self.targets.add(Target::parse(url)?)?;
        Ok(self)
    }

    /// Whose certificate to accept. [`Trust::System`] unless given.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// The software's name in the server's log, such as `acme-app/3`; at most 128 bytes.
    #[must_use]
    pub fn client_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.client_name);
        self
    }

    /// What proves to the server who this is.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.token = self.token.given(token);
        self
    }

    /// Where tokens come from: it is asked when the client connects first and has none, when three quarters of the time
    /// are over for which the server accepts one, and when the server has refused one. What it returns is shown
    /// at once (`AUTH`), or when the client connects; an error is logged, and it is asked again later.
    #[must_use]
    pub fn token_source<F, T>(mut self, source: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<String, String>> + Send + 'static,
    {
        self.token = self.token.from(source);
        self
    }

    /// A certificate that proves to the server who this is, and its private key: PEM files, which are read
    /// once, when the client connects first. A [`Builder::token`] stands over it.
    #[must_use]
    pub fn client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        let (certificate, key) = (certificate.into(), key.into());
        self.certificate = Some(CertificateFiles { certificate, key });
        self
    }

    /// How long one attempt to connect may take, up to the server's WELCOME. 5,000 ms unless given.
    #[must_use]
    pub fn connect_timeout_ms(mut self, connect_timeout_ms: u64) -> Self {
        self.connect_timeout = Duration::from_millis(connect_timeout_ms);
        self
    }

    /// How long a request waits while there is no connection before it fails with
    /// [`Error::NotConnected`]. 10,000 ms unless given.
    #[must_use]
    pub fn offline_wait_ms(mut self, offline_wait_ms: u64) -> Self {
        self.patience = Duration::from_millis(offline_wait_ms);
        self
    }

    /// How many requests wait for a connection at the same time; others fail with [`Error::NotConnected`] at once.
    /// 1,024 unless given.
    #[must_use]
    pub fn offline_requests_max(mut self, offline_requests_max: usize) -> Self {
        self.offline_requests_max = offline_requests_max;
        self
    }

    /// How long a request is sent again that was refused with `unavailable`: only what may be done twice,
    /// and what has been done counts once. 0: such a refusal is told at once, as is one that asks for a
    /// pause of more than 2 s. 15,000 ms unless given. What was sent before the connection was lost waits
    /// for the next one as long, and not shorter than [`Builder::offline_wait_ms`].
    #[must_use]
    pub fn repeat_for_ms(mut self, repeat_for_ms: u64) -> Self {
        self.repeat_for = Duration::from_millis(repeat_for_ms);
        self
    }

    /// Whether [`Builder::connect`] fails when no server can be reached at first (true unless given), or tries on until
    /// one is, or until the answers of all leave no hope.
    #[must_use]
    pub fn fail_fast(mut self, fail_fast: bool) -> Self {
        self.fail_fast = fail_fast;
        self
    }

    /// Whether to connect again after a cut, and to another node when the server asks for it. True unless
    /// given.
    #[must_use]
    pub fn reconnect(mut self, reconnect: bool) -> Self {
        self.reconnect = reconnect;
        self
    }

    /// Bounds of the random delay before each attempt to connect again; the upper one is reached
    /// step by step, doubling. 500 and 20,000 ms unless given.
    #[must_use]
    pub fn reconnect_delay_ms(mut self, shortest: u64, longest: u64) -> Self {
        self.reconnect_delay_ms = (shortest, longest);
        self
    }

    /// Makes the connection. Each URL is tried once, in order: when the last one fails, the error says why.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that cannot work, [`Error::Connect`] when the server cannot
    /// be reached, [`Error::Untrusted`] for its certificate, [`Error::Refused`] when it refuses.
    ///
    /// # Cancellation
    /// Safe: dropping the future ends the attempt and closes what was opened for it.
    pub async fn connect(self) -> Result<Client, Error> {
        if self.client_name.len() > 128 {
            return Err(Error::Config("the client's name has at most 128 bytes".to_owned()));
        }
        for target in self.targets.given() {
            self.check_encryption(target)?;
        }
        let token = self.token;
        let (shortest, longest) = self.reconnect_delay_ms;
        let span = tracing::debug_span!("tidewire_client", name = self.client_name);
        let mut connector = Connector::new(
            self.targets,
            (&self.trust, self.certificate.as_ref()),
            self.client_name,
            token.clone(),
            (self.connect_timeout, self.reconnect),
        )?;
        let first = async {
            token.look().await.map_err(Error::Config)?;
            let patience = (!self.fail_fast).then(|| Backoff::new(shortest, longest));
            connector.connect_first(patience).await
        };
        let established = first.instrument(span.clone()).await?;
        let link = Arc::new(Link::new((self.patience, self.offline_requests_max), self.repeat_for));
        established.announce(&link);
        let again = self.reconnect.then(|| Backoff::new(shortest, longest));
        let life = actor::run(Arc::clone(&link), connector, established, again);
        tokio::spawn(life.instrument(span.clone()));
        if token.has_source() {
            tokio::spawn(renewing::renew(Arc::clone(&link), token.clone()).instrument(span));
        }
        Ok(Client::new(link, token))
    }

    /// Certificates belong to connections that are encrypted.
    fn check_encryption(&self, target: &Target) -> Result<(), Error> {
        let what = if self.trust != Trust::System {
            "there is no certificate to check"
        } else if self.certificate.is_some() {
            "no certificate can be shown"
        } else {
            return Ok(());
        };
        if target.transport.is_encrypted() {
            return Ok(());
        }
        let url = target.url();
        let message = format!("{url} is not encrypted, so {what}: use wss:// or quic://");
        Err(Error::Config(message))
    }
}
