//! One connection, from its handshake to its last words.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use quinn::RecvStream;
use quinn::crypto::rustls::HandshakeData;
use rustls::pki_types::CertificateDer;
use tidewire_core::fanout::{Framing, SessionOptions};
use tidewire_protocol::{ClientFrame, Refusal};
use tokio::task::JoinSet;

use super::super::Place;
use super::super::connection::{self, CLOSE_TIMEOUT, Connection, Peer};
use super::super::hello::hello;
use super::super::requests::Requests;
use super::super::websocket::last_frame;
use super::super::{caller, hello as greeting};
use super::Arriving;
use super::frames::Frames;
use super::webtransport::{self, Opened, Way};
use crate::server::Core;

/// Certificates as rustls hands them on.
type Chain = Vec<CertificateDer<'static>>;

/// Serves one connection.
pub(in crate::transport) async fn serve(core: Rc<Core>, arriving: Arriving, place: Place) {
    let wait = Duration::from_millis(core.shared.config.handshake_timeout_ms);
    core.handshakes.set(core.handshakes.get() + 1);
    let greeted = tokio::time::timeout(wait, greet(&core, arriving, place.peer())).await;
    core.handshakes.set(core.handshakes.get() - 1);
    let Ok(Some(greeted)) = greeted else { return };
    // The stream whose end is that of a session is held to the last: given up earlier, it would end the session
    // before the browser has read why.
    let Greeted { way, control, requests, mut ends, welcome, peer } = greeted;
    let options = SessionOptions { framing: Framing::LengthPrefixed, datagrams: welcome.datagrams };
    let id = core.open(options);
    let outlet = super::Outlet::new(way.clone(), control);
    let connection =
        Connection::new(&core, id, connection::Outlet::Quic(outlet), (peer, welcome.moves));
    core.dispatcher.borrow_mut().send(id, 0, &welcome.frame(&core, id));
    core.admit(&connection, welcome.admission);
    core.changed();
    let refusal = tokio::select! {
        end = read_all(&core, &connection, &way, requests) => end,
        refusal = connection.ended() => Some(refusal),
        () = session_ended(ends.as_mut()) => None,
    };
    // The session is over; the connection counts until its last words are on their way, so that a
    // server that stops waits for them.
    core.dispatcher.borrow_mut().close(id);
    core.changed();
    end(&core, &connection, &way, refusal, ends.as_mut()).await;
    let path = way.quic.stats().path;
    tracing::debug!(
        mtu_bytes = path.current_mtu,
        rtt_us = u64::try_from(path.rtt.as_micros()).unwrap_or(u64::MAX),
        window_bytes = path.cwnd,
        packets = path.sent_packets,
        lost_packets = path.lost_packets,
        black_holes = path.black_holes_detected,
        "a QUIC connection ended"
    );
    // Lets the connection's driver send the close.
    tokio::task::yield_now().await;
    core.close(id);
}

/// Says why the server ends the connection, if it does, and closes it.
async fn end(
    core: &Core,
    connection: &Connection,
    way: &Way,
    refusal: Option<Refusal>,
    ends: Option<&mut RecvStream>,
) {
    let Some(refusal) = refusal else { return way.close(0, "", ends).await };
    if let connection::Outlet::Quic(outlet) = &mut *connection.outlet.borrow_mut() {
        outlet.say(&last_frame(&refusal));
    }
    let written = std::future::poll_fn(|cx| match &mut *connection.outlet.borrow_mut() {
        connection::Outlet::Quic(outlet) => outlet.flush(core, connection.id, cx),
        connection::Outlet::Web(_) | connection::Outlet::Http(_) => std::task::Poll::Ready(Ok(())),
    });
    let said = async {
        written.await?;
        // The close would overtake what the client has not acknowledged.
        let received = match &*connection.outlet.borrow() {
            connection::Outlet::Quic(outlet) => outlet.control_received(),
            connection::Outlet::Web(_) | connection::Outlet::Http(_) => None,
        };
        if let Some(received) = received {
            received.await;
        }
        std::io::Result::Ok(())
    };
    drop(tokio::time::timeout(CLOSE_TIMEOUT, said).await);
    way.close(u32::from(refusal.code.number()), &refusal.message, ends).await;
}

/// Completes when the client ends its WebTransport session, if there is one.
async fn session_ended(ends: Option<&mut RecvStream>) {
    match ends {
        Some(ends) => webtransport::ended(ends).await,
        None => std::future::pending().await,
    }
}

struct Greeted {
    way: Way,
    control: quinn::SendStream,
    requests: Frames,
    /// The stream whose end is that of a WebTransport session.
    ends: Option<RecvStream>,
    welcome: greeting::Welcome,
    peer: Peer,
}

/// Handshake, control stream, HELLO.
async fn greet(core: &Core, arriving: Arriving, address: IpAddr) -> Option<Greeted> {
    let Arriving { incoming, server, roots } = arriving;
    let quic = incoming.accept_with(server).ok()?.await.ok()?;
    let shown = quic.peer_identity().and_then(|shown| shown.downcast::<Chain>().ok());
    let certificate = caller::certificate(shown.as_deref().map(Vec::as_slice), roots).ok()?;
    let is_http = protocol_of(&quic).is_some_and(|protocol| protocol == webtransport::ALPN);
    let (way, mut ends, transport) = match is_http {
        true => {
            let Opened { way, ends } = webtransport::open(core, quic).await?;
            (way, Some(ends), "webtransport")
        }
        false => (Way::plain(quic), None, "quic"),
    };
    let peer = Peer { address, transport, certificate };
    let (mut control, requests) = way.quic.accept_bi().await.ok()?;
    let frame_bytes_max = core.shared.config.limits.max_frame_bytes;
    let mut requests = Frames::new(requests, way.session_id(), frame_bytes_max);
    let greeting = match requests.next().await {
        Ok(Some(frame)) => hello(core, &ClientFrame::decode(&frame), true, &peer).await,
        Ok(None) => return None,
        Err(refusal) => Err(refusal),
    };
    match greeting {
        Ok(welcome) => Some(Greeted { way, control, requests, ends, welcome, peer }),
        Err(refusal) => {
            let frame = last_frame(&refusal);
            let prefix = tidewire_protocol::frame::length_prefix(frame.len());
            drop(control.write_all(&[&prefix, frame.as_slice()].concat()).await);
            drop(control.finish());
            drop(tokio::time::timeout(CLOSE_TIMEOUT, control.stopped()).await);
            way.close(u32::from(refusal.code.number()), &refusal.message, ends.as_mut()).await;
            None
        }
    }
}

/// The application protocol that was agreed.
fn protocol_of(quic: &quinn::Connection) -> Option<Vec<u8>> {
    let data = quic.handshake_data()?.downcast::<HandshakeData>().ok()?;
    data.protocol
}

/// Reads the control stream and further request streams until the connection ends.
async fn read_all(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    way: &Way,
    control: Frames,
) -> Option<Refusal> {
    let mut readers = JoinSet::new();
    readers.spawn_local(read(Rc::clone(core), Rc::clone(connection), 0, control));
    let mut next_stream = 1;
    loop {
        tokio::select! {
            opened = way.quic.accept_bi() => {
                let Ok((send, recv)) = opened else { return None };
                let frame_bytes_max = core.shared.config.limits.max_frame_bytes;
                let frames = Frames::new(recv, way.session_id(), frame_bytes_max);
                if let connection::Outlet::Quic(outlet) = &mut *connection.outlet.borrow_mut() {
                    outlet.add_stream(next_stream, send);
                }
                readers.spawn_local(read(Rc::clone(core), Rc::clone(connection), next_stream, frames));
                next_stream = next_stream.wrapping_add(1).max(1);
            }
            ended = readers.join_next() => {
                match ended {
                    Some(Ok((_, Some(refusal)))) => return Some(refusal),
                    // The control stream has ended, and with it the connection.
                    None | Some(Ok((0, None)) | Err(_)) => return None,
                    Some(Ok((stream, None))) => {
                        if let connection::Outlet::Quic(outlet) =
                            &mut *connection.outlet.borrow_mut()
                        {
                            outlet.end_stream(stream);
                        }
                        core.woken.push(connection.id);
                    }
                }
            }
        }
    }
}

/// Reads the frames of one stream; returns why the connection must end, if it must.
async fn read(
    core: Rc<Core>,
    connection: Rc<Connection>,
    stream: u16,
    mut frames: Frames,
) -> (u16, Option<Refusal>) {
    let mut requests = Requests::default();
    loop {
        let now_ms = core.now_ms();
        core.dispatcher.borrow_mut().heard(connection.id(), now_ms);
        let mut turn = connection.turn();
        turn.begin(&core.turns, now_ms).await;
        let broken = loop {
            match frames.cut() {
                Ok(Some(frame)) => {
                    requests.take(&core, &connection, &mut turn, stream, &frame).await;
                }
                Ok(None) => break None,
                Err(refusal) => break Some(refusal),
            }
        };
        requests.pass_on(&core, &mut turn).await;
        turn.end().await;
        if broken.is_some() {
            return (stream, broken);
        }
        match frames.more().await {
            Ok(true) => {}
            Ok(false) => return (stream, None),
            Err(refusal) => return (stream, Some(refusal)),
        }
    }
}
