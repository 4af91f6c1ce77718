//! Handles of names, pages of history, streams.

use futures_util::StreamExt;
use tidewire_client::protocol::options::TopicInfo;
use tidewire_client::{
    CellKind, Choice, ClientFrame, ErrorCode, GroupInfo, GroupOptions, Page, PublishOptions,
    ServerFrame, Start, UpdateValue, WatchOptions,
};

use crate::fake_server::{FakeServer, Peer, ok, voted, within};
use crate::requests::encoded;
use crate::subscriptions::deliver;

fn acknowledged(req: u64) -> ServerFrame {
    let (epoch, level) = (1, 1);
    ServerFrame::PubAck { req, epoch, offset: Some(0), level, positions: None, duplicate: false }
}

async fn next_body(peer: &mut Peer) -> (bytes::Bytes, PublishOptions) {
    let frame = peer.next().await;
    let ClientFrame::Publish { req, topic, body, options, .. } = frame else { panic!("{frame:?}") };
    assert_eq!(topic.as_str(), "news");
    peer.send(&[acknowledged(req)]).await;
    (body, options)
}

#[tokio::test]
async fn topics_and_maps_publish_records_with_and_without_keys() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let (news, map) = (client.topic("news").unwrap(), client.map("news").unwrap());
    let (done, (body, _)) = tokio::join!(news.publish_batch(["a", "b"]), next_body(&mut peer));
    done.unwrap();
    assert_eq!(body[..], *b"\x93\xc0\xc0\xc4\x01a\x93\xc0\xc0\xc4\x01b");
    let (done, (body, _)) = tokio::join!(news.publish_keyed("k", "a"), next_body(&mut peer));
    done.unwrap();
    assert_eq!(body[..], *b"\x93\xa1k\xc0\xc4\x01a");
    let (done, (body, options)) = tokio::join!(map.set_for("k", "a", 5_000), next_body(&mut peer));
    done.unwrap();
    assert_eq!((&body[..], options.ttl_ms), (&b"\x93\xa1k\xc0\xc4\x01a"[..], Some(5_000)));
    let (done, (body, _)) = tokio::join!(map.delete("k"), next_body(&mut peer));
    done.unwrap();
    assert_eq!(body[..], *b"\x93\xa1k\xc0\xc0");
    let refused = client.topic("two words").unwrap_err();
    assert_eq!(refused.refusal().unwrap().code, ErrorCode::InvalidName);
}

#[tokio::test]
async fn a_ballot_names_its_options_or_counts_them() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let poll = client.tally("poll").unwrap();
    let (done, choices) = tokio::join!(poll.vote("ann", ["pie"]), async {
        let ClientFrame::Vote { req, choices, .. } = peer.next().await else { panic!() };
        peer.send(&[voted(req, 1)]).await;
        choices
    });
    assert_eq!((done.unwrap().version, choices), (1, vec![Choice::Name("pie".to_owned())]));
    let (done, revision) = tokio::join!(poll.vote_revised("ann", [1_u64], 7), async {
        let ClientFrame::Vote { req, choices, revision, .. } = peer.next().await else { panic!() };
        assert_eq!(choices, [Choice::Index(1)]);
        peer.send(&[voted(req, 2)]).await;
        revision
    });
    assert_eq!((done.unwrap().version, revision), (2, Some(7)));
}

#[tokio::test]
async fn a_group_begins_where_a_subscription_may() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let group = client.topic("jobs").unwrap().group("mailers").unwrap();
    for (start, array) in [
        (Start::Latest, vec![0]),
        (Start::Earliest, vec![1]),
        (Start::Offset { epoch: 7, offset: 9 }, vec![2, 7, 9]),
        (Start::Time(1_000), vec![3, 1_000]),
        (Start::Last(5), vec![4, 5]),
    ] {
        let (done, options) = tokio::join!(group.reset(start), async {
            let ClientFrame::Group { req, options, .. } = peer.next().await else { panic!() };
            let result = Some(encoded(&GroupInfo::default()));
            peer.send(&[ServerFrame::Ok { req, result }]).await;
            options
        });
        done.unwrap();
        assert_eq!(options, GroupOptions { start: Some(array), ..GroupOptions::default() });
    }
    let refused = group.reset(Start::Positions(vec![])).await.unwrap_err();
    assert_eq!(refused.code(), "invalid_argument");
}

#[tokio::test]
async fn a_page_is_read_up_to_where_the_topic_ended() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let news = client.topic("news").unwrap();
    let (page, start) = tokio::join!(news.history(Page::Before(u64::MAX), 3), async {
        let ClientFrame::Get { req, kind, .. } = peer.next().await else { panic!() };
        assert_eq!(kind, CellKind::Topic);
        let info = TopicInfo { first: 100, next: 110, ..TopicInfo::default() };
        let (kind, epoch, value) = (5, 7, Some(encoded(&info)));
        peer.send(&[ServerFrame::Value { req, kind, epoch, version: 0, value, as_of: None }]).await;
        let ClientFrame::Subscribe { req, sub, start, .. } = peer.next().await else { panic!() };
        let (status, epoch, offset) = (0, 7, 107);
        let (missing, positions) = (None, None);
        let begun = ServerFrame::Subscribed { req, sub, status, epoch, offset, missing, positions };
        // What was appended meanwhile is not of this page.
        let records = [&b"7"[..], b"8", b"9", b"10"];
        peer.send(&[begun, deliver(sub, 107, &records)]).await;
        assert!(matches!(peer.next().await, ClientFrame::Unsubscribe { .. }));
        start
    });
    let page = page.unwrap();
    assert_eq!(start, Start::Offset { epoch: 7, offset: 107 });
    let read: Vec<(u64, &[u8])> =
        page.records.iter().map(|r| (r.offset, r.record().unwrap().payload.unwrap())).collect();
    assert_eq!(read, [(107, &b"7"[..]), (108, b"8"), (109, b"9")]);
    assert_eq!((page.next, page.previous), (Page::From(110), Some(Page::Before(107))));
    assert!(page.is_at_end && page.gaps.is_empty());
    let refused = news.history(Page::From(0), 0).await.unwrap_err();
    assert_eq!(refused.code(), "invalid_argument");
}

#[tokio::test]
async fn streams_give_what_next_gives() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let likes = client.counter("likes").unwrap();
    let (watch, sub) = tokio::join!(likes.watch(WatchOptions::default()), async {
        let ClientFrame::Watch { req, sub, .. } = peer.next().await else { panic!() };
        peer.send(&[ServerFrame::Watching { req, sub, epoch: 1, version: 0, info: None }]).await;
        sub
    });
    let mut updates = watch.unwrap().into_updates();
    let value = Some(encoded(&25_i64));
    peer.send(&[ServerFrame::Update { sub, version: 3, flags: 1, value }]).await;
    let update = within(StreamExt::next(&mut updates)).await.unwrap().unwrap();
    assert_eq!((update.version, update.value), (3, UpdateValue::Counter(25)));
    peer.send(&[ServerFrame::Error {
        req: 0,
        code: 13,
        message: "no rule allows that any more".to_owned(),
        retry_after_ms: None,
        sub: Some(sub),
        actual: None,
    }])
    .await;
    let end = within(StreamExt::next(&mut updates)).await.unwrap().unwrap_err();
    assert_eq!(end.code(), "forbidden");
    assert!(within(StreamExt::next(&mut updates)).await.is_none());

    let (topic, options) = (client.topic("jobs").unwrap(), Default::default());
    let group = topic.group("g").unwrap();
    let (consumer, sub) = tokio::join!(group.consume(options), async {
        let ClientFrame::Consume { req, sub, .. } = peer.next().await else { panic!() };
        peer.send(&[ok(req)]).await;
        sub
    });
    let (epoch, time_ms, partition, deliveries) = (1, 1_000, None, vec![(5, 1), (6, 1)]);
    let body = b"\x93\xc0\xc0\xc4\x01a\x93\xc0\xc0\xc4\x01b"[..].into();
    let topic = topic.name().clone();
    let leased = ServerFrame::Leased { sub, topic, epoch, time_ms, partition, deliveries, body };
    peer.send(&[leased]).await;
    let offsets = consumer.unwrap().take(2).map(|job| job.offset()).collect::<Vec<u64>>();
    assert_eq!(within(offsets).await, [5, 6]);
}
