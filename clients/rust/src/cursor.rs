//! Where a subscription stands, so that it can go on after a cut.

use std::collections::BTreeMap;

use tidewire_protocol::frame::{Position, Start};

/// The position of one subscription: of one topic, or one per shard for a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    start: Start,
    /// Whether it follows one topic.
    one_topic: bool,
    /// Whether the server has said where it started.
    known: bool,
    epoch: u64,
    next: u64,
    shards: BTreeMap<u64, (u64, u64)>,
}

impl Cursor {
    pub(crate) fn new(start: Start, one_topic: bool) -> Self {
        Self { start, one_topic, known: false, epoch: 0, next: 0, shards: BTreeMap::new() }
    }

    /// Where to start on the next connection.
    pub(crate) fn resume(&self) -> Start {
        if !self.known {
            return self.start.clone();
        }
        if self.one_topic {
            return Start::Offset { epoch: self.epoch, offset: self.next };
        }
        let position =
            |(shard, (epoch, sequence)): (&u64, &(u64, u64))| Position(*shard, *epoch, *sequence);
        Start::Positions(self.shards.iter().map(position).collect())
    }

    /// The server has said where it starts.
    pub(crate) fn started(&mut self, epoch: u64, offset: u64, positions: &[Position]) {
        self.known = true;
        (self.epoch, self.next) = (epoch, offset);
        for position in positions {
            self.reach(*position);
        }
    }

    /// What is missing between the position and a delivery from `from`; there should be nothing.
    pub(crate) fn hole_before(&self, epoch: u64, from: u64) -> Option<(u64, u64)> {
        let is_hole = self.one_topic && self.known && epoch == self.epoch && from > self.next;
        is_hole.then_some((self.next, from))
    }

    /// Everything before `next` has been taken.
    pub(crate) fn advance(&mut self, epoch: u64, next: u64, position: Option<Position>) {
        if self.one_topic {
            (self.epoch, self.next) = (epoch, next);
        }
        if let Some(position) = position {
            self.reach(position);
        }
    }

    fn reach(&mut self, Position(shard, epoch, sequence): Position) {
        self.shards.insert(shard, (epoch, sequence));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_that_never_started_starts_as_asked() {
        let cursor = Cursor::new(Start::Last(3), true);
        assert_eq!(cursor.resume(), Start::Last(3));
    }

    #[test]
    fn one_topic_resumes_behind_what_was_taken() {
        let mut cursor = Cursor::new(Start::Latest, true);
        cursor.started(7, 100, &[]);
        assert_eq!(cursor.resume(), Start::Offset { epoch: 7, offset: 100 });
        assert_eq!(cursor.hole_before(7, 100), None);
        cursor.advance(7, 110, None);
        assert_eq!(cursor.resume(), Start::Offset { epoch: 7, offset: 110 });
        assert_eq!(cursor.hole_before(7, 112), Some((110, 112)));
        assert_eq!(cursor.hole_before(8, 112), None);
    }

    #[test]
    fn a_pattern_resumes_at_one_position_per_shard() {
        let mut cursor = Cursor::new(Start::Latest, false);
        cursor.started(0, 0, &[Position(0, 7, 1), Position(1, 7, 5)]);
        cursor.advance(9, 44, Some(Position(1, 7, 6)));
        cursor.advance(9, 50, None);
        assert_eq!(cursor.resume(), Start::Positions(vec![Position(0, 7, 1), Position(1, 7, 6)]));
    }
}
