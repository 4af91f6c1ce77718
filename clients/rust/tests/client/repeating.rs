//! What is refused for the moment is sent again, if doing it twice is the same as doing it once.

use std::time::Duration;

use tidewire_client::protocol::group::SettleReply;
use tidewire_client::protocol::record::payload_body;
use tidewire_client::protocol::wire::put_value;
use tidewire_client::{
    AckLevel, Client, ClientFrame, ConsumeOptions, CounterOp, CounterOptions, Name, Pattern,
    PublishOptions, ServerFrame, Start, SubscribeOptions, SubscriptionEvent,
};

use crate::fake_server::{FakeServer, Peer, error, ok, voted, within};

const UNAVAILABLE: u64 = 17;
const OUT_OF_RANGE: u64 = 26;

fn name(raw: &str) -> Name {
    Name::parse(raw).unwrap()
}

fn ended(sub: u32, code: u64) -> ServerFrame {
    let message = "no node leads it".to_owned();
    let (retry_after_ms, actual) = (None, None);
    ServerFrame::Error { req: 0, code, message, retry_after_ms, sub: Some(sub), actual }
}

async fn impatient(server: &FakeServer) -> (Client, Peer) {
    let builder = Client::builder(&server.url()).unwrap().repeat_for_ms(0);
    let (client, peer) = within(async { tokio::join!(builder.connect(), server.accept()) }).await;
    (client.unwrap(), peer)
}

#[tokio::test]
async fn a_ballot_that_was_refused_for_the_moment_is_sent_again_as_it_was() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let vote = client.start_vote(&name("t"), "ann", vec![], Some(3)).await.unwrap();
    let first = peer.next().await;
    let ClientFrame::Vote { req, .. } = first else { panic!() };
    for _ in 0..2 {
        peer.send(&[error(req, UNAVAILABLE, "the leader has changed")]).await;
        assert_eq!(peer.next().await, first);
    }
    peer.send(&[voted(req, 5)]).await;
    assert_eq!(within(vote).await.unwrap().version, 5);
    assert_eq!(client.repeated(), 2);
}

#[tokio::test]
async fn what_would_count_twice_is_told() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let likes = name("likes");
    let plain = client.start_counter(&likes, CounterOp::Add, 1, CounterOptions::default());
    let plain = plain.await.unwrap();
    let ClientFrame::Incr { req, .. } = peer.next().await else { panic!() };
    peer.send(&[error(req, UNAVAILABLE, "it may or may not have been carried out")]).await;
    let refused = within(plain).await.unwrap_err();
    assert_eq!((refused.code(), refused.is_retryable()), ("unavailable", true));
    assert_eq!(peer.next_if_any().await, None);
}

#[tokio::test]
async fn the_time_for_it_is_limited() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = impatient(&server).await;
    let vote = client.start_vote(&name("t"), "ann", vec![], None).await.unwrap();
    let ClientFrame::Vote { req, .. } = peer.next().await else { panic!() };
    peer.send(&[error(req, UNAVAILABLE, "no node leads it")]).await;
    assert_eq!(within(vote).await.unwrap_err().code(), "unavailable");
}

#[tokio::test]
async fn what_was_lost_with_a_connection_is_given_up_when_there_is_none_for_too_long() {
    let server = FakeServer::listen().await;
    let builder = Client::builder(&server.url()).unwrap().repeat_for_ms(50);
    let builder = builder.offline_wait_ms(50).reconnect_delay_ms(1, 20).connect_timeout_ms(100);
    let (client, mut peer) =
        within(async { tokio::join!(builder.connect(), server.accept()) }).await;
    let client = client.unwrap();
    let vote = client.start_vote(&name("t"), "ann", vec![], None).await.unwrap();
    peer.next().await;
    drop((peer, server));
    assert_eq!(within(vote).await.unwrap_err().code(), "connection_lost");
}

#[tokio::test]
async fn publishes_keep_their_order_behind_one_that_was_refused() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let start = |payload: &'static str| {
        let client = client.clone();
        tokio::spawn(async move {
            let (body, options) = (payload_body(payload.as_bytes()), PublishOptions::default());
            client.publish_body(&name("news"), body, AckLevel::Policy, options).await
        })
    };
    let one = start("1");
    let ClientFrame::Publish { req, options, .. } = peer.next().await else { panic!() };
    let refused = ServerFrame::Error {
        req,
        code: UNAVAILABLE,
        message: "no node leads it".to_owned(),
        retry_after_ms: Some(150),
        sub: None,
        actual: None,
    };
    peer.send(&[refused]).await;
    // The refusal has been taken when this is answered.
    let (pinged, ()) = tokio::join!(client.ping(), async {
        let ClientFrame::Ping { nonce } = peer.next().await else { panic!() };
        peer.send(&[ServerFrame::Pong { nonce }]).await;
    });
    pinged.unwrap();
    let two = start("2");
    let mut sequences = Vec::new();
    for _ in 0..2 {
        let ClientFrame::Publish { req, options, .. } = peer.next().await else { panic!() };
        sequences.push(options.sequence.unwrap());
        let (epoch, offset, level) = (1, Some(sequences.len() as u64), 1);
        let (positions, duplicate) = (None, false);
        peer.send(&[ServerFrame::PubAck { req, epoch, offset, level, positions, duplicate }]).await;
    }
    let first = options.sequence.unwrap();
    assert_eq!(sequences, [first, first + 1]);
    assert_eq!(within(one).await.unwrap().unwrap().offset, Some(1));
    assert_eq!(within(two).await.unwrap().unwrap().offset, Some(2));
}

#[tokio::test]
async fn a_subscription_waits_for_a_copy_that_is_behind() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let pattern = Pattern::parse("news").unwrap();
    let (subscription, mut peer) = tokio::join!(
        client.subscribe(&pattern, Start::Latest, SubscribeOptions::default()),
        async {
            let ClientFrame::Subscribe { req, sub, .. } = peer.next().await else { panic!() };
            peer.send(&[started(req, sub)]).await;
            peer
        }
    );
    let mut subscription = subscription.unwrap();
    peer.send(&[]).await;
    drop(peer);
    let mut peer = server.accept().await;
    for _ in 0..2 {
        let ClientFrame::Subscribe { req, start, .. } = peer.next().await else { panic!() };
        assert_eq!(start, Start::Offset { epoch: 7, offset: 100 });
        peer.send(&[error(req, OUT_OF_RANGE, "beyond the end")]).await;
    }
    let ClientFrame::Subscribe { req, sub, .. } = peer.next().await else { panic!() };
    peer.send(&[started(req, sub)]).await;
    for _ in 0..2 {
        let event = within(subscription.next()).await.unwrap();
        assert!(matches!(event, SubscriptionEvent::Started(_)), "{event:?}");
    }
}

fn started(req: u64, sub: u32) -> ServerFrame {
    let (missing, positions) = (None, None);
    ServerFrame::Subscribed { req, sub, status: 0, epoch: 7, offset: 100, missing, positions }
}

#[tokio::test]
async fn a_start_that_is_out_of_range_is_refused_at_once() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let pattern = Pattern::parse("news").unwrap();
    let start = Start::Offset { epoch: 0, offset: 9 };
    let (refused, ()) =
        tokio::join!(client.subscribe(&pattern, start, SubscribeOptions::default()), async {
            let ClientFrame::Subscribe { req, .. } = peer.next().await else { panic!() };
            peer.send(&[error(req, OUT_OF_RANGE, "beyond the end")]).await;
        });
    assert_eq!(refused.unwrap_err().code(), "out_of_range");
}

#[tokio::test]
async fn a_consumer_that_a_change_of_leaders_has_ended_begins_again_and_then_settles() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let (topic, group) = (name("jobs"), name("workers"));
    let (consumer, sub) =
        tokio::join!(client.consume(&topic, &group, ConsumeOptions::default()), async {
            let ClientFrame::Consume { req, sub, .. } = peer.next().await else { panic!() };
            peer.send(&[ok(req), leased(sub, 4)]).await;
            sub
        });
    let mut consumer = consumer.unwrap();
    let job = within(consumer.next()).await.unwrap();
    let acked = job.start_ack().await.unwrap();
    let ClientFrame::Settle { req: settle, .. } = peer.next().await else { panic!() };
    peer.send(&[error(settle, UNAVAILABLE, "the leader has changed"), ended(sub, UNAVAILABLE)])
        .await;
    let ClientFrame::Consume { req, sub: again, .. } = peer.next().await else { panic!() };
    assert_eq!(again, sub);
    peer.send(&[ok(req)]).await;
    let ClientFrame::Settle { req, .. } = peer.next().await else { panic!() };
    assert_eq!(req, settle);
    let mut result = Vec::new();
    put_value(&mut result, &SettleReply { records: 0 });
    peer.send(&[ServerFrame::Ok { req, result: Some(result.into()) }, leased(sub, 4)]).await;
    assert!(!within(acked).await.unwrap(), "it does not count, and comes again");
    assert_eq!(within(consumer.next()).await.unwrap().offset(), 4);
    // One that is gone for good ends it.
    peer.send(&[ended(sub, 9)]).await;
    assert!(within(consumer.next()).await.is_none());
    assert_eq!(consumer.end().unwrap().code(), "not_found");
    drop(tokio::time::timeout(Duration::from_millis(1), client.close()).await);
}

fn leased(sub: u32, offset: u64) -> ServerFrame {
    ServerFrame::Leased {
        sub,
        topic: name("jobs"),
        epoch: 1,
        time_ms: 0,
        partition: None,
        deliveries: vec![(offset, 1)],
        body: payload_body(b"work"),
    }
}
