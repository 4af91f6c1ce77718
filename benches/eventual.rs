//! Eventual counters: a node adds, and takes over what another one has added.

use tidewire_core::cell::eventual::{Attempt, EventualCounters, EventualLimits};
use tidewire_core::cell::replicated::{Actor, Content};
use tidewire_protocol::Name;

use crate::records::name;
use crate::{Operation, Step, TIMED_ONLY};

/// Counters that are added to in turn.
const COUNTERS: usize = 1_000;
/// Sessions that add in turn.
const SESSIONS: u64 = 1_000;
/// Increments of a round, which are one delta.
const ROUND: u64 = 256;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "eventual/add",
        elements: ROUND,
        warm_up: 100,
        counted: TIMED_ONLY,
        prepare: add,
    },
    Operation {
        name: "eventual/add_by_session",
        elements: ROUND,
        warm_up: 400,
        counted: TIMED_ONLY,
        prepare: add_by_session,
    },
    Operation {
        name: "eventual/add_by_session_and_merge",
        elements: ROUND,
        warm_up: 400,
        counted: TIMED_ONLY,
        prepare: add_by_session_and_merge,
    },
];

struct Adding {
    counters: EventualCounters,
    names: Vec<Name>,
    count: u64,
}

impl Adding {
    fn new() -> Self {
        let names = (0..COUNTERS).map(|number| name(&format!("bench.counter.{number}")));
        Self { counters: node(1), names: names.collect(), count: 0 }
    }

    /// A round of increments, by sessions or by nobody.
    fn round(&mut self, is_by_session: bool) {
        for _ in 0..ROUND {
            self.count += 1;
            let index = usize::try_from(self.count).unwrap_or(0) % COUNTERS;
            let attempt = Attempt {
                session: 1 + self.count % SESSIONS,
                sequence: self.count / SESSIONS,
                tried: &[],
            };
            let by = is_by_session.then_some(attempt);
            if let Some(counter) = self.names.get(index) {
                self.counters.add(counter, 1, by, 0).expect("an increment is taken");
            }
        }
        let version = self.counters.end_round();
        self.counters.release(version);
    }
}

fn node(id: u64) -> EventualCounters {
    EventualCounters::new(Actor { node: id, incarnation: 1 }, EventualLimits::default(), 7)
}

fn add() -> Step {
    let mut adding = Adding::new();
    Box::new(move |_| adding.round(false))
}

fn add_by_session() -> Step {
    let mut adding = Adding::new();
    Box::new(move |_| adding.round(true))
}

fn add_by_session_and_merge() -> Step {
    let (mut adding, mut other) = (Adding::new(), node(2));
    Box::new(move |_| {
        adding.round(true);
        let owed = adding.counters.changes_since(&other.known(), usize::MAX);
        for delta in owed.deltas {
            assert!(matches!(&delta.content, Content::Changes { .. }), "it is not behind the log");
            other.merge(delta);
        }
    })
}
