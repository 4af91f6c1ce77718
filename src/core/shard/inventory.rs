//! What a shard holds, as people want to see it.

use alloc::string::String;
use alloc::vec::Vec;

use tidewire_protocol::Name;
use tidewire_protocol::tally::TallyState;

use super::{Round, Shard};
use crate::cell::{Counter, Tally};

/// Everything that exists in a shard, each kind in order of its names.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "one list per kind of thing")]
pub struct Inventory {
    pub topics: Vec<TopicEntry>,
    pub counters: Vec<CounterEntry>,
    pub tallies: Vec<TallyEntry>,
    pub presence: Vec<PresenceEntry>,
}

/// A topic: its offsets, and what is kept of it.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are those of TopicInfo")]
pub struct TopicEntry {
    pub name: Name,
    pub first: u64,
    pub next: u64,
    pub bytes: u64,
    pub batches: u64,
    /// Keys of its map, if it keeps one.
    pub map_keys: Option<usize>,
}

/// A counter.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are those of a counter")]
pub struct CounterEntry {
    pub name: Name,
    pub value: i64,
    pub version: u64,
    pub expires_at_ms: Option<u64>,
}

/// A tally, with the votes per option.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are those of Standings")]
pub struct TallyEntry {
    pub name: Name,
    pub version: u64,
    pub state: TallyState,
    pub ballots: u64,
    /// None while the results are hidden.
    pub counts: Vec<(String, u64)>,
    pub hidden: bool,
}

/// A presence set.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are named after what they hold")]
pub struct PresenceEntry {
    pub name: Name,
    pub version: u64,
    pub members: usize,
}

impl Shard {
    /// Lists everything that exists; a walk over all names.
    #[must_use]
    pub fn inventory(&self) -> Inventory {
        let mut inventory = Inventory {
            topics: self.topics.by_id.iter().map(|(_, topic)| topic.entry()).collect(),
            counters: Vec::new(),
            tallies: self.tally_entries(),
            presence: Vec::new(),
        };
        let counters = self.cells.counters.iter();
        inventory.counters.extend(counters.map(|(name, counter)| CounterEntry::of(name, counter)));
        inventory.presence.extend(self.cells.presence.iter().map(|(name, set)| PresenceEntry {
            name: name.clone(),
            version: set.members.version(),
            members: set.members.len(),
        }));
        inventory.topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        inventory.counters.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        inventory.tallies.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        inventory.presence.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        inventory
    }

    /// The round that is open: what the commands since the last [`Self::seal`] have told so far.
    #[must_use]
    pub fn open_round(&self) -> &Round {
        &self.round
    }

    fn tally_entries(&self) -> Vec<TallyEntry> {
        let tallies = self.cells.tallies.iter();
        tallies.map(|(name, tally)| TallyEntry::of(name, tally, self.now_ms)).collect()
    }
}

impl CounterEntry {
    pub(super) fn of(name: &Name, counter: &Counter) -> Self {
        Self {
            name: name.clone(),
            value: counter.value(),
            version: counter.version(),
            expires_at_ms: counter.expires_at_ms(),
        }
    }
}

impl TallyEntry {
    pub(super) fn of(name: &Name, tally: &Tally, now_ms: u64) -> Self {
        let standings = tally.standings(now_ms);
        let options = tally.rules().options.iter().cloned();
        Self {
            name: name.clone(),
            version: tally.version(),
            state: standings.state,
            ballots: standings.ballots,
            counts: options.zip(standings.counts).collect(),
            hidden: standings.hidden,
        }
    }
}
