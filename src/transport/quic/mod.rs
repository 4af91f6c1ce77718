//! QUIC: a control stream, more request streams, a stream per subscription, datagrams for cells; and the same
//! within a session of WebTransport.

mod frames;
mod outlet;
mod serving;
mod webtransport;

pub(super) use outlet::Outlet;
pub(super) use serving::serve;
pub(super) use webtransport::ALPN as WEBTRANSPORT_ALPN;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use quinn::{
    AckFrequencyConfig, Endpoint, EndpointConfig, Incoming, MtuDiscoveryConfig, TransportConfig,
    VarInt,
};
use quinn_proto::HashedConnectionIdGenerator;
use tokio::sync::mpsc;

use super::Arrival;
use super::connection::CLOSE_TIMEOUT;
use crate::config::Config;
use crate::server::Core;

/// Request streams of one connection, the control stream included, and the one of a WebTransport session.
const REQUEST_STREAMS_MAX: u32 = 18;
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
/// Unknown connections are reset one each so long: thousands of clients of a server that was started again find out
/// within a second. A reset is smaller than what it answers, and only ids that the key has made are answered.
const RESET_INTERVAL: Duration = Duration::from_micros(100);
/// Packets of data that a client may acknowledge together.
const PACKETS_PER_ACK: u32 = 16;
/// How long a client may keep an acknowledgement back. Where little is sent, a lost packet is noticed that late.
const ACK_DELAY_MAX: Duration = Duration::from_millis(5);
/// Packets behind a hole after which a client says so at once.
const REORDERED_PACKETS: u32 = 1;

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
    let endpoint = endpoint_config(&core);
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

/// Connections of a server that was killed are told so by the one that is started in its place, when they send
/// something (RFC 9000, section 10.3): it recognises their ids, and proves that it is the same. Nodes of a cluster may
/// share a key and may not prove that for each other (section 21.11).
fn endpoint_config(core: &Core) -> EndpointConfig {
    let (tls, node) = (&core.shared.tls, &core.shared.config.node);
    let reset = tls.secret_for(&format!("reset of {node}"));
    let mut ids = [0; 8];
    for (to, from) in ids.iter_mut().zip(tls.secret_for(&format!("ids of {node}"))) {
        *to = from;
    }
    let ids = u64::from_le_bytes(ids);
    let reset = hmac::Key::new(hmac::HMAC_SHA256, &reset);
    let mut endpoint = EndpointConfig::new(Arc::new(reset));
    endpoint.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    endpoint.min_reset_interval(RESET_INTERVAL);
    endpoint
}

fn server_config(
    config: &Config,
    crypto: Arc<quinn::crypto::rustls::QuicServerConfig>,
) -> quinn::ServerConfig {
    let mut transport = TransportConfig::default();
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.black_hole_cooldown(MTU_RETRY);
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(PACKETS_PER_ACK.into())
        .max_ack_delay(Some(ACK_DELAY_MAX))
        .reordering_threshold(REORDERED_PACKETS.into());
    transport
        .initial_mtu(config.quic.min_packet_bytes)
        .min_mtu(config.quic.min_packet_bytes)
        .mtu_discovery_config(Some(mtu))
        .ack_frequency_config(Some(acks))
        .max_concurrent_bidi_streams(REQUEST_STREAMS_MAX.into())
        .max_concurrent_uni_streams(webtransport::OWN_STREAMS.into())
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
