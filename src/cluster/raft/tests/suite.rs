//! openraft's tests of a storage, over a real database.

use std::sync::Mutex;

use openraft::StorageError;
use openraft::testing::{StoreBuilder, Suite};

use super::groups;
use super::machine::Machine;
use crate::cluster::raft::{Groups, LogStorage, NodeId};
use crate::journal::{META, Storage};
use tidewire_core::SHARDS;

/// Makes a log of this shard's group, in a new directory.
struct Builder(u16);

/// What has to live as long as the log.
struct Below {
    storage: Mutex<Option<Storage>>,
    _directory: tempfile::TempDir,
}

impl Drop for Below {
    fn drop(&mut self) {
        self.storage.get_mut().unwrap().take().unwrap().join();
    }
}

impl StoreBuilder<Groups, LogStorage, Machine, Below> for Builder {
    async fn build(&self) -> Result<(Below, LogStorage, Machine), StorageError<NodeId>> {
        let directory = tempfile::tempdir().unwrap();
        let (groups, storage) = groups(&directory.path().join("data"));
        let group = groups.into_iter().find(|group| group.log.shard() == self.0).unwrap();
        let below = Below { storage: Mutex::new(Some(storage)), _directory: directory };
        Ok((below, LogStorage::new(group.log), Machine::default()))
    }
}

#[test]
fn the_log_of_a_shard_passes_the_tests_of_openraft() {
    Suite::test_all(Builder(SHARDS + 3)).unwrap();
}

#[test]
fn the_log_of_the_group_without_a_shard_passes_the_tests_of_openraft() {
    Suite::test_all(Builder(META)).unwrap();
}
