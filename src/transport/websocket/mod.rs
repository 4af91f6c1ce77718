//! WebSocket: inbound messages, and the life of a connection.

mod outlet;
mod unframe;

pub(super) use outlet::Outlet;

use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tidewire_core::fanout::{Framing, SessionOptions};
use tidewire_protocol::wire::Broken;
use tidewire_protocol::{ClientFrame, ErrorCode, Refusal, ServerFrame};

use super::connection::{self, CLOSE_TIMEOUT, Connection, Peer};
use super::hello::{Welcome, hello};
use super::requests::Requests;
use super::stream::{Halves, Stream};
use crate::server::Core;
#[cfg(fuzzing)]
pub(crate) use unframe::fuzz;
use unframe::{Ended, Received, Unframer};

/// Serves a connection after its HTTP upgrade. `first` is what HTTP had read already.
pub(super) async fn serve(core: Rc<Core>, stream: Stream, first: Bytes, peer: Peer) {
    let halves = Halves::new(stream);
    let mut inbound = Inbound {
        halves: halves.clone(),
        unframer: Unframer::new(core.shared.config.limits.max_frame_bytes),
        first,
    };
    let mut outlet = Outlet::new(halves);
    let wait = Duration::from_millis(core.shared.config.handshake_timeout_ms);
    let greeting = tokio::time::timeout(wait, greet(&core, &mut inbound, &mut outlet, &peer)).await;
    let (welcome, rest) = match greeting {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(end)) => return finish(&mut outlet, end).await,
        Err(_elapsed) => return,
    };
    let options = SessionOptions { framing: Framing::Bare, datagrams: false };
    let id = core.open(options);
    let connection =
        Connection::new(&core, id, connection::Outlet::Web(outlet), (peer, welcome.moves));
    core.dispatcher.borrow_mut().send(id, 0, &welcome.frame(&core, id));
    core.admit(&connection, welcome.admission);
    core.changed();
    let end = tokio::select! {
        end = read(&core, &connection, &mut inbound, rest) => end,
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
        connection::Outlet::Quic(_) | connection::Outlet::Http(_) => Poll::Ready(Ok(())),
    });
    if tokio::time::timeout(CLOSE_TIMEOUT, written).await.is_err() {
        inbound.halves.reset_when_closed();
    }
    core.close(id);
}

/// How a connection ends.
pub(super) enum End {
    /// The client is gone.
    Gone,
    /// The client closed; the answer stands in the output.
    Closed,
    /// The server ends it.
    Refused(Refusal),
    /// A fault of the WebSocket itself, with the status that says so.
    Status(u16, &'static str),
}

/// The inbound side of a connection.
struct Inbound {
    halves: Halves,
    unframer: Unframer,
    /// What HTTP had read already.
    first: Bytes,
}

impl Inbound {
    /// Reads once, and takes apart what came.
    async fn receive(&mut self, core: &Core, replies: &mut Vec<u8>) -> Result<Received, End> {
        if !self.first.is_empty() {
            return Ok(self.unframer.take(&std::mem::take(&mut self.first), replies));
        }
        std::future::poll_fn(|cx| {
            let mut buffer = core.inbound.borrow_mut();
            let received = match ready!(self.halves.poll_read(cx, &mut buffer)) {
                Ok(0) | Err(_) => Err(End::Gone),
                Ok(count) => {
                    Ok(self.unframer.take(buffer.get(..count).unwrap_or_default(), replies))
                }
            };
            Poll::Ready(received)
        })
        .await
    }
}

/// Waits for HELLO; returns what came with it.
async fn greet(
    core: &Rc<Core>,
    inbound: &mut Inbound,
    outlet: &mut Outlet,
    peer: &Peer,
) -> Result<(Welcome, Received), End> {
    loop {
        let mut replies = Vec::new();
        let mut received = inbound.receive(core, &mut replies).await?;
        queue(outlet, &replies)?;
        match (received.next_frame(), received.end) {
            (Some(frame), _) => {
                let frame = frame.map_err(malformed)?;
                let welcome = hello(core, &ClientFrame::decode(&frame), false, peer).await;
                let welcome = welcome.map_err(End::Refused)?;
                return Ok((welcome, received));
            }
            (None, Some(end)) => return Err(end.into()),
            (None, None) => {}
        }
    }
}

/// Takes a connection's requests until it ends.
async fn read(
    core: &Rc<Core>,
    connection: &Connection,
    inbound: &mut Inbound,
    mut received: Received,
) -> End {
    let mut requests = Requests::default();
    loop {
        let now_ms = core.now_ms();
        core.dispatcher.borrow_mut().heard(connection.id(), now_ms);
        let mut turn = connection.turn();
        turn.begin(&core.turns, now_ms).await;
        while let Some(frame) = received.next_frame() {
            match frame {
                Ok(frame) => requests.take(core, connection, &mut turn, 0, &frame).await,
                Err(broken) => {
                    requests.pass_on(core, &mut turn).await;
                    return malformed(broken);
                }
            }
        }
        requests.pass_on(core, &mut turn).await;
        turn.end().await;
        if let Some(end) = received.end {
            return end.into();
        }
        let mut replies = Vec::new();
        received = match inbound.receive(core, &mut replies).await {
            Ok(received) => received,
            Err(end) => return end,
        };
        if !replies.is_empty()
            && let Err(end) = answer(core, connection, &replies)
        {
            return end;
        }
    }
}

/// Puts pongs and the answer to a close into the connection's output.
fn answer(core: &Core, connection: &Connection, replies: &[u8]) -> Result<(), End> {
    if let connection::Outlet::Web(outlet) = &mut *connection.outlet.borrow_mut() {
        queue(outlet, replies)?;
    }
    core.woken.push(connection.id());
    Ok(())
}

/// Queues control frames, of which only so many may wait.
fn queue(outlet: &mut Outlet, replies: &[u8]) -> Result<(), End> {
    if outlet.reply(replies) {
        return Ok(());
    }
    let rule = "pings are not answered as fast as they come";
    Err(End::Refused(Refusal::new(ErrorCode::LimitExceeded, rule)))
}

fn malformed(broken: Broken) -> End {
    End::Refused(Refusal::new(ErrorCode::Malformed, broken.to_string()))
}

impl From<Ended> for End {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Closed => Self::Closed,
            Ended::Broken(status, rule) => Self::Status(status, rule),
        }
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
