//! Frames: what a client sends, what a server sends, and their encodings.

mod cell_value;
mod client;
mod number;
mod server;

pub use cell_value::{KeyedEntry, read_bytes, read_entries};
pub use client::{ClientFrame, CounterOp, GroupOp, PresenceOp, SettleOp, TallyOp, TopicOp};
pub use server::{
    AsOf, DeliverHeader, DeliverView, ServerFrame, put_deliver_header, put_entry,
    put_update_entries_header, put_update_header,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{ErrorCode, Refusal};
use crate::fields::Fields;
use crate::wire::{self, Broken};

/// A frame that cannot be taken, inside an intact envelope: the connection goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFrame {
    /// The request to answer; 0 if it has none or it could not be read.
    pub req: u64,
    /// What is wrong.
    pub refusal: Refusal,
    /// Whether it is answered: not if the request asked for no reply.
    pub wants_reply: bool,
}

/// Splits the first frame off a message of one or more frames.
///
/// # Errors
/// When the envelope is broken: what follows cannot be found either.
pub fn split_first(message: &mut Bytes) -> Result<Bytes, Broken> {
    let len = wire::value_len(message)?;
    Ok(message.split_to(len))
}

/// Puts the length before a frame, as on a QUIC stream.
#[must_use]
pub fn length_prefix(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()
}

/// Reads the type of a frame; its other fields follow.
fn open(frame: &Bytes) -> Result<(u64, Fields<'_>), BadFrame> {
    let bad = |refusal| BadFrame { req: 0, refusal, wants_reply: true };
    let mut fields = Fields::of(frame).map_err(bad)?;
    let kind = fields.uint("type").map_err(bad)?;
    fields.name_frame(number::name(kind));
    Ok((kind, fields))
}

fn unknown(kind: u64, req: u64) -> BadFrame {
    let message = format!("frame type {kind} is not known here");
    let refusal = Refusal::new(ErrorCode::UnknownFrame, message);
    BadFrame { req, refusal, wants_reply: true }
}

/// Begins a frame of this type with so many fields after the type.
fn head(out: &mut Vec<u8>, kind: u64, fields: usize) {
    wire::put_array(out, fields + 1);
    wire::put_uint(out, kind);
}

/// Acknowledgement levels, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum AckLevel {
    /// No acknowledgement.
    None = 0,
    /// In the memory of the topic's server.
    Memory = 1,
    /// On the server's disk.
    Disk = 2,
    /// On the disks of a majority of the topic's replicas.
    Quorum = 3,
    /// What the policy of the topic says; only in requests.
    Policy = 4,
}

impl AckLevel {
    /// The level of this number.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Memory),
            2 => Some(Self::Disk),
            3 => Some(Self::Quorum),
            4 => Some(Self::Policy),
            _ => None,
        }
    }

    /// The name in the CLI and in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Quorum => "quorum",
            Self::Policy => "policy",
        }
    }
}

/// Kinds of values that GET reads and WATCH follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum CellKind {
    /// A number.
    Counter = 1,
    /// A poll.
    Tally = 2,
    /// The newest value per key of a topic.
    Map = 3,
    /// Who is there.
    Presence = 4,
    /// What is kept of a topic; cannot be watched.
    Topic = 5,
    /// Runoff rounds of a ranked tally; cannot be watched.
    Rounds = 6,
}

impl CellKind {
    /// The kind of this number.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Counter),
            2 => Some(Self::Tally),
            3 => Some(Self::Map),
            4 => Some(Self::Presence),
            5 => Some(Self::Topic),
            6 => Some(Self::Rounds),
            _ => None,
        }
    }

    /// The name in messages and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Tally => "tally",
            Self::Map => "map",
            Self::Presence => "presence",
            Self::Topic => "topic",
            Self::Rounds => "rounds",
        }
    }
}

/// A place in a shard's commit order, `[shard, epoch, sequence]`, or in a topic with partitions,
/// `[partition, epoch, offset]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position(pub u64, pub u64, pub u64);

/// Where a subscription starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Records from now on.
    Latest,
    /// The oldest kept record.
    Earliest,
    /// This offset; epoch 0 stands for any.
    Offset {
        /// Epoch that the offset belongs to.
        epoch: u64,
        /// First record wanted.
        offset: u64,
    },
    /// The first batch appended at or after this Unix time in milliseconds.
    Time(u64),
    /// The newest so many records.
    Last(u64),
    /// One position per shard, for patterns.
    Positions(Vec<Position>),
}

/// Bits of UPDATE's flags.
pub mod flags {
    /// The value replaces everything.
    pub const FULL: u64 = 1;
    /// The cell does not exist any more.
    pub const DELETED: u64 = 2;
    /// The server is loaded: updates come more seldom than was asked for, so the value may be behind.
    pub const STALE: u64 = 4;
    /// How far [`super::flags`] are shifted for what stands above them: with [`STALE`] the
    /// milliseconds from an update to the next one, which is how old a value may get.
    pub const INTERVAL_SHIFT: u32 = 8;
    /// The value is not committed yet.
    pub const PROVISIONAL: u64 = 8;
    /// A part of the update: the next frame of the subscription goes on with it.
    pub const MORE: u64 = 16;
    /// Other nodes that may know more are not reached. The value is as old as stands above the
    /// flags, in milliseconds, and may lack what was done since.
    pub const BEHIND: u64 = 32;
}
