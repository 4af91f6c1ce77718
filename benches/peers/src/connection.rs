//! One connection of the load: a link, a session, and what is between them.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use mio::{Registry, Token};

use crate::link::{Link, OPEN_TIMEOUT};
use crate::quic::QuicConnection;
use crate::session::{AnySession, Item};

/// Longest element of a protocol that is waited for in one piece.
pub(crate) const ELEMENT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the buffer into which all connections read in turn: a full window and what was kept.
pub(crate) const BUFFER_BYTES: usize = 512 * 1024;

/// How a server is reached.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
}

/// What carries the bytes.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    /// TCP in the clear.
    Tcp,
    /// TLS over TCP.
    Tls(Arc<rustls::ClientConfig>),
    /// QUIC.
    Quic(quinn_proto::ClientConfig),
}

/// A connection, whatever carries it.
#[derive(Debug)]
pub(crate) enum Connection {
    /// Over TCP.
    Stream(StreamConnection),
    /// Over QUIC.
    Quic(Box<QuicConnection>),
}

impl Connection {
    /// Connects and waits until the session is ready.
    ///
    /// # Errors
    /// When the server cannot be reached, refuses, or says nothing for [`OPEN_TIMEOUT`].
    pub(crate) fn open(
        target: &Target,
        session: impl Fn() -> AnySession,
        buffer: &mut [u8],
    ) -> Result<Self, String> {
        let tls = match &target.transport {
            Transport::Tcp => None,
            Transport::Tls(config) => Some(config),
            Transport::Quic(config) => {
                let opened = QuicConnection::open(target.address, config, session, buffer)?;
                return Ok(Self::Quic(Box::new(opened)));
            }
        };
        let link = Link::connect(target.address, tls)?;
        StreamConnection::open(link, session(), buffer).map(Self::Stream)
    }

    /// Tells `registry` of this connection's socket.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.link.register(registry, token),
            Self::Quic(quic) => quic.register(registry, token),
        }
    }

    /// Reads all there is.
    ///
    /// # Errors
    /// When the connection breaks or the session finds a fault.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        each: impl FnMut(Item<'_>),
    ) -> Result<(), String> {
        match self {
            Self::Stream(stream) => stream.read(buffer, each),
            Self::Quic(quic) => quic.read(buffer, each),
        }
    }

    /// Sends what is in the outbox, as far as the socket takes it.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn flush(&mut self) -> Result<(), String> {
        match self {
            Self::Stream(stream) => stream.flush(),
            Self::Quic(quic) => quic.flush(),
        }
    }

    /// Where to append what is to be sent by the next [`Connection::flush`].
    pub(crate) fn outbox(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Stream(stream) => &mut stream.outbox,
            Self::Quic(quic) => quic.outbox(),
        }
    }

    /// Whether all that was to be sent has been handed to the operating system.
    pub(crate) fn is_sent(&self) -> bool {
        match self {
            Self::Stream(stream) => stream.outbox.is_empty(),
            Self::Quic(quic) => quic.is_sent(),
        }
    }

    /// Does what is due by now: only QUIC has timers.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn tick(&mut self, now: Instant) -> Result<(), String> {
        match self {
            Self::Stream(_) => Ok(()),
            Self::Quic(quic) => quic.tick(now),
        }
    }
}

/// A connection over TCP.
#[derive(Debug)]
pub(crate) struct StreamConnection {
    link: Link,
    session: AnySession,
    /// The beginning of an element whose end has not come.
    partial: Vec<u8>,
    outbox: Vec<u8>,
    sent: usize,
}

impl StreamConnection {
    fn open(link: Link, session: AnySession, buffer: &mut [u8]) -> Result<Self, String> {
        let outbox = session.opening();
        let mut opened = Self { link, session, partial: Vec::new(), outbox, sent: 0 };
        opened.flush()?;
        let mut ready = false;
        let deadline = Instant::now() + OPEN_TIMEOUT;
        while !ready {
            let read = opened.read_once(buffer, &mut |item| ready |= matches!(item, Item::Ready));
            if read?.is_none() || Instant::now() > deadline {
                return Err(format!("the server did not answer within {OPEN_TIMEOUT:?}"));
            }
            opened.flush()?;
        }
        opened.link.set_nonblocking().map_err(|error| error.to_string())?;
        Ok(opened)
    }

    fn read(&mut self, buffer: &mut [u8], mut each: impl FnMut(Item<'_>)) -> Result<(), String> {
        while let Some(filled) = self.read_once(buffer, &mut each)? {
            if !filled && self.link.short_read_drains() {
                break;
            }
        }
        if self.outbox.is_empty() { Ok(()) } else { self.flush() }
    }

    /// Reads once: whether the buffer was filled; `None` if there is nothing to read.
    fn read_once(
        &mut self,
        buffer: &mut [u8],
        each: &mut impl FnMut(Item<'_>),
    ) -> Result<Option<bool>, String> {
        let kept = self.partial.len();
        let Some((head, space)) = buffer.split_at_mut_checked(kept) else {
            return Err("what was kept is longer than the buffer".to_owned());
        };
        head.copy_from_slice(&self.partial);
        let room = space.len();
        let len = match self.link.read(space) {
            Ok(0) => return Err("the server closed the connection".to_owned()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Some(true)),
            Err(error) => return Err(format!("reading: {error}")),
        };
        let arrived = buffer.get(..kept + len).unwrap_or_default();
        let outbox = &mut self.outbox;
        let taken = self.session.feed(arrived, |item| {
            if let Some(item) = item.unless_answer(outbox) {
                each(item);
            }
        })?;
        let rest = arrived.get(taken..).unwrap_or_default();
        if rest.len() > 2 * ELEMENT_BYTES_MAX {
            return Err("the server sends an element without end".to_owned());
        }
        self.partial.clear();
        self.partial.extend_from_slice(rest);
        Ok(Some(len == room))
    }

    fn flush(&mut self) -> Result<(), String> {
        while let Some(rest) = self.outbox.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.link.write(rest) {
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("writing: {error}")),
            }
        }
        self.outbox.clear();
        self.sent = 0;
        match self.link.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                Err(format!("writing: {error}"))
            }
            _ => Ok(()),
        }
    }
}
