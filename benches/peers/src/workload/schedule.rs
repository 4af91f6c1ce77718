//! An exact schedule: message k is due at the start plus k intervals, whatever happened before.

use super::PAYLOAD_BYTES;
use crate::session::decimal;

/// Digits in which a payload says when it was due: all of a 64-bit number.
const DIGITS: usize = 20;

/// When messages are due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    start_ns: u64,
    rate_per_s: f64,
    next: u64,
    count: u64,
}

impl Schedule {
    /// `rate_per_s` messages per second, for so many seconds from `start_ns` on.
    pub(crate) fn new(start_ns: u64, rate_per_s: f64, seconds: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float's cast saturates, and a benchmark's messages are few"
        )]
        let count = (rate_per_s * seconds).round() as u64;
        Self { start_ns, rate_per_s, next: 0, count }
    }

    /// How many messages there are in all.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// When the next message is due; `None` after the last.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        let offset_s = crate::clock::float(self.next) / self.rate_per_s;
        (self.next < self.count).then(|| self.start_ns + crate::clock::ns(offset_s))
    }

    /// Takes the next message if it is due by `now_ns`: when it was due.
    pub(crate) fn take(&mut self, now_ns: u64) -> Option<u64> {
        let due_ns = self.due_ns().filter(|due_ns| *due_ns <= now_ns)?;
        self.next += 1;
        Some(due_ns)
    }
}

/// A payload that says when it was due.
pub(crate) fn stamp(due_ns: u64) -> [u8; PAYLOAD_BYTES] {
    let mut payload = [b'x'; PAYLOAD_BYTES];
    for (byte, digit) in payload.iter_mut().zip(format!("{due_ns:0DIGITS$}").bytes()) {
        *byte = digit;
    }
    payload
}

/// When the message of this payload was due.
pub(crate) fn stamped_ns(payload: &[u8]) -> Option<u64> {
    decimal(payload.get(..DIGITS)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_at_exact_times_however_late_they_are_taken() {
        let mut schedule = Schedule::new(1_000, 200.0, 0.02);
        assert_eq!(schedule.count(), 4);
        assert_eq!(schedule.take(999), None);
        assert_eq!(schedule.take(1_000), Some(1_000));
        assert_eq!(schedule.take(1_001), None);
        assert_eq!(schedule.take(99_000_000), Some(5_001_000));
        assert_eq!(schedule.take(99_000_000), Some(10_001_000));
        assert_eq!(schedule.due_ns(), Some(15_001_000));
        assert_eq!(schedule.take(99_000_000), Some(15_001_000));
        assert_eq!((schedule.due_ns(), schedule.take(u64::MAX)), (None, None));
    }

    #[test]
    fn a_payload_says_when_it_was_due() {
        for due_ns in [0, 7, 123_456_789_012, u64::MAX] {
            assert_eq!(stamped_ns(&stamp(due_ns)), Some(due_ns));
        }
        assert_eq!(stamped_ns(b"123"), None);
        assert_eq!(stamped_ns(&[b'x'; PAYLOAD_BYTES]), None);
    }
}
