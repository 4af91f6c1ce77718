//! What links have carried, in plain numbers.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::reason::Reason;

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct LinkFigures {
    pub(crate) datagrams_in: AtomicU64,
    pub(crate) datagrams_out: AtomicU64,
    pub(crate) datagram_bytes_in: AtomicU64,
    pub(crate) datagram_bytes_out: AtomicU64,
    /// Those that found no room, or no link.
    pub(crate) datagrams_dropped: AtomicU64,
    pub(crate) streams_opened: AtomicU64,
    pub(crate) streams_taken: AtomicU64,
    /// Those of services that nobody serves, or that have too many already.
    pub(crate) streams_refused: AtomicU64,
    /// Bytes of UDP over connections that have ended.
    pub(super) ended_bytes_in: AtomicU64,
    pub(super) ended_bytes_out: AtomicU64,
    refused: [AtomicU64; Reason::ALL.len()],
}

impl LinkFigures {
    pub(super) fn refused(&self, reason: Reason) {
        if let Some(count) = self.refused.get((reason as usize).saturating_sub(1)) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Connections that were refused here, by reason.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(self.refused.iter().map(|count| count.load(Relaxed)))
    }
}

/// Adds to a count.
pub(super) fn count(figure: &AtomicU64, by: usize) {
    figure.fetch_add(by as u64, Relaxed);
}
