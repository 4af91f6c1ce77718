//! Several servers that serve the same names: where a client goes when one of them is gone.

use tidewire_client::{Client, ConnectionState, Error};
use tokio::net::TcpListener;

use crate::fake_server::{FakeServer, error, wait_for, welcome, within};

/// A URL where nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("ws://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn the_first_that_answers_is_taken() {
    let server = FakeServer::listen().await;
    let builder = Client::builder(&nobody().await).unwrap().also(&server.url()).unwrap();
    let (client, _peer) = within(async { tokio::join!(builder.connect(), server.accept()) }).await;
    assert_eq!(client.unwrap().server_info().server, "fake/1");
}

#[tokio::test]
async fn when_nobody_answers_the_first_failure_is_told() {
    let (first, second) = (nobody().await, nobody().await);
    let builder = Client::builder(&first).unwrap().also(&second).unwrap();
    let failure = within(builder.connect()).await.unwrap_err();
    assert!(matches!(&failure, Error::Connect { url, .. } if *url == first), "{failure}");
}

#[tokio::test]
async fn another_server_is_gone_to_when_one_is_lost() {
    let (one, other) = (FakeServer::listen().await, FakeServer::listen().await);
    let builder = Client::builder(&one.url()).unwrap().also(&other.url()).unwrap();
    let builder = builder.reconnect_delay_ms(1, 20);
    let (client, peer) = within(async { tokio::join!(builder.connect(), one.accept()) }).await;
    let client = client.unwrap();
    drop(peer);
    let peer = other.accept().await;
    wait_for(&client, |state| matches!(state, ConnectionState::Connected { .. })).await;
    drop((peer, other));
    // Nobody listens there any more, so the first one it is again.
    drop(one.accept().await);
}

#[tokio::test]
async fn servers_that_one_has_told_of_are_gone_to() {
    let (mut one, other) = (FakeServer::listen().await, FakeServer::listen().await);
    one.info.nodes = vec![nobody().await, other.url()];
    let builder = Client::builder(&one.url()).unwrap().reconnect_delay_ms(1, 20);
    let (client, peer) = within(async { tokio::join!(builder.connect(), one.accept()) }).await;
    drop((peer, one));
    let _peer = other.accept().await;
    wait_for(&client.unwrap(), |state| matches!(state, ConnectionState::Connected { .. })).await;
}

#[tokio::test]
async fn a_refusal_is_final_when_all_servers_refuse() {
    let (one, other) = (FakeServer::listen().await, FakeServer::listen().await);
    let builder = Client::builder(&one.url()).unwrap().also(&other.url()).unwrap();
    let builder = builder.reconnect_delay_ms(1, 20);
    let (client, peer) = within(async { tokio::join!(builder.connect(), one.accept()) }).await;
    let client = client.unwrap();
    drop(peer);
    let mut peer = other.accept_silently().await;
    peer.send(&[error(0, 12, "token expired")]).await;
    // The other one may know better.
    let mut peer = one.accept_silently().await;
    peer.send(&[welcome(one.info.clone())]).await;
    wait_for(&client, |state| matches!(state, ConnectionState::Connected { .. })).await;
    drop(peer);
    for server in [&other, &one] {
        let mut peer = server.accept_silently().await;
        peer.send(&[error(0, 12, "token expired")]).await;
    }
    wait_for(&client, |state| match state {
        ConnectionState::Failed { reason } => reason.contains("token expired"),
        _ => false,
    })
    .await;
}
