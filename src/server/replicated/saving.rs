//! When the state of a shard is saved, and what of its log goes then.
//!
//! A checkpoint is made of what is applied, as often as a single server makes one. The log is purged up to the
//! checkpoint before it, so that a node which lags behind a little is served from the log; who lacks more gets
//! the checkpoint. On a full disk all goes that is in the newest one.

use std::io;

use tidewire_core::member::Member;

use super::behind::Behind;
use super::task::Task;
use crate::journal::{Base, DiskRoom, EntryId, GroupLog};

/// What of a shard is saved, is being saved, and is to be purged.
#[derive(Debug, Default)]
pub(super) struct Saving {
    /// A checkpoint is due. Whoever leads takes no commands until nothing is under way: what is not
    /// committed may not be in it.
    pub(super) is_due: bool,
    /// The entry that the state stands on which is being written.
    writing: Option<EntryId>,
    /// That of the checkpoint which counts.
    saved: Option<EntryId>,
    /// The log is to be purged up to here.
    purge: Option<EntryId>,
    /// Bytes of records that have left topics.
    released_bytes: u64,
}

impl Saving {
    /// Goes on from the checkpoint that counts. What a server without a cluster has logged is saved at
    /// once: others get it as a state.
    ///
    /// # Errors
    /// When it cannot be read or saved.
    pub(super) async fn begin(
        log: &GroupLog,
        room: &mut DiskRoom,
        base: Option<&Base>,
        member: &Member,
    ) -> io::Result<Self> {
        let looking = log.clone();
        let saved = tokio::task::spawn_blocking(move || looking.base()).await;
        let mut saved = saved.map_err(io::Error::other)??.map(|base| base.last);
        if let Some(base) = base
            && log.remembered().purged > saved
        {
            let state = member.checkpoint();
            let is_saved = match state {
                Some(state) => room.checkpoint_at(base.clone(), state, 0) && room.saved().await,
                None => false,
            };
            if !is_saved {
                return Err(io::Error::other("what it has logged alone cannot be saved"));
            }
            saved = Some(base.last);
        }
        Ok(Self { saved, ..Self::default() })
    }

    /// A state has come to count that was taken from another node.
    pub(super) fn installed(&mut self, last: EntryId) {
        *self = Self { saved: Some(last), writing: self.writing, ..Self::default() };
    }
}

impl Task {
    /// When it is to be looked again whether the state is to be saved, though nothing happens.
    pub(super) fn next_look_ms(&self) -> Option<u64> {
        match &self.behind {
            Behind::Durable(durable) => durable.room.next_look_ms(durable.saving.released_bytes),
            Behind::Memory => None,
        }
    }

    /// Hands the state over to be saved, if that is due and it is as of the last entry that was applied.
    pub(super) fn save(&mut self, now_ms: u64) {
        let Behind::Durable(durable) = &mut self.behind else { return };
        let Some(shard) = self.member.copy() else { return };
        let saving = &mut durable.saving;
        saving.released_bytes = shard.stats().released_bytes;
        saving.is_due |= durable.room.wants_checkpoint(saving.released_bytes, now_ms);
        if saving.is_due
            && self.replacing.is_none()
            && let Some(base) = &durable.base
            && let Some(state) = self.member.checkpoint()
        {
            saving.is_due = false;
            if durable.room.checkpoint_at(base.clone(), state, saving.released_bytes) {
                saving.writing = Some(base.last);
            }
        }
    }

    /// The state that was being written counts, or does not.
    pub(super) async fn saved(&mut self, does_count: bool) {
        let Behind::Durable(durable) = &mut self.behind else { return };
        let saving = &mut durable.saving;
        let Some(last) = saving.writing.take().filter(|_| does_count) else { return };
        let before = saving.saved.replace(last);
        let upto = if durable.room.is_full() { Some(last) } else { before };
        saving.purge = saving.purge.max(upto);
        // The engine looks which one counts. If it has ended, nothing is purged.
        drop(durable.group.raft.trigger().snapshot().await);
    }

    /// Purges the log as far as it is saved, unless somebody needs it: a node that is given a state gets
    /// what comes behind that from the log.
    pub(super) async fn purge(&mut self) {
        let Behind::Durable(durable) = &mut self.behind else { return };
        let Some(upto) = durable.saving.purge else { return };
        let raft = &durable.group.raft;
        let snapshot = raft.data_metrics().borrow().snapshot.map(|id| id.index);
        if snapshot >= Some(upto.index) && self.replacing.is_none() && !durable.room.is_held() {
            durable.saving.purge = None;
            // As above.
            drop(raft.trigger().purge_log(upto.index).await);
        }
    }
}
