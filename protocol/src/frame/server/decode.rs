//! Reading the frames that a server sends.

use bytes::Bytes;

use super::{AsOf, ServerFrame};
use crate::error::Refusal;
use crate::fields::Fields;
use crate::frame::{BadFrame, number, open, unknown};
use crate::name::Name;

impl ServerFrame {
    /// Decodes one frame, as split off by [`crate::frame::split_first`].
    ///
    /// # Errors
    /// When the frame is not one that servers send.
    pub fn decode(frame: &Bytes) -> Result<Self, BadFrame> {
        let (kind, mut fields) = open(frame)?;
        let decoded = match kind {
            number::DELIVER | number::GAP | number::PROGRESS | number::UPDATE | number::LEASED => {
                delivery(kind, &mut fields)
            }
            _ => reply(kind, &mut fields),
        };
        decoded
            .map_err(|refusal| BadFrame { req: 0, refusal, wants_reply: true })?
            .ok_or_else(|| unknown(kind, 0))
    }
}

fn delivery(kind: u64, fields: &mut Fields<'_>) -> Result<Option<ServerFrame>, Refusal> {
    let sub = fields.uint32("sub")?;
    Ok(Some(match kind {
        number::DELIVER => ServerFrame::Deliver {
            sub,
            topic: fields.name("topic")?,
            epoch: fields.uint("epoch")?,
            from: fields.uint("from")?,
            next: fields.uint("next")?,
            time_ms: fields.uint("time_ms")?,
            position: fields.opt_value("position")?,
            offsets: fields.opt_value("offsets")?,
            body: fields.bin("body")?,
        },
        number::GAP => ServerFrame::Gap {
            sub,
            topic: fields.opt_str("topic")?.map(Name::parse).transpose()?,
            epoch: fields.uint("epoch")?,
            from: fields.uint("from")?,
            next: fields.uint("next")?,
            reason: fields.uint("reason")?,
            position: fields.opt_value("position")?,
        },
        number::PROGRESS => ServerFrame::Progress {
            sub,
            topic: fields.opt_str("topic")?.map(Name::parse).transpose()?,
            epoch: fields.uint("epoch")?,
            next: fields.uint("next")?,
            position: fields.opt_value("position")?,
        },
        number::LEASED => ServerFrame::Leased {
            sub,
            topic: fields.name("topic")?,
            epoch: fields.uint("epoch")?,
            time_ms: fields.uint("time_ms")?,
            partition: fields.opt_uint("partition")?,
            deliveries: fields.value("deliveries")?,
            body: fields.bin("body")?,
        },
        number::UPDATE => ServerFrame::Update {
            sub,
            version: fields.uint("version")?,
            flags: fields.uint("flags")?,
            value: fields.raw_bytes(),
        },
        _ => return Ok(None),
    }))
}

fn reply(kind: u64, fields: &mut Fields<'_>) -> Result<Option<ServerFrame>, Refusal> {
    Ok(Some(match kind {
        number::WELCOME => ServerFrame::Welcome {
            version: fields.uint("version")?,
            capabilities: fields.opt_value("capabilities")?.unwrap_or_default(),
            session: fields.str("session")?.to_owned(),
            info: fields.map("info")?,
        },
        number::PING => ServerFrame::Ping { nonce: fields.uint("nonce")? },
        number::PONG => ServerFrame::Pong { nonce: fields.uint("nonce")? },
        number::ERROR => error(fields)?,
        number::GOAWAY => ServerFrame::GoAway {
            code: fields.uint("code")?,
            message: fields.str("message")?.to_owned(),
            grace_ms: fields.uint("grace_ms")?,
            nodes: fields.opt_value("nodes")?.unwrap_or_default(),
        },
        number::OK => ServerFrame::Ok { req: fields.uint("req")?, result: fields.raw_bytes() },
        number::PUBACK => ServerFrame::PubAck {
            req: fields.uint("req")?,
            epoch: fields.uint("epoch")?,
            offset: fields.opt_uint("offset")?,
            level: fields.uint("level")?,
            positions: fields.opt_value("positions")?,
            duplicate: fields.opt_value("duplicate")?.unwrap_or(false),
        },
        number::SUBSCRIBED => ServerFrame::Subscribed {
            req: fields.uint("req")?,
            sub: fields.uint32("sub")?,
            status: fields.uint("status")?,
            epoch: fields.uint("epoch")?,
            offset: fields.uint("offset")?,
            missing: fields.opt_value("missing")?,
            positions: fields.opt_value("positions")?,
        },
        number::COUNTED => ServerFrame::Counted {
            req: fields.uint("req")?,
            epoch: fields.uint("epoch")?,
            version: fields.uint("version")?,
            value: fields.int("value")?,
            applied: fields.int("applied")?,
            duplicate: fields.boolean("duplicate")?,
            as_of: fields.opt_value("as_of")?,
        },
        number::VOTED => ServerFrame::Voted {
            req: fields.uint("req")?,
            epoch: fields.uint("epoch")?,
            version: fields.uint("version")?,
            status: fields.uint("status")?,
            revision: fields.uint("revision")?,
            partition: fields.opt_uint("partition")?,
        },
        number::VALUE => ServerFrame::Value {
            req: fields.uint("req")?,
            kind: fields.uint("kind")?,
            epoch: fields.uint("epoch")?,
            version: fields.uint("version")?,
            value: fields.raw_bytes(),
            as_of: as_of(fields)?,
        },
        number::WATCHING => ServerFrame::Watching {
            req: fields.uint("req")?,
            sub: fields.uint32("sub")?,
            epoch: fields.uint("epoch")?,
            version: fields.uint("version")?,
            info: fields.raw_bytes(),
        },
        _ => return Ok(None),
    }))
}

fn as_of(fields: &mut Fields<'_>) -> Result<Option<AsOf>, Refusal> {
    let Some(as_of_ms) = fields.opt_uint("as_of_ms")? else { return Ok(None) };
    let is_stale = fields.opt_value("stale")?.unwrap_or(false);
    Ok(Some(AsOf { as_of_ms, is_stale }))
}

fn error(fields: &mut Fields<'_>) -> Result<ServerFrame, Refusal> {
    Ok(ServerFrame::Error {
        req: fields.uint("req")?,
        code: fields.uint("code")?,
        message: fields.str("message")?.to_owned(),
        retry_after_ms: fields.opt_uint("retry_after_ms")?,
        sub: fields.opt_uint("sub")?.and_then(|sub| u32::try_from(sub).ok()),
        actual: fields.opt_uint("actual")?,
    })
}
