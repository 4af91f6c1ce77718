//! Copies of the states of shards, for those who read them at leisure.

use std::time::Duration;

use tidewire_core::shard::ShardSnapshot;
use tokio::sync::oneshot;

use super::Shared;

/// Somebody wants the state of a shard as it is between two rounds. Whoever cannot give it drops this.
pub(crate) struct CopyWanted {
    /// In a cluster: entries of the shard's group that have to be in it. It is waited for them as long as somebody
    /// waits for the copy.
    pub(crate) entries: u64,
    pub(crate) to: oneshot::Sender<ShardSnapshot>,
}

impl Shared {
    /// The state of a shard as it is between two rounds; `None` when the server is stopping, or has no copy of
    /// it. Blocks.
    pub(crate) fn copy_of(&self, shard: u16) -> Option<ShardSnapshot> {
        let (to, copy) = oneshot::channel();
        let wanted = CopyWanted { entries: 0, to };
        self.copies.get(usize::from(shard))?.blocking_send(wanted).ok()?;
        copy.blocking_recv().ok()
    }

    /// The state of a cluster's shard, with so many entries of its group in it at least; `None` when this node has not
    /// got it in time.
    pub(crate) async fn copy_with(
        &self,
        shard: u16,
        entries: u64,
        wait: Duration,
    ) -> Option<ShardSnapshot> {
        let queue = self.copies.get(usize::from(shard))?;
        let (to, copy) = oneshot::channel();
        let copied = async {
            queue.send(CopyWanted { entries, to }).await.ok()?;
            copy.await.ok()
        };
        tokio::time::timeout(wait, copied).await.ok().flatten()
    }
}
