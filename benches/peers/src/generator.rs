//! The load: one thread, one event loop, and all connections of a run in it.
//!
//! One thread, because the load has one processor; so nothing is locked, nothing is handed over,
//! and the publisher knows at once how far the slowest subscriber is.

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use crate::connection::{BUFFER_BYTES, Connection, Target, Transport};
use crate::session::{AnySession, Item};

/// Events taken from the operating system at once.
const EVENTS_MAX: usize = 1024;
/// How often QUIC's timers are looked at.
const TICK: Duration = Duration::from_millis(1);

/// Hears what arrives.
pub(crate) trait Sink {
    /// `item` came on this connection.
    fn item(&mut self, connection: usize, item: Item<'_>);
}

/// All connections of a run.
#[derive(Debug)]
pub(crate) struct Generator {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    /// Whether any connection has timers, and when they were looked at last.
    timers: bool,
    ticked: Instant,
}

impl Generator {
    /// Without connections.
    ///
    /// # Errors
    /// When the operating system has no event queue left.
    pub(crate) fn new() -> Result<Self, String> {
        Ok(Self {
            poll: Poll::new().map_err(|error| format!("the event loop: {error}"))?,
            events: Events::with_capacity(EVENTS_MAX),
            connections: Vec::new(),
            buffer: vec![0; BUFFER_BYTES],
            timers: false,
            ticked: Instant::now(),
        })
    }

    /// Opens a connection, waits until it is ready, and returns its number.
    ///
    /// # Errors
    /// Those of [`Connection::open`].
    pub(crate) fn open(
        &mut self,
        target: &Target,
        session: impl Fn() -> AnySession,
    ) -> Result<usize, String> {
        let number = self.connections.len();
        let mut opened = Connection::open(target, session, &mut self.buffer)
            .map_err(|error| format!("connection {number}: {error}"))?;
        opened
            .register(self.poll.registry(), Token(number))
            .map_err(|error| format!("the event loop: {error}"))?;
        self.connections.push(opened);
        self.timers |= matches!(target.transport, Transport::Quic(_));
        Ok(number)
    }

    /// Waits for something to arrive, at most `timeout`, and hands it to `sink`.
    ///
    /// # Errors
    /// When a connection breaks or a session finds a fault.
    pub(crate) fn turn(&mut self, timeout: Duration, sink: &mut impl Sink) -> Result<(), String> {
        let timeout = if self.timers { timeout.min(TICK) } else { timeout };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(format!("the event loop: {error}")),
        }
        for event in &self.events {
            let Token(number) = event.token();
            let Some(connection) = self.connections.get_mut(number) else { continue };
            let named = |error| format!("connection {number}: {error}");
            if event.is_readable() {
                connection.read(&mut self.buffer, |item| sink.item(number, item)).map_err(named)?;
            }
            if event.is_writable() && !connection.is_sent() {
                connection.flush().map_err(named)?;
            }
        }
        if self.timers {
            self.tick()?;
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), String> {
        let now = Instant::now();
        if now.duration_since(self.ticked) >= TICK {
            self.ticked = now;
            for (number, connection) in self.connections.iter_mut().enumerate() {
                connection.tick(now).map_err(|error| format!("connection {number}: {error}"))?;
            }
        }
        Ok(())
    }

    /// Sends what `put` appends.
    ///
    /// # Errors
    /// When the connection breaks or does not exist.
    pub(crate) fn send(
        &mut self,
        connection: usize,
        put: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), String> {
        let found = self.connections.get_mut(connection);
        let found = found.ok_or_else(|| format!("there is no connection {connection}"))?;
        put(found.outbox());
        found.flush().map_err(|error| format!("connection {connection}: {error}"))
    }

    /// Whether all that was sent on a connection is with the operating system.
    pub(crate) fn is_sent(&self, connection: usize) -> bool {
        self.connections.get(connection).is_none_or(Connection::is_sent)
    }
}
