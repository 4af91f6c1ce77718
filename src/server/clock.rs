//! The clock: Unix milliseconds that never go back.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Reads the wall clock once and counts on from there, so that a clock that is set back or
/// forward does not disturb append times, times to live and intervals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_unix_ms: u64,
}

/// Unix time in milliseconds as the system has it now, set back or forward as it may be: what
/// others have dated, such as tokens, is held against it.
pub(crate) fn wall_ms() -> u64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(unix.as_millis()).unwrap_or(u64::MAX)
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), started_unix_ms: wall_ms() }
    }

    /// The same clock, or one that begins at `at_least_ms` if that is later: what was written under
    /// an earlier clock must not lie ahead of this one.
    pub(crate) fn no_earlier_than(self, at_least_ms: u64) -> Self {
        let ahead_ms = at_least_ms.saturating_sub(self.now_ms());
        Self { started_unix_ms: self.started_unix_ms + ahead_ms, ..self }
    }

    /// Unix time in milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        self.ms_at(Instant::now())
    }

    /// Unix time in milliseconds at this instant.
    pub(crate) fn ms_at(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.started);
        let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.started_unix_ms.saturating_add(since)
    }

    /// The instant at which this clock shows `at_ms`; far times are cut to a day.
    pub(crate) fn instant_of(&self, at_ms: u64) -> tokio::time::Instant {
        let from_start = at_ms.saturating_sub(self.started_unix_ms);
        let wait_ms = from_start.min(self.now_ms() - self.started_unix_ms + DAY_MS);
        // One more, since the clock's milliseconds are rounded down.
        (self.started + std::time::Duration::from_millis(wait_ms.saturating_add(1))).into()
    }
}

const DAY_MS: u64 = 86_400_000;
