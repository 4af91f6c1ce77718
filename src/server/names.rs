//! What there is on this server, name by name, for operators.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tidewire_core::shard::listing::{Entry, Kind, Page, Wanted};
use tidewire_core::shard::{TallyEntry, TopicEntry};
use tidewire_core::{COMMONS, SHARDS};
use tidewire_protocol::Name;
use tidewire_protocol::group::GroupInfo;
use tidewire_protocol::tally::TallyState;

use super::Shared;

/// How long it is waited for a shard, which may be busy.
const WAIT: Duration = Duration::from_secs(2);
/// Options of a tally that are listed: those with the most votes.
const OPTIONS_MAX: usize = 8;

/// Some names of one kind, in order.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Listing {
    names: Vec<Listed>,
    /// Names of the kind that match, on whatever page.
    matching: u64,
    /// There are more behind this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Shards whose names are not among them: this node has no copy of them, or they did not answer in time.
    missing_shards: Vec<u16>,
}

/// A name, with what there is to say of it. Of what is spread over partitions the sums.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Listed {
    Topic {
        name: String,
        records: u64,
        next: u64,
        bytes: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        map_keys: Option<usize>,
        partitions: u16,
        is_on_disk: bool,
    },
    Counter {
        name: String,
        value: i64,
        is_eventual: bool,
        is_on_disk: bool,
    },
    Tally {
        name: String,
        state: &'static str,
        ballots: u64,
        /// The options with the most votes; none while the results are hidden.
        leading: Vec<(String, u64)>,
        is_hidden: bool,
        is_on_disk: bool,
    },
    Presence {
        name: String,
        members: usize,
    },
    Group {
        topic: String,
        group: String,
        #[serde(flatten)]
        state: GroupState,
    },
}

#[derive(Debug, Default, Serialize)]
struct GroupState {
    lag: u64,
    leased: u64,
    outstanding: u64,
    consumers: u64,
    missed: u64,
    dead: u64,
    redelivered: u64,
}

impl Shared {
    /// Lists names of one kind.
    pub(crate) async fn names(&self, wanted: &Wanted) -> Listing {
        let shards = 0..u16::try_from(self.looks.len()).unwrap_or(u16::MAX);
        let asked =
            shards.map(|shard| async move { (shard, self.names_of(shard, wanted, WAIT).await) });
        let mut pages = futures_util::future::join_all(asked).await;
        if matches!(wanted.kind, Kind::Counter | Kind::Presence) {
            pages.push((COMMONS, self.names_of_commons(wanted, WAIT).await));
        }
        merge(wanted, pages)
    }
}

/// Puts the pages of all shards together: each has the first so many of its own.
fn merge(wanted: &Wanted, pages: Vec<(u16, Option<Page>)>) -> Listing {
    let (mut parts, mut missing_shards, mut matching) = (BTreeMap::new(), Vec::new(), 0);
    for (shard, page) in pages {
        let Some(page) = page else {
            missing_shards.push(shard);
            continue;
        };
        matching += page.matching;
        for (name, entry) in page.entries {
            parts.entry(name).or_insert_with(Vec::new).push((shard, entry));
        }
    }
    let next = (parts.len() > wanted.limit)
        .then(|| parts.keys().nth(wanted.limit.saturating_sub(1)))
        .flatten()
        .map(|name| name.as_str().to_owned());
    let first = parts.into_iter().take(wanted.limit);
    let names = first.flat_map(|(name, parts)| listed(&name, parts)).collect();
    Listing { names, matching, next, missing_shards }
}

fn listed(name: &Name, parts: Vec<(u16, Entry)>) -> Vec<Listed> {
    let is_on_disk = parts.iter().any(|(shard, _)| *shard != COMMONS && *shard >= SHARDS);
    let name = name.as_str().to_owned();
    let (mut topics, mut tallies, mut groups) = (Vec::new(), Vec::new(), Vec::new());
    for (_, entry) in parts {
        match entry {
            Entry::Topic(topic) => topics.push(topic),
            Entry::Tally(tally) => tallies.push(tally),
            Entry::Groups(some) => groups.extend(some),
            Entry::Counter(counter) => {
                let value = counter.value;
                return vec![Listed::Counter { name, value, is_eventual: false, is_on_disk }];
            }
            Entry::Eventual(value) => {
                return vec![Listed::Counter { name, value, is_eventual: true, is_on_disk }];
            }
            Entry::Presence(set) => {
                return vec![Listed::Presence { name, members: set.members }];
            }
        }
    }
    let topic = topic(&name, &topics, is_on_disk);
    let tally = tally(&name, tallies, is_on_disk);
    topic.into_iter().chain(tally).chain(groups_of(&name, groups)).collect()
}

fn topic(name: &str, parts: &[TopicEntry], is_on_disk: bool) -> Option<Listed> {
    let sum = |of: fn(&TopicEntry) -> u64| parts.iter().map(of).sum();
    (!parts.is_empty()).then(|| Listed::Topic {
        name: name.to_owned(),
        records: sum(|part| part.next.saturating_sub(part.first)),
        next: sum(|part| part.next),
        bytes: sum(|part| part.bytes),
        map_keys: parts.iter().filter_map(|part| part.map_keys).reduce(|one, other| one + other),
        partitions: u16::try_from(parts.len()).unwrap_or(u16::MAX),
        is_on_disk,
    })
}

fn tally(name: &str, parts: Vec<TallyEntry>, is_on_disk: bool) -> Option<Listed> {
    let first = parts.first()?;
    let state = match first.state {
        TallyState::Scheduled => "scheduled",
        TallyState::Open => "open",
        TallyState::Closed => "closed",
    };
    let is_hidden = parts.iter().any(|part| part.hidden);
    let ballots = parts.iter().map(|part| part.ballots).sum();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for (option, count) in parts.into_iter().flat_map(|part| part.counts) {
        *counts.entry(option).or_default() += count;
    }
    let mut leading: Vec<(String, u64)> = counts.into_iter().collect();
    leading.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    leading.truncate(if is_hidden { 0 } else { OPTIONS_MAX });
    let name = name.to_owned();
    Some(Listed::Tally { name, state, ballots, leading, is_hidden, is_on_disk })
}

fn groups_of(topic: &str, parts: Vec<(Name, GroupInfo)>) -> impl Iterator<Item = Listed> {
    let mut groups: BTreeMap<Name, GroupState> = BTreeMap::new();
    for (group, info) in parts {
        let state = groups.entry(group).or_default();
        state.lag += info.lag;
        state.leased += info.leased;
        state.outstanding += info.outstanding;
        // A consumer consumes all partitions.
        state.consumers = state.consumers.max(info.consumers);
        state.missed += info.missed;
        state.dead += info.dead;
        state.redelivered += info.redelivered;
    }
    groups.into_iter().map(|(group, state)| Listed::Group {
        topic: topic.to_owned(),
        group: group.as_str().to_owned(),
        state,
    })
}
