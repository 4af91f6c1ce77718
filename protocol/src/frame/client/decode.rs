//! Reading the frames that a client sends.

use bytes::Bytes;

use super::{ClientFrame, CounterOp, GroupOp, PresenceOp, SettleOp, TallyOp, TopicOp};
use crate::error::{ErrorCode, Refusal};
use crate::fields::Fields;
use crate::frame::{AckLevel, BadFrame, CellKind, Position, Start, number, open, unknown};
use crate::name::Name;
use crate::wire::malformed;

impl ClientFrame {
    /// Decodes one frame, as split off by [`crate::frame::split_first`].
    ///
    /// # Errors
    /// The refusal and the request it answers.
    pub fn decode(frame: &Bytes) -> Result<Self, BadFrame> {
        Self::decode_knowing(frame, None)
    }

    /// The same. A name that equals the known one, as that of the frame before often does, is
    /// shared instead of being checked and copied.
    ///
    /// # Errors
    /// The refusal and the request it answers.
    pub fn decode_knowing(frame: &Bytes, known: Option<&Name>) -> Result<Self, BadFrame> {
        let (kind, mut fields) = open(frame)?;
        fields.know(known);
        let no_request = |refusal| BadFrame { req: 0, refusal, wants_reply: true };
        match kind {
            number::HELLO => hello(&mut fields).map_err(no_request),
            number::PING => {
                fields.uint("nonce").map(|nonce| Self::Ping { nonce }).map_err(no_request)
            }
            number::PONG => {
                fields.uint("nonce").map(|nonce| Self::Pong { nonce }).map_err(no_request)
            }
            number::CREDIT => credit(&mut fields).map_err(no_request),
            number::PUBLISH
            | number::SUBSCRIBE
            | number::UNSUBSCRIBE
            | number::INCR
            | number::VOTE
            | number::GET
            | number::WATCH
            | number::PRESENCE
            | number::TALLY
            | number::PRODUCER
            | number::GROUP
            | number::CONSUME
            | number::SETTLE
            | number::TOPIC
            | number::INVALIDATE
            | number::AUTH => {
                let req = fields.uint("req").map_err(no_request)?;
                request(kind, req, &mut fields)
                    .map_err(|refusal| BadFrame { req, refusal, wants_reply: req != 0 })?
                    .ok_or_else(|| unknown(kind, req))
            }
            // What stands in an unknown type is unknown too; a request id is only likely.
            _ => Err(unknown(kind, fields.uint("req").unwrap_or(0))),
        }
    }
}

fn hello(fields: &mut Fields<'_>) -> Result<ClientFrame, Refusal> {
    Ok(ClientFrame::Hello {
        version: fields.uint("version")?,
        capabilities: fields.opt_value("capabilities")?.unwrap_or_default(),
        token: fields.opt_str("token")?.map(str::to_owned),
        client: fields.opt_str("client")?.map(str::to_owned),
    })
}

fn credit(fields: &mut Fields<'_>) -> Result<ClientFrame, Refusal> {
    Ok(ClientFrame::Credit { sub: fields.uint32("sub")?, bytes: fields.uint("bytes")? })
}

/// Decodes the types that begin with a request id; `None` for a type that is not one.
fn request(kind: u64, req: u64, fields: &mut Fields<'_>) -> Result<Option<ClientFrame>, Refusal> {
    Ok(Some(match kind {
        number::PUBLISH => ClientFrame::Publish {
            req,
            topic: fields.name("topic")?,
            ack: choose(fields.uint("ack")?, AckLevel::from_number, "ack: 0 to 4")?,
            body: fields.bin("body")?,
            options: fields.opt_map("options")?.unwrap_or_default(),
        },
        number::SUBSCRIBE => ClientFrame::Subscribe {
            req,
            sub: fields.uint32("sub")?,
            pattern: fields.pattern("pattern")?,
            start: start(fields)?,
            options: fields.opt_map("options")?.unwrap_or_default(),
        },
        number::UNSUBSCRIBE => ClientFrame::Unsubscribe { req, sub: fields.uint32("sub")? },
        number::INCR => ClientFrame::Incr {
            req,
            counter: fields.name("counter")?,
            op: choose(fields.uint("op")?, CounterOp::from_number, "op: 0 to 2")?,
            operand: fields.int("operand")?,
            options: fields.opt_map("options")?.unwrap_or_default(),
        },
        number::VOTE => ClientFrame::Vote {
            req,
            tally: fields.name("tally")?,
            voter: fields.str("voter")?.to_owned(),
            choices: fields.value("choices")?,
            revision: fields.opt_uint("revision")?,
        },
        number::GET => ClientFrame::Get {
            req,
            kind: choose(fields.uint("kind")?, CellKind::from_number, "kind: 1 to 6")?,
            name: fields.name("name")?,
            key: fields.opt_str("key")?.map(str::to_owned),
            options: fields.opt_map("options")?.unwrap_or_default(),
        },
        number::WATCH => ClientFrame::Watch {
            req,
            sub: fields.uint32("sub")?,
            kind: choose(fields.uint("kind")?, CellKind::from_number, "kind: 1 to 6")?,
            name: fields.name("name")?,
            options: fields.opt_map("options")?.unwrap_or_default(),
        },
        number::PRESENCE => ClientFrame::Presence {
            req,
            op: choose(fields.uint("op")?, PresenceOp::from_number, "op: 0 or 1")?,
            name: fields.name("name")?,
            member: fields.str("member")?.to_owned(),
            data: fields.opt_bin("data")?,
        },
        number::TALLY => ClientFrame::Tally {
            req,
            op: choose(fields.uint("op")?, TallyOp::from_number, "op: 0 to 3")?,
            tally: fields.name("tally")?,
            rules: fields.opt_map("rules")?,
        },
        number::PRODUCER => ClientFrame::Producer { req },
        number::AUTH => ClientFrame::Auth { req, token: fields.str("token")?.to_owned() },
        _ => return topic_request(kind, req, fields),
    }))
}

/// The same for the rarer ones.
fn topic_request(
    kind: u64,
    req: u64,
    fields: &mut Fields<'_>,
) -> Result<Option<ClientFrame>, Refusal> {
    Ok(Some(match kind {
        number::INVALIDATE => ClientFrame::Invalidate {
            req,
            tally: fields.name("tally")?,
            voters: fields.value("voters")?,
            hashes: fields.opt_value("hashes")?,
        },
        number::TOPIC => ClientFrame::Topic {
            req,
            op: choose(fields.uint("op")?, TopicOp::from_number, "op: 0 or 1")?,
            topic: fields.name("topic")?,
            options: fields.opt_map("options")?.unwrap_or_default(),
        },
        number::GROUP => ClientFrame::Group {
            req,
            op: choose(fields.uint("op")?, GroupOp::from_number, "op: 0 to 3")?,
            topic: fields.name("topic")?,
            group: fields.name("group")?,
            options: fields.opt_map("options")?.unwrap_or_default(),
        },
        number::CONSUME => ClientFrame::Consume {
            req,
            sub: fields.uint32("sub")?,
            topic: fields.name("topic")?,
            group: fields.name("group")?,
            options: fields.opt_map("options")?.unwrap_or_default(),
        },
        number::SETTLE => ClientFrame::Settle {
            req,
            sub: fields.uint32("sub")?,
            op: choose(fields.uint("op")?, SettleOp::from_number, "op: 0 to 3")?,
            offsets: fields.value("offsets")?,
            options: fields.opt_map("options")?.unwrap_or_default(),
        },
        _ => return Ok(None),
    }))
}

fn choose<T>(number: u64, from: impl Fn(u64) -> Option<T>, rule: &str) -> Result<T, Refusal> {
    from(number).ok_or_else(|| {
        Refusal::new(ErrorCode::InvalidArgument, format!("{rule}; {number} is not known"))
    })
}

fn start(fields: &mut Fields<'_>) -> Result<Start, Refusal> {
    let rule = "start is [0], [1], [2, epoch, offset], [3, time_ms], [4, n] or [5, positions]";
    let raw = fields.raw_bytes().ok_or_else(|| malformed(rule))?;
    let mut parts = Fields::of(&raw).map_err(|_not_array| malformed(rule))?;
    parts.name_frame("start");
    Ok(match parts.uint("kind")? {
        0 => Start::Latest,
        1 => Start::Earliest,
        2 => Start::Offset { epoch: parts.uint("epoch")?, offset: parts.uint("offset")? },
        3 => Start::Time(parts.uint("time_ms")?),
        4 => Start::Last(parts.uint("n")?),
        5 => Start::Positions(parts.value::<Vec<Position>>("positions")?),
        _ => return Err(malformed(rule)),
    })
}
