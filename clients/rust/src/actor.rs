//! The task behind a client: holds one connection after the other.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidewire_protocol::frame::split_first;
use tidewire_protocol::options::ServerInfo;
use tidewire_protocol::{ClientFrame, ServerFrame, VERSION};

use crate::backoff::Backoff;
use crate::builder::{CertificateFiles, Trust};
use crate::error::{self, Error};
use crate::link::Link;
use crate::outbox::Framing;
use crate::state::{ConnectionState, Transport};
use crate::target::Target;
use crate::token::Token;
use crate::transport::{Connection, Dialer};

/// A clean close waits so long for replies.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that held so long was a good one: the delays start short again.
const STEADY: Duration = Duration::from_secs(10);
/// The heartbeat when the server names none.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Makes connections to one server.
pub(crate) struct Connector {
    dialer: Dialer,
    target: Target,
    capabilities: Vec<String>,
    client: String,
    token: Token,
    timeout: Duration,
}

impl Connector {
    pub(crate) fn new(
        target: Target,
        (trust, certificate): (&Trust, Option<&CertificateFiles>),
        client: String,
        token: Token,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let dialer = Dialer::new(&target, trust, certificate)?;
        let capabilities = match target.transport {
            Transport::WebSocket | Transport::WebSocketTls => Vec::new(),
            Transport::Quic => vec!["datagrams".to_owned()],
        };
        Ok(Self { dialer, target, capabilities, client, token, timeout })
    }

    pub(crate) fn framing(&self) -> Framing {
        match self.target.transport {
            Transport::WebSocket | Transport::WebSocketTls => Framing::Message,
            Transport::Quic => Framing::Prefixed,
        }
    }

    /// Connects, says HELLO and takes WELCOME.
    pub(crate) async fn connect(&self) -> Result<Established, Error> {
        match tokio::time::timeout(self.timeout, self.shake_hands()).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(self.failed(format!(
                "no answer within {} ms; is the address right, and does a firewall let it through?",
                self.timeout.as_millis()
            ))),
        }
    }

    /// With the newest token.
    fn hello(&self) -> ClientFrame {
        let (token, client) = (self.token.get(), Some(self.client.clone()));
        let capabilities = self.capabilities.clone();
        ClientFrame::Hello { version: VERSION, capabilities, token, client }
    }

    async fn shake_hands(&self) -> Result<Established, Error> {
        let mut connection = self.dialer.dial(&self.target).await?;
        let mut hello = Vec::new();
        self.hello().encode(&mut hello);
        let answer = connection.exchange(hello).await.map_err(|reason| self.failed(reason))?;
        self.welcome(connection, answer)
    }

    fn welcome(&self, connection: Connection, mut answer: Bytes) -> Result<Established, Error> {
        let first = split_first(&mut answer)
            .map_err(|broken| self.failed(format!("no WELCOME came back: {broken}")))?;
        match ServerFrame::decode(&first) {
            Ok(ServerFrame::Welcome { version: VERSION, session, info, .. }) => {
                let transport = self.target.transport;
                Ok(Established { connection, session, info, transport, rest: answer })
            }
            Ok(ServerFrame::Error { code, message, retry_after_ms, actual, .. }) => {
                Err(Error::Refused(error::refusal(code, message, retry_after_ms, actual)))
            }
            Ok(ServerFrame::GoAway { code, message, .. }) => {
                Err(self.failed(error::refusal(code, message, None, None).to_string()))
            }
            Ok(_) => Err(self.failed("the server did not begin with WELCOME".to_owned())),
            Err(bad) => Err(self.failed(format!("no WELCOME came back: {}", bad.refusal))),
        }
    }

    fn failed(&self, reason: String) -> Error {
        Error::Connect { url: self.target.url(), reason }
    }
}

/// A connection whose server has said WELCOME.
pub(crate) struct Established {
    connection: Connection,
    session: String,
    info: ServerInfo,
    transport: Transport,
    /// Frames that came along with WELCOME.
    rest: Bytes,
}

impl Established {
    /// Lets requests flow, those first that go on after a cut.
    pub(crate) fn announce(&self, link: &Link) {
        link.resume(self.info.clone());
        let (session, transport) = (self.session.clone(), self.transport);
        link.set_state(ConnectionState::Connected { session, transport });
    }

    fn heartbeat(&self) -> Duration {
        match self.info.heartbeat_ms {
            0 => HEARTBEAT,
            heartbeat_ms => Duration::from_millis(heartbeat_ms.max(100)),
        }
    }
}

enum Ending {
    /// The application closed the client.
    Closed,
    /// The connection ended by itself.
    Lost(String),
}

/// Runs until the client is closed or has failed for good. `again` is `None` when a cut is the
/// end.
pub(crate) async fn run(
    link: Arc<Link>,
    connector: Connector,
    mut established: Established,
    mut again: Option<Backoff>,
) {
    loop {
        let since = Instant::now();
        let reason = match hold(&link, established).await {
            Ending::Closed => return link.shut(ConnectionState::Closed, &Error::Closed),
            Ending::Lost(reason) => reason,
        };
        tracing::debug!(%reason, "disconnected");
        link.set_state(ConnectionState::Disconnected { reason: reason.clone() });
        link.cut(&reason);
        let Some(backoff) = &mut again else {
            let state = ConnectionState::Failed { reason: reason.clone() };
            return link.shut(state, &Error::ConnectionLost { reason });
        };
        if since.elapsed() >= STEADY {
            backoff.reset();
        }
        established = tokio::select! {
            outcome = reconnect(&link, &connector, backoff) => match outcome {
                Ok(established) => established,
                Err(reason) => {
                    let state = ConnectionState::Failed { reason: reason.clone() };
                    return link.shut(state, &Error::Failed { reason });
                }
            },
            () = link.close_requested() => {
                return link.shut(ConnectionState::Closed, &Error::Closed);
            }
        };
        established.announce(&link);
    }
}

/// Tries until a connection is there, or until the server's answer leaves no hope.
async fn reconnect(
    link: &Link,
    connector: &Connector,
    backoff: &mut Backoff,
) -> Result<Established, String> {
    loop {
        tokio::time::sleep(backoff.next(fastrand::f64())).await;
        link.set_state(ConnectionState::Connecting);
        match connector.connect().await {
            Ok(established) => return Ok(established),
            Err(error) if error.is_final() => return Err(error.to_string()),
            Err(error) => {
                tracing::debug!(%error, "not connected yet");
                link.set_state(ConnectionState::Disconnected { reason: error.to_string() });
            }
        }
    }
}

/// Serves one connection until it ends.
async fn hold(link: &Link, established: Established) -> Ending {
    let heartbeat = established.heartbeat();
    let Established { mut connection, rest, .. } = established;
    if let Err(reason) = link.receive(rest) {
        return Ending::Lost(reason);
    }
    let ending = {
        let mut serve = pin!(connection.serve(link));
        tokio::select! {
            reason = &mut serve => Ending::Lost(parting_words(link, reason)),
            reason = silence(link, heartbeat) => Ending::Lost(reason),
            () = link.close_requested() => {
                link.pause();
                settle(link, CLOSE_TIMEOUT, serve).await;
                Ending::Closed
            }
            grace = link.asked_to_go() => {
                settle(link, grace, serve).await;
                Ending::Lost(parting_words(link, "the server asked to go away".to_owned()))
            }
        }
    };
    connection.close().await;
    ending
}

/// Serves on until everything is answered, for a limited time.
async fn settle(link: &Link, at_most: Duration, serve: impl Future<Output = String>) {
    tokio::select! {
        reason = serve => tracing::debug!(%reason, "the connection ended before all was answered"),
        settled = tokio::time::timeout(at_most, link.drained()) => {
            if settled.is_err() {
                tracing::debug!("not everything was answered in time");
            }
        }
    }
}

/// What the server said last explains more than how the connection ended.
fn parting_words(link: &Link, reason: String) -> String {
    link.take_parting().map_or(reason, |refusal| refusal.to_string())
}

/// Asks a quiet server for a sign of life; returns when it gives none.
async fn silence(link: &Link, heartbeat: Duration) -> String {
    loop {
        let silent = link.silent_for();
        if silent >= heartbeat * 3 {
            return format!("the server was silent for {} ms", silent.as_millis());
        }
        if silent >= heartbeat {
            link.control(&ClientFrame::Ping { nonce: 0 });
        }
        let into_beat = silent.as_millis() % heartbeat.as_millis().max(1);
        let rest = heartbeat.as_millis().saturating_sub(into_beat);
        tokio::time::sleep(Duration::from_millis(u64::try_from(rest).unwrap_or(u64::MAX))).await;
    }
}
