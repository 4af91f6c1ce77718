//! Where a subscription stands, so that it can go on after a cut.

use std::collections::BTreeMap;

use tidewire_protocol::frame::{Position, Start};

/// The position of one subscription: of one topic, or one per partition of it, or one per shard for
/// a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    start: Start,
    /// Whether it follows one topic.
    one_topic: bool,
    /// Whether the server has said where it started.
    known: bool,
    /// Of one topic without partitions.
    epoch: u64,
    next: u64,
    /// Epoch and sequence by shard, or epoch and offset by partition.
    positions: BTreeMap<u64, (u64, u64)>,
}

impl Cursor {
    pub(crate) fn new(start: Start, one_topic: bool) -> Self {
        Self { start, one_topic, known: false, epoch: 0, next: 0, positions: BTreeMap::new() }
    }

    /// Where to start on the next connection.
    pub(crate) fn resume(&self) -> Start {
        if !self.known {
            return self.start.clone();
        }
        if self.one_topic && self.positions.is_empty() {
            return Start::Offset { epoch: self.epoch, offset: self.next };
        }
        let position = |(of, (epoch, next)): (&u64, &(u64, u64))| Position(*of, *epoch, *next);
        Start::Positions(self.positions.iter().map(position).collect())
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
    pub(crate) fn hole_before(
        &self,
        epoch: u64,
        from: u64,
        position: Option<Position>,
    ) -> Option<(u64, u64)> {
        let (known_epoch, next) = match position {
            None => (self.epoch, self.next),
            Some(Position(of, ..)) => *self.positions.get(&of)?,
        };
        let is_hole = self.one_topic && self.known && epoch == known_epoch && from > next;
        is_hole.then_some((next, from))
    }

    /// Everything before `next` has been taken.
    pub(crate) fn advance(&mut self, epoch: u64, next: u64, position: Option<Position>) {
        match position {
            Some(position) => self.reach(position),
            None if self.one_topic => (self.epoch, self.next) = (epoch, next),
            None => {}
        }
    }

    fn reach(&mut self, Position(of, epoch, next): Position) {
        self.positions.insert(of, (epoch, next));
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
        assert_eq!(cursor.hole_before(7, 100, None), None);
        cursor.advance(7, 110, None);
        assert_eq!(cursor.resume(), Start::Offset { epoch: 7, offset: 110 });
        assert_eq!(cursor.hole_before(7, 112, None), Some((110, 112)));
        assert_eq!(cursor.hole_before(8, 112, None), None);
    }

    #[test]
    fn a_pattern_resumes_at_one_position_per_shard() {
        let mut cursor = Cursor::new(Start::Latest, false);
        cursor.started(0, 0, &[Position(0, 7, 1), Position(1, 7, 5)]);
        cursor.advance(9, 44, Some(Position(1, 7, 6)));
        cursor.advance(9, 50, None);
        assert_eq!(cursor.resume(), Start::Positions(vec![Position(0, 7, 1), Position(1, 7, 6)]));
        assert_eq!(cursor.hole_before(9, 90, Some(Position(1, 7, 9))), None);
    }

    #[test]
    fn a_topic_with_partitions_resumes_in_each_of_them() {
        let mut cursor = Cursor::new(Start::Latest, true);
        cursor.started(0, 0, &[Position(0, 7, 10), Position(1, 8, 20)]);
        let at = Some(Position(1, 8, 25));
        assert_eq!(cursor.hole_before(8, 20, at), None);
        assert_eq!(cursor.hole_before(8, 22, at), Some((20, 22)));
        cursor.advance(8, 25, at);
        assert_eq!(cursor.resume(), Start::Positions(vec![Position(0, 7, 10), Position(1, 8, 25)]));
    }
}
