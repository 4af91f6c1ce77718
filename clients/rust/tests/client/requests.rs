//! Requests, replies and refusals.

use std::time::Duration;

use bytes::Bytes;
use tidewire_client::protocol::wire;
use tidewire_client::{
    AckLevel, BodyBuilder, CellKind, Choice, ClientFrame, CounterOp, CounterOptions, Error,
    ErrorCode, Name, PublishOptions, ServerFrame, Standings, TallyKind, TallyReply, TallyRules,
    TallyState,
};

use crate::fake_server::{FakeServer, Peer, error, voted, within};

fn name(raw: &str) -> Name {
    Name::parse(raw).unwrap()
}

pub(crate) fn encoded<T: serde::Serialize>(value: &T) -> Bytes {
    let mut out = Vec::new();
    wire::put_value(&mut out, value);
    out.into()
}

async fn next_vote(peer: &mut Peer) -> (u64, String) {
    match peer.next().await {
        ClientFrame::Vote { req, voter, .. } => (req, voter),
        other => panic!("a VOTE expected: {other:?}"),
    }
}

#[tokio::test]
async fn requests_are_pipelined_and_replies_may_come_in_any_order() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let tally = name("t");
    let ballot = || vec![Choice::Index(0)];
    let ann = client.start_vote(&tally, "ann", ballot(), None).await.unwrap();
    let bob = client.start_vote(&tally, "bob", ballot(), None).await.unwrap();
    let cid = client.start_vote(&tally, "cid", ballot(), None).await.unwrap();
    let mut reqs = Vec::new();
    for voter in ["ann", "bob", "cid"] {
        let (req, from) = next_vote(&mut peer).await;
        assert_eq!(from, voter);
        reqs.push(req);
    }
    drop(bob);
    peer.send(&[voted(reqs[2], 30), voted(reqs[1], 20)]).await;
    assert_eq!(within(cid).await.unwrap().version, 30);
    peer.send(&[voted(reqs[0], 10)]).await;
    assert_eq!(within(ann).await.unwrap().version, 10);
}

#[tokio::test]
async fn unanswered_requests_are_bounded_by_what_the_server_allows() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let tally = name("t");
    let mut sent = Vec::new();
    for voter in ["1", "2", "3", "4"] {
        sent.push(client.start_vote(&tally, voter, vec![], None).await.unwrap());
    }
    let fifth = client.start_vote(&tally, "5", vec![], None);
    let mut fifth = std::pin::pin!(fifth);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut fifth).await.is_err());
    let (req, _) = next_vote(&mut peer).await;
    peer.send(&[voted(req, 1)]).await;
    drop(within(fifth).await.unwrap());
}

#[tokio::test]
async fn a_refusal_carries_code_words_and_delay() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let (failure, ()) = tokio::join!(client.publish("news", "x"), async {
        let ClientFrame::Publish { req, .. } = peer.next().await else { panic!() };
        let message = "topic 'news': too many records a second".to_owned();
        peer.send(&[ServerFrame::Error {
            req,
            code: 15,
            message,
            retry_after_ms: Some(40),
            sub: None,
            actual: None,
        }])
        .await;
    });
    let failure = failure.unwrap_err();
    assert!(failure.is_retryable());
    assert_eq!(failure.code(), "rate_limited");
    assert_eq!(failure.refusal().unwrap().retry_after_ms, Some(40));
    assert_eq!(failure.to_string(), "topic 'news': too many records a second (rate_limited)");
}

#[tokio::test]
async fn a_code_of_a_newer_server_stays_readable_and_is_not_retried() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let (failure, ()) = tokio::join!(client.publish("news", "x"), async {
        let ClientFrame::Publish { req, .. } = peer.next().await else { panic!() };
        peer.send(&[error(req, 777, "the moon is full")]).await;
    });
    let failure = failure.unwrap_err();
    assert!(!failure.is_retryable());
    let words = failure.to_string();
    assert!(words.contains("the moon is full") && words.contains("777"), "{words}");
}

#[tokio::test]
async fn a_body_over_the_servers_limit_is_refused_before_it_is_sent() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let (failure, sent) = tokio::join!(client.publish("news", vec![0; 70_000]), peer.next_if_any());
    let failure = failure.unwrap_err();
    assert_eq!(sent, None);
    assert_eq!(failure.refusal().unwrap().code, ErrorCode::FrameTooLarge);
    let (small, ()) = tokio::join!(client.publish("news", "x"), async {
        let ClientFrame::Publish { req, .. } = peer.next().await else { panic!() };
        peer.send(&[ServerFrame::PubAck {
            req,
            epoch: 9,
            offset: Some(4),
            level: 1,
            positions: None,
            duplicate: false,
        }])
        .await;
    });
    let published = small.unwrap();
    assert_eq!((published.epoch, published.offset), (9, Some(4)));
    assert_eq!(published.level, AckLevel::Memory);
}

#[tokio::test]
async fn a_publish_without_acknowledgement_takes_no_room() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    for number in 0..20_u8 {
        let mut body = BodyBuilder::new();
        body.push(None, &[], Some(&[number]));
        let options = PublishOptions::default();
        let topic = name("news");
        let sent = client.publish_body(&topic, body.finish(), AckLevel::None, options).await;
        assert_eq!(sent.unwrap().offset, None);
    }
    for number in 0..20_u8 {
        let ClientFrame::Publish { body, .. } = peer.next().await else { panic!() };
        assert_eq!(body.last(), Some(&number));
    }
}

#[tokio::test]
async fn an_invalid_name_never_leaves_the_client() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let failure = client.publish("two words", "x").await.unwrap_err();
    assert_eq!(failure.code(), "invalid_name");
    assert_eq!(peer.next_if_any().await, None);
}

#[tokio::test]
async fn counters_and_their_options_travel() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let likes = name("likes");
    let options = CounterOptions { max: Some(10), ..CounterOptions::default() };
    let (counted, ()) =
        tokio::join!(client.count(&likes, CounterOp::Add, -7, options.clone()), async {
            let ClientFrame::Incr { req, op, operand, options: got, .. } = peer.next().await else {
                panic!()
            };
            assert_eq!((op, operand, got), (CounterOp::Add, -7, options.clone()));
            peer.send(&[ServerFrame::Counted {
                req,
                epoch: 1,
                version: 5,
                value: -7,
                applied: -7,
                duplicate: false,
                as_of: None,
            }])
            .await;
        });
    assert_eq!(counted.unwrap().value, -7);
    let (absent, ()) = tokio::join!(client.get_counter(&likes), async {
        let ClientFrame::Get { req, kind, .. } = peer.next().await else { panic!() };
        assert_eq!(kind, CellKind::Counter);
        peer.send(&[ServerFrame::Value {
            req,
            kind: 1,
            epoch: 1,
            version: 0,
            value: None,
            as_of: None,
        }])
        .await;
    });
    assert_eq!(absent.unwrap(), None);
}

#[tokio::test]
async fn a_tally_is_created_and_read() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let tally = name("t");
    let rules = TallyRules::new(TallyKind::Ranked, vec!["A".into(), "B".into()]);
    let (created, ()) = tokio::join!(client.create_tally(&tally, rules.clone()), async {
        let ClientFrame::Tally { req, rules: got, .. } = peer.next().await else { panic!() };
        assert_eq!(got, Some(rules.clone()));
        let reply = TallyReply { created: true, state: TallyState::Open, version: 3 };
        peer.send(&[ServerFrame::Ok { req, result: Some(encoded(&reply)) }]).await;
    });
    assert!(created.unwrap().created);
    let standings = Standings { counts: vec![2, 1], ballots: 3, ..Standings::default() };
    let (read, ()) = tokio::join!(client.standings(&tally), async {
        let ClientFrame::Get { req, .. } = peer.next().await else { panic!() };
        let value = Some(encoded(&standings));
        peer.send(&[ServerFrame::Value { req, kind: 2, epoch: 1, version: 8, value, as_of: None }])
            .await;
    });
    assert_eq!(read.unwrap(), (8, standings));
}

#[tokio::test]
async fn rules_that_break_the_rules_are_refused_here() {
    let server = FakeServer::listen().await;
    let (client, _peer) = server.pair().await;
    let rules = TallyRules::new(TallyKind::Single, vec![]);
    let failure = client.create_tally(&name("t"), rules).await.unwrap_err();
    assert_eq!(failure.code(), "invalid_argument");
}

#[tokio::test]
async fn a_reply_of_the_wrong_type_is_an_error_and_not_a_success() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let (failure, ()) = tokio::join!(client.publish("news", "x"), async {
        let ClientFrame::Publish { req, .. } = peer.next().await else { panic!() };
        peer.send(&[voted(req, 1)]).await;
    });
    assert!(matches!(failure, Err(Error::BadReply(_))));
}

#[tokio::test]
async fn frames_of_a_newer_server_are_ignored() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    peer.send_bytes(vec![0x92, 50, 1]).await;
    let (pong, ()) = tokio::join!(client.ping(), async {
        let ClientFrame::Ping { nonce } = peer.next().await else { panic!() };
        peer.send(&[ServerFrame::Pong { nonce }]).await;
    });
    pong.unwrap();
}
