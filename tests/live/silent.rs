//! A client that falls silent is pinged, and given up when it stays silent.

use std::io::{ErrorKind, Write as _};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tidewire_client::protocol::frame::split_first;
use tidewire_client::{ClientFrame, ErrorCode, ServerFrame};
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, Message};

use crate::daemon::{Daemon, PATIENCE, Via};

#[tokio::test]
async fn a_silent_client_is_pinged_and_then_given_up_with_the_reason() {
    let daemon = Daemon::start("heartbeat_ms = 200");
    let (mut socket, _) = ClientBuilder::new()
        .uri(&format!("{}/v1/ws", daemon.url(Via::Ws)))
        .unwrap()
        .add_header(
            http::header::SEC_WEBSOCKET_PROTOCOL,
            http::HeaderValue::from_static("tidewire.v1"),
        )
        .unwrap()
        .connect()
        .await
        .unwrap();
    let hello = ClientFrame::Hello { version: 1, capabilities: vec![], token: None, client: None };
    let mut bytes = Vec::new();
    hello.encode(&mut bytes);
    socket.send(Message::binary(Bytes::from(bytes))).await.unwrap();
    let (mut pinged, mut reason) = (false, None);
    loop {
        let message = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        if let Some((status, _)) = message.as_close() {
            assert_eq!(u16::from(status), 4000 + ErrorCode::IdleTimeout.number());
            break;
        }
        let mut rest: Bytes = message.into_payload().into();
        while !rest.is_empty() {
            match ServerFrame::decode(&split_first(&mut rest).unwrap()).unwrap() {
                ServerFrame::Ping { .. } => pinged = true,
                ServerFrame::Error { code, .. } => reason = Some(code),
                other => assert!(matches!(other, ServerFrame::Welcome { .. }), "{other:?}"),
            }
        }
    }
    assert!(pinged, "it is asked before it is given up");
    assert_eq!(reason, Some(u64::from(ErrorCode::IdleTimeout.number())));
}

#[tokio::test]
async fn a_client_that_never_says_hello_is_dropped() {
    let daemon = Daemon::start("handshake_timeout_ms = 200");
    let mut socket = tokio::net::TcpStream::connect(daemon.address()).await.unwrap();
    let mut nothing = [0; 1];
    let read = tokio::io::AsyncReadExt::read(&mut socket, &mut nothing);
    assert!(matches!(timeout(PATIENCE, read).await.unwrap(), Ok(0) | Err(_)));
}

#[test]
fn who_asks_the_admin_listener_and_does_not_read_is_given_up() {
    let daemon = Daemon::start("handshake_timeout_ms = 100");
    let mut socket = std::net::TcpStream::connect(&daemon.admin).unwrap();
    socket.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let asked = Instant::now();
    // More answers than there is room for between the two.
    let request = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".repeat(1_000);
    let mut waits = false;
    loop {
        match socket.write(&request) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                waits = true;
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
                break;
            }
        }
        assert!(asked.elapsed() < PATIENCE, "it is not given up");
    }
    assert!(waits, "the answers have found room");
    assert!(daemon.get("/healthz").starts_with("HTTP/1.1 200"));
}
