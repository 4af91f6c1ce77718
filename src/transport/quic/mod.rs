//! QUIC: a control stream, more request streams, a stream per subscription, datagrams for cells.

mod frames;
mod outlet;

pub(super) use outlet::Outlet;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quinn::{
    AckFrequencyConfig, Endpoint, EndpointConfig, Incoming, MtuDiscoveryConfig, TransportConfig,
    VarInt,
};
use rustls::pki_types::CertificateDer;
use tidewire_core::fanout::{Framing, SessionOptions};
use tidewire_protocol::{ClientFrame, Refusal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::frames::Frames;
use super::caller;
use super::connection::{self, CLOSE_TIMEOUT, Connection, Peer};
use super::hello::hello;
use super::requests::Requests;
use super::websocket::last_frame;
use super::{Arrival, Place};
use crate::config::Config;
use crate::server::Core;

/// Request streams of one connection, the control stream included.
const REQUEST_STREAMS_MAX: u32 = 17;
/// Handshakes under way beyond which new clients must prove their address first.
const UNPROVEN_HANDSHAKES_MAX: usize = 64;
/// Bytes that one stream of requests may have under way.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024 + 64 * 1024;
/// Bytes that a connection may have under way, each direction.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// After full buffers were taken for a way that lost its large packets, those are tried again.
const MTU_RETRY: Duration = Duration::from_secs(5);
/// Memory of the UDP socket, as far as the system allows it: a burst that does not fit is lost.
const UDP_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Packets of data that a client may acknowledge together.
const PACKETS_PER_ACK: u32 = 16;

/// Certificates as rustls hands them on.
type Chain = Vec<CertificateDer<'static>>;

/// An incoming connection that nobody has answered yet, and what it is answered with.
pub(crate) struct Arriving {
    incoming: Incoming,
    server: Arc<quinn::ServerConfig>,
    /// The client CAs that go with it.
    roots: u64,
}

/// Serves the UDP socket and hands connections to the cores in turn.
pub(super) async fn accept(
    core: Rc<Core>,
    socket: std::net::UdpSocket,
    cores: Vec<mpsc::Sender<Arrival>>,
) {
    let runtime = Arc::new(quinn::TokioRuntime);
    let settings = core.shared.tls.settings();
    let (mut server, mut roots) =
        (Arc::new(server_config(&core.shared.config, Arc::clone(&settings.quic))), settings.roots);
    let endpoint = EndpointConfig::default();
    let buffers = socket2::SockRef::from(&socket);
    drop(buffers.set_recv_buffer_size(UDP_BUFFER_BYTES));
    drop(buffers.set_send_buffer_size(UDP_BUFFER_BYTES));
    let endpoint = match Endpoint::new(endpoint, Some((*server).clone()), socket, runtime) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            tracing::error!(%error, "QUIC is not served");
            return;
        }
    };
    for target in cores.iter().cycle() {
        let Some(incoming) = endpoint.accept().await else { return };
        // Anybody can send a packet in the name of another address.
        if core.shared.places.counts_addresses()
            && !incoming.remote_address_validated()
            && incoming.may_retry()
        {
            drop(incoming.retry());
            continue;
        }
        let place = core.shared.places.take(incoming.remote_address().ip());
        let draining = core.shared.draining.load(std::sync::atomic::Ordering::Relaxed);
        let (Some(place), false) = (place, draining) else {
            incoming.refuse();
            continue;
        };
        if core.handshakes.get() > UNPROVEN_HANDSHAKES_MAX && incoming.may_retry() {
            drop(incoming.retry());
            continue;
        }
        let settings = core.shared.tls.settings();
        if settings.roots != roots {
            let mut next = (*server).clone();
            next.crypto = Arc::clone(&settings.quic) as Arc<_>;
            server = Arc::new(next);
            roots = settings.roots;
        }
        let arriving = Arriving { incoming, server: Arc::clone(&server), roots };
        if target.send(Arrival::Quic(Box::new(arriving), place)).await.is_err() {
            return;
        }
    }
}

fn server_config(
    config: &Config,
    crypto: Arc<quinn::crypto::rustls::QuicServerConfig>,
) -> quinn::ServerConfig {
    let mut transport = TransportConfig::default();
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.black_hole_cooldown(MTU_RETRY);
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(PACKETS_PER_ACK.into());
    transport
        .initial_mtu(config.quic.min_packet_bytes)
        .min_mtu(config.quic.min_packet_bytes)
        .mtu_discovery_config(Some(mtu))
        .ack_frequency_config(Some(acks))
        .max_concurrent_bidi_streams(REQUEST_STREAMS_MAX.into())
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into())
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .datagram_receive_buffer_size(Some(64 * 1024))
        .datagram_send_buffer_size(256 * 1024)
        .max_idle_timeout(
            VarInt::try_from(config.heartbeat_ms.saturating_mul(3)).ok().map(Into::into),
        );
    let mut server = quinn::ServerConfig::with_crypto(crypto);
    server.transport_config(Arc::new(transport)).migration(false);
    server
}

/// Serves one connection.
pub(super) async fn serve(core: Rc<Core>, arriving: Arriving, place: Place) {
    let wait = Duration::from_millis(core.shared.config.handshake_timeout_ms);
    core.handshakes.set(core.handshakes.get() + 1);
    let greeted = tokio::time::timeout(wait, greet(&core, arriving, place.peer())).await;
    core.handshakes.set(core.handshakes.get() - 1);
    let Ok(Some(greeted)) = greeted else { return };
    let Greeted { quic, control, requests, welcome, peer } = greeted;
    let options = SessionOptions { framing: Framing::LengthPrefixed, datagrams: welcome.datagrams };
    let id = core.open(options);
    let outlet = Outlet::new(quic.clone(), control);
    let connection =
        Connection::new(&core, id, connection::Outlet::Quic(outlet), (peer, welcome.moves));
    core.dispatcher.borrow_mut().send(id, 0, &welcome.frame(&core, id));
    core.admit(&connection, welcome.admission);
    core.changed();
    let refusal = tokio::select! {
        end = read_all(&core, &connection, &quic, requests) => end,
        refusal = connection.ended() => Some(refusal),
    };
    // The session is over; the connection counts until its last words are on their way, so that a
    // server that stops waits for them.
    core.dispatcher.borrow_mut().close(id);
    core.changed();
    end(&core, &connection, &quic, refusal).await;
    let path = quic.stats().path;
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
    quic: &quinn::Connection,
    refusal: Option<Refusal>,
) {
    let Some(refusal) = refusal else { return quic.close(VarInt::from_u32(0), b"") };
    if let connection::Outlet::Quic(outlet) = &mut *connection.outlet.borrow_mut() {
        outlet.say(&last_frame(&refusal));
    }
    let written = std::future::poll_fn(|cx| match &mut *connection.outlet.borrow_mut() {
        connection::Outlet::Quic(outlet) => outlet.flush(core, connection.id, cx),
        connection::Outlet::Web(_) => std::task::Poll::Ready(Ok(())),
    });
    let said = async {
        written.await?;
        // The close would overtake what the client has not acknowledged.
        let received = match &*connection.outlet.borrow() {
            connection::Outlet::Quic(outlet) => outlet.control_received(),
            connection::Outlet::Web(_) => None,
        };
        if let Some(received) = received {
            received.await;
        }
        std::io::Result::Ok(())
    };
    drop(tokio::time::timeout(CLOSE_TIMEOUT, said).await);
    quic.close(VarInt::from_u32(u32::from(refusal.code.number())), refusal.message.as_bytes());
}

struct Greeted {
    quic: quinn::Connection,
    control: quinn::SendStream,
    requests: Frames,
    welcome: super::hello::Welcome,
    peer: Peer,
}

/// Handshake, control stream, HELLO.
async fn greet(core: &Core, arriving: Arriving, address: IpAddr) -> Option<Greeted> {
    let Arriving { incoming, server, roots } = arriving;
    let quic = incoming.accept_with(server).ok()?.await.ok()?;
    let shown = quic.peer_identity().and_then(|shown| shown.downcast::<Chain>().ok());
    let certificate = caller::certificate(shown.as_deref().map(Vec::as_slice), roots).ok()?;
    let peer = Peer { address, transport: "quic", certificate };
    let (mut control, requests) = quic.accept_bi().await.ok()?;
    let mut requests = Frames::new(requests, core.shared.config.limits.max_frame_bytes);
    let greeting = match requests.next().await {
        Ok(Some(frame)) => hello(core, &ClientFrame::decode(&frame), true, &peer).await,
        Ok(None) => return None,
        Err(refusal) => Err(refusal),
    };
    match greeting {
        Ok(welcome) => Some(Greeted { quic, control, requests, welcome, peer }),
        Err(refusal) => {
            let frame = last_frame(&refusal);
            let prefix = tidewire_protocol::frame::length_prefix(frame.len());
            drop(control.write_all(&[&prefix, frame.as_slice()].concat()).await);
            drop(control.finish());
            drop(tokio::time::timeout(CLOSE_TIMEOUT, control.stopped()).await);
            quic.close(
                VarInt::from_u32(u32::from(refusal.code.number())),
                refusal.message.as_bytes(),
            );
            None
        }
    }
}

/// Reads the control stream and further request streams until the connection ends.
async fn read_all(
    core: &Rc<Core>,
    connection: &Rc<Connection>,
    quic: &quinn::Connection,
    control: Frames,
) -> Option<Refusal> {
    let mut readers = JoinSet::new();
    readers.spawn_local(read(Rc::clone(core), Rc::clone(connection), 0, control));
    let mut next_stream = 1;
    loop {
        tokio::select! {
            opened = quic.accept_bi() => {
                let Ok((send, recv)) = opened else { return None };
                let frames = Frames::new(recv, core.shared.config.limits.max_frame_bytes);
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
