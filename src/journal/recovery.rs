//! The start: checkpoints and the blocks behind them are read, checked and repeated, before anything
//! is served.

use tidewire_core::shard::{LogEntry, Shard, ShardConfig, ShardSnapshot};
use tidewire_core::snapshot::BadSnapshot;
use tidewire_core::{SHARDS, SHARDS_MAX};

use super::META;
use super::base::Base;
use super::block::{self, BadBlock, BlockKind, Head};
use super::checkpoint::{self, Record};
use super::commits::Commits;
use super::ends::Ends;
use super::group_recovery::{Counts, Follow, RecoveredGroup};
use super::group_state::{GroupState, behind};
use super::key::Key;
use super::saving::Covered;
use super::store::Store;

/// Why what was found on the disk is not served.
#[derive(Debug, thiserror::Error)]
#[error(
    "the journal is damaged: {what}. Nothing is served. Restore a copy of the data directory, or \
     move its `journal`, `ends` and `storage.json` away to begin without what they hold"
)]
pub struct Damage {
    what: String,
}

impl Damage {
    pub(super) fn new(what: String) -> Self {
        Self { what }
    }

    pub(super) fn checkpoint(shard: u16, what: &str) -> Self {
        Self::new(format!("the checkpoint of shard {shard}: {what}"))
    }

    fn vote(shard: u16, found: u64, expected: u64) -> Self {
        Self::new(format!(
            "the last vote of the group of shard {shard} was in term {found}, and once in {expected}"
        ))
    }

    pub(super) fn block(key: Key, what: &str) -> Self {
        Self::new(format!("block {} of shard {}: {what}", key.index, key.shard))
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Where the logs end.
    pub(crate) ends: Ends,
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

/// How recovery goes about it.
pub(crate) struct Recovery<'a> {
    pub(crate) store: &'a Store,
    /// What the ends' file says.
    pub(crate) written: &'a Ends,
    pub(crate) now_ms: u64,
    /// How a shard is made.
    pub(crate) config: &'a dyn Fn(u16) -> ShardConfig,
    pub(crate) counts: Counts,
}

impl Recovery<'_> {
    /// Makes the durable shards again from what the disk holds, and reads the log of the group without
    /// a shard, if there are groups.
    ///
    /// # Errors
    /// When a block is missing or damaged, or the logs end earlier than they once did.
    pub(crate) fn run(&self) -> Result<(Vec<Recovered>, Option<RecoveredGroup>, Found), Damage> {
        let mut found = Found::default();
        let mut commits = Commits::behind(self.written.commit);
        let mut shards = Vec::new();
        for number in SHARDS..SHARDS_MAX {
            let mut recovered = self.shard(number, &mut commits, &mut found)?;
            self.end(number, recovered.next, &mut found)?;
            match &recovered.group {
                Some(group) => self.check_vote(number, group, &mut found)?,
                // A replica of a shard goes on recovering, from what its group commits.
                None => recovered.shard.end_recovery(self.now_ms),
            }
            shards.push(recovered);
        }
        let mut meta = None;
        if self.counts.has_groups() {
            let group = self.meta(&mut commits, &mut found)?;
            self.end(META, group.log.next, &mut found)?;
            self.check_vote(META, &group, &mut found)?;
            meta = Some(group);
        }
        found.ends.commit = commits.last()?;
        Ok((shards, meta, found))
    }

    /// Where a log ends, which is no earlier than it once did.
    fn end(&self, shard: u16, next: u64, found: &mut Found) -> Result<(), Damage> {
        let expected = self.written.next(shard);
        if next < expected {
            let what = format!("shard {shard} ends at block {next}, and once ended at {expected}");
            return Err(Damage::new(what));
        }
        found.ends.next.push((shard, next));
        Ok(())
    }

    fn check_vote(
        &self,
        shard: u16,
        group: &RecoveredGroup,
        found: &mut Found,
    ) -> Result<(), Damage> {
        let Some(vote) = group.log.remembered.vote else {
            return match self.written.vote(shard) {
                0 => Ok(()),
                term => Err(Damage::vote(shard, 0, term)),
            };
        };
        if vote.term < self.written.vote(shard) {
            return Err(Damage::vote(shard, vote.term, self.written.vote(shard)));
        }
        found.ends.votes.push((shard, vote.term));
        Ok(())
    }

    fn shard(
        &self,
        number: u16,
        commits: &mut Commits,
        found: &mut Found,
    ) -> Result<Recovered, Damage> {
        let config = (self.config)(number);
        let (mut shard, checkpoint) = match current(self.store, number)? {
            Some((record, base, snapshot)) => {
                let bad = |error: BadSnapshot| Damage::checkpoint(number, &error.to_string());
                let covered = Covered { base, ..Covered::of(record, &snapshot) };
                (Shard::resume(snapshot, config).map_err(bad)?, Some(covered))
            }
            None => (Shard::new(config), None),
        };
        let record = checkpoint.as_ref().map(|covered: &Covered| covered.record);
        found.bytes += record.map_or(0, |record| record.bytes);
        let remembered = remembered(self.store, number, self.counts.has_groups())?;
        let base = checkpoint.as_ref().and_then(|covered| covered.base.clone());
        let covers = record.map_or(0, |record| record.covers);
        let follow = Follow::new(remembered, base, covers);
        let follow = if self.counts == Counts::All { follow.with_all() } else { follow };
        let mut scan = Scan { follow, next: covers, bytes: 0 };
        for block in self.store.scan(number, covers) {
            let block = block.map_err(|error| Damage::new(error.to_string()))?;
            let (head, entries) = scan.take(&block, commits, found)?;
            let (key, bytes) = block;
            if !scan.follow.is_committed(key.index) {
                continue;
            }
            let is_round = head.kind == BlockKind::Changes;
            for entry in entries {
                shard
                    .recover(entry, head.time_ms)
                    .map_err(|error| Damage::block(key, &error.to_string()))?;
            }
            shard.recover_block(key.index, bytes.len() as u64);
            if is_round {
                shard.recover_round(head.version, head.time_ms);
            }
        }
        let Scan { follow, next, bytes: logged_bytes } = scan;
        found.bytes += logged_bytes;
        let group = match self.counts.has_groups() {
            true => Some(follow.finish(self.store, number, covers, next)?),
            false => None,
        };
        Ok(Recovered { shard, checkpoint, logged_bytes, next, group })
    }

    /// The log of the group without a shard, from its first block on: what is left of what was purged
    /// belongs to commits as well.
    fn meta(&self, commits: &mut Commits, found: &mut Found) -> Result<RecoveredGroup, Damage> {
        let remembered = remembered(self.store, META, true)?;
        let first = behind(remembered.unwrap_or_default().purged);
        let snapshot = self.store.snapshot(META);
        let snapshot = snapshot.map_err(|error| Damage::checkpoint(META, &error.to_string()))?;
        let mut scan = Scan { follow: Follow::new(remembered, None, 0), next: 0, bytes: 0 };
        let mut is_first = true;
        for block in self.store.scan(META, 0) {
            let block = block.map_err(|error| Damage::new(error.to_string()))?;
            let index = block.0.index;
            // What was purged may be gone, or may never have been here.
            if (is_first && index <= first) || (index == first && scan.next < first) {
                scan.next = index;
            }
            is_first = false;
            scan.take(&block, commits, found)?;
        }
        found.bytes += scan.bytes;
        let next = scan.next.max(first);
        let mut group = scan.follow.finish(self.store, META, 0, next)?;
        group.snapshot = snapshot;
        Ok(group)
    }
}

/// Blocks of one shard, as they are read one after the other.
struct Scan {
    follow: Follow,
    /// The index that the next one has.
    next: u64,
    bytes: u64,
}

impl Scan {
    /// Checks a block, and that it goes on behind the others; returns what it says.
    fn take(
        &mut self,
        (key, bytes): &(Key, Vec<u8>),
        commits: &mut Commits,
        found: &mut Found,
    ) -> Result<(Head, Vec<LogEntry>), Damage> {
        let (key, next) = (*key, self.next);
        let bad = |what: &str| Damage::block(key, what);
        if key.index != next {
            return Err(bad(&format!("block {next} before it is missing")));
        }
        self.next += 1;
        let unreadable = |error: BadBlock| Damage::block(key, &error.to_string());
        let (head, body) = block::open(bytes).map_err(unreadable)?;
        if (head.shard, head.index) != (key.shard, key.index) {
            return Err(bad("it says that it is another block"));
        }
        commits.add(head.commit, head.blocks).map_err(|what| bad(&what))?;
        let entries = match key.shard {
            // What its entries are is the business of whoever leads groups.
            META => Vec::new(),
            _ => block::entries(&head, body).map_err(unreadable)?,
        };
        self.follow.block(&head, body);
        found.blocks += 1;
        self.bytes += bytes.len() as u64;
        found.entries += u64::from(head.entries);
        Ok((head, entries))
    }
}

/// A shard as it was, and what its checkpoints go on from.
pub(crate) struct Recovered {
    pub(crate) shard: Shard,
    pub(crate) checkpoint: Option<Covered>,
    /// Bytes of the log behind the checkpoint.
    pub(crate) logged_bytes: u64,
    /// Index behind the last block.
    next: u64,
    /// Its group, if there are any.
    pub(crate) group: Option<RecoveredGroup>,
}

/// What is remembered of a shard's group.
fn remembered(store: &Store, shard: u16, is_clustered: bool) -> Result<Option<GroupState>, Damage> {
    let state =
        store.group(shard).map_err(|error| Damage::checkpoint(shard, &error.to_string()))?;
    match (state, is_clustered) {
        (Some(_), false) => Err(Damage::new(format!(
            "shard {shard} belongs to a cluster, which alone knows what of its log counts"
        ))),
        (state, _) => Ok(state),
    }
}

/// The checkpoint of a shard that counts.
fn current(
    store: &Store,
    shard: u16,
) -> Result<Option<(Record, Option<Base>, ShardSnapshot)>, Damage> {
    let bad = |what: &str| Damage::checkpoint(shard, what);
    let record = store.current(shard).map_err(|error| bad(&error.to_string()))?;
    let Some(record) = record else { return Ok(None) };
    let (record, base) = Record::with_base(&record).map_err(|what| bad(&what))?;
    let snapshot = checkpoint::read(&store.parts(), shard, record);
    let snapshot = snapshot.map_err(|error| bad(&error.to_string()))?;
    Ok(Some((record, base, snapshot)))
}
