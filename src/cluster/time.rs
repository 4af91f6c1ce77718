//! The cluster's time: Unix milliseconds that never go back.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Reads the wall clock once and counts on from there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    started: Instant,
    started_unix_ms: u64,
}

impl Time {
    pub(super) fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_unix_ms: millis(unix) }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.started_unix_ms.saturating_add(millis(self.started.elapsed()))
    }

    /// When it will be so late; far times are cut to a minute.
    pub(super) fn instant_of(&self, at_ms: u64) -> tokio::time::Instant {
        let wait_ms = at_ms.saturating_sub(self.now_ms()).min(60_000);
        tokio::time::Instant::now() + Duration::from_millis(wait_ms)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
