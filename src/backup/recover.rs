//! The last resort: a data directory for a server of its own, made of what is left on some nodes of a cluster whose
//! majority is gone for good.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewire_core::shard::{Shard, ShardConfig, ShardSnapshot};
use tidewire_core::{CLUSTER_EPOCH, SHARDS, SHARDS_MAX, epoch_anew};

use super::kept_blocks;
use super::restore::remove;
use crate::cluster::raft::is_member;
use crate::cluster::{self, ClusterError, ClusterId, NodeId};
use crate::config::Config;
use crate::journal::{self, Salvage, Salvaged, StorageError};

/// Why nothing is recovered. Nothing is left of an attempt, and the directories of nodes are as they were.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoverError {
    #[error("{0} belongs to no cluster: start a server with it as it is")]
    NoNode(PathBuf),
    #[error(
        "{path} belongs to a node of cluster {found}, and {first} to one of cluster {expected}: name directories of one cluster"
    )]
    OtherCluster { path: PathBuf, found: ClusterId, first: PathBuf, expected: ClusterId },
    #[error(
        "{path} was made with another master key than {first}: name directories of one cluster"
    )]
    OtherKey { path: PathBuf, first: PathBuf },
    #[error(
        "no policy of the configuration has durability \"disk\": name the configuration of one of the nodes (--config)"
    )]
    NoPolicy,
    #[error("{0} holds a journal already: name an empty directory (--into)")]
    NotEmpty(PathBuf),
    #[error(
        "the master key {0} is not the one of the cluster, so its voters would not be recognised: name the right file \
         (storage.master_key_file in the configuration)"
    )]
    Key(PathBuf),
    #[error("cannot write to {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("the records of shard {shard} in {path} cannot be read: {source}")]
    Unreadable { shard: u16, path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What is left of a group, in the directory that has the newest of it.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct GroupLeft {
    pub(crate) group: u16,
    /// Whose copy it is, and where; nothing if no node that was looked at has one.
    pub(crate) node: Option<NodeId>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) term: u64,
    pub(crate) entries: u64,
    /// Entries at the end of its log that the node did not know to be committed.
    pub(crate) uncertain: u64,
    /// When it was changed last, Unix milliseconds.
    pub(crate) changed_ms: u64,
    /// The node had given its copy away, so others have gone on since.
    pub(crate) is_given_away: bool,
}

/// Nodes of a cluster, as far as they are left.
pub(crate) struct Survivors {
    cluster: ClusterId,
    nodes: Vec<(NodeId, Salvage)>,
    config: Config,
}

impl Survivors {
    /// Reads the data directories of some nodes. `config` has the policies. Blocks.
    ///
    /// # Errors
    /// When one of them is no node's, is in use, or is damaged.
    pub(crate) fn read(directories: &[PathBuf], config: &Config) -> Result<Self, RecoverError> {
        if config.policies().shards() < SHARDS_MAX {
            return Err(RecoverError::NoPolicy);
        }
        let shard = shard_config(config);
        let mut found: Option<(ClusterId, PathBuf, String)> = None;
        let mut nodes = Vec::new();
        for path in directories {
            let owner = cluster::owner_of(path)?;
            let (cluster, node) = owner.ok_or_else(|| RecoverError::NoNode(path.clone()))?;
            let salvage = Salvage::open(path, config.storage.open_timeout_ms, &shard)?;
            let (expected, first, key) =
                found.get_or_insert_with(|| (cluster, path.clone(), salvage.master_key.clone()));
            if *expected != cluster {
                let (expected, first) = (*expected, first.clone());
                return Err(RecoverError::OtherCluster {
                    path: path.clone(),
                    found: cluster,
                    first,
                    expected,
                });
            }
            if *key != salvage.master_key {
                return Err(RecoverError::OtherKey { path: path.clone(), first: first.clone() });
            }
            nodes.push((node, salvage));
        }
        let none = || RecoverError::NoNode(PathBuf::from("nothing"));
        let (cluster, ..) = found.ok_or_else(none)?;
        Ok(Self { cluster, nodes, config: config.clone() })
    }

    /// Where the newest of a shard is.
    fn newest(&self, shard: u16) -> Option<(NodeId, &Salvage, &Salvaged)> {
        let copies = self.nodes.iter().filter_map(|(node, salvage)| {
            let salvaged = salvage.shards.iter().find(|salvaged| salvaged.number() == shard)?;
            Some((*node, salvage, salvaged))
        });
        copies.filter(|(_, _, copy)| copy.last.is_some()).max_by_key(|(_, _, copy)| copy.last)
    }

    /// What is left of each group.
    pub(crate) fn groups(&self) -> Vec<GroupLeft> {
        let group = |group| {
            let Some((node, salvage, copy)) = self.newest(SHARDS + group) else {
                let (directory, is_given_away) = (None, false);
                let (term, entries, uncertain, changed_ms) = (0, 0, 0, 0);
                let node = None;
                return GroupLeft {
                    group,
                    node,
                    directory,
                    term,
                    entries,
                    uncertain,
                    changed_ms,
                    is_given_away,
                };
            };
            let entries = |id: Option<journal::EntryId>| id.map_or(0, |id| id.index + 1);
            let members = copy.membership.as_ref();
            let is_in =
                members.is_none_or(|members| is_member(members, node.get()).unwrap_or(true));
            GroupLeft {
                group,
                node: Some(node),
                directory: Some(salvage.directory.clone()),
                term: copy.last.map_or(0, |last| last.term),
                entries: entries(copy.last),
                uncertain: entries(copy.last).saturating_sub(entries(copy.committed)),
                changed_ms: copy.changed_ms(),
                is_given_away: !is_in,
            }
        };
        (0..SHARDS).map(group).collect()
    }

    /// Makes a data directory of the newest of each shard, in epochs of its own. Names of groups of which nothing is left
    /// begin anew in it. Blocks.
    ///
    /// # Errors
    /// When it is not empty, cannot be written, or something cannot be read.
    pub(crate) fn recover(&self, into: &Path, now_ms: u64) -> Result<(), RecoverError> {
        if journal::is_in_use(into) {
            return Err(RecoverError::NotEmpty(into.to_owned()));
        }
        let refuse = |source| RecoverError::Io { path: into.to_owned(), source };
        std::fs::create_dir_all(into).map_err(refuse)?;
        let outcome = self.write(into, now_ms);
        if outcome.is_err() {
            remove(into);
        }
        outcome
    }

    fn write(&self, into: &Path, now_ms: u64) -> Result<(), RecoverError> {
        let Self { nodes, config, cluster } = self;
        let key = nodes.first().map(|(_, salvage)| salvage.master_key.as_str());
        let key_file = config.storage.master_key_file.as_deref();
        let mut import = journal::Import::begin(into, &config.node, key_file, key)?
            .map_err(RecoverError::Key)?;
        let shard_config = shard_config(config);
        let mut newest = 0;
        for number in SHARDS..SHARDS_MAX {
            let copy = self.newest(number);
            let snapshot = match copy {
                Some((_, _, copy)) => copy.snapshot(),
                None => Shard::new(shard_config(number)).checkpoint(),
            };
            let path = copy.map_or(into, |(_, salvage, _)| &salvage.directory);
            let unreadable =
                |source| RecoverError::Unreadable { shard: number, path: path.to_owned(), source };
            let open = || unreadable(std::io::Error::other("its last round has no end"));
            let snapshot: ShardSnapshot = snapshot.ok_or_else(open)?;
            let epoch = epoch_anew(snapshot.epoch(), now_ms);
            newest = epoch.max(newest);
            let blocks = copy.map(|(_, salvage, _)| kept_blocks(salvage.reads(), &snapshot));
            import.put(&snapshot.begin_anew(epoch, false))?;
            for block in blocks.into_iter().flatten() {
                let (index, block) = block.map_err(unreadable)?;
                import.put_block(number, index, block)?;
            }
        }
        let refuse = |source| RecoverError::Io { path: into.to_owned(), source };
        cluster::note_former(into, *cluster).map_err(refuse)?;
        Ok(import.finish(newest)?)
    }
}

fn shard_config(config: &Config) -> impl Fn(u16) -> ShardConfig + use<> {
    let policies = Arc::new(config.policies());
    let limits = config.shard_limits(policies.shards());
    move |shard| {
        let (policies, limits) = (Arc::clone(&policies), limits.clone());
        ShardConfig { shard, epoch: CLUSTER_EPOCH, seed: 0, policies, limits }
    }
}
