//! Subscriptions: deliveries, gaps, credit, and going on after a cut.

use bytes::Bytes;
use tidewire_client::protocol::record::payload_body;
use tidewire_client::{
    BodyBuilder, ClientFrame, ConnectionState, ErrorCode, GapReason, Name, Pattern, Position,
    ServerFrame, Start, StartStatus, SubscribeOptions, Subscription, SubscriptionEvent,
};

use crate::fake_server::{FakeServer, Peer, error, wait_for, within};

fn pattern(raw: &str) -> Pattern {
    Pattern::parse(raw).unwrap()
}

fn subscribed(req: u64, sub: u32, status: u64, epoch: u64, offset: u64) -> ServerFrame {
    ServerFrame::Subscribed { req, sub, status, epoch, offset, missing: None, positions: None }
}

pub(crate) fn deliver(sub: u32, from: u64, payloads: &[&[u8]]) -> ServerFrame {
    let mut body = BodyBuilder::new();
    for payload in payloads {
        body.push(None, &[], Some(payload));
    }
    ServerFrame::Deliver {
        sub,
        topic: Name::parse("news").unwrap(),
        epoch: 7,
        from,
        next: from + payloads.len() as u64,
        time_ms: 1_000,
        position: None,
        offsets: None,
        body: body.finish(),
    }
}

/// The SUBSCRIBE of the client: request, subscription, start and credit.
async fn asked(peer: &mut Peer) -> (u64, u32, Start, u64) {
    match peer.next().await {
        ClientFrame::Subscribe { req, sub, start, options, .. } => {
            (req, sub, start, options.credit.unwrap())
        }
        other => panic!("a SUBSCRIBE expected: {other:?}"),
    }
}

/// A subscription to `news` from offset 100 in epoch 7, with this window.
pub(crate) async fn started(server: &FakeServer, window: u64) -> (Subscription, Peer, u32) {
    let (client, mut peer) = server.pair().await;
    let options = SubscribeOptions { credit: Some(window), ..SubscribeOptions::default() };
    let news = pattern("news");
    let (subscription, sub) =
        tokio::join!(client.subscribe(&news, Start::Latest, options), async {
            let (req, sub, start, credit) = asked(&mut peer).await;
            assert_eq!((start, credit), (Start::Latest, window));
            peer.send(&[subscribed(req, sub, 0, 7, 100)]).await;
            sub
        });
    let mut subscription = subscription.unwrap();
    let SubscriptionEvent::Started(info) = within(subscription.next()).await.unwrap() else {
        panic!("started first")
    };
    assert_eq!((info.status, info.epoch, info.offset), (StartStatus::Fresh, 7, 100));
    (subscription, peer, sub)
}

async fn payloads(subscription: &mut Subscription) -> Vec<(u64, Bytes)> {
    match within(subscription.next()).await.unwrap() {
        SubscriptionEvent::Delivery(delivery) => delivery
            .records()
            .map(|(offset, record)| (offset, Bytes::copy_from_slice(record.payload.unwrap())))
            .collect(),
        other => panic!("a delivery expected: {other:?}"),
    }
}

#[tokio::test]
async fn records_arrive_with_their_offsets() {
    let server = FakeServer::listen().await;
    let (mut subscription, mut peer, sub) = started(&server, 1_000).await;
    peer.send(&[deliver(sub, 100, &[b"a", b"b"])]).await;
    let ServerFrame::Deliver { topic, body, .. } = deliver(sub, 0, &[b"c", b"d"]) else { panic!() };
    peer.send(&[ServerFrame::Deliver {
        sub,
        topic,
        epoch: 7,
        from: 102,
        next: 110,
        time_ms: 1,
        position: None,
        offsets: Some(vec![1, 5]),
        body,
    }])
    .await;
    let first = payloads(&mut subscription).await;
    assert_eq!(first, [(100, Bytes::from("a")), (101, Bytes::from("b"))]);
    let second = payloads(&mut subscription).await;
    assert_eq!(second, [(103, Bytes::from("c")), (107, Bytes::from("d"))]);
}

#[tokio::test]
async fn a_refused_subscription_is_an_error() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let news = pattern("news");
    let options = SubscribeOptions::default();
    let (refused, ()) = tokio::join!(client.subscribe(&news, Start::Time(9), options), async {
        let (req, ..) = asked(&mut peer).await;
        peer.send(&[error(req, 26, "topic 'news' ends at 3")]).await;
    });
    let failure = refused.err().unwrap();
    assert_eq!(failure.to_string(), "topic 'news' ends at 3 (out_of_range)");
    assert_eq!(peer.next_if_any().await, None, "there is nothing to unsubscribe");
}

#[tokio::test]
async fn after_a_cut_it_goes_on_behind_the_last_record_and_tells_what_is_missing() {
    let server = FakeServer::listen().await;
    let (mut subscription, mut peer, sub) = started(&server, 1_000).await;
    peer.send(&[deliver(sub, 100, &[b"a", b"b"])]).await;
    payloads(&mut subscription).await;
    drop(peer);
    let mut peer = server.accept().await;
    let (req, sub, start, _) = asked(&mut peer).await;
    assert_eq!(start, Start::Offset { epoch: 7, offset: 102 });
    peer.send(&[
        ServerFrame::Subscribed {
            req,
            sub,
            status: 2,
            epoch: 7,
            offset: 110,
            missing: Some((102, 110)),
            positions: None,
        },
        deliver(sub, 110, &[b"k"]),
    ])
    .await;
    let SubscriptionEvent::Started(info) = within(subscription.next()).await.unwrap() else {
        panic!("started again")
    };
    assert_eq!((info.status, info.missing), (StartStatus::Gap, Some((102, 110))));
    assert_eq!(payloads(&mut subscription).await, [(110, Bytes::from("k"))]);
}

#[tokio::test]
async fn a_pattern_goes_on_at_its_positions() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let all = pattern("news.>");
    let options = SubscribeOptions::default();
    let (subscription, sub) = tokio::join!(client.subscribe(&all, Start::Latest, options), async {
        let (req, sub, ..) = asked(&mut peer).await;
        peer.send(&[ServerFrame::Subscribed {
            req,
            sub,
            status: 0,
            epoch: 0,
            offset: 0,
            missing: None,
            positions: Some(vec![Position(0, 7, 5), Position(1, 7, 9)]),
        }])
        .await;
        sub
    });
    let mut subscription = subscription.unwrap();
    peer.send(&[ServerFrame::Deliver {
        sub,
        topic: Name::parse("news.a").unwrap(),
        epoch: 7,
        from: 0,
        next: 1,
        time_ms: 1,
        position: Some(Position(1, 7, 10)),
        offsets: None,
        body: payload_body(b"x"),
    }])
    .await;
    within(subscription.next()).await.unwrap();
    within(subscription.next()).await.unwrap();
    drop(peer);
    let mut peer = server.accept().await;
    let (_, _, start, _) = asked(&mut peer).await;
    assert_eq!(start, Start::Positions(vec![Position(0, 7, 5), Position(1, 7, 10)]));
}

#[tokio::test]
async fn a_cut_before_the_answer_does_not_fail_the_subscription() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let subscribing = tokio::spawn(async move {
        let options = SubscribeOptions::default();
        client.subscribe(&pattern("news"), Start::Last(3), options).await
    });
    asked(&mut peer).await;
    drop(peer);
    let mut peer = server.accept().await;
    let (req, sub, start, _) = asked(&mut peer).await;
    assert_eq!(start, Start::Last(3));
    peer.send(&[subscribed(req, sub, 0, 7, 0)]).await;
    within(subscribing).await.unwrap().unwrap();
}

#[tokio::test]
async fn credit_is_topped_up_as_deliveries_are_taken() {
    let server = FakeServer::listen().await;
    let (mut subscription, mut peer, sub) = started(&server, 400).await;
    let block = [b'x'; 60];
    for number in 0..4 {
        peer.send(&[deliver(sub, 100 + number, &[&block])]).await;
    }
    assert_eq!(peer.next_if_any().await, None, "nothing was taken yet");
    let size = payload_body(&block).len() as u64;
    payloads(&mut subscription).await;
    assert_eq!(peer.next_if_any().await, None, "less than a quarter of the window was taken");
    payloads(&mut subscription).await;
    assert_eq!(peer.next().await, ClientFrame::Credit { sub, bytes: 2 * size });
}

#[tokio::test]
async fn after_a_cut_unread_deliveries_count_against_the_window() {
    let server = FakeServer::listen().await;
    let (_subscription, mut peer, sub) = started(&server, 1_000).await;
    let block = [b'x'; 60];
    let size = payload_body(&block).len() as u64;
    peer.send(&[deliver(sub, 100, &[&block]), ServerFrame::Ping { nonce: 1 }]).await;
    assert_eq!(peer.next().await, ClientFrame::Pong { nonce: 1 });
    drop(peer);
    let mut peer = server.accept().await;
    let (_, _, start, credit) = asked(&mut peer).await;
    assert_eq!(start, Start::Offset { epoch: 7, offset: 101 });
    assert_eq!(credit, 1_000 - size);
}

#[tokio::test]
async fn an_unread_subscription_does_not_hold_up_the_connection() {
    let server = FakeServer::listen().await;
    let (mut subscription, mut peer, sub) = started(&server, 1).await;
    // Far more than the window: this server does not keep to the credit.
    let block = [b'x'; 30_000];
    for number in 0..600 {
        peer.send(&[deliver(sub, 100 + number, &[&block])]).await;
    }
    peer.send(&[ServerFrame::Ping { nonce: 2 }]).await;
    assert_eq!(peer.next().await, ClientFrame::Pong { nonce: 2 });
    // What was kept is read; what was not is asked for again, without a hole.
    let mut expected = 100;
    let (req, again) = loop {
        tokio::select! {
            event = subscription.next() => {
                let Some(SubscriptionEvent::Delivery(delivery)) = event else { panic!("{event:?}") };
                assert_eq!(delivery.from, expected);
                expected = delivery.next;
            }
            frame = peer.next() => match frame {
                ClientFrame::Credit { .. } => {}
                ClientFrame::Unsubscribe { sub: ended, .. } => assert_eq!(ended, sub),
                ClientFrame::Subscribe { req, sub: again, start, .. } => {
                    assert_ne!(again, sub);
                    assert_eq!(start, Start::Offset { epoch: 7, offset: expected });
                    break (req, again);
                }
                other => panic!("{other:?}"),
            }
        }
    };
    assert!(expected > 100 && expected < 700, "{expected}");
    peer.send(&[subscribed(req, again, 1, 7, expected), deliver(again, expected, &[b"z"])]).await;
    assert!(matches!(within(subscription.next()).await, Some(SubscriptionEvent::Started(_))));
    assert_eq!(payloads(&mut subscription).await, [(expected, Bytes::from("z"))]);
}

#[tokio::test]
async fn an_unread_subscription_that_is_dropped_while_disconnected_is_not_opened_again() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let options = SubscribeOptions { credit: Some(1), ..SubscribeOptions::default() };
    let news = pattern("news");
    let (subscription, sub) =
        tokio::join!(client.subscribe(&news, Start::Latest, options), async {
            let (req, sub, ..) = asked(&mut peer).await;
            peer.send(&[subscribed(req, sub, 0, 7, 0)]).await;
            sub
        });
    let mut subscription = subscription.unwrap();
    for number in 0..600 {
        peer.send(&[deliver(sub, number, &[&[b'x'; 30_000]])]).await;
    }
    peer.send(&[ServerFrame::Ping { nonce: 2 }]).await;
    while peer.next().await != (ClientFrame::Pong { nonce: 2 }) {}
    drop(peer);
    wait_for(&client, |state| !matches!(state, ConnectionState::Connected { .. })).await;
    while subscription.try_next().is_some() {}
    drop(subscription);
    let mut peer = server.accept().await;
    assert_eq!(peer.next_if_any().await, None);
}

#[tokio::test]
async fn gaps_are_told_with_their_reason() {
    let server = FakeServer::listen().await;
    let (mut subscription, mut peer, sub) = started(&server, 1_000).await;
    let topic = Some(Name::parse("news").unwrap());
    let gap =
        ServerFrame::Gap { sub, topic, epoch: 7, from: 100, next: 105, reason: 0, position: None };
    // The hole from 106 to 108 is not explained.
    peer.send(&[gap, deliver(sub, 105, &[b"a"]), deliver(sub, 108, &[b"b"])]).await;
    let mut gaps = Vec::new();
    for _ in 0..4 {
        if let SubscriptionEvent::Gap(gap) = within(subscription.next()).await.unwrap() {
            gaps.push((gap.from, gap.next, gap.reason));
        }
    }
    assert_eq!(gaps, [(100, 105, GapReason::Retention), (106, 108, GapReason::Unexplained)]);
}

#[tokio::test]
async fn a_subscription_that_the_server_ends_says_why() {
    let server = FakeServer::listen().await;
    let (mut subscription, mut peer, sub) = started(&server, 1_000).await;
    let message = "too slow".to_owned();
    let end = ServerFrame::Error {
        req: 0,
        code: 33,
        message,
        retry_after_ms: None,
        sub: Some(sub),
        actual: None,
    };
    peer.send(&[deliver(sub, 100, &[b"a"]), end]).await;
    payloads(&mut subscription).await;
    let Some(SubscriptionEvent::Ended(refusal)) = within(subscription.next()).await else {
        panic!("ended")
    };
    assert_eq!(refusal.code, ErrorCode::TooSlow);
    assert_eq!(within(subscription.next()).await, None);
}

#[tokio::test]
async fn dropping_a_subscription_ends_it_on_the_server() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let news = pattern("news");
    let options = SubscribeOptions::default();
    let (subscription, sub) =
        tokio::join!(client.subscribe(&news, Start::Latest, options), async {
            let (req, sub, ..) = asked(&mut peer).await;
            peer.send(&[subscribed(req, sub, 0, 7, 0)]).await;
            sub
        });
    drop(subscription.unwrap());
    assert_eq!(peer.next().await, ClientFrame::Unsubscribe { req: 0, sub });
    // What was on its way is ignored.
    peer.send(&[deliver(sub, 0, &[b"a"]), ServerFrame::Ping { nonce: 1 }]).await;
    assert_eq!(peer.next().await, ClientFrame::Pong { nonce: 1 });
}
