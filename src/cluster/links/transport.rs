//! How QUIC carries links.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use quinn::{ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig};
use quinn::{MtuDiscoveryConfig, VarInt};

use crate::cluster::credentials::Credentials;

/// Who is quiet is asked so often, and given up after so long.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
const IDLE_TIMEOUT_MS: u32 = 5_000;
/// Streams of one direction between two nodes: some for each shard.
const STREAMS_MAX: u32 = 1_024;
/// Bytes under way on a stream and on a link, each direction: links carry whole logs.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const LINK_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
/// Datagrams that wait; older ones go.
const DATAGRAM_BUFFER_BYTES: usize = 256 * 1024;
/// Handshakes that wait to be begun.
const INCOMING_MAX: usize = 256;
/// Memory of the UDP socket, as far as the system allows it.
const UDP_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// The endpoint of a node, and what it dials with.
pub(super) fn endpoint(
    credentials: &Credentials,
    socket: UdpSocket,
) -> std::io::Result<(Endpoint, ClientConfig)> {
    let transport = Arc::new(transport());
    let mut server = ServerConfig::with_crypto(Arc::clone(&credentials.server) as Arc<_>);
    server.transport_config(Arc::clone(&transport));
    server.max_incoming(INCOMING_MAX);
    // Nodes do not move while they are connected.
    server.migration(false);
    let mut client = ClientConfig::new(Arc::clone(&credentials.client) as Arc<_>);
    client.transport_config(transport);
    let buffers = socket2::SockRef::from(&socket);
    drop(buffers.set_recv_buffer_size(UDP_BUFFER_BYTES));
    drop(buffers.set_send_buffer_size(UDP_BUFFER_BYTES));
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(server), socket, runtime)?;
    Ok((endpoint, client))
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(LINK_WINDOW_BYTES))
        .send_window(u64::from(LINK_WINDOW_BYTES))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES)
        .mtu_discovery_config(Some(MtuDiscoveryConfig::default()))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))));
    transport
}
