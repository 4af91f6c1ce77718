//! A group goes on while its disk writes, and nothing counts before it has.

use futures_util::FutureExt;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::{Entry, EntryPayload, StoredMembership};

use crate::cluster::raft::entries::from_id;
use crate::cluster::raft::machine::{Handed, Machine};
use crate::cluster::raft::network::stored_of;
use crate::cluster::raft::{EntryBody, LogStorage};
use crate::journal::EntryId;
use crate::journal::tests::Slow;

fn id(index: u64) -> EntryId {
    EntryId { term: 1, index }
}

fn entry(index: u64) -> Entry<crate::cluster::raft::Groups> {
    let payload = EntryPayload::Normal(EntryBody::default());
    Entry { log_id: from_id(id(index)), payload }
}

#[tokio::test]
async fn an_entry_is_applied_when_it_is_on_the_disk_here() {
    let slow = Slow::start();
    let mut log = LogStorage::new(slow.log());
    // The engine is not held up.
    log.blocking_append([entry(0), entry(1)]).await.unwrap();
    log.save_committed(Some(from_id(id(1)))).await.unwrap();
    let (mut machine, mut handed) = Machine::new((None, StoredMembership::default()), log.clone());
    {
        let mut applying = Box::pin(machine.apply([entry(0), entry(1)]));
        assert!(applying.as_mut().now_or_never().is_none());
        assert!(handed.try_recv().is_err());
        slow.go();
        assert_eq!(applying.await.unwrap().len(), 2);
    }
    for index in 0..2 {
        let Ok(Handed::Entry(committed)) = handed.try_recv() else { panic!("{index} is missing") };
        assert_eq!(committed.id, id(index));
    }
    slow.stop();
}

#[test]
fn others_are_told_no_more_to_be_committed_than_is_on_the_disk_here() {
    assert_eq!(stored_of(from_id(id(7)), None), None);
    assert_eq!(stored_of(from_id(id(7)), Some(id(5))), Some(from_id(id(5))));
    assert_eq!(stored_of(from_id(id(7)), Some(id(7))), Some(from_id(id(7))));
    assert_eq!(stored_of(from_id(id(7)), Some(id(9))), Some(from_id(id(7))));
}
