//! Listening sockets, and the hand-over of accepted connections to cores.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::Arrival;
use crate::config::Config;
use crate::server::{Shared, StartError};

/// Pause after a failed accept (descriptors may have run out).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Attempts to find a port that is free for TCP and UDP alike.
const PORT_ATTEMPTS_MAX: usize = 20;

/// The sockets of a server.
pub(crate) struct Listeners {
    pub(crate) tcp: TcpListener,
    pub(crate) udp: std::net::UdpSocket,
    pub(crate) admin: TcpListener,
    pub(crate) address: SocketAddr,
    pub(crate) admin_address: SocketAddr,
}

/// Binds TCP and UDP on the same port, and the admin listener.
pub(crate) async fn bind(config: &Config) -> Result<Listeners, StartError> {
    let (tcp, udp, address) = bind_pair(config.listen).await?;
    let admin = bind_tcp(config.admin_listen, "admin").await?;
    let admin_address = admin.local_addr().map_err(|source| StartError::Listen {
        address: config.admin_listen,
        what: "admin",
        source,
    })?;
    Ok(Listeners { tcp, udp, admin, address, admin_address })
}

async fn bind_pair(
    wanted: SocketAddr,
) -> Result<(TcpListener, std::net::UdpSocket, SocketAddr), StartError> {
    let mut attempts = 0;
    loop {
        let tcp = bind_tcp(wanted, "TCP").await?;
        let refuse = |source| StartError::Listen { address: wanted, what: "TCP", source };
        let address = tcp.local_addr().map_err(refuse)?;
        match std::net::UdpSocket::bind(address) {
            Ok(udp) => return Ok((tcp, udp, address)),
            // The system chose a TCP port whose UDP twin is taken: let it choose another.
            Err(_taken) if wanted.port() == 0 && attempts < PORT_ATTEMPTS_MAX => attempts += 1,
            Err(source) => return Err(StartError::Listen { address, what: "UDP", source }),
        }
    }
}

async fn bind_tcp(address: SocketAddr, what: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, what, source })
}

/// Accepts TCP connections and hands them to the cores in turn.
pub(crate) async fn accept_tcp(
    shared: Arc<Shared>,
    listener: TcpListener,
    cores: Vec<mpsc::Sender<Arrival>>,
) {
    for core in cores.iter().cycle() {
        let (stream, peer) = loop {
            match listener.accept().await {
                Ok(accepted) => break accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        // Whose connection it is, a proxy has yet to say.
        let place = match shared.proxies.speaks_for_others(peer.ip()) {
            true => shared.places.take_for_another(peer.ip()),
            false => shared.places.take(peer.ip()),
        };
        let (Some(place), false) = (place, shared.draining.load(Ordering::Relaxed)) else {
            // Closing at once tells the client to try elsewhere or later.
            continue;
        };
        drop(stream.set_nodelay(true));
        if let Ok(stream) = stream.into_std() {
            drop(core.send(Arrival::Tcp(stream, place)).await);
        }
    }
}
