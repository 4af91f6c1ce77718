//! Transports: they move frames and know nothing of what the frames say.

mod quic;
mod tls;
mod websocket;

pub(crate) use tls::client_config as tls_config;

use std::sync::Arc;

use bytes::Bytes;

use crate::builder::{CertificateFiles, Trust};
use crate::error::Error;
use crate::link::Link;
use crate::state::Transport;
use crate::target::Target;

/// Makes connections of one transport.
pub(crate) enum Dialer {
    WebSocket { tls: Option<Arc<rustls::ClientConfig>> },
    Quic { config: quinn::ClientConfig },
}

impl Dialer {
    pub(crate) fn new(
        transport: Transport,
        trust: &Trust,
        certificate: Option<&CertificateFiles>,
    ) -> Result<Self, Error> {
        Ok(match transport {
            Transport::WebSocket => Self::WebSocket { tls: None },
            Transport::WebSocketTls => {
                let mut config = tls::client_config(trust, certificate)?;
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                Self::WebSocket { tls: Some(Arc::new(config)) }
            }
            Transport::Quic => Self::Quic { config: quic::client_config(trust, certificate)? },
        })
    }

    pub(crate) async fn dial(&self, target: &Target) -> Result<Connection, Error> {
        Ok(match self {
            Self::WebSocket { tls } => {
                let dialed = websocket::Connection::dial(target, tls.clone()).await?;
                Connection::WebSocket(Box::new(dialed))
            }
            Self::Quic { config } => {
                let dialed = quic::Connection::dial(target, config.clone()).await?;
                Connection::Quic(Box::new(dialed))
            }
        })
    }
}

/// A connection of either transport.
pub(crate) enum Connection {
    WebSocket(Box<websocket::Connection>),
    Quic(Box<quic::Connection>),
}

impl Connection {
    /// Sends the first frame and takes the answer (which may hold more frames).
    ///
    /// # Errors
    /// Why no answer came.
    pub(crate) async fn exchange(
        &mut self,
        target: &Target,
        hello: Vec<u8>,
    ) -> Result<Bytes, Error> {
        match self {
            Self::WebSocket(connection) => {
                connection.exchange(hello).await.map_err(|reason| unreachable(target, reason))
            }
            Self::Quic(connection) => connection.exchange(target, &hello).await,
        }
    }

    /// Writes what the link has to send and gives it what comes, until the connection ends.
    /// Returns how it ended.
    pub(crate) async fn serve(&mut self, link: &Link) -> String {
        match self {
            Self::WebSocket(connection) => connection.serve(link).await,
            Self::Quic(connection) => connection.serve(link).await,
        }
    }

    /// Closes the connection, waiting a moment for the other side.
    pub(crate) async fn close(self) {
        match self {
            Self::WebSocket(connection) => connection.close().await,
            Self::Quic(connection) => connection.close().await,
        }
    }
}

/// The error for a server that could not be reached.
fn unreachable(target: &Target, reason: impl Into<String>) -> Error {
    Error::Connect { url: target.url(), reason: reason.into() }
}
