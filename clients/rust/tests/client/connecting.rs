//! The first connection, its end, and its errors.

use std::time::Instant;

use tidewire_client::{Client, ConnectionState, Error, ErrorCode, Transport, Trust};
use tokio::net::TcpListener;

use crate::fake_server::{FakeServer, error, ok, wait_for, within};
use tidewire_client::{ClientFrame, Name};

#[tokio::test]
async fn a_connection_tells_session_and_transport() {
    let server = FakeServer::listen().await;
    let (client, _peer) = server.pair().await;
    let state = client.states().borrow().clone();
    let (session, transport) = ("c-1".to_owned(), Transport::WebSocket);
    assert_eq!(state, ConnectionState::Connected { session, transport });
    assert_eq!(client.server_info().server, "fake/1");
}

#[tokio::test]
async fn a_closed_port_fails_at_once_and_the_message_names_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let started = Instant::now();
    let failure = Client::builder(&format!("ws://{address}")).unwrap().connect().await.unwrap_err();
    assert!(started.elapsed().as_secs() < 2);
    assert!(failure.is_retryable());
    let message = failure.to_string();
    assert!(message.contains(&address.to_string()), "{message}");
    assert!(message.contains("Connection refused"), "{message}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let server = FakeServer::listen().await;
    let builder = Client::builder(&server.url()).unwrap().connect_timeout_ms(100);
    let (failure, _peer) =
        within(async { tokio::join!(builder.connect(), server.accept_silently()) }).await;
    let message = failure.unwrap_err().to_string();
    assert!(message.contains("no answer within 100 ms"), "{message}");
}

#[tokio::test]
async fn a_refused_hello_carries_the_servers_words() {
    let server = FakeServer::listen().await;
    let builder = Client::builder(&server.url()).unwrap();
    let refuse = async {
        let mut peer = server.accept_silently().await;
        peer.send(&[error(0, 12, "token expired: get a new one")]).await;
        peer
    };
    let (outcome, _peer) = within(async { tokio::join!(builder.connect(), refuse) }).await;
    let failure = outcome.unwrap_err();
    assert_eq!(failure.refusal().unwrap().code, ErrorCode::Unauthenticated);
    assert_eq!(failure.to_string(), "token expired: get a new one (unauthenticated)");
    assert!(!failure.is_retryable());
}

#[tokio::test]
async fn what_is_no_websocket_server_is_said_to_be_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let answer = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let page = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut tcp, page).await.unwrap();
        tcp
    };
    let builder = Client::builder(&url).unwrap();
    let (outcome, _tcp) = within(async { tokio::join!(builder.connect(), answer) }).await;
    let message = outcome.unwrap_err().to_string();
    assert!(message.contains("does not answer as a Tidewire server"), "{message}");
}

#[tokio::test]
async fn trust_without_encryption_is_refused() {
    let builder = Client::builder("ws://127.0.0.1:1").unwrap();
    let failure = builder.trust(Trust::Fingerprint([0; 32])).connect().await.unwrap_err();
    assert!(matches!(&failure, Error::Config(rule) if rule.contains("not encrypted")));
}

#[tokio::test]
async fn close_waits_for_what_is_unanswered() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let set = Name::parse("room").unwrap();
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.presence_leave(&set, "ann").await }
    });
    let ClientFrame::Presence { req, .. } = peer.next().await else { panic!("not a PRESENCE") };
    let closing = tokio::spawn(client.clone().close());
    peer.send(&[ok(req)]).await;
    peer.closed().await;
    within(closing).await.unwrap();
    assert_eq!(within(asking).await.unwrap(), Ok(()));
    assert_eq!(client.ping().await.unwrap_err(), Error::Closed);
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_connection() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    drop(client.clone());
    assert_eq!(peer.next_if_any().await, None);
    drop(client);
    peer.closed().await;
}

#[tokio::test]
async fn a_quiet_server_is_asked_for_a_sign_of_life_and_then_given_up() {
    let mut server = FakeServer::listen().await;
    server.info.heartbeat_ms = 100;
    let (client, mut peer) = server.pair().await;
    assert_eq!(peer.next().await, ClientFrame::Ping { nonce: 0 });
    wait_for(&client, |state| match state {
        ConnectionState::Disconnected { reason } => reason.contains("silent"),
        _ => false,
    })
    .await;
    let mut again = server.accept().await;
    wait_for(&client, |state| matches!(state, ConnectionState::Connected { .. })).await;
    assert_eq!(again.next().await, ClientFrame::Ping { nonce: 0 });
}

#[tokio::test]
async fn a_ping_of_the_server_is_answered() {
    let server = FakeServer::listen().await;
    let (_client, mut peer) = server.pair().await;
    peer.send(&[tidewire_client::ServerFrame::Ping { nonce: 7 }]).await;
    assert_eq!(peer.next().await, ClientFrame::Pong { nonce: 7 });
}

#[tokio::test]
async fn who_does_not_fail_fast_tries_on_until_a_server_answers_or_leaves_no_hope() {
    let server = FakeServer::listen().await;
    let patient = || {
        let builder = Client::builder(&server.url()).unwrap().reconnect_delay_ms(1, 20);
        builder.fail_fast(false).connect()
    };
    let serve = async {
        for _ in 0..3 {
            drop(server.accept_silently().await);
        }
        server.accept().await
    };
    let (client, _peer) = within(async { tokio::join!(patient(), serve) }).await;
    assert!(matches!(client.unwrap().state(), ConnectionState::Connected { .. }));
    let refuse = async {
        let mut peer = server.accept_silently().await;
        peer.send(&[error(0, 12, "the token is none")]).await;
        peer
    };
    let (refused, _peer) = within(async { tokio::join!(patient(), refuse) }).await;
    assert_eq!(refused.unwrap_err().code(), "unauthenticated");
}
