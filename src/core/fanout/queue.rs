//! The cursors of a session that have something to send, in turn. They are linked with each other,
//! so a session needs no memory for them: with very many followers that is memory to be fetched.

use super::{CursorId, Dispatcher};

impl Dispatcher {
    /// Puts a cursor, which stands in no queue, behind the others of its session.
    pub(super) fn enqueue(&mut self, slot: usize, id: CursorId) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let Some((_, last)) = &mut session.queue else {
            session.queue = Some((id, id));
            return;
        };
        let last = core::mem::replace(last, id);
        if let Some(last) = self.cursors.get_mut(last) {
            last.behind = Some(id);
        }
    }

    /// Takes the first one out.
    pub(super) fn dequeue(&mut self, slot: usize) -> Option<CursorId> {
        let session = self.sessions.get_mut(slot)?;
        let (first, last) = session.queue?;
        let behind = self.cursors.get_mut(first).and_then(|first| first.behind.take());
        session.queue = behind.map(|behind| (behind, last));
        Some(first)
    }

    /// Takes these out, wherever they stand.
    pub(super) fn unqueue(&mut self, slot: usize, gone: &[CursorId]) {
        let queue = self.sessions.get_mut(slot).and_then(|session| session.queue.take());
        let mut next = queue.map(|(first, _)| first);
        while let Some(id) = next {
            next = self.cursors.get_mut(id).and_then(|cursor| cursor.behind.take());
            if !gone.contains(&id) {
                self.enqueue(slot, id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::fanout::session::Owner;
    use crate::fanout::subscribe::TopicCursor;
    use crate::fanout::{FanoutLimits, Framing, SessionOptions, Target};

    /// A session with cursors of nothing, and their numbers.
    fn queued(cursors: usize) -> (Dispatcher, Vec<CursorId>) {
        let mut dispatcher = Dispatcher::new(0, 7, FanoutLimits::default());
        let options = SessionOptions { framing: Framing::Bare, datagrams: false };
        let slot = dispatcher.open(options, 0).slot as usize;

        let ids = (0..cursors)
            .map(|_| {
                let owner = Owner { slot, entry: 0, sub: 1, is_plain: true };
                let (view, partition, next, start) = (0, None, 0, None);
                let reported = 0;
                let topic = TopicCursor { view, partition, next, start, reported };
                dispatcher.insert_cursor(owner, 0, Target::Topic(topic))
            })
            .collect();
        (dispatcher, ids)
    }

    fn drained(dispatcher: &mut Dispatcher) -> Vec<CursorId> {
        core::iter::from_fn(|| dispatcher.dequeue(0)).collect()
    }

    #[test]
    fn cursors_have_their_turns_in_the_order_in_which_they_came() {
        let (mut dispatcher, ids) = queued(3);
        for id in &ids {
            dispatcher.enqueue(0, *id);
        }
        let first = dispatcher.dequeue(0).unwrap();
        dispatcher.enqueue(0, first);
        assert_eq!(drained(&mut dispatcher), [ids[1], ids[2], ids[0]]);
        assert_eq!(drained(&mut dispatcher), Vec::<usize>::new(), "nobody stands in it any more");
        dispatcher.enqueue(0, ids[1]);
        assert_eq!(drained(&mut dispatcher), [ids[1]]);
    }

    #[test]
    fn who_is_taken_out_leaves_the_others_in_their_order() {
        for gone in [&[0_usize][..], &[2], &[4], &[0, 1, 4], &[0, 1, 2, 3, 4]] {
            let (mut dispatcher, ids) = queued(5);
            for id in &ids {
                dispatcher.enqueue(0, *id);
            }
            let taken: Vec<CursorId> = gone.iter().map(|index| ids[*index]).collect();
            dispatcher.unqueue(0, &taken);
            let left: Vec<CursorId> =
                ids.iter().copied().filter(|id| !taken.contains(id)).collect();
            assert_eq!(drained(&mut dispatcher), left);
        }
    }
}
