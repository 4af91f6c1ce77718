//! Gossip's timers: what is due, in the order in which it has to be handled.

use std::collections::BTreeMap;

use foca::Timer;

use super::member::Member;

/// Timers at most. Only those that forget the dead can be so many; without its timer a dead node is
/// remembered, which does no harm.
const TIMERS_MAX: usize = 65_536;

/// What is due at which time, in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeMap<(u64, u64), Timer<Member>>,
    counted: u64,
}

impl Timers {
    pub(super) fn add(&mut self, due_ms: u64, timer: Timer<Member>) {
        if self.due.len() >= TIMERS_MAX && matches!(timer, Timer::RemoveDown(_)) {
            return;
        }
        self.counted += 1;
        self.due.insert((due_ms, self.counted), timer);
    }

    pub(super) fn next_ms(&self) -> Option<u64> {
        self.due.first_key_value().map(|((due_ms, _), _)| *due_ms)
    }

    /// Those that are due at the earliest time, if that has come.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Vec<Timer<Member>> {
        let Some(due_ms) = self.next_ms().filter(|due_ms| *due_ms <= now_ms) else {
            return Vec::new();
        };
        let later = self.due.split_off(&(due_ms.saturating_add(1), 0));
        let due = std::mem::replace(&mut self.due, later);
        let mut due: Vec<Timer<Member>> = due.into_values().collect();
        // Of those at one time some kinds go before others.
        due.sort();
        due
    }
}
