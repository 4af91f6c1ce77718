//! Frames that a server sends.

mod decode;
mod deliver;
mod encode;

pub use deliver::DeliverView;
pub use encode::{
    DeliverHeader, put_deliver_header, put_entry, put_update_entries_header, put_update_header,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Position;
use crate::error::Refusal;
use crate::name::Name;
use crate::options::ServerInfo;

/// A frame that a server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "every field is described in PROTOCOL.md under the frame's name")]
pub enum ServerFrame {
    Welcome {
        version: u64,
        capabilities: Vec<String>,
        session: String,
        info: ServerInfo,
    },
    Ping {
        nonce: u64,
    },
    Pong {
        nonce: u64,
    },
    Error {
        req: u64,
        code: u64,
        message: String,
        retry_after_ms: Option<u64>,
        sub: Option<u32>,
        actual: Option<u64>,
    },
    GoAway {
        code: u64,
        message: String,
        grace_ms: u64,
        nodes: Vec<String>,
    },
    Ok {
        req: u64,
        result: Option<Bytes>,
    },
    PubAck {
        req: u64,
        epoch: u64,
        offset: Option<u64>,
        level: u64,
        positions: Option<Vec<Position>>,
        duplicate: bool,
    },
    Subscribed {
        req: u64,
        sub: u32,
        status: u64,
        epoch: u64,
        offset: u64,
        missing: Option<(u64, u64)>,
        positions: Option<Vec<Position>>,
    },
    Deliver {
        sub: u32,
        topic: Name,
        epoch: u64,
        from: u64,
        next: u64,
        time_ms: u64,
        position: Option<Position>,
        offsets: Option<Vec<u64>>,
        body: Bytes,
    },
    Gap {
        sub: u32,
        topic: Option<Name>,
        epoch: u64,
        from: u64,
        next: u64,
        reason: u64,
        position: Option<Position>,
    },
    Progress {
        sub: u32,
        topic: Option<Name>,
        epoch: u64,
        next: u64,
        position: Option<Position>,
    },
    Counted {
        req: u64,
        epoch: u64,
        version: u64,
        value: i64,
        applied: i64,
        duplicate: bool,
        as_of: Option<(u64, u64, u64)>,
    },
    Voted {
        req: u64,
        epoch: u64,
        version: u64,
        status: u64,
        revision: u64,
        partition: Option<u64>,
    },
    /// `value` is one encoded `MessagePack` value.
    Value {
        req: u64,
        kind: u64,
        epoch: u64,
        version: u64,
        value: Option<Bytes>,
        as_of: Option<AsOf>,
    },
    Watching {
        req: u64,
        sub: u32,
        epoch: u64,
        version: u64,
        info: Option<Bytes>,
    },
    Leased {
        sub: u32,
        topic: Name,
        epoch: u64,
        time_ms: u64,
        partition: Option<u64>,
        deliveries: Vec<(u64, u64)>,
        body: Bytes,
    },
    /// `value` is one encoded `MessagePack` value.
    Update {
        sub: u32,
        version: u64,
        flags: u64,
        value: Option<Bytes>,
    },
}

/// As of when a value is what there is, where that may be another time than now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsOf {
    /// Everything that was done before this Unix time is in it.
    pub as_of_ms: u64,
    /// It may lack what was done since: who knows it is not reached.
    pub is_stale: bool,
}

impl ServerFrame {
    /// The error frame for a refusal.
    #[must_use]
    pub fn refuse(req: u64, refusal: Refusal) -> Self {
        Self::Error {
            req,
            code: u64::from(refusal.code.number()),
            message: refusal.message,
            retry_after_ms: refusal.retry_after_ms,
            sub: None,
            actual: refusal.actual,
        }
    }

    /// The request that this frame answers, if it answers one.
    #[must_use]
    pub fn answers(&self) -> Option<u64> {
        match self {
            Self::Error { req, .. }
            | Self::Ok { req, .. }
            | Self::PubAck { req, .. }
            | Self::Subscribed { req, .. }
            | Self::Counted { req, .. }
            | Self::Voted { req, .. }
            | Self::Value { req, .. }
            | Self::Watching { req, .. } => Some(*req).filter(|req| *req != 0),
            Self::Welcome { .. }
            | Self::Ping { .. }
            | Self::Pong { .. }
            | Self::GoAway { .. }
            | Self::Deliver { .. }
            | Self::Gap { .. }
            | Self::Progress { .. }
            | Self::Leased { .. }
            | Self::Update { .. } => None,
        }
    }
}
