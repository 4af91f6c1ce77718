//! Which connection has its turn next: who waits for a reply goes before who follows something,
//! but not always, so that neither waits for ever.

use alloc::collections::VecDeque;

use super::Dispatcher;
use crate::shard::SessionId;

/// Turns of connections with replies for each turn of one without.
const REPLIES_PER_TURN: u32 = 3;

/// Entries whose memory is kept in any case.
const KEPT_MIN: usize = 256;

/// The turns of a dispatcher's sessions. A session stands at most once in each queue.
#[derive(Debug, Default)]
pub(super) struct Turns {
    replies: VecDeque<usize>,
    followers: VecDeque<usize>,
    /// Turns given to replies since a follower had one.
    in_a_row: u32,
    /// When the mark that stands among the followers was put there, if one does.
    marked_ms: Option<u64>,
    /// How long the last mark took from the end of the line to its head.
    lap_ms: u64,
}

/// Among the followers: no slot, but a mark.
const MARK: usize = usize::MAX;

/// What a session waits for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waiting {
    /// It has something to send.
    wanted: bool,
    in_replies: bool,
    in_followers: bool,
}

impl Turns {
    /// The next slot in line, and whether it comes from the queue for replies.
    fn pop(&mut self) -> Option<(usize, bool)> {
        let follower_waits = !self.followers.is_empty();
        if (!follower_waits || self.in_a_row < REPLIES_PER_TURN)
            && let Some(slot) = self.replies.pop_front()
        {
            self.in_a_row = self.in_a_row.saturating_add(1);
            return Some((slot, true));
        }
        self.in_a_row = 0;
        self.followers.pop_front().map(|slot| (slot, false))
    }

    /// Puts a mark behind the last follower, unless one stands there.
    fn mark(&mut self, now_ms: u64) {
        if self.marked_ms.is_some() {
            return;
        }
        if self.followers.is_empty() {
            self.lap_ms = 0;
            return;
        }
        self.marked_ms = Some(now_ms);
        self.followers.push_back(MARK);
    }

    fn mark_has_come(&mut self, now_ms: u64) {
        self.lap_ms = now_ms.saturating_sub(self.marked_ms.take().unwrap_or(now_ms));
    }

    /// How long a follower waits for its turn: what the last mark took, or the one that waits has
    /// waited.
    fn lag_ms(&self, now_ms: u64) -> u64 {
        let waits_ms = self.marked_ms.map_or(0, |marked_ms| now_ms.saturating_sub(marked_ms));
        self.lap_ms.max(waits_ms)
    }

    /// Gives memory back that so many sessions do not need.
    pub(super) fn shrink(&mut self, sessions: usize) {
        for queue in [&mut self.replies, &mut self.followers] {
            if is_sparse(sessions, queue.capacity()) {
                queue.shrink_to(sessions);
            }
        }
    }
}

/// Whether so little of a capacity is in use that the rest is to be given back.
pub(super) fn is_sparse(len: usize, capacity: usize) -> bool {
    capacity >= KEPT_MIN && len < capacity / 4
}

impl Dispatcher {
    /// The next connection that has something to send.
    pub fn next_ready(&mut self) -> Option<SessionId> {
        loop {
            let (slot, from_replies) = self.turns.pop()?;
            if slot == MARK {
                self.turns.mark_has_come(self.now_ms);
                continue;
            }
            let Some(session) = self.sessions.get_mut(slot) else { continue };
            let waiting = &mut session.waiting;
            if from_replies {
                waiting.in_replies = false;
            } else {
                waiting.in_followers = false;
            }
            // It may have had its turn from the other queue.
            if core::mem::take(&mut waiting.wanted) {
                return Some(session.id);
            }
        }
    }

    /// How long followers wait for their turn, in milliseconds.
    #[must_use]
    pub fn fanout_lag_ms(&self) -> u64 {
        self.turns.lag_ms(self.now_ms)
    }

    /// Begins to measure how long followers wait, now and then.
    pub(super) fn measure_lag(&mut self) {
        self.turns.mark(self.now_ms);
    }

    /// The connection has something to send that nobody waits for by name.
    pub(super) fn mark_ready(&mut self, slot: usize) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let waiting = &mut session.waiting;
        waiting.wanted = true;
        if !waiting.in_followers && !waiting.in_replies {
            waiting.in_followers = true;
            self.turns.followers.push_back(slot);
        }
    }

    /// The connection has a reply to send.
    pub(super) fn mark_replied(&mut self, slot: usize) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let waiting = &mut session.waiting;
        waiting.wanted = true;
        if !waiting.in_replies {
            waiting.in_replies = true;
            self.turns.replies.push_back(slot);
        }
    }
}
