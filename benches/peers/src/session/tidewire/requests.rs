//! What a client of Tidewire sends.

use tidewire_protocol::frame::{AckLevel, CellKind, CounterOp, Start, TallyOp};
use tidewire_protocol::record::{BodyBuilder, payload_body};
use tidewire_protocol::tally::{Choice, TallyKind, TallyRules};
use tidewire_protocol::{ClientFrame, Name, Pattern, VERSION};

use crate::session::{CELL, Cell, LOG_PAYLOAD, Role, TOPIC, websocket};

/// The client's number for its one subscription or watch.
const SUB: u32 = 1;
/// Request of the opening; increments are numbered behind it.
const OPENING_REQ: u64 = 1;
pub(super) const INCREMENT_REQ: u64 = 2;
/// Options of the tally that is voted in.
const OPTIONS: [&str; 4] = ["north", "east", "south", "west"];

/// What frames travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// Messages of a WebSocket.
    WebSocket,
    /// A length before each frame.
    Length,
}

/// HELLO, and what makes the connection what its role says.
pub(super) fn introduction(role: &Role, envelope: Envelope) -> Vec<u8> {
    let hello = ClientFrame::Hello {
        version: VERSION,
        capabilities: Vec::new(),
        token: None,
        client: Some("tidewire-peers".to_owned()),
    };
    let mut out = Vec::new();
    put_frames(&mut out, envelope, &[hello]);
    put_frames(&mut out, envelope, &request(role));
    out
}

/// The request behind HELLO, if the role needs one.
pub(super) fn request(role: &Role) -> Vec<ClientFrame> {
    let (Ok(topic), Ok(cell)) = (Pattern::parse(TOPIC), Name::parse(CELL)) else {
        return Vec::new();
    };
    let req = OPENING_REQ;
    match role {
        Role::Publisher | Role::Writer(Cell::Counter | Cell::Log | Cell::Copied { .. }, _) => {
            Vec::new()
        }
        Role::Subscriber => vec![ClientFrame::Subscribe {
            req,
            sub: SUB,
            pattern: topic,
            start: Start::Latest,
            options: Default::default(),
        }],
        Role::Writer(Cell::Tally, _) => {
            let options = OPTIONS.map(str::to_owned).to_vec();
            let rules = Some(TallyRules::new(TallyKind::Single, options));
            vec![ClientFrame::Tally { req, op: TallyOp::Create, tally: cell, rules }]
        }
        Role::Watcher(kind) => vec![ClientFrame::Watch {
            req,
            sub: SUB,
            kind: match kind {
                Cell::Counter => CellKind::Counter,
                Cell::Tally => CellKind::Tally,
                Cell::Log | Cell::Copied { .. } => CellKind::Topic,
            },
            name: cell,
            options: Default::default(),
        }],
    }
}

/// Appends frames in their envelope; those of a WebSocket all in one message.
pub(super) fn put_frames(out: &mut Vec<u8>, envelope: Envelope, frames: &[ClientFrame]) {
    if frames.is_empty() {
        return;
    }
    let mut message = Vec::new();
    for frame in frames {
        match envelope {
            Envelope::WebSocket => frame.encode(&mut message),
            Envelope::Length => {
                let mut encoded = Vec::new();
                frame.encode(&mut encoded);
                let prefix = tidewire_protocol::frame::length_prefix(encoded.len());
                message.extend_from_slice(&prefix);
                message.extend_from_slice(&encoded);
            }
        }
    }
    match envelope {
        Envelope::WebSocket => websocket::put_message(out, &message),
        Envelope::Length => out.extend_from_slice(&message),
    }
}

/// Appends PUBLISH frames of `per_frame` records each, without acknowledgement; over WebSocket all
/// in one message.
pub(crate) fn put_publish(
    out: &mut Vec<u8>,
    envelope: Envelope,
    payloads: &[&[u8]],
    per_frame: usize,
) {
    let Ok(topic) = Name::parse(TOPIC) else { return };
    let publish = |payloads: &[&[u8]]| {
        let mut body = BodyBuilder::new();
        for payload in payloads {
            body.push(None, &[], Some(payload));
        }
        ClientFrame::Publish {
            req: OPENING_REQ,
            topic: topic.clone(),
            ack: AckLevel::None,
            body: body.finish(),
            options: Default::default(),
        }
    };
    let frames: Vec<_> = payloads.chunks(per_frame.max(1)).map(publish).collect();
    put_frames(out, envelope, &frames);
}

/// Appends increments, or appends to the log, with these numbers. `writer` tells voters of different writers apart.
pub(crate) fn put_increments(out: &mut Vec<u8>, cell: Cell, writer: usize, ids: &[u64]) {
    let name = cell.log_of(writer).unwrap_or_else(|| CELL.to_owned());
    let Ok(name) = Name::parse(&name) else { return };
    let append = |req, ack| ClientFrame::Publish {
        req,
        topic: name.clone(),
        ack,
        body: payload_body(&LOG_PAYLOAD),
        options: Default::default(),
    };
    let increment = |id: &u64| {
        let req = id + INCREMENT_REQ;
        match cell {
            Cell::Counter => ClientFrame::Incr {
                req,
                counter: name.clone(),
                op: CounterOp::Add,
                operand: 1,
                options: Default::default(),
            },
            Cell::Tally => ClientFrame::Vote {
                req,
                tally: name.clone(),
                voter: format!("voter-{writer}-{id}"),
                choices: vec![Choice::Index(id % OPTIONS.len() as u64)],
                revision: None,
            },
            Cell::Log => append(req, AckLevel::Disk),
            Cell::Copied { .. } => append(req, AckLevel::Quorum),
        }
    };
    let frames: Vec<_> = ids.iter().map(increment).collect();
    put_frames(out, Envelope::WebSocket, &frames);
}
