//! The machine of the meta group: what it applies, saves and takes over.

use std::path::Path;

use openraft::storage::{RaftLogStorageExt, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, Membership, StoredMembership};

use super::groups;
use crate::cluster::meta::{MetaCommand, Outcome, PolicyText};
use crate::cluster::raft::entries::{Entry, from_id};
use crate::cluster::raft::{
    Decided, EntryBody, GroupSnapshot, LogStorage, MetaMachine, Node, snapshot_of,
};
use crate::cluster::{ClusterId, NodeAddress, NodeId};
use crate::journal::{EntryId, Storage};

fn id(node: u64) -> NodeId {
    NodeId::new(node).unwrap()
}

fn entry(index: u64, command: &MetaCommand) -> Entry {
    let payload = EntryPayload::Normal(EntryBody::of_command(command, 7).unwrap());
    Entry { log_id: from_id(EntryId { term: 1, index }), payload }
}

fn found() -> MetaCommand {
    MetaCommand::Found {
        cluster: ClusterId::new(7),
        epoch: 5,
        feature_level: 1,
        replicas: 3,
        node: id(1),
        name: "node-1".to_owned(),
        address: NodeAddress::parse("node-1.example:7172").unwrap(),
        policies: PolicyText::default(),
    }
}

fn members() -> Entry {
    let nodes = [(1, Node::new("a"))].into_iter().collect::<std::collections::BTreeMap<_, _>>();
    let membership = Membership::new(vec![[1].into()], nodes);
    let log_id = from_id(EntryId { term: 1, index: 0 });
    Entry { log_id, payload: EntryPayload::Membership(membership) }
}

/// The machine over what lies in a directory, and the log that it follows.
fn open(directory: &Path) -> (MetaMachine, LogStorage, Decided, Storage) {
    let (mut opened, storage) = groups(directory);
    let group = opened.pop().unwrap();
    let decided = Decided::new(ClusterId::new(7));
    let saved = snapshot_of(&group).unwrap();
    let log = LogStorage::new(group.log);
    let machine = MetaMachine::new(log.clone(), saved, &decided).unwrap();
    (machine, log, decided, storage)
}

#[tokio::test]
async fn what_is_decided_is_told_saved_and_there_again() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut machine, mut log, decided, storage) = open(one.path());
    let mut changes = decided.changes();
    let unknown = MetaCommand::Drain { node: id(9), on: true };
    let entries = [members(), entry(1, &found()), entry(2, &unknown)];
    log.blocking_append(entries.clone()).await.unwrap();
    machine.apply(entries).await.unwrap();
    assert!(changes.has_changed().unwrap() && changes.borrow_and_update().is_founded());
    assert_eq!(decided.outcome(1), Some(Ok(Outcome::Changed)));
    let refused = decided.outcome(2).unwrap().unwrap_err().to_string();
    assert!(refused.contains("node 9 does not belong to the cluster"), "{refused}");
    assert_eq!(decided.outcome(3), None);

    let saved = machine.build_snapshot().await.unwrap();
    let GroupSnapshot::Bytes(bytes) = &*saved.snapshot else { panic!("all of it is sent") };
    assert!(!bytes.is_empty());
    // Another node takes all of it over.
    let (mut behind, log_there, decided_there, storage_there) = open(other.path());
    behind.install_snapshot(&saved.meta, saved.snapshot.clone()).await.unwrap();
    assert_eq!(decided_there.now(), decided.now());
    drop((machine, behind, log, log_there));
    storage.join();
    storage_there.join();

    for directory in [one, other] {
        let (mut machine, log, decided_again, storage) = open(directory.path());
        assert_eq!(decided_again.now(), decided.now());
        let (last, membership): (_, StoredMembership<u64, Node>) =
            machine.applied_state().await.unwrap();
        assert_eq!(last.map(|last| last.index), Some(2));
        assert_eq!(membership.membership().voter_ids().collect::<Vec<_>>(), [1]);
        let current = machine.get_current_snapshot().await.unwrap().unwrap();
        assert_eq!(current.meta, saved.meta);
        drop((machine, log));
        storage.join();
    }
}

#[tokio::test]
async fn what_a_newer_release_has_decided_ends_the_group_here() {
    let directory = tempfile::tempdir().unwrap();
    let (mut machine, mut log, decided, storage) = open(directory.path());
    let newer = serde_json::json!({ "level": 99, "command": "bury" });
    let bytes = rmp_serde::to_vec_named(&newer).unwrap().into();
    let payload = EntryPayload::Normal(EntryBody { entries: 1, bytes, ..EntryBody::default() });
    let log_id = from_id(EntryId { term: 1, index: 1 });
    let entry = Entry { log_id, payload };
    log.blocking_append([entry.clone()]).await.unwrap();
    let refused = machine.apply([entry]).await.unwrap_err().to_string();
    assert!(refused.contains("update this node"), "{refused}");
    assert!(!decided.now().is_founded());
    drop((machine, log));
    storage.join();
}
