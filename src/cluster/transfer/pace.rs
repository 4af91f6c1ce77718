//! How fast states leave this node, all of them together.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What may be sent at once after a pause.
const BURST: Duration = Duration::from_millis(20);

/// So many bytes a second.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    /// When everything that was let through has been sent at this pace.
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn of(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), free_at: Mutex::new(None) }
    }

    /// Waits until so many bytes may be sent.
    pub(super) async fn wait(&self, bytes: usize) {
        tokio::time::sleep_until(self.next(bytes, Instant::now())).await;
    }

    /// When so many bytes may be sent that are asked for now.
    fn next(&self, bytes: usize, now: Instant) -> Instant {
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / self.bytes_per_second;
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = free_at.unwrap_or(now).max(now.checked_sub(BURST).unwrap_or(now));
        *free_at = Some(start + Duration::from_nanos(nanos));
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lets_through_what_it_may() {
        let (pace, now) = (Pace::of(1_000), Instant::now());
        let starts: Vec<_> = (0..10).map(|_| pace.next(100, now)).collect();
        assert!(starts[0] <= now);
        assert!(starts[9] >= now + Duration::from_millis(860), "{:?}", starts[9] - now);
        // After a pause there is not more than a burst.
        let later = now + Duration::from_secs(50);
        assert!(pace.next(100, later) <= later);
        assert!(pace.next(100, later) > later);
    }
}
