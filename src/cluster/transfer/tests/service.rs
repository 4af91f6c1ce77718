//! The service, over streams.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::raft::SnapshotResponse;
use openraft::storage::Snapshot;
use openraft::{CommittedLeaderId, LogId, Membership, SnapshotMeta, StoredMembership, Vote};
use tidewire_core::shard::{Command, Origin, Request, SessionId, Terms};
use tidewire_protocol::Name;
use tidewire_protocol::frame::AckLevel;
use tidewire_protocol::record::payload_body;

use super::super::error::TransferError;
use super::super::states::base_of;
use super::super::{States, Taken};
use super::node::{Node, SHARD, config};
use super::states::leader;
use crate::cluster::links::Incoming;
use crate::cluster::links::tests::{Authority, id};
use crate::cluster::raft::{self, GroupSnapshot, Groups, NodeId};
use crate::cluster::services;
use crate::journal::{EntryId, META};

const FAST: u64 = 1 << 40;

fn log_id(id: EntryId) -> LogId<NodeId> {
    LogId::new(CommittedLeaderId::new(id.term, 0), id.index)
}

/// What openraft says of a state that stands on this entry.
fn meta(last: EntryId) -> SnapshotMeta<NodeId, raft::Node> {
    let nodes = BTreeMap::from([(1, raft::Node::new("here:7172"))]);
    let members = Membership::new(vec![[1].into()], nodes);
    SnapshotMeta {
        last_log_id: Some(log_id(last)),
        last_membership: StoredMembership::new(
            Some(log_id(EntryId { term: 1, index: 0 })),
            members,
        ),
        snapshot_id: "a state".to_owned(),
    }
}

fn given(node: &Node) -> Snapshot<Groups> {
    let meta = meta(node.log().last().unwrap());
    Snapshot { meta, snapshot: Box::new(GroupSnapshot::Given(Arc::new(node.source()))) }
}

fn taken_of(snapshot: Snapshot<Groups>) -> Taken {
    let GroupSnapshot::Taken(taken) = *snapshot.snapshot else { panic!("not taken") };
    taken.take().unwrap()
}

/// Gives over a pipe, and takes; the taker's group lets it count.
async fn over_a_pipe(
    snapshot: Snapshot<Groups>,
    taker: &Node,
    find_refuses: Option<&str>,
) -> (Result<SnapshotResponse<NodeId>, TransferError>, Option<Taken>) {
    let (giving, taking) = (States::new(FAST), States::new(FAST));
    let (here, there) = tokio::io::duplex(100_000);
    let (mut from, mut to) = tokio::io::split(here);
    let (mut their_from, mut their_to) = tokio::io::split(there);
    let mut taken = None;
    let find = |group, vote: &Vote<NodeId>| {
        assert_eq!((group, vote.leader_id.term), (SHARD, 3));
        find_refuses.map_or_else(|| Ok(taker.log().clone()), |what| Err(what.to_owned()))
    };
    let install = async |group, vote, snapshot| {
        assert_eq!(group, SHARD);
        taken = Some(taken_of(snapshot));
        Ok(SnapshotResponse::new(vote))
    };
    let streams = (&mut to, &mut from);
    let give = giving.give_over(streams, 2, Vote::new(3, 1), snapshot);
    let take = taking.take_over((&mut their_to, &mut their_from), 1, find, install);
    let (given, _) = tokio::join!(give, take);
    assert_eq!(taking.figures().taking.load(Relaxed), 0);
    (given, taken)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn a_state_goes_over_a_stream_and_the_group_answers() {
    let directory = tempfile::tempdir().unwrap();
    let leading = leader(directory.path(), 41, 90);
    let mut taker = Node::open(&directory.path().join("taker"), 5);
    let runtime = runtime();
    let refused = Some("its group is not here");
    let (outcome, _) = runtime.block_on(over_a_pipe(given(&leading), &taker, refused));
    let said = outcome.unwrap_err().to_string();
    assert!(said.contains("node 2") && said.contains("its group is not here"), "{said}");
    let (outcome, taken) = runtime.block_on(over_a_pipe(given(&leading), &taker, None));
    assert_eq!(outcome.unwrap().vote, Vote::new(3, 1));
    taker.install(taken.unwrap());
    assert_eq!((taker.hash(), taker.records()), (leading.hash(), leading.records()));
    taker = taker.reopened();
    let members = taker.group.membership.clone().unwrap();
    assert_eq!(Some(members), base_of(&meta(leading.log().last().unwrap())).unwrap().membership);
    leading.close();
    taker.verify();
}

#[test]
fn the_state_of_the_group_without_a_shard_goes_over_a_stream() {
    let directory = tempfile::tempdir().unwrap();
    let taker = Node::open(&directory.path().join("taker"), 5);
    let sent = Bytes::from((0..300_000_u32).map(|at| at as u8).collect::<Vec<_>>());
    let meta = meta(EntryId { term: 2, index: 9 });
    let snapshot = Snapshot { meta, snapshot: Box::new(GroupSnapshot::Bytes(sent.clone())) };
    runtime().block_on(async {
        let states = States::new(FAST);
        let (here, there) = tokio::io::duplex(1_000);
        let (mut from, mut to) = tokio::io::split(here);
        let (mut their_from, mut their_to) = tokio::io::split(there);
        let mut come = Bytes::new();
        let install = async |group, vote, snapshot: Snapshot<Groups>| {
            let GroupSnapshot::Bytes(bytes) = *snapshot.snapshot else { panic!("others") };
            assert_eq!(group, META);
            come = bytes;
            Ok(SnapshotResponse::new(vote))
        };
        let give = states.give_over((&mut to, &mut from), 2, Vote::new(3, 1), snapshot);
        let find = |_, _: &Vote<NodeId>| Ok(taker.log().clone());
        let take = states.take_over((&mut their_to, &mut their_from), 1, find, install);
        let (given, taken) = tokio::join!(give, take);
        given.unwrap();
        taken.unwrap();
        assert_eq!(come, sent);
    });
    taker.close();
}

#[test]
fn two_states_go_at_a_time_and_others_wait() {
    runtime().block_on(async {
        let states = States::new(FAST);
        let (first, _second) =
            (states.turn_to_give().await.unwrap(), states.turn_to_give().await.unwrap());
        // The other direction has turns of its own.
        drop(states.turn_to_take().await.unwrap());
        let waiting = states.clone();
        let third = tokio::spawn(async move { waiting.turn_to_give().await.map(drop).is_ok() });
        while states.figures().waiting.load(Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(states.figures().giving.load(Relaxed), 2);
        drop(first);
        assert!(third.await.unwrap());
    });
}

/// Logs records of so many bytes in all.
fn fill(leading: &mut Node, bytes: usize) {
    const PAYLOAD_BYTES: usize = 30_000;
    let session = SessionId { dispatcher: 0, slot: 1, generation: 1 };
    for number in 0..bytes / PAYLOAD_BYTES {
        let topic = Name::parse(&format!("big.{}", number % 64)).unwrap();
        let payload = vec![number as u8; PAYLOAD_BYTES];
        let (ack, body) = (AckLevel::Disk, payload_body(&payload));
        let request = Request::Publish { topic, ack, body, count: 1, terms: Terms::default() };
        let origin = Origin { session, stream: 0, req: number as u64 };
        leading.commands(vec![Command::Request(origin, request)]);
    }
}

#[test]
fn a_state_goes_over_a_link() {
    over_a_link(2_000_000);
}

#[ignore = "a measurement; run it with --release --ignored --nocapture"]
#[test]
fn a_state_of_64_mib_takes_so_long() {
    over_a_link(64 * 1024 * 1024);
}

fn over_a_link(bytes: usize) {
    let directory = tempfile::tempdir().unwrap();
    let mut leading = leader(directory.path(), 51, 30);
    fill(&mut leading, bytes);
    let mut taker = Node::open(&directory.path().join("taker"), 5);
    let (states, theirs) = (States::new(FAST), States::new(FAST));
    let snapshot = given(&leading);
    let log = taker.log().clone();
    let (shard, began) = runtime().block_on(async {
        let ca = Authority::new();
        let (a, b) = (ca.node(1, 1), ca.node(2, 1));
        a.links.learn(&b.member, true);
        let mut streams = b.links.serve(services::STATES);
        let taking = theirs.clone();
        let (made, shard) = std::sync::mpsc::channel();
        let serving = tokio::spawn(async move {
            let incoming: Incoming = streams.recv().await.unwrap();
            let install = async |_, vote, snapshot| {
                let taken = taken_of(snapshot);
                let install = move || taken.install(config(SHARD, 77)).unwrap();
                let installed = tokio::task::spawn_blocking(install).await.unwrap();
                made.send(installed).unwrap();
                Ok(SnapshotResponse::new(vote))
            };
            taking.take(incoming, |_, _| Ok(log), install).await
        });
        let began = Instant::now();
        let response = states.give(&a.links, id(2), Vote::new(3, 1), snapshot).await.unwrap();
        let took = began.elapsed();
        assert_eq!(response.vote, Vote::new(3, 1));
        serving.await.unwrap().unwrap();
        (shard.recv().unwrap().0, took)
    });
    let sent = states.figures().bytes_out.load(Relaxed) as f64 / (1024.0 * 1024.0);
    println!("{sent:.1} MiB in {began:?}: {:.0} MiB/s", sent / began.as_secs_f64());
    assert_eq!(theirs.figures().taken.load(Relaxed), 1);
    taker.shard = shard;
    assert_eq!((taker.hash(), taker.records()), (leading.hash(), leading.records()));
    leading.close();
    taker.verify();
}
