//! A look at every block of a journal that no server uses: what is whole, what is damaged, and
//! which topics lack something.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use tidewire_core::shard::{LogEntry, ShardSnapshot};
use tidewire_core::topic::{Body, Extent, LoggedBatch, StoredBatch};
use tidewire_core::{SHARDS, SHARDS_MAX};

use super::META;
use super::block;
use super::checkpoint::{self, Record};
use super::ends::EndsFile;
use super::identity::{Identity, IdentityError};
use super::recall::{self, Found};
use super::storage::{JOURNAL, StorageError};
use super::store::Store;
use super::verify_groups::{verify_group, verify_meta};

/// Findings that are kept; of more than that only their number.
const FINDINGS_MAX: usize = 1_000;
/// How long the database may take to open.
const OPEN_TIMEOUT_MS: u64 = 3_600_000;

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) blocks: u64,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) checkpoints: u64,
    /// What is wrong, in words.
    pub(crate) findings: Vec<String>,
    /// How many things are wrong.
    pub(crate) damaged: u64,
    /// Topics that lack records: from, next.
    pub(crate) holes: BTreeMap<String, Vec<(u64, u64)>>,
}

impl Report {
    pub(super) fn finding(&mut self, what: String) {
        self.damaged += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(what);
        }
    }

    /// Whether everything is as it should be.
    pub(crate) fn is_whole(&self) -> bool {
        self.damaged == 0
    }
}

/// Reads everything. Blocks; `progress` is told the bytes so far.
///
/// # Errors
/// When there is no journal, or it cannot be opened at all.
pub(crate) fn verify(directory: &Path, progress: &dyn Fn(u64)) -> Result<Report, StorageError> {
    if Identity::read(directory)?.is_none() {
        let path = directory.join("storage.json");
        let source = io::Error::from(io::ErrorKind::NotFound);
        return Err(IdentityError::Io { path, source }.into());
    }
    let mut report = Report::default();
    let ends = match EndsFile::at(directory.join("ends")).read() {
        Ok(ends) => ends.unwrap_or_default(),
        Err(error) => {
            report.finding(format!("the file `ends`: {error}"));
            Default::default()
        }
    };
    let store = Store::open(&directory.join(JOURNAL), OPEN_TIMEOUT_MS)?;
    let mut commits: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for shard in (SHARDS..SHARDS_MAX).chain([META]) {
        verify_group(&store, shard, &ends, &mut report);
        let next = match shard {
            META => verify_meta(&store, ends.commit, &mut commits, &mut report),
            _ => verify_shard(&store, shard, ends.commit, &mut commits, &mut report, progress),
        };
        let expected = ends.next(shard);
        if next < expected {
            report.finding(format!(
                "shard {shard} ends at block {next}, and once ended at {expected}"
            ));
        }
    }
    for (commit, (found, blocks)) in commits {
        if found != blocks {
            report.finding(format!("commit {commit} has {found} of {blocks} blocks"));
        }
    }
    Ok(report)
}

/// Reads one shard; returns the index behind its last block.
fn verify_shard(
    store: &Store,
    shard: u16,
    whole: u64,
    commits: &mut BTreeMap<u64, (u64, u64)>,
    report: &mut Report,
    progress: &dyn Fn(u64),
) -> u64 {
    let mut topics = Topics::default();
    let mut next = match checkpoint_of(store, shard) {
        Ok(None) => 0,
        Ok(Some((record, ends, snapshot))) => {
            verify_extents(store, &snapshot, report, progress);
            verify_tail(store, &snapshot, record.covers, report);
            report.checkpoints += 1;
            report.bytes += record.bytes;
            topics.ends = ends;
            record.covers
        }
        Err(error) => {
            report.finding(format!("the checkpoint of shard {shard}: {error}"));
            0
        }
    };
    for block in store.scan(shard, next) {
        let (key, bytes) = match block {
            Ok(found) => found,
            Err(error) => {
                report.finding(format!("shard {shard} behind block {next}: {error}"));
                return next;
            }
        };
        if key.index != next {
            report.finding(format!("shard {shard} lacks the blocks {next} to {}", key.index - 1));
        }
        next = key.index + 1;
        report.blocks += 1;
        report.bytes += bytes.len() as u64;
        progress(report.bytes);
        let opened =
            block::open(&bytes).and_then(|(head, body)| Ok((head, block::entries(&head, body)?)));
        let (head, entries) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                report.finding(format!("block {} of shard {shard}: {error}", key.index));
                continue;
            }
        };
        if head.commit > whole {
            let (found, blocks) = commits.entry(head.commit).or_default();
            (*found, *blocks) = (*found + 1, u64::from(head.blocks));
        }
        if (head.shard, head.index) != (key.shard, key.index) {
            report.finding(format!("block {} of shard {shard} says that it is another", key.index));
        }
        report.entries += entries.len() as u64;
        entries.into_iter().for_each(|entry| topics.follow(entry, report));
    }
    next
}

/// The checkpoint of a shard, and where its topics end: name to epoch and next offset.
fn checkpoint_of(store: &Store, shard: u16) -> io::Result<Option<(Record, Ends, ShardSnapshot)>> {
    let Some(record) = store.current(shard)? else { return Ok(None) };
    let (record, _base) = Record::with_base(&record).map_err(io::Error::other)?;
    let snapshot = checkpoint::read(&store.parts(), shard, record)?;
    let ends = snapshot.topic_ends().map(|(name, epoch, next)| (name.to_string(), (epoch, next)));
    Ok(Some((record, ends.collect(), snapshot)))
}

/// Reads the blocks behind the last extent of a checkpoint: their records are in the checkpoint too,
/// but not in the next one.
fn verify_tail(store: &Store, snapshot: &ShardSnapshot, covers: u64, report: &mut Report) {
    let bytes = |body: &Body| u32::try_from(body.len()).unwrap_or(u32::MAX);
    let unstored = snapshot.unstored();
    let wanted: Vec<(u64, u32)> =
        unstored.iter().map(|LoggedBatch(batch)| (batch.sequence, bytes(&batch.body))).collect();
    let blocks = snapshot.extents().next_block()..covers;
    let Found { blocks, bytes, reason, .. } =
        recall::bodies(&store.reads(), snapshot.shard(), &blocks, &wanted);
    report.blocks += blocks;
    report.bytes += bytes;
    reason.into_iter().for_each(|reason| report.finding(reason));
}

/// Reads the records that a checkpoint says lie in blocks before it.
fn verify_extents(
    store: &Store,
    snapshot: &ShardSnapshot,
    report: &mut Report,
    progress: &dyn Fn(u64),
) {
    let (stored, reads) = (snapshot.stored(), store.reads());
    for Extent { sequences, blocks, .. } in snapshot.extents().iter() {
        let first = stored.partition_point(|batch| batch.sequence < sequences.start);
        let behind = stored.partition_point(|batch| batch.sequence < sequences.end);
        let batches = stored.get(first..behind).unwrap_or_default();
        let wanted: Vec<(u64, u32)> =
            batches.iter().map(|batch| (batch.sequence, batch.bytes)).collect();
        let Found { bodies, blocks, bytes, reason } =
            recall::bodies(&reads, snapshot.shard(), blocks, &wanted);
        report.blocks += blocks;
        report.bytes += bytes;
        progress(report.bytes);
        if let Some(reason) = reason {
            report.finding(reason);
            let is_missing = |batch: &&StoredBatch| {
                bodies.binary_search_by_key(&batch.sequence, |(sequence, _)| *sequence).is_err()
            };
            for StoredBatch { topic, base, next, .. } in batches.iter().filter(is_missing) {
                let holes = report.holes.entry(topic.to_string()).or_default();
                match holes.last_mut().filter(|(_, end)| end == base) {
                    Some((_, end)) => *end = *next,
                    None => holes.push((*base, *next)),
                }
            }
        }
    }
}

type Ends = BTreeMap<String, (u64, u64)>;

/// Topics of a shard, as far as the log has been read.
#[derive(Default)]
struct Topics {
    ends: Ends,
}

impl Topics {
    fn follow(&mut self, entry: LogEntry, report: &mut Report) {
        match entry {
            LogEntry::Batch(LoggedBatch(batch)) => {
                let name = batch.topic.to_string();
                let known = self.ends.get(&name).filter(|(epoch, _)| *epoch == batch.epoch);
                let expected = known.map_or(batch.base, |(_, next)| *next);
                if batch.base > expected {
                    report.holes.entry(name.clone()).or_default().push((expected, batch.base));
                }
                self.ends.insert(name, (batch.epoch, batch.next()));
            }
            LogEntry::TopicRemoved { topic, .. } => drop(self.ends.remove(topic.as_str())),
            LogEntry::MapLost { .. }
            | LogEntry::MapKey { .. }
            | LogEntry::Counter { .. }
            | LogEntry::CounterRemoved { .. }
            | LogEntry::Tally { .. }
            | LogEntry::TallyRemoved { .. }
            | LogEntry::Ballot { .. }
            | LogEntry::Invalidated { .. }
            | LogEntry::Produced { .. }
            | LogEntry::Truncated { .. }
            | LogEntry::GroupMade { .. }
            | LogEntry::GroupRemoved { .. }
            | LogEntry::GroupReset { .. }
            | LogEntry::GroupSettled { .. }
            | LogEntry::GroupFailed { .. } => {}
        }
    }
}
