//! Making connections: to the nodes of one cluster, or to one server.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tidewire_protocol::frame::split_first;
use tidewire_protocol::options::ServerInfo;
use tidewire_protocol::{ClientFrame, ErrorCode, ServerFrame, VERSION};

use crate::backoff::Backoff;
use crate::builder::{CertificateFiles, Trust};
use crate::error::{self, Error};
use crate::link::Link;
use crate::outbox::Framing;
use crate::state::{ConnectionState, Transport};
use crate::target::Target;
use crate::targets::Targets;
use crate::token::Token;
use crate::transport::{Connection, Dialer};

/// The heartbeat when the server names none.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The capability of going to another node before the connection ends.
const MOVE: &str = "move";

/// What connections are made with.
pub(crate) struct Connector {
    pub(crate) targets: Targets,
    /// For each transport that is used.
    dialers: Vec<(Transport, Dialer)>,
    client: String,
    pub(crate) token: Token,
    timeout: Duration,
    /// Whether it goes to another node when it is asked to.
    moves: bool,
}

impl Connector {
    pub(crate) fn new(
        targets: Targets,
        (trust, certificate): (&Trust, Option<&CertificateFiles>),
        client: String,
        token: Token,
        (timeout, moves): (Duration, bool),
    ) -> Result<Self, Error> {
        let mut dialers: Vec<(Transport, Dialer)> = Vec::new();
        for Target { transport, .. } in targets.given() {
            if dialers.iter().all(|(known, _)| known != transport) {
                dialers.push((*transport, Dialer::new(*transport, trust, certificate)?));
            }
        }
        Ok(Self { targets, dialers, client, token, timeout, moves })
    }

    /// Tries each server that was given, once; with a backoff until one is reached or all of them leave no hope.
    pub(crate) async fn connect_first(
        &mut self,
        mut patience: Option<Backoff>,
    ) -> Result<Established, Error> {
        loop {
            let failed = match self.try_given().await {
                Ok(established) => return Ok(established),
                Err(error) => error,
            };
            let Some(backoff) = patience.as_mut().filter(|_| !failed.is_final()) else {
                return Err(failed);
            };
            let delay = backoff.next(fastrand::f64());
            tracing::debug!(error = %failed, delay_ms = millis(delay), "not connected; tries again");
            tokio::time::sleep(delay).await;
        }
    }

    async fn try_given(&mut self) -> Result<Established, Error> {
        let mut failed = None;
        for target in self.targets.given().to_vec() {
            match self.connect(&target).await {
                Ok(established) => return Ok(established),
                // What no other attempt would mend says more than that a server is not there.
                Err(error) if failed.is_none() || error.is_final() => failed = Some(error),
                Err(_less_telling) => {}
            }
        }
        Err(failed.unwrap_or_else(|| Error::Config("a client needs a URL".to_owned())))
    }

    /// Connects, says HELLO and takes WELCOME.
    pub(crate) async fn connect(&mut self, target: &Target) -> Result<Established, Error> {
        let url = target.url();
        let began = Instant::now();
        tracing::debug!(url, "connecting");
        let outcome = self.attempt(target).await;
        let took_ms = millis(began.elapsed());
        match &outcome {
            Ok(Established { session, info, .. }) => {
                tracing::info!(url, session, node = info.node, took_ms, "connected");
            }
            Err(error) if error.code() == ErrorCode::Unauthenticated.name() => {
                tracing::warn!(url, took_ms, "the server does not accept the token");
            }
            Err(error) => {
                tracing::info!(url, code = error.code(), %error, took_ms, "not connected");
            }
        }
        outcome
    }

    async fn attempt(&mut self, target: &Target) -> Result<Established, Error> {
        let shaken = tokio::time::timeout(self.timeout, self.shake_hands(target)).await;
        let established = shaken.unwrap_or_else(|_elapsed| {
            let timeout_ms = self.timeout.as_millis();
            Err(failed(target, format!(
                "no answer within {timeout_ms} ms; is the address right, and does a firewall let it \
                 through?"
            )))
        })?;
        self.targets.learn(&established.info.nodes);
        Ok(established)
    }

    /// With the newest token.
    fn hello(&self, transport: Transport) -> ClientFrame {
        let (token, client) = (self.token.get(), Some(self.client.clone()));
        let known = match transport {
            Transport::WebSocket | Transport::WebSocketTls => &[MOVE][..],
            Transport::Quic => &["datagrams", MOVE],
        };
        let moves = |name: &&&str| self.moves || **name != MOVE;
        let capabilities = known.iter().filter(moves).map(|name| (*name).to_owned()).collect();
        ClientFrame::Hello { version: VERSION, capabilities, token, client }
    }

    async fn shake_hands(&self, target: &Target) -> Result<Established, Error> {
        let dialer = self.dialers.iter().find(|(transport, _)| *transport == target.transport);
        let Some((_, dialer)) = dialer else {
            return Err(failed(target, "this client has no connections of that kind".to_owned()));
        };
        let mut connection = dialer.dial(target).await?;
        let mut hello = Vec::new();
        self.hello(target.transport).encode(&mut hello);
        let answer = connection.exchange(target, hello).await?;
        welcome(target, connection, answer)
    }
}

fn welcome(
    target: &Target,
    connection: Connection,
    mut answer: Bytes,
) -> Result<Established, Error> {
    let first = split_first(&mut answer)
        .map_err(|broken| failed(target, format!("no WELCOME came back: {broken}")))?;
    match ServerFrame::decode(&first) {
        Ok(ServerFrame::Welcome { version: VERSION, session, info, .. }) => {
            Ok(Established { connection, session, info, target: target.clone(), rest: answer })
        }
        Ok(ServerFrame::Error { code, message, retry_after_ms, actual, .. }) => {
            Err(Error::Refused(error::refusal(code, message, retry_after_ms, actual)))
        }
        Ok(ServerFrame::GoAway { code, message, .. }) => {
            Err(failed(target, error::refusal(code, message, None, None).to_string()))
        }
        Ok(_) => Err(failed(target, "the server did not begin with WELCOME".to_owned())),
        Err(bad) => Err(failed(target, format!("no WELCOME came back: {}", bad.refusal))),
    }
}

/// A time as it stands in events.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn failed(target: &Target, reason: String) -> Error {
    Error::Connect { url: target.url(), reason }
}

/// A connection whose server has said WELCOME.
pub(crate) struct Established {
    pub(crate) connection: Connection,
    pub(crate) session: String,
    info: ServerInfo,
    pub(crate) target: Target,
    /// Frames that came along with WELCOME.
    pub(crate) rest: Bytes,
}

impl Established {
    /// Lets requests flow, those first that go on after a cut.
    pub(crate) fn announce(&self, link: &Link) {
        let (session, transport) = (self.session.clone(), self.target.transport);
        let framing = match transport {
            Transport::WebSocket | Transport::WebSocketTls => Framing::Message,
            Transport::Quic => Framing::Prefixed,
        };
        link.resume(framing, self.info.clone());
        link.set_state(ConnectionState::Connected { session, transport });
    }

    /// Whether it is another server than the one that counts as this actor at this URL.
    pub(crate) fn is_another(&self, actor: Option<(u64, u64)>, from: &Target) -> bool {
        match (actor, self.info.actor) {
            (Some((node, _)), Some((found, _))) => found != node,
            (None, _) | (_, None) => self.target != *from,
        }
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        match self.info.heartbeat_ms {
            0 => HEARTBEAT,
            heartbeat_ms => Duration::from_millis(heartbeat_ms.max(100)),
        }
    }
}
