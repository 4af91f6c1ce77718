//! What stands between clients and a server, as a load balancer does, and loses all of its connections at once.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Connections that the system holds for it; more wait for their client to ask again, a second later.
const BACKLOG: u32 = 65_535;
/// Pause after a failed accept (descriptors may have run out).
const PAUSE: Duration = Duration::from_millis(20);

/// A relay. Dropping it ends its connections.
pub(super) struct Relay {
    address: SocketAddr,
    cuts: watch::Sender<u64>,
    _accepting: AbortOnDropHandle<()>,
}

impl Relay {
    /// Begins to take connections, each of which goes on to the server.
    pub(super) async fn start(server: SocketAddr) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("the relay cannot listen: {error}");
        let socket = TcpSocket::new_v4().map_err(failed)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).map_err(failed)?;
        let listener = socket.listen(BACKLOG).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (cuts, _) = watch::channel(0);
        let accepting = tokio::spawn(accept(listener, server, cuts.clone()));
        Ok(Self { address, cuts, _accepting: AbortOnDropHandle::new(accepting) })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets all connections that there are.
    pub(super) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, cuts: watch::Sender<u64>) {
    loop {
        match listener.accept().await {
            // It ends with either side, or with the cut.
            Ok((client, _)) => drop(tokio::spawn(relay(client, server, cuts.subscribe()))),
            Err(error) => {
                tracing::warn!(%error, "the relay cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn relay(mut client: TcpStream, server: SocketAddr, mut cuts: watch::Receiver<u64>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    for side in [&client, &server] {
        drop(side.set_nodelay(true));
        // Closing is resetting.
        drop(SockRef::from(side).set_linger(Some(Duration::ZERO)));
    }
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = cuts.changed() => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_is_cut_is_reset_on_both_sides_and_the_next_one_is_taken() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let relay = Relay::start(listener.local_addr().unwrap()).await.unwrap();
        for _ in 0..2 {
            let mut client = TcpStream::connect(relay.address()).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            client.write_all(b"x").await.unwrap();
            assert_eq!(server.read_u8().await.unwrap(), b'x');
            relay.cut();
            for side in [&mut client, &mut server] {
                let read = timeout(PATIENCE, side.read_u8()).await.unwrap();
                assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
            }
        }
    }
}
