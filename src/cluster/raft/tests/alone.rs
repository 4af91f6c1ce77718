//! A server that was alone becomes the first node of a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::storage::Snapshot;
use openraft::{AnyError, Config, OptionalSend, Raft, Vote};
use tidewire_core::SHARDS;
use tidewire_core::shard::Shard;

use super::machine::Machine;
use crate::cluster::raft::{
    EntryBody, Groups, LogStorage, Node, NodeId, applied_of, entries::from_id,
};
use crate::journal::tests::{filled, hashes, open_as, publish, shard_config, topic_in};
use crate::journal::{EntryId, Opened, OpenedGroup};

/// Nobody can be reached.
#[derive(Clone)]
struct Nobody;

fn unreachable() -> Unreachable {
    Unreachable::new(&AnyError::error("there is nobody else"))
}

impl RaftNetworkFactory<Groups> for Nobody {
    type Network = Self;

    async fn new_client(&mut self, _target: NodeId, _node: &Node) -> Self {
        self.clone()
    }
}

impl RaftNetwork<Groups> for Nobody {
    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<Groups>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, RPCError<NodeId, Node, RaftError<NodeId>>> {
        Err(unreachable().into())
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<NodeId>,
        _option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, RPCError<NodeId, Node, RaftError<NodeId>>> {
        Err(unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote<NodeId>,
        _snapshot: Snapshot<Groups>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<NodeId>, StreamingError<Groups, openraft::error::Fatal<NodeId>>>
    {
        Err(unreachable().into())
    }
}

async fn led(group: &OpenedGroup) -> (Raft<Groups>, Machine, LogStorage) {
    let config = Config {
        heartbeat_interval: 50,
        election_timeout_min: 100,
        election_timeout_max: 200,
        ..Config::default()
    };
    let config = Arc::new(config.validate().unwrap());
    let machine = Machine::at(applied_of(group).unwrap());
    let log = LogStorage::new(group.log.clone());
    log.begin(BTreeMap::from([(1, Node::new("here:7172"))])).await.unwrap();
    let raft = Raft::new(1, config, Nobody, log.clone(), machine.clone()).await.unwrap();
    let wait = raft.wait(Some(Duration::from_secs(20)));
    wait.current_leader(1, "it leads itself").await.unwrap();
    (raft, machine, log)
}

/// The bodies for a publish by a shard that is a copy of this one.
fn published(shard: &Shard, payload: &[u8]) -> Vec<EntryBody> {
    let number = shard.number();
    let snapshot = shard.checkpoint().unwrap();
    let mut leading = Shard::resume(snapshot, shard_config(number, 7)).unwrap();
    leading.handle(publish(&topic_in(number), 900, payload), 3_000);
    let round = leading.seal().unwrap();
    vec![EntryBody::of_round(&round.log, round.version, 3_000).unwrap()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_alone_keeps_its_logs_and_goes_on_as_a_leader() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let before = filled(&data, 40, 700).await;
    let Opened { shards, groups, storage, .. } = open_as(&data, "n", true).unwrap();
    assert_eq!(groups.len(), 17);
    let (shard, group) = (&shards[2].0, &groups[2]);
    let last = group.log.last().unwrap();
    assert_eq!((last.term, group.log.shard()), (0, SHARDS + 2));
    assert_eq!(group.log.remembered().purged, Some(last), "others get it as a snapshot");
    let (raft, machine, log) = led(group).await;
    let bodies = published(shard, b"as a leader");
    for body in &bodies {
        raft.client_write(body.clone()).await.unwrap();
    }
    assert_eq!(machine.bodies(), bodies);
    // Members, a blank entry of the new leader, and what was written.
    let end = log.log().last().unwrap();
    assert_eq!(end, EntryId { term: 1, index: last.index + 2 + bodies.len() as u64 });
    raft.shutdown().await.unwrap();
    drop((shards, groups, log));
    storage.join();

    // The shard has it, and the others are as they were.
    let opened = open_as(&data, "n", true).unwrap();
    let after = hashes(&opened);
    for (number, (after, before)) in after.iter().zip(&before).enumerate() {
        assert_eq!(after == before, number != 2, "shard {number}");
    }
    let group = &opened.groups[2];
    assert_eq!((group.log.last(), group.applied), (Some(end), Some(end)));
    assert_eq!(group.log.remembered().vote.unwrap().node, Some(1));
    let (applied, members) = applied_of(group).unwrap();
    assert_eq!(applied, Some(from_id(end)));
    assert_eq!(members.log_id(), &Some(from_id(EntryId { term: 0, index: last.index + 1 })));
    assert_eq!(members.voter_ids().collect::<Vec<_>>(), [1]);
    let (raft, _, log) = led(group).await;
    for body in published(&opened.shards[2].0, b"as a leader again") {
        raft.client_write(body).await.unwrap();
    }
    assert!(log.log().last() > Some(end));
    raft.shutdown().await.unwrap();
    drop((opened.shards, opened.groups, log));
    opened.storage.join();

    // Without its cluster nobody would know what counts.
    let refused = open_as(&data, "n", false).err().unwrap().to_string();
    assert!(refused.contains("belongs to a cluster"), "{refused}");
}
