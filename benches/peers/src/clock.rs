//! The monotonic clock: one for all processes of the machine.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |part: i64| u64::try_from(part).unwrap_or_default();
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}

/// A number as a float. Counts and nanoseconds here stay far below 2^53, where that is exact.
pub(crate) fn float(number: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let float = number as f64;
    float
}

/// Nanoseconds of so many seconds.
pub(crate) fn ns(seconds: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float's cast saturates, and seconds of a benchmark are few"
    )]
    let ns = (seconds * 1e9) as u64;
    ns
}
