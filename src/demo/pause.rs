//! The longest time between two of many events.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Events of several tasks, by the nanoseconds of one clock.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    last_ns: AtomicU64,
    longest_ns: AtomicU64,
}

impl Pauses {
    /// One more event; the first one ends no pause.
    pub(crate) fn event(&self, now_ns: u64) {
        let before = self.last_ns.fetch_max(now_ns, Ordering::Relaxed);
        if before > 0 {
            self.longest_ns.fetch_max(now_ns.saturating_sub(before), Ordering::Relaxed);
        }
    }

    /// Forgets the pauses so far, but not the last event: the next pause counts from it.
    pub(crate) fn clear(&self) {
        self.longest_ns.store(0, Ordering::Relaxed);
    }

    /// The longest pause.
    pub(crate) fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest_ns.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pause_counts_from_the_event_before_it() {
        let pauses = Pauses::default();
        for at_ns in [1_000, 1_010, 1_300, 1_310] {
            pauses.event(at_ns);
        }
        assert_eq!(pauses.longest(), Duration::from_nanos(290));
        pauses.clear();
        pauses.event(1_350);
        assert_eq!(pauses.longest(), Duration::from_nanos(40));
    }
}
