//! Futures that are dropped half-way: nothing is lost by it, nothing leaks, and the connection lives.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tidewire_client::{
    CellKind, Client, ClientFrame, ConsumeOptions, Error, Name, Pattern, ServerFrame, Start,
    SubscribeOptions, WatchOptions,
};

use crate::fake_server::{FakeServer, Peer, ok, voted, wait_for, within};
use crate::subscriptions::{deliver, started};

fn name(raw: &str) -> Name {
    Name::parse(raw).unwrap()
}

/// Polls a future once, which is not to be ready, and drops it.
async fn begin_and_drop(future: impl Future) {
    let mut future = pin!(future);
    poll_fn(|context| {
        assert!(future.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

fn acknowledged(req: u64, offset: u64) -> ServerFrame {
    let (epoch, level) = (1, 1);
    ServerFrame::PubAck {
        req,
        epoch,
        offset: Some(offset),
        level,
        positions: None,
        duplicate: false,
    }
}

async fn next_publish(peer: &mut Peer) -> u64 {
    let frame = peer.next().await;
    let ClientFrame::Publish { req, .. } = frame else { panic!("{frame:?}") };
    req
}

/// Everything that the server allows (4 requests) is free, and nothing else is asked.
async fn room_is_free(client: &Client, peer: &mut Peer) {
    let mut sent = Vec::new();
    for voter in ["1", "2", "3", "4"] {
        sent.push(within(client.start_vote(&name("t"), voter, vec![], None)).await.unwrap());
    }
    for _ in 0..4 {
        let frame = peer.next().await;
        let ClientFrame::Vote { req, .. } = frame else { panic!("{frame:?}") };
        peer.send(&[voted(req, 1)]).await;
    }
    for vote in sent {
        within(vote).await.unwrap();
    }
}

#[tokio::test]
async fn a_publish_that_is_dropped_gives_its_room_back() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    for offset in 0..10 {
        let publish = client.publish("news", "x");
        let mut publish = Box::pin(publish);
        let req = tokio::select! {
            _ = &mut publish => panic!("nobody has answered"),
            req = next_publish(&mut peer) => req,
        };
        drop(publish);
        peer.send(&[acknowledged(req, offset)]).await;
    }
    room_is_free(&client, &mut peer).await;
}

#[tokio::test]
async fn a_publish_that_waits_for_room_and_is_dropped_was_never_sent() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let mut votes = Vec::new();
    for voter in ["1", "2", "3", "4"] {
        votes.push(client.start_vote(&name("t"), voter, vec![], None).await.unwrap());
    }
    for _ in 0..50 {
        begin_and_drop(client.publish("news", "never")).await;
    }
    for _ in 0..4 {
        let ClientFrame::Vote { req, .. } = peer.next().await else { panic!() };
        peer.send(&[voted(req, 1)]).await;
    }
    for vote in votes {
        within(vote).await.unwrap();
    }
    room_is_free(&client, &mut peer).await;
}

#[tokio::test]
async fn a_request_that_waits_for_a_connection_gives_its_place_back() {
    let server = FakeServer::listen().await;
    let builder = Client::builder(&server.url()).unwrap();
    let builder = builder.reconnect_delay_ms(1, 20).offline_requests_max(2);
    let (client, peer) = within(async { tokio::join!(builder.connect(), server.accept()) }).await;
    let client = client.unwrap();
    drop(peer);
    // The next connection is not welcomed yet, so there is none.
    let mut peer = server.accept_silently().await;
    for _ in 0..50 {
        begin_and_drop(client.publish("news", "never")).await;
    }
    let kept = [client.publish("news", "a"), client.publish("news", "b")];
    let [mut first, mut second] = kept.map(Box::pin);
    for waits in [&mut first, &mut second] {
        poll_fn(|context| {
            assert!(waits.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
    }
    let full = within(client.publish("news", "c")).await.unwrap_err();
    assert!(matches!(full, Error::NotConnected { .. }), "{full}");
    peer.send(&[crate::fake_server::welcome(server.info.clone())]).await;
    let answer = async {
        for offset in 0..2 {
            let req = next_publish(&mut peer).await;
            peer.send(&[acknowledged(req, offset)]).await;
        }
    };
    let (first, second, ()) = within(async { tokio::join!(first, second, answer) }).await;
    assert_eq!((first.unwrap().offset, second.unwrap().offset), (Some(0), Some(1)));
}

#[tokio::test]
async fn a_dropped_next_loses_no_record() {
    let server = FakeServer::listen().await;
    let (mut subscription, mut peer, sub) = started(&server, 100_000).await;
    for offset in 100..120 {
        begin_and_drop(subscription.next()).await;
        peer.send(&[deliver(sub, offset, &[b"x"])]).await;
        let event = within(subscription.next()).await.unwrap();
        let tidewire_client::SubscriptionEvent::Delivery(delivery) = event else { panic!() };
        assert_eq!(delivery.from, offset);
    }
}

#[tokio::test]
async fn what_is_dropped_while_it_opens_is_ended_on_the_server() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let (pattern, options) = (Pattern::parse("news").unwrap(), SubscribeOptions::default());
    begin_and_drop(client.subscribe(&pattern, Start::Latest, options)).await;
    let ClientFrame::Subscribe { req, sub, .. } = peer.next().await else { panic!() };
    assert_eq!(peer.next().await, ClientFrame::Unsubscribe { req: 0, sub });
    let (status, epoch, offset) = (0, 1, 0);
    let (missing, positions) = (None, None);
    let late = ServerFrame::Subscribed { req, sub, status, epoch, offset, missing, positions };
    peer.send(&[late, deliver(sub, 0, &[b"x"])]).await;
    begin_and_drop(client.watch(CellKind::Counter, &name("c"), WatchOptions::default())).await;
    let ClientFrame::Watch { req, sub, .. } = peer.next().await else { panic!() };
    assert_eq!(peer.next().await, ClientFrame::Unsubscribe { req: 0, sub });
    peer.send(&[ServerFrame::Watching { req, sub, epoch: 1, version: 0, info: None }]).await;
    begin_and_drop(client.consume(&name("t"), &name("g"), ConsumeOptions::default())).await;
    let ClientFrame::Consume { req, sub, .. } = peer.next().await else { panic!() };
    assert_eq!(peer.next().await, ClientFrame::Unsubscribe { req: 0, sub });
    peer.send(&[ok(req)]).await;
    room_is_free(&client, &mut peer).await;
}

#[tokio::test]
async fn a_dropped_connect_ends_its_attempt() {
    let server = FakeServer::listen().await;
    let connect = Client::builder(&server.url()).unwrap().connect();
    let mut connect = Box::pin(connect);
    let mut peer = tokio::select! {
        _ = &mut connect => panic!("nobody has said WELCOME"),
        peer = server.accept_silently() => peer,
    };
    drop(connect);
    peer.closed().await;
}

#[tokio::test]
async fn a_dropped_close_goes_on() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let other = client.clone();
    begin_and_drop(client.close()).await;
    peer.closed().await;
    wait_for(&other, |state| *state == tidewire_client::ConnectionState::Closed).await;
}

#[tokio::test]
async fn a_join_that_was_dropped_before_it_was_sent_is_none() {
    let server = FakeServer::listen().await;
    let (client, peer) = server.pair().await;
    drop(peer);
    let mut peer = server.accept_silently().await;
    let room = client.presence("room").unwrap();
    begin_and_drop(room.join("ann", "seat 4")).await;
    peer.send(&[crate::fake_server::welcome(server.info.clone())]).await;
    room_is_free(&client, &mut peer).await;
    // One that was sent counts, whoever waits for its answer.
    begin_and_drop(room.join("bob", "")).await;
    let ClientFrame::Presence { member, .. } = peer.next().await else { panic!() };
    assert_eq!(member, "bob");
    drop(peer);
    let mut peer = server.accept().await;
    let ClientFrame::Presence { member, .. } = peer.next().await else { panic!() };
    assert_eq!(member, "bob");
}
