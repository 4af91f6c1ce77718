//! How far connections are behind, for people who look for the slow ones.

use super::{Cursor, Dispatcher, Target};
use crate::shard::SessionId;

/// How far a connection is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Records of topics that it follows by name and has not been sent.
    pub records: u64,
    /// Batches of shards that its patterns have not got to; some of them may concern it.
    pub batches: u64,
    /// Watches whose newest value it has not been sent.
    pub watches: u64,
    /// Bytes of replies that wait to be written.
    pub reply_bytes: u64,
    /// Requests that are not answered.
    pub in_flight: u64,
}

impl Dispatcher {
    /// How far a connection is behind; a walk over what it follows.
    #[must_use]
    pub fn lag_of(&self, id: SessionId) -> Lag {
        let Some(session) = self.slot(id).and_then(|slot| self.sessions.get(slot)) else {
            return Lag::default();
        };
        let mut lag = Lag {
            reply_bytes: session.outbox_len() as u64,
            in_flight: session.rest.in_flight as u64,
            ..Lag::default()
        };
        let subs = session.rest.subs.values().filter_map(|entry| self.subs.get(*entry));
        for cursor in subs.flat_map(|sub| &sub.cursors).filter_map(|id| self.cursors.get(*id)) {
            self.add_lag(cursor, &mut lag);
        }
        lag
    }

    fn add_lag(&self, cursor: &Cursor, lag: &mut Lag) {
        match &cursor.target {
            Target::Topic(topic) if topic.start.is_none() => {
                let view = self.topics.get(topic.view);
                let next = view.map_or(topic.next, |view| view.ring.next());
                lag.records += next.saturating_sub(topic.next);
            }
            Target::Pattern(pattern) if pattern.started => {
                let view = self.shards.get(usize::from(pattern.shard));
                let next = view.map_or(0, |view| view.log.next());
                lag.batches += pattern.position.map_or(0, |position| next.saturating_sub(position));
            }
            Target::Watch(watch) if watch.started => {
                let view = self.cells.get(watch.view);
                let is_behind =
                    view.is_some_and(|view| view.ready && watch.is_behind(view.version));
                lag.watches += u64::from(is_behind);
            }
            // What has not begun is not behind.
            Target::Topic(_) | Target::Pattern(_) | Target::Watch(_) => {}
        }
    }
}
