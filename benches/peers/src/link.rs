//! A connection's bytes, in the clear or through TLS.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// How long a server may take to answer while a connection is opened.
pub(crate) const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// A connected socket. It blocks until [`Link::set_nonblocking`].
#[derive(Debug)]
pub(crate) enum Link {
    /// TCP.
    Tcp(TcpStream),
    /// TLS over TCP.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Link {
    /// Connects, with TLS if a configuration is given.
    ///
    /// # Errors
    /// When nothing listens there.
    pub(crate) fn connect(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Self, String> {
        let stream = std::net::TcpStream::connect_timeout(&address, OPEN_TIMEOUT)
            .and_then(|stream| {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(OPEN_TIMEOUT))?;
                stream.set_write_timeout(Some(OPEN_TIMEOUT))?;
                Ok(TcpStream::from_std(stream))
            })
            .map_err(|error| format!("connecting to {address}: {error}"))?;
        let Some(tls) = tls else { return Ok(Self::Tcp(stream)) };
        let name = ServerName::from(address.ip());
        let connection = ClientConnection::new(Arc::clone(tls), name)
            .map_err(|error| format!("TLS with {address}: {error}"))?;
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, stream))))
    }

    /// From now on reads and writes return at once.
    ///
    /// # Errors
    /// When the socket refuses.
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(self.socket(), true)?)
    }

    /// Whether a read that fills less than its buffer has taken all there was.
    pub(crate) fn short_read_drains(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// Tells `registry` of this socket.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let socket = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => &mut stream.sock,
        };
        registry.register(socket, token, Interest::READABLE | Interest::WRITABLE)
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
