//! More connections than there is room for, and pings from somebody who never says HELLO.

use tidewire_client::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::daemon::{Daemon, PATIENCE, Via};

const PLACES: usize = 3;

#[tokio::test]
async fn a_burst_gets_no_more_places_than_there_are() {
    let daemon = Daemon::start(&format!("[limits]\nconnections_max = {PLACES}"));
    let mut sockets = Vec::new();
    for _ in 0..4 * PLACES {
        sockets.push(TcpStream::connect(daemon.address()).await.unwrap());
    }
    // Nobody has sent anything, so whoever is told the end now has got no place.
    for socket in sockets.drain(PLACES..) {
        assert!(is_closed(socket).await);
    }
    // Places are given back by those who leave, and a whole connection is one.
    drop(sockets);
    let clients = [connected(&daemon).await, connected(&daemon).await, connected(&daemon).await];
    assert!(is_closed(connect(&daemon).await).await);
    drop(clients);
    drop(connected(&daemon).await);
}

async fn connect(daemon: &Daemon) -> TcpStream {
    TcpStream::connect(daemon.address()).await.unwrap()
}

async fn is_closed(mut socket: TcpStream) -> bool {
    let mut nothing = [0; 1];
    matches!(timeout(PATIENCE, socket.read(&mut nothing)).await.unwrap(), Ok(0) | Err(_))
}

/// A client, once the server has noticed that those before it are gone.
async fn connected(daemon: &Daemon) -> Client {
    let attempts = async {
        loop {
            match Client::builder(&daemon.url(Via::Ws)).unwrap().connect().await {
                Ok(client) => return client,
                Err(_no_place) => tokio::task::yield_now().await,
            }
        }
    };
    timeout(PATIENCE, attempts).await.unwrap()
}

#[tokio::test]
async fn pings_before_hello_are_bounded() {
    let daemon = Daemon::start("handshake_timeout_ms = 60000");
    let mut socket = connect(&daemon).await;
    let request = "GET /v1/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: tidewire.v1\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    // A ping of 125 bytes under the mask of zeros; a thousand of them are more than may wait.
    let ping = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[b'p'; 125]].concat();
    let pings = async {
        for _ in 0..100_000 {
            if socket.write_all(&ping).await.is_err() {
                return true;
            }
        }
        false
    };
    assert!(timeout(PATIENCE, pings).await.unwrap(), "the server ends it");
}
