//! The saved form of a whole shard.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use tidewire_protocol::Name;
use tidewire_protocol::frame::CellKind;

use super::cells::Cells;
use super::message::{Round, SessionId};
use super::presence::{Presence, SavedPresence};
use super::topics::{SavedTopics, Topics};
use super::{Consumptions, Dispatchers, Shard, ShardConfig, ShardLimits, Timer};
use crate::cell::{Counter, SavedCounter, SavedTally, Tally};
use crate::snapshot::BadSnapshot;
use crate::topic::{Bodies, Extents, LoggedBatch, Producers, SavedProducers, StoredBatch};

/// What the fields of a snapshot mean. A snapshot with another number is not restored.
pub const SNAPSHOT_VERSION: u32 = 4;

/// Everything that a shard holds between two rounds, as plain data. Bodies of records and values
/// of maps are shared with the shard, so that making one costs by the number of things, not by
/// their bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShardSnapshot {
    version: u32,
    config: ShardConfig,
    now_ms: u64,
    topics: SavedTopics,
    cells: SavedCells,
    producers: SavedProducers,
    consuming: Vec<(SessionId, Consumptions)>,
    timers: Vec<(u64, Timer)>,
    log_followers: Dispatchers,
    round: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct SavedCells {
    counters: Vec<(Name, SavedCounter)>,
    tallies: Vec<(Name, SavedTally)>,
    presence: Vec<(Name, SavedPresence)>,
    followers: Vec<(CellKind, Name, Dispatchers)>,
    sessions: Vec<(SessionId, BTreeSet<(Name, String)>)>,
    version: u64,
}

impl ShardSnapshot {
    /// Number of the shard.
    #[must_use]
    pub fn shard(&self) -> u16 {
        self.config.shard
    }

    /// The shard's time, Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The epoch of its cells.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.config.epoch
    }

    /// The same things in another epoch, which is above those before: what clients have seen may go
    /// beyond them. `seals_polls`: polls are closed for good, because their voters are not
    /// recognised any more.
    #[must_use]
    pub fn begin_anew(mut self, epoch: u64, seals_polls: bool) -> Self {
        self.config.epoch = self.config.epoch.max(epoch);
        self.topics.begin_anew(epoch);
        if seals_polls {
            self.cells.tallies.iter_mut().for_each(|(_, tally)| tally.seal());
        }
        self
    }

    /// Where the topics end: name, epoch, next offset.
    pub fn topic_ends(&self) -> impl Iterator<Item = (&Name, u64, u64)> {
        self.topics.ends()
    }

    /// The batches whose records are not in it but in its log, in commit order.
    #[must_use]
    pub fn stored(&self) -> Vec<StoredBatch> {
        self.topics.stored()
    }

    /// The batches whose records are in it, in commit order.
    #[must_use]
    pub fn unstored(&self) -> Vec<LoggedBatch> {
        self.topics.unstored(self.config.shard)
    }

    /// Where its batches lie in its log.
    #[must_use]
    pub fn extents(&self) -> &Extents {
        self.topics.extents()
    }

    /// A tally of this name, to be audited.
    #[must_use]
    pub fn tally(&self, name: &Name) -> Option<&SavedTally> {
        self.cells.tallies.iter().find(|(known, _)| known == name).map(|(_, tally)| tally)
    }
}

impl Shard {
    /// A copy of everything, to be stored; `None` while a round is open, which ends with
    /// [`Self::seal`]. Nothing that can be seen changes, but the shard and one restored from the
    /// copy give the same numbers to new topics from here on.
    pub fn snapshot(&mut self) -> Option<ShardSnapshot> {
        self.topics.tidy();
        self.save(Bodies::Warm)
    }

    /// The same without the records that are in its log for good: a checkpoint of it. The shard stays
    /// as it is in every way; new topics may get other numbers in one made from the copy.
    pub fn checkpoint(&self) -> Option<ShardSnapshot> {
        self.save(Bodies::From(self.topics.extents.stored_before()))
    }

    fn save(&self, bodies: Bodies) -> Option<ShardSnapshot> {
        let Self {
            config,
            now_ms,
            topics,
            cells,
            producers,
            consuming,
            timers,
            log_followers,
            round,
            lost_maps: _,
        } = self;
        if !round.is_empty() || !cells.changed.is_empty() || topics.are_open() {
            return None;
        }
        Some(ShardSnapshot {
            version: SNAPSHOT_VERSION,
            config: config.clone(),
            now_ms: *now_ms,
            topics: topics.save(bodies),
            cells: cells.save(),
            producers: producers.save(),
            consuming: consuming.iter().map(|(id, groups)| (*id, groups.clone())).collect(),
            timers: timers.iter().cloned().collect(),
            log_followers: *log_followers,
            round: round.number,
        })
    }

    /// The shard that was saved: given the same commands it does what the original does.
    ///
    /// # Errors
    /// When the snapshot is of another version, or contradicts itself.
    pub fn restore(snapshot: ShardSnapshot) -> Result<Self, BadSnapshot> {
        let ShardSnapshot {
            version,
            config,
            now_ms,
            topics,
            cells,
            producers,
            consuming,
            timers,
            log_followers,
            round,
        } = snapshot;
        if version != SNAPSHOT_VERSION {
            let what = format!("its version is {version}, and {SNAPSHOT_VERSION} is known here");
            return Err(BadSnapshot::new(what));
        }
        let mut shard = Self {
            now_ms,
            topics: Topics::restore(topics, &config)?,
            cells: Cells::restore(cells, config.seed)?,
            producers: Producers::restore(producers, config.seed)?,
            consuming: consuming.into_iter().collect(),
            timers: timers.into_iter().collect(),
            log_followers,
            round: Round { number: round, ..Round::default() },
            lost_maps: BTreeSet::new(),
            config,
        };
        shard.count_tenants();
        Ok(shard)
    }
}

impl Shard {
    /// The shard that was saved, after a restart: nobody follows anything, nobody is present, and
    /// policies and limits are those of `config`. The epoch is no earlier than the one that was saved: what was
    /// restored has a later one than its server begins with. [`Shard::end_recovery`] has to follow.
    ///
    /// # Errors
    /// As [`Self::restore`].
    pub fn resume(snapshot: ShardSnapshot, config: ShardConfig) -> Result<Self, BadSnapshot> {
        let epoch = config.epoch.max(snapshot.config.epoch);
        let config = ShardConfig { epoch, ..config };
        // What was there is there again, also if the limit is lower now.
        let limits = ShardLimits { names_max: usize::MAX, ..config.limits.clone() };
        let snapshot =
            ShardSnapshot { config: ShardConfig { limits, ..config.clone() }, ..snapshot };
        let mut shard = Self::restore(snapshot)?;
        shard.config = config;
        shard.timers.clear();
        shard.log_followers = Dispatchers::default();
        shard.cells.followers.clear();
        shard.cells.sessions.clear();
        shard.cells.presence.clear();
        shard.consuming.clear();
        shard.forget_recalls();
        let voters_max = shard.config.limits.voters_max;
        shard.cells.tallies.values_mut().for_each(|tally| tally.set_voters_max(voters_max));
        shard.resume_topics();
        Ok(shard)
    }
}

impl Cells {
    fn save(&self) -> SavedCells {
        let Self { counters, tallies, presence, followers, changed: _, sessions, version } = self;
        SavedCells {
            counters: counters.iter().map(|(name, cell)| (name.clone(), cell.save())).collect(),
            tallies: tallies.iter().map(|(name, cell)| (name.clone(), cell.save())).collect(),
            presence: presence.iter().map(|(name, set)| (name.clone(), set.save())).collect(),
            followers: followers
                .iter()
                .map(|((kind, name), followers)| (*kind, name.clone(), *followers))
                .collect(),
            sessions: sessions.iter().map(|(id, joined)| (*id, joined.clone())).collect(),
            version: *version,
        }
    }

    fn restore(saved: SavedCells, seed: u64) -> Result<Self, BadSnapshot> {
        let SavedCells { counters, tallies, presence, followers, sessions, version } = saved;
        let mut cells = Self { version, ..Self::new(seed) };
        for (name, counter) in counters {
            let earlier = cells.counters.insert(name.clone(), Counter::restore(counter)?);
            once("counter", &name, earlier)?;
        }
        for (name, tally) in tallies {
            let earlier = cells.tallies.insert(name.clone(), Tally::restore(tally, seed)?);
            once("tally", &name, earlier)?;
        }
        for (name, set) in presence {
            let earlier = cells.presence.insert(name.clone(), Presence::restore(set)?);
            once("presence set", &name, earlier)?;
        }
        let followers = followers.into_iter().map(|(kind, name, set)| ((kind, name), set));
        cells.followers.extend(followers);
        cells.sessions.extend(sessions);
        Ok(cells)
    }
}

fn once<T>(what: &str, name: &Name, earlier: Option<T>) -> Result<(), BadSnapshot> {
    match earlier {
        None => Ok(()),
        Some(_) => Err(BadSnapshot::new(format!("{what} '{name}' stands there twice"))),
    }
}
