//! Watches: conflation, keyed changes, and going on after a cut.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidewire_client::protocol::frame::{put_entry, put_update_entries_header};
use tidewire_client::{
    CellKind, ClientFrame, Name, ServerFrame, Standings, TallyInfo, TallyKind, TallyRules, Watch,
    WatchOptions, WatchValue,
};

use crate::fake_server::{FakeServer, Peer, within};
use crate::requests::encoded;

/// The WATCH of the client: request, subscription and options.
async fn asked(peer: &mut Peer) -> (u64, u32, WatchOptions) {
    match peer.next().await {
        ClientFrame::Watch { req, sub, options, .. } => (req, sub, options),
        other => panic!("a WATCH expected: {other:?}"),
    }
}

fn watching(req: u64, sub: u32, epoch: u64) -> ServerFrame {
    ServerFrame::Watching { req, sub, epoch, version: 0, info: None }
}

async fn started(server: &FakeServer, kind: CellKind) -> (Watch, Peer, u32) {
    let (client, mut peer) = server.pair().await;
    let name = Name::parse("cell").unwrap();
    let (watch, sub) = tokio::join!(client.watch(kind, &name, WatchOptions::default()), async {
        let (req, sub, options) = asked(&mut peer).await;
        assert_eq!(options, WatchOptions::default());
        peer.send(&[watching(req, sub, 3)]).await;
        sub
    });
    (watch.unwrap(), peer, sub)
}

fn counter(sub: u32, version: u64, value: i64) -> ServerFrame {
    ServerFrame::Update { sub, version, flags: 1, value: Some(encoded(&value)) }
}

/// An UPDATE of entries.
fn entries(sub: u32, version: u64, full: bool, list: &[(&str, Option<&[u8]>)]) -> Vec<u8> {
    let mut out = Vec::new();
    put_update_entries_header(&mut out, sub, version, u64::from(full), list.len());
    for (key, value) in list {
        put_entry(&mut out, key, version, *value);
    }
    out
}

/// A part of an UPDATE of all entries.
fn part(sub: u32, version: u64, list: &[(&str, Option<&[u8]>)]) -> Vec<u8> {
    let mut out = Vec::new();
    put_update_entries_header(&mut out, sub, version, 1 | 16, list.len());
    for (key, value) in list {
        put_entry(&mut out, key, version, *value);
    }
    out
}

/// Waits until the client has taken everything that was sent before.
async fn in_step(peer: &mut Peer) {
    peer.send(&[ServerFrame::Ping { nonce: 99 }]).await;
    assert_eq!(peer.next().await, ClientFrame::Pong { nonce: 99 });
}

#[tokio::test]
async fn the_same_version_again_says_that_it_may_be_stale_or_is_not() {
    let server = FakeServer::listen().await;
    let (mut watch, mut peer, sub) = started(&server, CellKind::Counter).await;
    let value = Some(encoded(&7));
    let update = |flags| ServerFrame::Update { sub, version: 5, flags, value: value.clone() };
    for (flags, behind_ms) in [(1, None), (1 | 32 | 900 << 8, Some(900)), (1, None)] {
        peer.send(&[update(flags)]).await;
        let event = within(watch.next()).await.unwrap();
        assert_eq!((event.version, event.behind_ms), (5, behind_ms));
        assert_eq!(event.value, WatchValue::Counter(7));
    }
}

#[tokio::test]
async fn only_the_newest_version_is_seen() {
    let server = FakeServer::listen().await;
    let (mut watch, mut peer, sub) = started(&server, CellKind::Counter).await;
    let updates: Vec<ServerFrame> =
        (1..=100_u64).map(|version| counter(sub, version, 2 * version as i64)).collect();
    peer.send(&updates).await;
    in_step(&mut peer).await;
    let event = within(watch.next()).await.unwrap();
    assert_eq!((event.version, event.value), (100, WatchValue::Counter(200)));
    // A datagram that comes late.
    peer.send(&[counter(sub, 99, 198), counter(sub, 101, 202)]).await;
    assert_eq!(within(watch.next()).await.unwrap().version, 101);
}

#[tokio::test]
async fn a_deleted_cell_is_absent() {
    let server = FakeServer::listen().await;
    let (mut watch, mut peer, sub) = started(&server, CellKind::Counter).await;
    peer.send(&[ServerFrame::Update { sub, version: 9, flags: 3, value: None }]).await;
    let event = within(watch.next()).await.unwrap();
    assert!(event.deleted);
    assert_eq!(event.value, WatchValue::Absent);
}

#[tokio::test]
async fn a_tally_tells_its_options_once_and_its_standings_each_time() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let rules = TallyRules::new(TallyKind::Single, vec!["A".into()]);
    let info = TallyInfo { options: vec!["A".into()], rules };
    let name = Name::parse("t").unwrap();
    let standings = Standings { counts: vec![4], ballots: 4, ..Standings::default() };
    let (watch, ()) =
        tokio::join!(client.watch(CellKind::Tally, &name, WatchOptions::default()), async {
            let (req, sub, _) = asked(&mut peer).await;
            let value = Some(encoded(&standings));
            let encoded = Some(encoded(&info));
            peer.send(&[
                ServerFrame::Watching { req, sub, epoch: 3, version: 4, info: encoded },
                ServerFrame::Update { sub, version: 4, flags: 1, value },
            ])
            .await;
        });
    let mut watch = watch.unwrap();
    assert_eq!(watch.tally_info(), Some(info));
    assert_eq!(within(watch.next()).await.unwrap().value, WatchValue::Standings(standings));
}

#[tokio::test]
async fn changes_of_a_keyed_cell_are_merged_while_nobody_looks() {
    let server = FakeServer::listen().await;
    let (mut watch, mut peer, sub) = started(&server, CellKind::Map).await;
    let full: &[(&str, Option<&[u8]>)] = &[("a", Some(b"1")), ("b", Some(b"1"))];
    peer.send_bytes(entries(sub, 5, true, full)).await;
    in_step(&mut peer).await;
    let event = within(watch.next()).await.unwrap();
    let WatchValue::Entries { all, changed } = event.value else { panic!() };
    assert_eq!((all.len(), changed), (2, vec!["a".to_owned(), "b".to_owned()]));

    peer.send_bytes(entries(sub, 6, false, &[("b", None), ("c", Some(b"2"))])).await;
    peer.send_bytes(entries(sub, 7, false, &[("c", Some(b"3")), ("d", Some(b""))])).await;
    in_step(&mut peer).await;
    let event = within(watch.next()).await.unwrap();
    assert_eq!(event.version, 7);
    let WatchValue::Entries { all, changed } = event.value else { panic!() };
    let values: BTreeMap<&str, &Bytes> =
        all.iter().map(|(key, entry)| (key.as_str(), &entry.value)).collect();
    assert_eq!(values, BTreeMap::from([("a", &"1".into()), ("c", &"3".into()), ("d", &"".into())]));
    assert_eq!(changed, ["b", "c", "d"]);

    peer.send_bytes(entries(sub, 8, true, &[("a", Some(b"1"))])).await;
    in_step(&mut peer).await;
    let event = within(watch.next()).await.unwrap();
    let WatchValue::Entries { all, changed } = event.value else { panic!() };
    assert_eq!(all.len(), 1);
    assert!(changed.contains(&"c".to_owned()) && changed.contains(&"d".to_owned()), "{changed:?}");
}

#[tokio::test]
async fn an_update_in_parts_is_seen_when_the_last_part_is_there() {
    let server = FakeServer::listen().await;
    let (mut watch, mut peer, sub) = started(&server, CellKind::Map).await;
    peer.send_bytes(entries(sub, 5, true, &[("old", Some(b"1"))])).await;
    within(watch.next()).await.unwrap();

    peer.send_bytes(part(sub, 6, &[("dropped", Some(b"1"))])).await;
    // It is begun anew, as of a newer version.
    peer.send_bytes(part(sub, 8, &[("a", Some(b"1"))])).await;
    peer.send_bytes(part(sub, 8, &[("b", Some(b"2"))])).await;
    in_step(&mut peer).await;
    assert_eq!(watch.held(), (3, 5), "nothing is seen of the parts");
    peer.send_bytes(entries(sub, 8, true, &[("c", Some(b"3"))])).await;
    peer.send_bytes(entries(sub, 9, false, &[("b", None)])).await;
    in_step(&mut peer).await;
    let event = within(watch.next()).await.unwrap();
    assert_eq!(event.version, 9);
    let WatchValue::Entries { all, .. } = event.value else { panic!() };
    assert_eq!(all.keys().collect::<Vec<_>>(), ["a", "c"]);
}

#[tokio::test]
async fn parts_from_before_a_cut_are_forgotten() {
    let server = FakeServer::listen().await;
    let (mut watch, mut peer, sub) = started(&server, CellKind::Map).await;
    peer.send_bytes(part(sub, 6, &[("before", Some(b"1"))])).await;
    in_step(&mut peer).await;
    drop(peer);
    let mut peer = server.accept().await;
    let (req, sub, options) = asked(&mut peer).await;
    assert_eq!(options, WatchOptions::default(), "it holds nothing");
    peer.send(&[watching(req, sub, 3)]).await;
    peer.send_bytes(entries(sub, 6, true, &[("after", Some(b"2"))])).await;
    let event = within(watch.next()).await.unwrap();
    let WatchValue::Entries { all, .. } = event.value else { panic!() };
    assert_eq!(all.keys().collect::<Vec<_>>(), ["after"]);
}

#[tokio::test]
async fn after_a_cut_it_asks_only_for_what_it_does_not_hold() {
    let server = FakeServer::listen().await;
    let (mut watch, mut peer, sub) = started(&server, CellKind::Counter).await;
    peer.send(&[counter(sub, 40, 1)]).await;
    within(watch.next()).await.unwrap();
    drop(peer);
    let mut peer = server.accept().await;
    let (req, sub, options) = asked(&mut peer).await;
    assert_eq!((options.epoch, options.version), (Some(3), Some(40)));
    // Another epoch: its versions start over.
    peer.send(&[watching(req, sub, 4), counter(sub, 2, 8)]).await;
    let event = within(watch.next()).await.unwrap();
    assert_eq!((event.version, event.value), (2, WatchValue::Counter(8)));
}

#[tokio::test]
async fn a_watch_that_the_server_ends_says_why() {
    let server = FakeServer::listen().await;
    let (mut watch, mut peer, sub) = started(&server, CellKind::Tally).await;
    let message = "tally 'cell' was deleted".to_owned();
    peer.send(&[ServerFrame::Error {
        req: 0,
        code: 9,
        message,
        retry_after_ms: None,
        sub: Some(sub),
        actual: None,
    }])
    .await;
    assert!(within(watch.next()).await.is_none());
    assert_eq!(watch.end_reason().unwrap().code(), "not_found");
}

#[tokio::test]
async fn dropping_a_watch_ends_it_on_the_server() {
    let server = FakeServer::listen().await;
    let (watch, mut peer, sub) = started(&server, CellKind::Counter).await;
    drop(watch);
    // It was the last handle as well, so the connection closes behind it.
    assert_eq!(peer.next().await, ClientFrame::Unsubscribe { req: 0, sub });
    peer.closed().await;
}
