//! What a protocol says on one connection: its opening, and its messages cut out of the bytes
//! that arrive in whatever pieces.
//!
//! Each protocol is read with as little work as its framing allows, and no message is copied, so
//! that the generator costs much the same whoever is measured.

pub(crate) mod centrifugo;
pub(crate) mod floor;
pub(crate) mod mqtt;
pub(crate) mod nats;
pub(crate) mod redis;
pub(crate) mod tidewire;
mod websocket;

use crate::workload::PAYLOAD_BYTES;

/// The topic that publishers and subscribers use.
pub(crate) const TOPIC: &str = "peers.fan";
/// The counter or tally that writers and watchers use.
pub(crate) const CELL: &str = "peers.cell";
/// The log on disk that writers append to.
pub(crate) const LOG: &str = "peers.log";
/// The nodes of a cluster.
pub(crate) const NODES: usize = 3;
/// What writers append to it.
pub(crate) const LOG_PAYLOAD: [u8; PAYLOAD_BYTES] = [b'x'; PAYLOAD_BYTES];

/// What a connection is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Publishes to [`TOPIC`].
    Publisher,
    /// Receives what is published to [`TOPIC`].
    Subscriber,
    /// Increments [`CELL`], or appends to [`LOG`]; the number tells it from other writers.
    Writer(Cell, usize),
    /// Is told [`CELL`]'s new values.
    Watcher(Cell),
}

/// What [`CELL`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// A number that is added to.
    Counter,
    /// A poll with one vote per voter. Only Tidewire has it.
    Tally,
    /// [`LOG`]: an append is answered when it is on the disk. Nobody watches it.
    Log,
    /// As many logs of a cluster, over which the writers are spread: an append is answered when it is on the
    /// disks of a majority. Nobody watches them.
    Copied { logs: usize },
}

impl Cell {
    /// The log that this writer appends to; `None` if it is no log.
    pub(crate) fn log_of(self, writer: usize) -> Option<String> {
        match self {
            Self::Counter | Self::Tally => None,
            Self::Log => Some(LOG.to_owned()),
            Self::Copied { logs } => {
                Some(format!("{LOG}.{}", writer.checked_rem(logs).unwrap_or_default()))
            }
        }
    }

    /// On how many nodes it is.
    pub(crate) fn copies(self) -> usize {
        match self {
            Self::Counter | Self::Tally | Self::Log => 1,
            Self::Copied { .. } => NODES,
        }
    }
}

/// One thing that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// A published message's payload.
    Message(&'a [u8]),
    /// The answer to increment number `id` of this connection: the cell's state `version` and
    /// later ones contain it.
    Reply { id: u64, version: u64 },
    /// The cell's state that a watcher holds from now on.
    Update(u64),
    /// To be sent back at once.
    Answer(Vec<u8>),
    /// The connection can do what its role says.
    Ready,
    /// Nothing that counts.
    Nothing,
}

impl Item<'_> {
    /// Puts an answer into the outbox; everything else is for whoever measures.
    pub(crate) fn unless_answer(self, outbox: &mut Vec<u8>) -> Option<Self> {
        let Self::Answer(bytes) = &self else { return Some(self) };
        outbox.extend_from_slice(bytes);
        None
    }
}

/// What the first bytes are, and how many; `None` until more have come.
pub(crate) type Step<'a> = Option<(usize, Item<'a>)>;

/// One connection's side of a protocol.
pub(crate) trait Session {
    /// What the client sends first.
    fn opening(&self) -> Vec<u8>;

    /// Takes one item from the beginning of `bytes`, at least one byte.
    ///
    /// # Errors
    /// When the server refuses something or says what the protocol does not allow.
    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, String>;
}

/// Takes all whole items from `bytes` and returns how many bytes they were.
///
/// # Errors
/// Those of [`Session::step`].
pub(crate) fn feed<S: Session>(
    session: &mut S,
    bytes: &[u8],
    mut each: impl FnMut(Item<'_>),
) -> Result<usize, String> {
    let mut taken = 0;
    while let Some((len, item)) = session.step(bytes.get(taken..).unwrap_or_default())? {
        taken += len;
        each(item);
    }
    Ok(taken)
}

/// A session of any protocol. The choice is made once per read, not per message.
#[derive(Debug)]
pub(crate) enum AnySession {
    /// Tidewire's frames.
    Tidewire(tidewire::Tidewire),
    /// NATS's lines.
    Nats(nats::Nats),
    /// Redis's RESP.
    Redis(redis::Redis),
    /// MQTT 3.1.1.
    Mqtt(mqtt::Mqtt),
    /// Centrifugo's replies.
    Centrifugo(centrifugo::Centrifugo),
    /// Frames of a fixed length.
    Floor(floor::Floor),
}

impl AnySession {
    /// See [`Session::opening`].
    pub(crate) fn opening(&self) -> Vec<u8> {
        match self {
            Self::Tidewire(session) => session.opening(),
            Self::Nats(session) => session.opening(),
            Self::Redis(session) => session.opening(),
            Self::Mqtt(session) => session.opening(),
            Self::Centrifugo(session) => session.opening(),
            Self::Floor(session) => session.opening(),
        }
    }

    /// See [`feed`].
    ///
    /// # Errors
    /// Those of [`Session::step`].
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        each: impl FnMut(Item<'_>),
    ) -> Result<usize, String> {
        match self {
            Self::Tidewire(session) => feed(session, bytes, each),
            Self::Nats(session) => feed(session, bytes, each),
            Self::Redis(session) => feed(session, bytes, each),
            Self::Mqtt(session) => feed(session, bytes, each),
            Self::Centrifugo(session) => feed(session, bytes, each),
            Self::Floor(session) => feed(session, bytes, each),
        }
    }
}

/// A number in decimal digits and nothing else.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let value = digit.checked_sub(b'0').filter(|value| *value <= 9)?;
        number.checked_mul(10)?.checked_add(u64::from(value))
    })
}

/// The beginning of what a server said, for an error.
fn quote(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..bytes.len().min(200)).unwrap_or_default());
    text.trim_end().escape_debug().to_string()
}

#[cfg(test)]
pub(crate) mod testing;
