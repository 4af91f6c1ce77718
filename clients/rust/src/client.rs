//! The client itself; what it can do stands beside it, by subject.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tidewire_protocol::options::ServerInfo;
use tidewire_protocol::{ClientFrame, ServerFrame};
use tokio::sync::watch;

use crate::builder::Builder;
use crate::error::Error;
use crate::link::Link;
use crate::pending::Pending;
use crate::reply;
use crate::state::ConnectionState;
use crate::token::Token;

/// A connection to a server. Cheap to clone; the connection ends when the last clone and the last
/// subscription and watch of it are dropped, or with [`Client::close`].
#[derive(Clone, Debug)]
pub struct Client {
    handle: Arc<Handle>,
}

/// Ends the connection when the last handle goes.
#[derive(Debug)]
pub(crate) struct Handle {
    link: Arc<Link>,
    token: Token,
}

impl Handle {
    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.link.request_close();
    }
}

impl Client {
    /// Prepares a connection to `ws://HOST:PORT`, `wss://HOST:PORT` or `quic://HOST:PORT`. The
    /// port is 7171 unless given, the path of a WebSocket `/v1/ws`.
    ///
    /// # Errors
    /// [`Error::Config`] when the URL cannot be used.
    pub fn builder(url: &str) -> Result<Builder, Error> {
        Builder::new(url)
    }

    /// Connects to a server with every setting as it is unless given; `Client::builder(url)?.connect()` in one.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    ///
    /// # Cancellation
    /// Safe: the attempt ends.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder(url)?.connect().await
    }

    pub(crate) fn new(link: Arc<Link>, token: Token) -> Self {
        Self { handle: Arc::new(Handle { link, token }) }
    }

    pub(crate) fn link(&self) -> &Link {
        self.handle.link()
    }

    pub(crate) fn handle(&self) -> Arc<Handle> {
        Arc::clone(&self.handle)
    }

    /// Sends any request. `build` gets the request id that the frame must carry. Waits for room
    /// on the connection only; the reply is awaited through the [`Pending`].
    ///
    /// # Errors
    /// When there is no connection, or the frame is larger than the server accepts. A refusal of
    /// the server is an error of the [`Pending`].
    ///
    /// # Cancellation
    /// Safe: before it returns nothing was sent.
    pub async fn request(
        &self,
        build: impl FnOnce(u64) -> ClientFrame,
    ) -> Result<Pending<ServerFrame>, Error> {
        self.start(build, reply::any).await
    }

    pub(crate) async fn start<T>(
        &self,
        build: impl FnOnce(u64) -> ClientFrame,
        read: fn(ServerFrame) -> Result<T, Error>,
    ) -> Result<Pending<T>, Error> {
        Ok(Pending::new(self.link().ask(build).await?, read))
    }

    /// Asks the server for a sign of life and measures how long it takes.
    ///
    /// # Errors
    /// When there is no connection, or it is lost meanwhile.
    ///
    /// # Cancellation
    /// Safe: the answer is ignored.
    pub async fn ping(&self) -> Result<Duration, Error> {
        let pending = self.start(|nonce| ClientFrame::Ping { nonce }, reply::any).await?;
        let sent = Instant::now();
        pending.await?;
        Ok(sent.elapsed())
    }

    /// What the server said about itself when the connection was made.
    #[must_use]
    pub fn server_info(&self) -> ServerInfo {
        self.link().info()
    }

    /// How often a request was sent again so far: because the connection was lost, or the server could not
    /// carry it out at the moment.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.link().traffic().repeated
    }

    /// Where the connection stands now.
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        self.link().states().borrow().clone()
    }

    /// How often it was tried to connect again so far, each server that was asked counted for itself. What the
    /// first connection took does not count.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.link().attempts.load(Ordering::Relaxed)
    }

    /// Follows the state of the connection. The receiver holds the newest state only.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<ConnectionState> {
        self.link().states()
    }

    /// Closes the connection cleanly: what was sent is written and answered first, for at most
    /// five seconds. Every clone of this client is closed with it.
    ///
    /// # Cancellation
    /// Safe: once begun, the client closes whether somebody waits for it or not.
    pub async fn close(self) {
        let mut states = self.states();
        self.link().request_close();
        let over = states.wait_for(|state| match state {
            ConnectionState::Closed | ConnectionState::Failed { .. } => true,
            ConnectionState::Connecting
            | ConnectionState::Connected { .. }
            | ConnectionState::Disconnected { .. } => false,
        });
        // An error means that the connection's task is gone, which is what was wanted.
        drop(over.await);
    }
}
