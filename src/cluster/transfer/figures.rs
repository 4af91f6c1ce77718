//! What was given and taken, in plain numbers.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Counts since the start, and what is under way.
#[derive(Debug, Default)]
pub(crate) struct TransferFigures {
    /// States that are being given and taken, and those that wait for their turn.
    pub(crate) giving: AtomicU64,
    pub(crate) taking: AtomicU64,
    pub(crate) waiting: AtomicU64,
    pub(crate) given: AtomicU64,
    pub(crate) taken: AtomicU64,
    /// Those that came to nothing, on either side.
    pub(crate) failed: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
}

/// Counts something as long as it is there.
pub(super) struct UnderWay<'a>(&'a AtomicU64);

impl<'a> UnderWay<'a> {
    pub(super) fn in_figure(figure: &'a AtomicU64) -> Self {
        figure.fetch_add(1, Relaxed);
        Self(figure)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

pub(super) fn count(figure: &AtomicU64, by: usize) {
    figure.fetch_add(by as u64, Relaxed);
}
