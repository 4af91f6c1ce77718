//! The shards of a server at its start: new ones in memory, and what the disk holds.

use std::sync::Arc;

use tidewire_core::shard::{Shard, ShardConfig};
use tidewire_core::topic::PolicyTable;
use tidewire_core::{CLUSTER_EPOCH, is_durable};

use super::{Clock, StartError};
use crate::config::Config;
use crate::journal::{
    DirectoryId, Journal, MasterKey, Opened, OpenedGroup, Opening, Storage, StorageError,
};

/// All shards, each with the room in which its rounds are committed, in order: those in memory are
/// new, those on disk are as they were.
pub(super) struct Shards {
    pub(super) states: Vec<(Shard, Journal)>,
    /// The logs of the groups of durable shards, in order; none without a cluster.
    pub(super) groups: Vec<OpenedGroup>,
    /// The log of the group in which a cluster decides.
    pub(super) meta: Option<OpenedGroup>,
    pub(super) storage: Option<Storage>,
    pub(super) voter_key: aws_lc_rs::hmac::Key,
    /// Where names are kept on disk, if any are.
    pub(super) directory: Option<DirectoryId>,
}

/// Makes the shards in memory, and reads those on disk.
///
/// # Errors
/// When what is kept on disk is not to be had.
pub(super) async fn make(
    config: &Config,
    clock: &Clock,
    policies: &Arc<PolicyTable>,
) -> Result<Shards, StartError> {
    let now_ms = clock.now_ms();
    let is_clustered = config.cluster.is_there();
    let (limits, policies) = (config.shard_limits(policies.shards()), Arc::clone(policies));
    let shard_config = move |shard, epoch| {
        let (policies, limits) = (Arc::clone(&policies), limits.clone());
        // On all nodes of a cluster what is durable has the same.
        let epoch = if is_clustered && is_durable(shard) { CLUSTER_EPOCH } else { epoch };
        ShardConfig { shard, epoch, seed: now_ms, policies, limits }
    };
    let count = config.policies().shards();
    let mut shards: Vec<(Shard, Journal)> = (0..count)
        .take_while(|shard| !is_durable(*shard))
        .map(|shard| (Shard::new(shard_config(shard, now_ms)), Journal::Memory))
        .collect();
    if shards.len() == usize::from(count) {
        let key = MasterKey::random().map_err(StorageError::from)?;
        let voter_key = key.voter_key();
        let (groups, meta, storage, directory) = (Vec::new(), None, None, None);
        return Ok(Shards { states: shards, groups, meta, storage, voter_key, directory });
    }
    let directory = config.data_dir.clone().ok_or(StorageError::NoDirectory)?;
    let (node, storage) = (config.node.clone(), config.storage.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let (node, config, shard) = (node.as_str(), &storage, &shard_config);
        Storage::open(&Opening { directory, node, config, now_ms, shard, is_clustered })
    });
    let opened = opened.await.map_err(|error| StorageError::Thread(error.into()))??;
    let Opened { shards: durable, mut groups, storage, voter_key, directory } = opened;
    let meta = groups.pop();
    shards.extend(durable.into_iter().map(|(shard, room)| (shard, Journal::Disk(room))));
    let (storage, directory) = (Some(storage), Some(directory));
    Ok(Shards { states: shards, groups, meta, storage, voter_key, directory })
}
