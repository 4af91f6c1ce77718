//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// Delays with full jitter: the n-th one in a row is drawn between the shortest delay and
/// `shortest * 2^n`, at most the longest, so that the clients of a server that restarts do not
/// come back all at once.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    shortest_ms: u64,
    longest_ms: u64,
    attempt: u32,
    /// Whether one was short because there is another server to go to.
    has_hurried: bool,
}

impl Backoff {
    pub(crate) fn new(shortest_ms: u64, longest_ms: u64) -> Self {
        Self {
            shortest_ms,
            longest_ms: longest_ms.max(shortest_ms),
            attempt: 0,
            has_hurried: false,
        }
    }

    /// The delay before the next attempt. `random` is drawn uniformly from 0 to 1.
    pub(crate) fn next(&mut self, random: f64) -> Duration {
        self.attempt = (self.attempt + 1).min(16);
        let ceiling_ms = self.shortest_ms.saturating_mul(1 << self.attempt).min(self.longest_ms);
        let spread = Duration::from_millis(ceiling_ms.saturating_sub(self.shortest_ms));
        Duration::from_millis(self.shortest_ms) + spread.mul_f64(random.clamp(0.0, 1.0))
    }

    /// The delay before the first attempt where there are other servers than the one that was lost: at
    /// most the shortest, once in a row.
    pub(crate) fn next_elsewhere(&mut self, random: f64) -> Duration {
        if std::mem::replace(&mut self.has_hurried, true) {
            return self.next(random);
        }
        Duration::from_millis(self.shortest_ms).mul_f64(random.clamp(0.0, 1.0))
    }

    /// A connection has held: the next delay is a short one again.
    pub(crate) fn reset(&mut self) {
        self.attempt = 0;
        self.has_hurried = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_between_the_bounds_and_spread_wider_with_each_attempt() {
        let mut backoff = Backoff::new(500, 20_000);
        let widest: Vec<u64> =
            (0..8).map(|_| u64::try_from(backoff.next(1.0).as_millis()).unwrap()).collect();
        assert_eq!(widest, [1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000, 20_000]);
        assert_eq!(backoff.next(0.0), Duration::from_millis(500));
        backoff.reset();
        assert_eq!(backoff.next(1.0), Duration::from_millis(1_000));
    }

    #[test]
    fn another_server_is_tried_soon_but_only_once_in_a_row() {
        let mut backoff = Backoff::new(500, 20_000);
        let mut delay_ms = |random| backoff.next_elsewhere(random).as_millis();
        assert_eq!((delay_ms(0.5), delay_ms(1.0), delay_ms(1.0)), (250, 1_000, 2_000));
        backoff.reset();
        assert_eq!(backoff.next_elsewhere(0.0), Duration::ZERO);
    }
}
