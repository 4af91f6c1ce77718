//! WebSocket: inbound messages, and the life of a connection.

mod outlet;

pub(super) use outlet::Outlet;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tidewire_core::fanout::{Framing, SessionOptions};
use tidewire_protocol::frame::split_first;
use tidewire_protocol::{ClientFrame, ErrorCode, Refusal, ServerFrame};
use tokio_websockets::{Limits, Message, ServerBuilder, WebSocketStream};

use super::connection::{self, CLOSE_TIMEOUT, Connection};
use super::stream::{Halves, Inbound, Stream};
use crate::server::Core;
use crate::transport::hello::hello;

/// Close status for text, as RFC 6455 section 7.4.1 has it.
const STATUS_UNSUPPORTED_DATA: u16 = 1003;
/// Close status for a message over the limit.
const STATUS_TOO_BIG: u16 = 1009;
/// Close status for a broken WebSocket frame.
const STATUS_PROTOCOL: u16 = 1002;

/// Serves a connection after its HTTP upgrade. `first` is what HTTP had read already.
pub(super) async fn serve(core: Rc<Core>, stream: Stream, first: Bytes) {
    let halves = Halves::new(stream);
    let replies = Rc::new(RefCell::new(Vec::new()));
    let place = Rc::new(RefCell::new(None));
    let wake = {
        let (woken, place) = (Arc::clone(&core.woken), Rc::clone(&place));
        Box::new(move || {
            if let Some(id) = *place.borrow() {
                woken.push(id);
            }
        })
    };
    let inbound = Inbound { first, halves: halves.clone(), replies: Rc::clone(&replies), wake };
    let max = core.shared.config.limits.max_frame_bytes;
    let mut messages =
        ServerBuilder::new().limits(Limits::default().max_payload_len(Some(max))).serve(inbound);
    let mut outlet = Outlet::new(halves, replies);
    let wait = Duration::from_millis(core.shared.config.handshake_timeout_ms);
    let greeting = tokio::time::timeout(wait, first_message(&mut messages)).await;
    let first = match greeting {
        Ok(Ok(first)) => first,
        Ok(Err(end)) => return finish(&mut outlet, end).await,
        Err(_elapsed) => return,
    };
    let mut rest = first;
    let greeted = match split_first(&mut rest) {
        Ok(frame) => hello(&core, &ClientFrame::decode(&frame), false),
        Err(broken) => Err(Refusal::new(ErrorCode::Malformed, broken.to_string())),
    };
    let welcome = match greeted {
        Ok(welcome) => welcome,
        Err(refusal) => return finish(&mut outlet, End::Refused(refusal)).await,
    };
    let options = SessionOptions { framing: Framing::Bare, datagrams: false };
    let id = core.open(options);
    *place.borrow_mut() = Some(id);
    let connection = Connection::new(&core, id, connection::Outlet::Web(outlet));
    core.dispatcher.borrow_mut().send(id, 0, &welcome.frame(&core, id));
    core.changed();
    let end = tokio::select! {
        end = read(&core, &connection, &mut messages, rest) => end,
        refusal = connection.ended() => End::Refused(refusal),
    };
    // The session is over; the connection counts until its last words are written, so that a server
    // that stops waits for them.
    core.dispatcher.borrow_mut().close(id);
    core.changed();
    if let connection::Outlet::Web(outlet) = &mut *connection.outlet.borrow_mut() {
        outlet.say(&end);
    }
    let written = std::future::poll_fn(|cx| match &mut *connection.outlet.borrow_mut() {
        connection::Outlet::Web(outlet) => outlet.poll_finish(cx),
        connection::Outlet::Quic(_) => std::task::Poll::Ready(Ok(())),
    });
    drop(tokio::time::timeout(CLOSE_TIMEOUT, written).await);
    core.close(id);
}

/// How a connection ends.
pub(super) enum End {
    /// The client is gone.
    Gone,
    /// The client closed; the library has answered.
    Closed,
    /// The server ends it.
    Refused(Refusal),
    /// A fault of the WebSocket itself, with the status that says so.
    Status(u16, &'static str),
}

async fn first_message(messages: &mut WebSocketStream<Inbound>) -> Result<Bytes, End> {
    loop {
        match take(messages.next().await)? {
            Some(payload) if payload.is_empty() => {}
            Some(payload) => return Ok(payload),
            None => {}
        }
    }
}

/// The payload of a binary message; `None` for what needs no attention.
fn take(next: Option<Result<Message, tokio_websockets::Error>>) -> Result<Option<Bytes>, End> {
    let message = match next {
        None => return Err(End::Gone),
        Some(Err(tokio_websockets::Error::PayloadTooLong { .. })) => {
            return Err(End::Status(STATUS_TOO_BIG, "a message is at most max_frame_bytes"));
        }
        Some(Err(tokio_websockets::Error::Protocol(_))) => {
            return Err(End::Status(STATUS_PROTOCOL, "broken WebSocket frame"));
        }
        Some(Err(_)) => return Err(End::Gone),
        Some(Ok(message)) => message,
    };
    if message.is_text() {
        return Err(End::Status(STATUS_UNSUPPORTED_DATA, "frames travel in binary messages"));
    }
    if message.is_close() {
        return Err(End::Closed);
    }
    Ok(message.is_binary().then(|| message.into_payload().into()))
}

async fn read(
    core: &Rc<Core>,
    connection: &Connection,
    messages: &mut WebSocketStream<Inbound>,
    mut rest: Bytes,
) -> End {
    loop {
        while !rest.is_empty() {
            let frame = match split_first(&mut rest) {
                Ok(frame) => frame,
                Err(broken) => {
                    return End::Refused(Refusal::new(ErrorCode::Malformed, broken.to_string()));
                }
            };
            take_frame(core, connection, 0, &frame).await;
        }
        rest = loop {
            match take(messages.next().await) {
                Ok(Some(payload)) => break payload,
                Ok(None) => core.dispatcher.borrow_mut().heard(connection.id, core.now_ms()),
                Err(end) => return end,
            }
        };
        core.dispatcher.borrow_mut().heard(connection.id, core.now_ms());
    }
}

/// Takes one frame of a connection: waits until it may, and passes on what a shard has to do.
pub(super) async fn take_frame(
    core: &Rc<Core>,
    connection: &Connection,
    stream: u16,
    frame: &Bytes,
) {
    connection.may_read(core).await;
    let command = {
        let hash_voter = |tally: &_, voter: &str| core.shared.hash_voter(tally, voter);
        let decoded = ClientFrame::decode(frame);
        core.dispatcher.borrow_mut().request(connection.id, stream, decoded, &hash_voter)
    };
    if let Some(figures) = core.figures() {
        figures.requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    match command {
        Some((shard, command)) => core.send(shard, command).await,
        None => core.changed(),
    }
}

/// Says the last words of a connection that has no session.
async fn finish(outlet: &mut Outlet, end: End) {
    outlet.say(&end);
    let written = std::future::poll_fn(|cx| outlet.poll_finish(cx));
    drop(tokio::time::timeout(CLOSE_TIMEOUT, written).await);
}

/// The last frames of a connection, encoded.
pub(super) fn last_frame(refusal: &Refusal) -> Vec<u8> {
    let mut bytes = Vec::new();
    ServerFrame::refuse(0, refusal.clone()).encode(&mut bytes);
    bytes
}
