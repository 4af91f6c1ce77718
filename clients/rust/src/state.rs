//! What the application can see of the connection.

/// Where the connection stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// A connection is being made, or one to another node is about to take the place of this one.
    Connecting,
    /// Requests are answered.
    Connected {
        /// The server's name for this connection, as it stands in the server's log.
        session: String,
        /// How the frames travel.
        transport: Transport,
    },
    /// The connection was lost, or an attempt to make it failed; the next attempt comes by itself.
    Disconnected {
        /// What happened.
        reason: String,
    },
    /// Connecting again makes no sense (or was not wanted); this client is of no more use.
    Failed {
        /// What happened.
        reason: String,
    },
    /// The application closed the client.
    Closed,
}

/// How frames travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// WebSocket over TCP.
    WebSocket,
    /// WebSocket over TLS.
    WebSocketTls,
    /// QUIC over UDP.
    Quic,
}

impl Transport {
    /// The URL scheme.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::WebSocket => "ws",
            Self::WebSocketTls => "wss",
            Self::Quic => "quic",
        }
    }

    /// Whether the server proves who it is by a certificate.
    #[must_use]
    pub const fn is_encrypted(self) -> bool {
        match self {
            Self::WebSocket => false,
            Self::WebSocketTls | Self::Quic => true,
        }
    }
}
