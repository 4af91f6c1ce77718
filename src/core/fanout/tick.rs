//! What time brings: conflated deliveries that are due, heartbeats, progress of rare matches.

use alloc::format;
use alloc::vec::Vec;

use slab::Slab;
use tidewire_protocol::{ErrorCode, Refusal, ServerFrame};

use super::ready::is_sparse;
use super::{CursorId, Dispatcher, Target};

/// How often progress is reported, and heartbeats are looked at at the least.
const TICK_MS: u64 = 1000;
/// How often it is measured how long followers wait, at most.
const MARK_MS: u64 = 50;
/// Looks at the heartbeats within one heartbeat.
const TICKS_PER_HEARTBEAT: u64 = 4;
/// Silence, in heartbeats, after which a connection is given up.
const HEARTBEATS_MISSED_MAX: u64 = 3;

impl Dispatcher {
    /// Does what is due at this time (Unix milliseconds).
    pub fn handle_timeout(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        while let Some((at_ms, id)) = self.timers.pop_first() {
            if at_ms > self.now_ms {
                self.timers.insert((at_ms, id));
                break;
            }
            if let Some(cursor) = self.cursors.get_mut(id)
                && cursor.timer_ms == Some(at_ms)
            {
                cursor.timer_ms = None;
                self.wake(id);
            }
        }
        if self.now_ms >= self.next_mark_ms {
            self.next_mark_ms = self.now_ms + MARK_MS;
            self.measure_lag();
        }
        if self.now_ms >= self.next_tick_ms {
            let step_ms = (self.limits.heartbeat_ms / TICKS_PER_HEARTBEAT).clamp(1, TICK_MS);
            self.next_tick_ms = self.now_ms + step_ms;
            self.tick();
        }
    }

    /// When [`Self::handle_timeout`] is due next.
    #[must_use]
    pub fn next_timeout_ms(&self) -> u64 {
        let timer_ms = self.timers.first().map_or(u64::MAX, |(at_ms, _)| *at_ms);
        timer_ms.min(self.next_tick_ms)
    }

    fn tick(&mut self) {
        let heartbeat_ms = self.limits.heartbeat_ms;
        let mut silent = Vec::new();
        for (slot, session) in &mut self.sessions {
            let silence_ms = self.now_ms.saturating_sub(session.received_ms);
            if silence_ms >= heartbeat_ms.saturating_mul(HEARTBEATS_MISSED_MAX) {
                let message = format!("nothing was received for {silence_ms} ms");
                let refusal = Refusal::new(ErrorCode::IdleTimeout, message);
                self.closing.push((session.id, refusal));
            } else if silence_ms >= heartbeat_ms && !session.pinged {
                session.pinged = true;
                silent.push(slot);
            }
        }
        for slot in silent {
            let nonce = self.now_ms;
            if let Some(session) = self.sessions.get_mut(slot) {
                session.push(0, &ServerFrame::Ping { nonce });
            }
            self.mark_ready(slot);
        }
        self.give_back();
        self.end_expired();
        if self.now_ms >= self.next_progress_ms {
            self.next_progress_ms = self.now_ms + TICK_MS;
            self.report_progress();
        }
    }

    /// After many connections have gone: memory that was theirs and that those who are left do not
    /// need. A slab lets go of what lies behind its last entry.
    fn give_back(&mut self) {
        shrink(&mut self.sessions);
        shrink(&mut self.subs);
        shrink(&mut self.cursors);
        shrink(&mut self.topics);
        shrink(&mut self.cells);
        self.turns.shrink(self.sessions.len());
    }

    /// Subscriptions that scan without finding much hear how far they have come.
    fn report_progress(&mut self) {
        let scanning: Vec<CursorId> = self
            .cursors
            .iter()
            .filter(|(_, cursor)| match &cursor.target {
                Target::Topic(target) => target.start.is_none() && target.next != target.reported,
                Target::Pattern(_) => true,
                Target::Watch(_) => false,
            })
            .map(|(id, _)| id)
            .collect();
        for id in scanning {
            let Some(owner) = self.cursors.get(id).map(|cursor| cursor.owner) else { continue };
            let opened = self.subs.get(owner.entry).is_some_and(|entry| entry.opening.is_none());
            if !opened {
                continue;
            }
            let frame = self.topic_progress(id).or_else(|| self.pattern_progress(id));
            if let Some(frame) = frame
                && let Some(session) = self.sessions.get_mut(owner.slot)
            {
                session.report(owner.sub, frame);
                self.mark_ready(owner.slot);
            }
        }
    }
}

fn shrink<T>(slab: &mut Slab<T>) {
    if is_sparse(slab.len(), slab.capacity()) {
        slab.shrink_to_fit();
    }
}
