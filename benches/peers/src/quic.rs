//! A connection over QUIC: the protocol's state machine driven by the load's own event loop, with a
//! socket of its own, as a client elsewhere would have.
//!
//! QUIC costs the load more than TCP does, because what the kernel does for TCP is done here; what
//! it costs the server is told apart by the server's own CPU time.

mod socket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Registry, Token};
use quinn_proto::{
    ClientConfig, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, Event, ReadError,
    ReadableError, StreamEvent, StreamId, TransportConfig, WriteError,
};

use crate::connection::ELEMENT_BYTES_MAX;
use crate::link::OPEN_TIMEOUT;
use crate::session::{AnySession, Item};
use socket::{Datagram, Socket};

/// Bytes taken from a stream at once.
const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// Bytes that may be on their way, and streams that the server may open, as Tidewire's client has.
const RECEIVE_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
const STREAMS_MAX: u32 = 256;
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Longest wait in one piece while a connection is opened.
const OPEN_STEP: Duration = Duration::from_millis(5);

/// The settings of a connection, for these TLS settings.
///
/// # Errors
/// When TLS has no cipher for QUIC.
pub(crate) fn client_config(tls: Arc<rustls::ClientConfig>) -> Result<ClientConfig, String> {
    let crypto = quinn_proto::crypto::rustls::QuicClientConfig::try_from(tls)
        .map_err(|error| format!("QUIC cannot be set up: {error}"))?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_uni_streams(STREAMS_MAX.into())
        .max_concurrent_bidi_streams(0_u32.into())
        .receive_window(RECEIVE_WINDOW_BYTES.into())
        .keep_alive_interval(Some(KEEP_ALIVE));
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// A stream that is read: each has its own place in the protocol.
#[derive(Debug)]
struct Lane {
    id: StreamId,
    session: AnySession,
    partial: Vec<u8>,
}

/// One connection.
pub(crate) struct QuicConnection {
    socket: Socket,
    endpoint: Endpoint,
    handle: ConnectionHandle,
    connection: quinn_proto::Connection,
    connected: bool,
    lanes: Vec<Lane>,
    /// The session of the stream that the server opens for the subscription.
    next_session: Option<AnySession>,
    outbox: Vec<u8>,
    written: usize,
    /// Where the endpoint writes what a client never has to send.
    reply: Vec<u8>,
}

impl std::fmt::Debug for QuicConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuicConnection").field("lanes", &self.lanes).finish_non_exhaustive()
    }
}

impl QuicConnection {
    /// Connects and waits until the session is ready.
    ///
    /// # Errors
    /// When the server refuses or says nothing for [`OPEN_TIMEOUT`].
    pub(crate) fn open(
        address: SocketAddr,
        config: &ClientConfig,
        session: impl Fn() -> AnySession,
        buffer: &mut [u8],
    ) -> Result<Self, String> {
        let mut opened = Self::start(address, config, &session)?;
        let deadline = Instant::now() + OPEN_TIMEOUT;
        let mut ready = false;
        while !ready {
            if Instant::now() > deadline {
                return Err(format!("the server did not answer within {OPEN_TIMEOUT:?}"));
            }
            opened.flush()?;
            opened.socket.wait(OPEN_STEP)?;
            opened.read(buffer, |item| ready |= matches!(item, Item::Ready))?;
            opened.tick(Instant::now())?;
            if opened.connected && opened.lanes.is_empty() {
                let id = opened.connection.streams().open(Dir::Bi);
                let id = id.ok_or("the server allows no stream")?;
                let session = session();
                opened.outbox = session.opening();
                opened.lanes.push(Lane { id, session, partial: Vec::new() });
            }
        }
        opened.flush()?;
        Ok(opened)
    }

    fn start(
        address: SocketAddr,
        config: &ClientConfig,
        session: &impl Fn() -> AnySession,
    ) -> Result<Self, String> {
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, true, None);
        let name = address.ip().to_string();
        let (handle, connection) = endpoint
            .connect(Instant::now(), config.clone(), address, &name)
            .map_err(|error| format!("QUIC to {address}: {error}"))?;
        Ok(Self {
            socket: Socket::bind()?,
            endpoint,
            handle,
            connection,
            connected: false,
            lanes: Vec::new(),
            next_session: Some(session()),
            outbox: Vec::new(),
            written: 0,
            reply: Vec::new(),
        })
    }

    /// Tells `registry` of this connection's socket.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.socket.register(registry, token)
    }

    /// Reads all there is, and answers it.
    ///
    /// # Errors
    /// When the connection breaks or the session finds a fault.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        mut each: impl FnMut(Item<'_>),
    ) -> Result<(), String> {
        let Self { socket, endpoint, connection, reply, .. } = self;
        socket.receive(buffer, |datagram| take(endpoint, connection, reply, datagram))?;
        self.events(&mut each)?;
        self.flush()
    }

    fn events(&mut self, each: &mut impl FnMut(Item<'_>)) -> Result<(), String> {
        self.endpoint_events();
        while let Some(event) = self.connection.poll() {
            match event {
                Event::Connected => self.connected = true,
                Event::ConnectionLost { reason } => return Err(format!("closed: {reason}")),
                Event::Stream(StreamEvent::Opened { dir }) => {
                    while let Some(id) = self.connection.streams().accept(dir) {
                        let session = self.next_session.take();
                        let session = session.ok_or("the server opens a second stream")?;
                        self.lanes.push(Lane { id, session, partial: Vec::new() });
                        self.read_stream(id, each)?;
                    }
                }
                Event::Stream(StreamEvent::Readable { id }) => self.read_stream(id, each)?,
                Event::Stream(
                    StreamEvent::Writable { .. }
                    | StreamEvent::Finished { .. }
                    | StreamEvent::Stopped { .. }
                    | StreamEvent::Available { .. },
                )
                | Event::HandshakeDataReady
                | Event::DatagramReceived
                | Event::DatagramsUnblocked => {}
            }
        }
        Ok(())
    }

    fn endpoint_events(&mut self) {
        while let Some(event) = self.connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(self.handle, event) {
                self.connection.handle_event(event);
            }
        }
    }

    fn read_stream(&mut self, id: StreamId, each: &mut impl FnMut(Item<'_>)) -> Result<(), String> {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.id == id) else { return Ok(()) };
        let mut stream = self.connection.recv_stream(id);
        let mut chunks = match stream.read(true) {
            Ok(chunks) => chunks,
            Err(ReadableError::ClosedStream) => return Ok(()),
            Err(error) => return Err(format!("a stream: {error}")),
        };
        let outbox = &mut self.outbox;
        let mut hear = |item: Item<'_>| {
            if let Some(item) = item.unless_answer(outbox) {
                each(item);
            }
        };
        let outcome = loop {
            match chunks.next(CHUNK_BYTES_MAX) {
                Ok(Some(chunk)) => match lane.feed(&chunk.bytes, &mut hear) {
                    Ok(()) => {}
                    Err(fault) => break Err(fault),
                },
                Ok(None) => break Err("the server closed a stream".to_owned()),
                Err(ReadError::Blocked) => break Ok(()),
                Err(error) => break Err(format!("a stream: {error}")),
            }
        };
        // Whatever is to be sent for it goes with the next flush.
        let _ = chunks.finalize().should_transmit();
        outcome
    }

    /// Writes the outbox to the control stream and hands packets to the operating system.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn flush(&mut self) -> Result<(), String> {
        if let (Some(lane), false) = (self.lanes.first(), self.outbox.is_empty()) {
            let mut stream = self.connection.send_stream(lane.id);
            while let Some(rest) = self.outbox.get(self.written..).filter(|rest| !rest.is_empty()) {
                match stream.write(rest) {
                    Ok(len) => self.written += len,
                    Err(WriteError::Blocked) => break,
                    Err(error) => return Err(format!("writing: {error}")),
                }
            }
            if self.written == self.outbox.len() {
                self.outbox.clear();
                self.written = 0;
            }
        }
        let now = Instant::now();
        let connection = &mut self.connection;
        self.socket.send(|segments, packet| connection.poll_transmit(now, segments, packet))
    }

    /// Where to append what is to be sent.
    pub(crate) fn outbox(&mut self) -> &mut Vec<u8> {
        &mut self.outbox
    }

    /// Whether the control stream and the socket have taken everything.
    pub(crate) fn is_sent(&self) -> bool {
        self.outbox.is_empty() && self.socket.is_sent()
    }

    /// Does what is due by now.
    ///
    /// # Errors
    /// When the connection has timed out.
    pub(crate) fn tick(&mut self, now: Instant) -> Result<(), String> {
        if self.connection.poll_timeout().is_none_or(|due| due > now) {
            return Ok(());
        }
        self.connection.handle_timeout(now);
        self.endpoint_events();
        if self.connection.is_closed() {
            return Err("the server does not answer any more".to_owned());
        }
        self.flush()
    }
}

/// Gives a datagram to the connection.
fn take(
    endpoint: &mut Endpoint,
    connection: &mut quinn_proto::Connection,
    reply: &mut Vec<u8>,
    datagram: Datagram,
) {
    let Datagram { received, from, to, ecn, data } = datagram;
    reply.clear();
    match endpoint.handle(received, from, to, ecn, data, reply) {
        Some(DatagramEvent::ConnectionEvent(_, event)) => connection.handle_event(event),
        // A client is not connected to, and what answers a stray packet may get lost.
        Some(DatagramEvent::NewConnection(_) | DatagramEvent::Response(_)) | None => {}
    }
}

impl Lane {
    fn feed(&mut self, chunk: &[u8], hear: &mut impl FnMut(Item<'_>)) -> Result<(), String> {
        if self.partial.is_empty() {
            let taken = self.session.feed(chunk, &mut *hear)?;
            self.partial.extend_from_slice(chunk.get(taken..).unwrap_or_default());
        } else {
            self.partial.extend_from_slice(chunk);
            let taken = self.session.feed(&self.partial, &mut *hear)?;
            self.partial.drain(..taken);
        }
        if self.partial.len() > 2 * ELEMENT_BYTES_MAX {
            return Err("the server sends an element without end".to_owned());
        }
        Ok(())
    }
}
