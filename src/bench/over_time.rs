//! Latencies over time: a set for each part of a run.

use std::sync::{Mutex, PoisonError};

use crate::demo::latency::Latencies;

/// A run in equal parts, each with the latencies of what arrived in it.
#[derive(Debug)]
pub(crate) struct OverTime {
    began_ns: u64,
    step_ns: u64,
    parts: Mutex<Vec<Latencies>>,
}

impl OverTime {
    /// So many parts of this length, from this time of the clock on.
    pub(crate) fn new(began_ns: u64, step_ns: u64, parts: usize) -> Self {
        let parts = Mutex::new(vec![Latencies::default(); parts]);
        Self { began_ns, step_ns: step_ns.max(1), parts }
    }

    /// Adds a latency that ended at this time; what comes after the last part counts as in it.
    pub(crate) fn record(&self, at_ns: u64, latency_ns: u64) {
        let Some(since_ns) = at_ns.checked_sub(self.began_ns) else { return };
        let part = usize::try_from(since_ns / self.step_ns).unwrap_or(usize::MAX);
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let last = parts.len().saturating_sub(1);
        if let Some(latencies) = parts.get_mut(part.min(last)) {
            latencies.record(latency_ns, 1);
        }
    }

    /// All parts, in order.
    pub(crate) fn take(&self) -> Vec<Latencies> {
        std::mem::take(&mut *self.parts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_latency_is_in_the_part_in_which_it_ended() {
        let over_time = OverTime::new(100, 10, 3);
        for at_ns in [99, 100, 109, 110, 500] {
            over_time.record(at_ns, 1_000);
        }
        let counts: Vec<u64> = over_time.take().iter().map(Latencies::count).collect();
        assert_eq!(counts, [2, 1, 1]);
    }
}
