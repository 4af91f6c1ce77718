//! What goes on after a cut, and what does not.

use std::time::Duration;

use tidewire_client::{
    Choice, Client, ClientFrame, ConnectionState, CounterOp, CounterOptions, Error, Name,
    Numbering, ServerFrame,
};

use crate::fake_server::{FakeServer, error, goaway, voted, wait_for, within};

fn name(raw: &str) -> Name {
    Name::parse(raw).unwrap()
}

#[tokio::test]
async fn a_ballot_in_flight_is_sent_again() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let choices = vec![Choice::Name("A".into())];
    let vote = client.start_vote(&name("t"), "ann", choices.clone(), Some(3)).await.unwrap();
    let first = peer.next().await;
    drop(peer);
    let mut peer = server.accept().await;
    let again = peer.next().await;
    assert_eq!(again, first, "the same ballot");
    let ClientFrame::Vote { req, .. } = again else { panic!() };
    peer.send(&[voted(req, 5)]).await;
    assert_eq!(within(vote).await.unwrap().version, 5);
    assert_eq!(peer.next_if_any().await, None);
}

#[tokio::test]
async fn an_increment_is_sent_again_only_if_it_has_an_id() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let likes = name("likes");
    let with_id = CounterOptions { id: Some("once".into()), ..CounterOptions::default() };
    let plain = client.start_counter(&likes, CounterOp::Add, 1, CounterOptions::default());
    let plain = plain.await.unwrap();
    let once = client.start_counter(&likes, CounterOp::Add, 1, with_id).await.unwrap();
    peer.next().await;
    peer.next().await;
    drop(peer);
    assert!(matches!(within(plain).await, Err(Error::ConnectionLost { .. })));
    let mut peer = server.accept().await;
    let ClientFrame::Incr { req, options, .. } = peer.next().await else { panic!() };
    assert_eq!(options.id.as_deref(), Some("once"));
    peer.send(&[ServerFrame::Counted {
        req,
        epoch: 1,
        version: 2,
        value: 1,
        applied: 1,
        duplicate: true,
        as_of: None,
    }])
    .await;
    assert!(within(once).await.unwrap().duplicate);
}

#[tokio::test]
async fn requests_made_while_disconnected_wait_for_the_connection() {
    let server = FakeServer::listen().await;
    let (client, peer) = server.pair().await;
    drop(peer);
    wait_for(&client, |state| !matches!(state, ConnectionState::Connected { .. })).await;
    let vote = tokio::spawn(async move { client.vote(&name("t"), "ann", vec![], None).await });
    let mut peer = server.accept().await;
    let ClientFrame::Vote { req, .. } = peer.next().await else { panic!() };
    peer.send(&[voted(req, 1)]).await;
    within(vote).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_waits_for_a_connection_only_so_long() {
    let server = FakeServer::listen().await;
    let builder = Client::builder(&server.url())
        .unwrap()
        .reconnect_delay_ms(60_000, 60_000)
        .offline_wait_ms(50);
    let (client, peer) = within(async { tokio::join!(builder.connect(), server.accept()) }).await;
    let client = client.unwrap();
    drop(peer);
    wait_for(&client, |state| matches!(state, ConnectionState::Disconnected { .. })).await;
    let failure = within(client.publish("news", "x")).await.unwrap_err();
    assert!(matches!(failure, Error::NotConnected { .. }));
    assert!(failure.is_retryable());
    within(client.close()).await;
}

#[tokio::test]
async fn without_reconnect_a_cut_is_the_end_and_says_why() {
    let server = FakeServer::listen().await;
    let builder = Client::builder(&server.url()).unwrap().reconnect(false);
    let (client, peer) = within(async { tokio::join!(builder.connect(), server.accept()) }).await;
    let client = client.unwrap();
    let mut peer = peer;
    peer.send(&[error(0, 1, "byte 0xc1 is not MessagePack")]).await;
    drop(peer);
    wait_for(&client, |state| match state {
        ConnectionState::Failed { reason } => reason.contains("byte 0xc1"),
        _ => false,
    })
    .await;
    let failure = client.publish("news", "x").await.unwrap_err();
    assert!(matches!(&failure, Error::Failed { reason } if reason.contains("byte 0xc1")));
}

#[tokio::test]
async fn a_refusal_on_reconnect_that_no_retry_can_mend_is_final() {
    let server = FakeServer::listen().await;
    let (client, peer) = server.pair().await;
    drop(peer);
    let mut peer = server.accept_silently().await;
    peer.send(&[error(0, 12, "token expired")]).await;
    wait_for(&client, |state| match state {
        ConnectionState::Failed { reason } => reason.contains("token expired"),
        _ => false,
    })
    .await;
}

#[tokio::test]
async fn goaway_lets_requests_finish_and_moves_on() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let vote = client.start_vote(&name("t"), "ann", vec![], None).await.unwrap();
    let ClientFrame::Vote { req, .. } = peer.next().await else { panic!() };
    peer.send(&[goaway(35, 5_000, &[])]).await;
    wait_for(&client, |state| match state {
        ConnectionState::Disconnected { reason } => reason.contains("drained"),
        _ => false,
    })
    .await;
    let late = tokio::spawn({
        let client = client.clone();
        async move { client.vote(&name("t"), "bob", vec![], None).await }
    });
    assert_eq!(peer.next_if_any().await, None, "nothing new goes to a server that goes away");
    peer.send(&[voted(req, 1)]).await;
    within(vote).await.unwrap();
    peer.closed().await;
    let mut peer = server.accept().await;
    let ClientFrame::Vote { req, voter, .. } = peer.next().await else { panic!() };
    assert_eq!(voter, "bob");
    peer.send(&[voted(req, 2)]).await;
    within(late).await.unwrap().unwrap();
}

#[tokio::test]
async fn goaway_waits_no_longer_than_the_grace() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    // Without an id it must not be repeated.
    let add = tokio::spawn(async move { client.incr(&name("clicks"), 1).await });
    peer.next().await;
    peer.send(&[goaway(35, 50, &[])]).await;
    let lost = tokio::time::timeout(Duration::from_secs(5), add).await.unwrap().unwrap();
    assert!(matches!(lost, Err(Error::ConnectionLost { .. })), "{lost:?}");
}

#[tokio::test]
async fn a_numbered_increment_says_where_it_was_tried() {
    let mut server = FakeServer::listen().await;
    server.info.actor = Some((1, 4));
    let (client, mut peer) = server.pair().await;
    let numbering = Numbering { producer: Some(7), sequence: Some(1), tried: Vec::new() };
    let options = CounterOptions { numbering: Some(numbering.into()), ..CounterOptions::default() };
    let counted = client.start_counter(&name("likes"), CounterOp::Add, 1, options).await.unwrap();
    let ClientFrame::Incr { options, .. } = peer.next().await else { panic!() };
    assert_eq!(options.numbering.unwrap().tried, []);
    drop(peer);
    server.info.actor = Some((2, 9));
    let mut peer = server.accept().await;
    let ClientFrame::Incr { options, .. } = peer.next().await else { panic!() };
    assert_eq!(options.numbering.unwrap().tried, [(1, 4)]);
    drop(peer);
    let mut peer = server.accept().await;
    let ClientFrame::Incr { req, options, .. } = peer.next().await else { panic!() };
    let numbering = options.numbering.unwrap();
    assert_eq!((numbering.producer, numbering.sequence), (Some(7), Some(1)));
    assert_eq!(numbering.tried, [(1, 4), (2, 9)]);
    let (epoch, version, value, applied) = (1, 2, 1, 1);
    let (duplicate, as_of) = (true, Some((1, 4, 3)));
    let frame = ServerFrame::Counted { req, epoch, version, value, applied, duplicate, as_of };
    peer.send(&[frame]).await;
    assert_eq!(within(counted).await.unwrap().as_of, Some((1, 4, 3)));
}
