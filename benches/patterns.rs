//! Patterns: which of many match a topic, and a subscription on `>` among many topics.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::SHARDS;
use tidewire_core::shard::Event;
use tidewire_core::topic::{Batch, PatternIndex, Policy, Slot};
use tidewire_protocol::{Name, Pattern};

use crate::one_core::{EPOCH, NOW_MS, OneCore, SEED};
use crate::records::{body, name};
use crate::{Operation, Step, TIMED_ONLY};

/// Patterns in the index.
pub const PATTERNS: usize = 10_000;
/// Names that are looked up in turn.
const NAMES: usize = 500;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "patterns/lookup_among_10000",
        elements: 1,
        warm_up: 10,
        counted: 2 * NAMES as u32,
        prepare: lookup,
    },
    Operation {
        name: "patterns/everything_of_100000_topics",
        elements: 1,
        warm_up: 100,
        counted: 1_000,
        prepare: || everything(100_000, 1),
    },
    Operation {
        name: "patterns/everything_of_1_topic",
        elements: 1,
        warm_up: 100,
        counted: TIMED_ONLY,
        prepare: || everything(1, 1),
    },
    Operation {
        name: "patterns/everything_of_1000000_topics",
        elements: 1,
        warm_up: 1_000_000,
        counted: TIMED_ONLY,
        prepare: || everything(1_000_000, 1),
    },
    Operation {
        name: "patterns/everything_of_1_topic_to_1000",
        elements: 1_000,
        warm_up: 100,
        counted: TIMED_ONLY,
        prepare: || everything(1, 1_000),
    },
    Operation {
        name: "patterns/everything_of_1000000_topics_to_1000",
        elements: 1_000,
        warm_up: 1_000,
        counted: TIMED_ONLY,
        prepare: || everything(1_000_000, 1_000),
    },
];

fn lookup() -> Step {
    let index = index();
    let names: Vec<Name> = (0..NAMES).map(topic_looked_up).collect();
    let mut turn = 0;
    Box::new(move |_sink| {
        if let Some(name) = names.get(turn) {
            black_box(index.lookup(black_box(name)));
        }
        turn = (turn + 1) % names.len();
    })
}

/// An index of four kinds of patterns: with `*` at the end, at both ends, in the middle, with `>`.
fn index() -> PatternIndex {
    let mut index = PatternIndex::new(SEED);
    for number in 0..PATTERNS {
        let raw = match number % 4 {
            0 => format!("site.{number}.room.*"),
            1 => format!("*.{number}.room.*"),
            2 => format!("site.*.room.{number}"),
            _ => format!("site.{number}.>"),
        };
        index.add(&Pattern::parse(&raw).expect("a valid pattern"));
    }
    index
}

/// A topic that the third kind matches, and one of the others.
fn topic_looked_up(turn: usize) -> Name {
    let first = turn * (PATTERNS / NAMES);
    name(&format!("site.{}.room.{}", first + turn % 4, first + 2))
}

/// One step: the newest batch of one of so many topics reaches a dispatcher, whose subscribers
/// follow them all; the shard's oldest batch leaves.
fn everything(topics: usize, subscribers: usize) -> Step {
    let mut core = OneCore::new(Policy::default());
    core.subscriber(">");
    let body = body(1);
    let shards = SHARDS.min(u16::try_from(topics).unwrap_or(SHARDS));
    let topics_per_shard = topics / usize::from(shards);
    let of_shard = |shard| topics_of(shard, topics_per_shard, &body);
    let mut newest: Vec<Vec<Batch>> = (0..shards).map(of_shard).collect();
    for (shard, batches) in (0..shards).zip(&newest) {
        let slots = batches.iter().map(|batch| Slot::Live(Arc::new(batch.clone()))).collect();
        let event = Event::LogSnapshot { shard, epoch: EPOCH, base: 0, slots };
        core.dispatcher.apply(event, NOW_MS);
    }
    core.serve(&mut crate::sink::ByteCount::default());
    // Behind what was there: the first one has been sent all of it, and one is enough.
    for _ in 1..subscribers {
        core.subscriber(">");
    }
    let mut turn = 0;
    Box::new(move |sink| {
        let shard = turn % newest.len();
        let topic = turn / newest.len() % topics_per_shard;
        turn += 1;
        let Some(batch) = newest.get_mut(shard).and_then(|topics| topics.get_mut(topic)) else {
            return;
        };
        let evicted = Vec::from([batch.sequence]);
        batch.base = batch.next();
        batch.sequence += topics_per_shard as u64;
        let (first, batch) = (batch.base, Arc::new(batch.clone()));
        core.dispatcher.apply(Event::Appended { batch, first, evicted }, NOW_MS);
        core.serve(sink);
    })
}

/// A batch of one record for each of so many topics of a shard, in the order of its commits.
fn topics_of(shard: u16, topics: usize, body: &Bytes) -> Vec<Batch> {
    (0..topics)
        .map(|topic| Batch {
            topic: name(&format!("site.{topic}.shard.{shard}")),
            topic_id: u32::try_from(topic).unwrap_or(u32::MAX),
            shard,
            epoch: EPOCH,
            base: 0,
            count: 1,
            time_ms: NOW_MS,
            sequence: topic as u64,
            body: body.clone().into(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookups_find_every_kind_of_pattern_and_the_same_as_the_naive_matcher() {
        let index = index();
        let mut kinds = [0; 4];
        // An odd stride meets all kinds in turn.
        for name in (0..NAMES).step_by(7).map(topic_looked_up) {
            let found = index.lookup(&name);
            let naive = (0..PATTERNS).filter(|id| index.pattern(*id).unwrap().matches(&name));
            assert_eq!(found, naive.collect::<Vec<_>>());
            found.iter().for_each(|id| kinds[id % 4] += 1);
        }
        assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
    }
}
