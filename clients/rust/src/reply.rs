//! What the server answers, as the application gets it.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidewire_protocol::ServerFrame;
use tidewire_protocol::frame::{AckLevel, AsOf, CellKind, Position, read_bytes, read_entries};
use tidewire_protocol::group::{GroupInfo, SettleReply};
use tidewire_protocol::options::{IdentityInfo, ProducerInfo, TopicInfo};
use tidewire_protocol::tally::{Rounds, Standings, TallyReply};
use tidewire_protocol::wire;

use crate::error::{self, Error};

/// A body that the server has appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The topic's epoch; 0 when no acknowledgement was asked for.
    pub epoch: u64,
    /// Offset of the body's first record; `None` when no acknowledgement was asked for, or when
    /// the level that was reached does not know it yet.
    pub offset: Option<u64>,
    /// The level that was reached.
    pub level: AckLevel,
    /// For a topic with partitions, whose epoch and offset above say nothing: partition, epoch and
    /// offset of the first record in each partition that the body's records went to.
    pub positions: Vec<Position>,
    /// An earlier attempt had appended it; this is where it stands.
    pub duplicate: bool,
}

/// A counter operation that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Epoch of the version.
    pub epoch: u64,
    /// The counter's version that contains the operation.
    pub version: u64,
    /// The value after the operation.
    pub value: i64,
    /// By how much the value changed; less than asked for when it was clamped.
    pub applied: i64,
    /// Whether an earlier operation with the same id was applied, and this one was not.
    pub duplicate: bool,
    /// Of an eventual counter: who has counted it, node and incarnation, and that one's version which
    /// contains it; for [`GetOptions::at_least`](crate::GetOptions::at_least).
    pub as_of: Option<(u64, u64, u64)>,
}

/// A ballot that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voted {
    /// Epoch of the version.
    pub epoch: u64,
    /// The tally's version that contains the ballot; of a poll with partitions, that of the
    /// partition.
    pub version: u64,
    /// The partition that holds the ballot, if the poll has several. The ballot is in all
    /// standings whose `partitions` have no smaller version there.
    pub partition: Option<u64>,
    /// What the ballot was to this voter's earlier one.
    pub status: VoteStatus,
    /// The revision of the ballot that is stored now.
    pub revision: u64,
}

/// What a ballot was to the voter's earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteStatus {
    /// The voter's first ballot.
    Accepted,
    /// It replaced an earlier one.
    Changed,
    /// The same ballot again; nothing changed.
    Duplicate,
}

/// One key of a map, or one member of a presence set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The version that wrote it.
    pub version: u64,
    /// What stands under the key.
    pub value: Bytes,
}

/// A value that GET read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// What it is a value of.
    pub kind: CellKind,
    /// Epoch of the version.
    pub epoch: u64,
    /// Version of the value.
    pub version: u64,
    /// The value as one encoded `MessagePack` value.
    pub encoded: Bytes,
    /// As of when it is what there is, and whether it may lack what was done since; `None`: as of now.
    pub as_of: Option<AsOf>,
}

impl Value {
    /// A counter's number.
    ///
    /// # Errors
    /// [`Error::BadReply`] when the value is something else.
    pub fn counter(&self) -> Result<i64, Error> {
        self.decode("a counter")
    }

    /// A tally's standings.
    ///
    /// # Errors
    /// [`Error::BadReply`] when the value is something else.
    pub fn standings(&self) -> Result<Standings, Error> {
        self.decode("standings")
    }

    /// A ranked tally's rounds.
    ///
    /// # Errors
    /// [`Error::BadReply`] when the value is something else.
    pub fn rounds(&self) -> Result<Rounds, Error> {
        self.decode("rounds")
    }

    /// What is kept of a topic.
    ///
    /// # Errors
    /// [`Error::BadReply`] when the value is something else.
    pub fn topic(&self) -> Result<TopicInfo, Error> {
        self.decode("a topic's description")
    }

    /// The bytes under one key of a map or presence set.
    ///
    /// # Errors
    /// [`Error::BadReply`] when the value is something else.
    pub fn bytes(&self) -> Result<Bytes, Error> {
        read_bytes(&self.encoded).map_err(|refusal| bad("bytes", &refusal.message))
    }

    /// Every entry of a map or presence set, in order of the keys.
    ///
    /// # Errors
    /// [`Error::BadReply`] when the value is something else.
    pub fn entries(&self) -> Result<BTreeMap<String, Entry>, Error> {
        let read =
            read_entries(&self.encoded).map_err(|refusal| bad("entries", &refusal.message))?;
        let entry = |value: Option<Bytes>, version| value.map(|value| Entry { version, value });
        Ok(read
            .into_iter()
            .filter_map(|read| Some((read.key, entry(read.value, read.version)?)))
            .collect())
    }

    fn decode<T: serde::de::DeserializeOwned>(&self, what: &str) -> Result<T, Error> {
        wire::from_slice(&self.encoded).map_err(|refusal| bad(what, &refusal.message))
    }
}

fn bad(what: &str, why: &str) -> Error {
    Error::BadReply(format!("{what} expected: {why}"))
}

/// The error for a reply of the wrong type; what the server refused is passed on.
fn unexpected(frame: ServerFrame, wanted: &str) -> Error {
    if let ServerFrame::Error { code, message, retry_after_ms, actual, .. } = frame {
        return Error::Refused(error::refusal(code, message, retry_after_ms, actual));
    }
    Error::BadReply(format!("{wanted} expected"))
}

/// Whatever answers the request, unless it is a refusal.
pub(crate) fn any(frame: ServerFrame) -> Result<ServerFrame, Error> {
    let refused = matches!(frame, ServerFrame::Error { .. });
    if refused { Err(unexpected(frame, "a reply")) } else { Ok(frame) }
}

pub(crate) fn ok(frame: ServerFrame) -> Result<(), Error> {
    let ServerFrame::Ok { .. } = frame else { return Err(unexpected(frame, "OK")) };
    Ok(())
}

pub(crate) fn published(frame: ServerFrame) -> Result<Published, Error> {
    let ServerFrame::PubAck { epoch, offset, level, positions, duplicate, .. } = frame else {
        return Err(unexpected(frame, "PUBACK"));
    };
    let level = AckLevel::from_number(level)
        .ok_or_else(|| Error::BadReply(format!("acknowledgement level {level}")))?;
    Ok(Published { epoch, offset, level, positions: positions.unwrap_or_default(), duplicate })
}

pub(crate) fn counted(frame: ServerFrame) -> Result<Counted, Error> {
    let ServerFrame::Counted { epoch, version, value, applied, duplicate, as_of, .. } = frame
    else {
        return Err(unexpected(frame, "COUNTED"));
    };
    Ok(Counted { epoch, version, value, applied, duplicate, as_of })
}

pub(crate) fn voted(frame: ServerFrame) -> Result<Voted, Error> {
    let ServerFrame::Voted { epoch, version, status, revision, partition, .. } = frame else {
        return Err(unexpected(frame, "VOTED"));
    };
    let status = match status {
        0 => VoteStatus::Accepted,
        1 => VoteStatus::Changed,
        2 => VoteStatus::Duplicate,
        other => return Err(Error::BadReply(format!("status {other} of a ballot"))),
    };
    Ok(Voted { epoch, version, partition, status, revision })
}

/// `None` when nothing is stored under the name.
pub(crate) fn value(frame: ServerFrame) -> Result<Option<Value>, Error> {
    let ServerFrame::Value { kind, epoch, version, value, as_of, .. } = frame else {
        return Err(unexpected(frame, "VALUE"));
    };
    let kind = CellKind::from_number(kind)
        .ok_or_else(|| Error::BadReply(format!("a value of kind {kind}")))?;
    Ok(value.map(|encoded| Value { kind, epoch, version, encoded, as_of }))
}

pub(crate) fn tally(frame: ServerFrame) -> Result<TallyReply, Error> {
    let ServerFrame::Ok { result: Some(result), .. } = frame else {
        return Err(unexpected(frame, "OK with a result"));
    };
    wire::from_slice(&result).map_err(|refusal| bad("the state of a tally", &refusal.message))
}

pub(crate) fn group(frame: ServerFrame) -> Result<GroupInfo, Error> {
    let ServerFrame::Ok { result: Some(result), .. } = frame else {
        return Err(unexpected(frame, "OK with a result"));
    };
    wire::from_slice(&result).map_err(|refusal| bad("the state of a group", &refusal.message))
}

pub(crate) fn topic(frame: ServerFrame) -> Result<TopicInfo, Error> {
    let ServerFrame::Ok { result: Some(result), .. } = frame else {
        return Err(unexpected(frame, "OK with a result"));
    };
    wire::from_slice(&result).map_err(|refusal| bad("a topic's description", &refusal.message))
}

/// The id of a numbering.
pub(crate) fn producer(frame: ServerFrame) -> Result<ProducerInfo, Error> {
    let ServerFrame::Ok { result: Some(result), .. } = frame else {
        return Err(unexpected(frame, "OK with a producer"));
    };
    wire::from_slice(&result).map_err(|refusal| bad("a producer", &refusal.message))
}

/// Who the connection is.
pub(crate) fn identity(frame: ServerFrame) -> Result<IdentityInfo, Error> {
    let ServerFrame::Ok { result: Some(result), .. } = frame else {
        return Err(unexpected(frame, "OK with an identity"));
    };
    wire::from_slice(&result).map_err(|refusal| bad("an identity", &refusal.message))
}

/// How many were settled, or taken out.
pub(crate) fn records(frame: ServerFrame) -> Result<u64, Error> {
    let ServerFrame::Ok { result: Some(result), .. } = frame else {
        return Err(unexpected(frame, "OK with a result"));
    };
    let reply: Result<SettleReply, _> = wire::from_slice(&result);
    reply.map(|reply| reply.records).map_err(|refusal| bad("a number", &refusal.message))
}

/// Whether the one record counts as settled.
pub(crate) fn settled(frame: ServerFrame) -> Result<bool, Error> {
    records(frame).map(|records| records > 0)
}
