//! What is left on one node of a cluster that has lost its majority: the states of its shards, with everything that lies in
//! their logs. Nothing of the directory is changed.

use std::path::{Path, PathBuf};

use tidewire_core::shard::{Shard, ShardConfig, ShardSnapshot};

use super::base::Membership;
use super::ends::EndsFile;
use super::group_recovery::Counts;
use super::group_state::EntryId;
use super::identity::{Identity, IdentityError};
use super::reads::Reads;
use super::recovery::{Recovered, Recovery};
use super::storage::{JOURNAL, StorageError};
use super::store::Store;

/// A node's data directory that is read for what is left in it.
pub(crate) struct Salvage {
    pub(crate) directory: PathBuf,
    /// What tells its master key apart from others.
    pub(crate) master_key: String,
    pub(crate) shards: Vec<Salvaged>,
    reads: Reads,
    /// Nobody else opens it meanwhile.
    _store: Store,
}

/// What is left of a shard.
pub(crate) struct Salvaged {
    shard: Shard,
    /// The last entry of its log; nothing if the node has never had a copy.
    pub(crate) last: Option<EntryId>,
    /// The last one that the node knew to be committed.
    pub(crate) committed: Option<EntryId>,
    /// The members of its group, as the last entry about them says.
    pub(crate) membership: Option<Membership>,
}

impl Salvage {
    /// Reads a data directory. Blocks.
    ///
    /// # Errors
    /// When it is none, is in use or damaged.
    pub(crate) fn open(
        directory: &Path,
        open_timeout_ms: u64,
        config: &dyn Fn(u16) -> ShardConfig,
    ) -> Result<Self, StorageError> {
        let Some(identity) = Identity::read(directory)? else {
            let source = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(IdentityError::Io { path: directory.join("storage.json"), source }.into());
        };
        let ends = EndsFile::at(directory.join("ends"));
        let refuse = |source| StorageError::Ends { path: ends.path().to_owned(), source };
        let written = ends.read().map_err(refuse)?.unwrap_or_default();
        let store = Store::open(&directory.join(JOURNAL), open_timeout_ms)?;
        let counts = Counts::All;
        let recovery = Recovery { store: &store, written: &written, now_ms: 0, config, counts };
        let (recovered, _meta, _found) = recovery.run()?;
        let mut shards = Vec::with_capacity(recovered.len());
        for Recovered { mut shard, group, .. } in recovered {
            let number = shard.number();
            let path = || directory.join(JOURNAL);
            let refuse = |source| super::store::OpenError::Io { path: path(), source };
            let remembered = store.group(number).map_err(refuse)?.unwrap_or_default();
            // Nobody is told what was repeated.
            drop(shard.seal());
            let (last, membership) =
                group.map_or((None, None), |group| (group.applied, group.membership));
            let committed = remembered.committed;
            shards.push(Salvaged { shard, last, committed, membership });
        }
        Ok(Self {
            directory: directory.to_owned(),
            master_key: identity.directory().master_key,
            shards,
            reads: store.reads(),
            _store: store,
        })
    }

    /// The blocks of its logs.
    pub(crate) fn reads(&self) -> &Reads {
        &self.reads
    }
}

impl Salvaged {
    pub(crate) fn number(&self) -> u16 {
        self.shard.number()
    }

    /// When it was changed last, Unix milliseconds.
    pub(crate) fn changed_ms(&self) -> u64 {
        self.shard.now_ms()
    }

    /// Its state.
    pub(crate) fn snapshot(&self) -> Option<ShardSnapshot> {
        self.shard.checkpoint()
    }
}
