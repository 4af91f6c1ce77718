//! The start, where logs belong to Raft groups: how far a log is committed, where it begins for its
//! group, and who the members were. The shards themselves are made again in `recovery`.

use super::base::{Base, Membership};
use super::block::{self, BlockKind, Head};
use super::group_log::FoundLog;
use super::group_state::{EntryId, GroupState, behind};
use super::key::Key;
use super::recovery::Damage;
use super::store::Store;

/// Which blocks of a log count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counts {
    /// All: the server is alone, and there is no group.
    Own,
    /// Logs belong to groups, and may go on behind what is committed.
    Committed,
    /// The same, and everything counts, since nobody is left who knows more.
    All,
}

impl Counts {
    pub(super) fn has_groups(self) -> bool {
        match self {
            Self::Own => false,
            Self::Committed | Self::All => true,
        }
    }
}

/// A group as it was found.
#[derive(Debug, Default)]
pub(crate) struct RecoveredGroup {
    pub(super) log: FoundLog,
    /// The last entry that its shard holds.
    pub(super) applied: Option<EntryId>,
    /// The members as of that.
    pub(super) membership: Option<Membership>,
    /// The state of a group without a shard.
    pub(super) snapshot: Option<Vec<u8>>,
}

/// Follows the blocks of a log as they are read.
pub(super) struct Follow {
    /// What is remembered of the group; nothing before there was one.
    remembered: Option<GroupState>,
    base: Option<Base>,
    /// Index behind what is committed.
    committed: u64,
    applied: Option<EntryId>,
    membership: Option<Membership>,
    last: Option<EntryId>,
}

impl Follow {
    /// Behind a checkpoint that covers so many blocks and stands on this, if there is one.
    pub(super) fn new(remembered: Option<GroupState>, base: Option<Base>, covers: u64) -> Self {
        // What a server alone has written was committed when it was on the disk.
        let committed = remembered.map_or(u64::MAX, |state| behind(state.committed));
        let before = covers.checked_sub(1).map(|index| EntryId { term: 0, index });
        let applied = base.as_ref().map(|base| base.last).or(before);
        let membership = base.as_ref().and_then(|base| base.membership.clone());
        Self { remembered, base, committed, applied, membership, last: None }
    }

    /// Everything counts that the log holds. But what lies behind a state from elsewhere that the log has not been told of
    /// yet may be of another history: of that nothing does.
    pub(super) fn with_all(self) -> Self {
        let purged = self.remembered.map_or(0, |state| state.wanted_from());
        let is_left_over =
            self.base.as_ref().is_some_and(|base| base.is_taken_over && purged <= base.last.index);
        Self { committed: if is_left_over { self.committed } else { u64::MAX }, ..self }
    }

    pub(super) fn is_committed(&self, index: u64) -> bool {
        index < self.committed
    }

    pub(super) fn block(&mut self, head: &Head, body: &[u8]) {
        let id = EntryId { term: head.term, index: head.index };
        self.last = Some(id);
        if self.is_committed(head.index) {
            self.applied = Some(id);
            if head.kind == BlockKind::Membership {
                self.membership = Some(Membership { id, bytes: body.to_vec() });
            }
        }
    }

    /// The group of a shard whose blocks were read from `covers` to `next`.
    pub(super) fn finish(
        self,
        store: &Store,
        shard: u16,
        covers: u64,
        next: u64,
    ) -> Result<RecoveredGroup, Damage> {
        let Self { remembered, base, applied, membership, last, .. } = self;
        let Some(mut remembered) = remembered else {
            // The group begins behind what was there before it. Others get that as a snapshot.
            let remembered = GroupState { vote: None, committed: applied, purged: applied };
            let log = FoundLog { remembered, next, last: applied };
            return Ok(RecoveredGroup { log, applied, membership, snapshot: None });
        };
        // After a state was taken over from elsewhere, what is left of the log here may be anything.
        if let Some(base) = base.filter(|base| base.is_taken_over) {
            let is_further = remembered.wanted_from() <= base.last.index;
            remembered.purged = if is_further { Some(base.last) } else { remembered.purged };
        }
        // It is noted with what is written next, and a checkpoint may have come before that.
        remembered.committed = remembered.committed.max(applied);
        let wanted = remembered.wanted_from();
        if next < wanted {
            let what =
                format!("its group has purged entries up to {wanted}, and it ends at {next}");
            return Err(Damage::checkpoint(shard, &what));
        }
        let mut last = last.filter(|last| last.index >= wanted);
        if wanted < covers {
            let bad = |error: std::io::Error| Damage::checkpoint(shard, &error.to_string());
            let there = store.reads().count(shard, wanted..covers).map_err(bad)?;
            if there < covers - wanted {
                let what = "blocks before it are missing that its group wants";
                return Err(Damage::checkpoint(shard, what));
            }
            if last.is_none() {
                last = Some(id_of_block(store, Key { shard, index: covers - 1 })?);
            }
        }
        let last = last.or(remembered.purged);
        // It may have been noted of an entry that a crash has taken; another one may come into its place.
        remembered.committed = remembered.committed.min(last.max(applied));
        let log = FoundLog { remembered, next, last };
        Ok(RecoveredGroup { log, applied, membership, snapshot: None })
    }
}

fn id_of_block(store: &Store, key: Key) -> Result<EntryId, Damage> {
    let missing = || Damage::block(key, "it is missing");
    let mut found = store.reads().scan(key.shard, key.index..key.index.saturating_add(1));
    let (_, bytes) = found
        .next()
        .ok_or_else(missing)?
        .map_err(|error| Damage::block(key, &error.to_string()))?;
    let (head, _) = block::open(&bytes).map_err(|error| Damage::block(key, &error.to_string()))?;
    Ok(EntryId { term: head.term, index: head.index })
}
