//! The start: checkpoints and the blocks behind them are read, checked and repeated, before anything
//! is served.

use tidewire_core::shard::{Shard, ShardConfig, ShardSnapshot};
use tidewire_core::snapshot::BadSnapshot;
use tidewire_core::{SHARDS, SHARDS_MAX};

use super::block::{self, BadBlock};
use super::checkpoint::{self, Record};
use super::ends::Ends;
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

    fn checkpoint(shard: u16, what: &str) -> Self {
        Self::new(format!("the checkpoint of shard {shard}: {what}"))
    }

    fn block(key: Key, what: &str) -> Self {
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

/// Blocks of each commit behind the one of the ends: how many were found, and how many there are.
/// Of earlier ones a checkpoint may have removed some.
struct Commits {
    /// The last commit that is known to have been whole.
    whole: u64,
    behind: Vec<(u16, u16)>,
}

impl Commits {
    fn add(&mut self, commit: u64, blocks: u16) -> Result<(), String> {
        let Some(at) = commit.checked_sub(self.whole + 1) else { return Ok(()) };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        // A number beyond belief is not allocated.
        if at > COMMITS_MAX {
            return Err(format!("it belongs to commit {commit}, far beyond the others"));
        }
        if self.behind.len() <= at {
            self.behind.resize(at + 1, (0, 0));
        }
        match self.behind.get_mut(at) {
            Some((found, known)) if *known == 0 || *known == blocks => {
                *found += 1;
                *known = blocks;
                Ok(())
            }
            Some(_) | None => Err(format!("commit {commit} has other numbers of blocks")),
        }
    }

    /// The last commit, if none before it lacks a block.
    fn last(&self) -> Result<u64, Damage> {
        for ((found, blocks), commit) in self.behind.iter().zip(self.whole + 1..) {
            if found != blocks || *blocks == 0 {
                let what = format!("commit {commit} has {found} of {blocks} blocks");
                return Err(Damage::new(what));
            }
        }
        Ok(self.whole + self.behind.len() as u64)
    }
}

/// Commits behind the ends, at most: the ends are half a second old, and a commit takes some time.
const COMMITS_MAX: usize = 1 << 24;

/// Makes the durable shards again from what the disk holds. `written` is what the ends' file says,
/// `config` how a shard is made.
///
/// # Errors
/// When a block is missing or damaged, or the logs end earlier than they once did.
pub(crate) fn recover(
    store: &Store,
    written: &Ends,
    now_ms: u64,
    config: &dyn Fn(u16) -> ShardConfig,
) -> Result<(Vec<Recovered>, Found), Damage> {
    let mut found = Found::default();
    let mut commits = Commits { whole: written.commit, behind: Vec::new() };
    let mut shards = Vec::new();
    for number in SHARDS..SHARDS_MAX {
        let (mut recovered, next) = recover_shard(store, config(number), &mut commits, &mut found)?;
        let expected = written.next(number);
        if next < expected {
            let what = format!("shard {number} ends at block {next}, and once ended at {expected}");
            return Err(Damage::new(what));
        }
        recovered.shard.end_recovery(now_ms);
        shards.push(recovered);
        found.ends.next.push((number, next));
    }
    found.ends.commit = commits.last()?;
    Ok((shards, found))
}

/// A shard as it was, and what its checkpoints go on from.
pub(crate) struct Recovered {
    pub(crate) shard: Shard,
    pub(crate) checkpoint: Option<Covered>,
    /// Bytes of the log behind the checkpoint.
    pub(crate) logged_bytes: u64,
}

fn recover_shard(
    store: &Store,
    config: ShardConfig,
    commits: &mut Commits,
    found: &mut Found,
) -> Result<(Recovered, u64), Damage> {
    let number = config.shard;
    let (mut shard, checkpoint) = match current(store, number)? {
        Some((record, snapshot)) => {
            let bad = |error: BadSnapshot| Damage::checkpoint(number, &error.to_string());
            let covered = Covered::of(record, &snapshot);
            (Shard::resume(snapshot, config).map_err(bad)?, Some(covered))
        }
        None => (Shard::new(config), None),
    };
    let record = checkpoint.as_ref().map(|covered: &Covered| covered.record);
    found.bytes += record.map_or(0, |record| record.bytes);
    let mut next = record.map_or(0, |record| record.covers);
    let mut logged_bytes = 0;
    for block in store.scan(number, next) {
        let (key, bytes) = block.map_err(|error| Damage::new(error.to_string()))?;
        let bad = |what: &str| Damage::block(key, what);
        if key.index != next {
            return Err(bad(&format!("block {next} before it is missing")));
        }
        next += 1;
        let unreadable = |error: BadBlock| Damage::block(key, &error.to_string());
        let (head, body) = block::open(&bytes).map_err(unreadable)?;
        if (head.shard, head.index) != (key.shard, key.index) {
            return Err(bad("it says that it is another block"));
        }
        commits.add(head.commit, head.blocks).map_err(|what| bad(&what))?;
        for entry in block::entries(&head, body).map_err(unreadable)? {
            shard
                .recover(entry, head.time_ms)
                .map_err(|error| Damage::block(key, &error.to_string()))?;
        }
        shard.recover_block(key.index, bytes.len() as u64);
        shard.recover_round(head.version, head.time_ms);
        found.blocks += 1;
        logged_bytes += bytes.len() as u64;
        found.entries += u64::from(head.entries);
    }
    found.bytes += logged_bytes;
    Ok((Recovered { shard, checkpoint, logged_bytes }, next))
}

/// The checkpoint of a shard that counts.
fn current(store: &Store, shard: u16) -> Result<Option<(Record, ShardSnapshot)>, Damage> {
    let bad = |what: &str| Damage::checkpoint(shard, what);
    let record = store.current(shard).map_err(|error| bad(&error.to_string()))?;
    let Some(record) = record else { return Ok(None) };
    let record = Record::from_bytes(&record).map_err(|what| bad(&what))?;
    let snapshot = checkpoint::read(&store.parts(), shard, record);
    let snapshot = snapshot.map_err(|error| bad(&error.to_string()))?;
    Ok(Some((record, snapshot)))
}
