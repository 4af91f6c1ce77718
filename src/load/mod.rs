//! How loaded the server is, and what it does less of then.
//!
//! The level goes by what those who wait feel: how long followers wait for their turn, how long the
//! journal takes to commit, and how much of the memory budget is in use. As it rises, values go out
//! less often and say so, names of low priority are refused first, and what would take memory is
//! refused before the process is in danger. Everything comes back by itself.

mod gate;
mod ladder;
mod memory;
mod watch;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

pub(crate) use gate::{Gate, full};
pub(crate) use ladder::{Level, Signals};
pub(crate) use watch::watch;

/// The load of a server: written by the task that watches it, read by everybody.
#[derive(Debug, Default)]
pub(crate) struct Load {
    level: AtomicU8,
    /// Whether so much of the memory budget is in use that nothing more is taken on.
    is_full: AtomicBool,
    /// Whether the journal does not answer.
    is_stalled: AtomicBool,
    memory_max_bytes: u64,
    rises: AtomicU64,
    falls: AtomicU64,
    refused: AtomicU64,
    signals: Mutex<Signals>,
}

impl Load {
    /// A load without any. `memory_max_bytes`: what was configured; 0: what the machine lets it use.
    pub(crate) fn new(memory_max_bytes: u64) -> Self {
        let memory_max_bytes = match memory_max_bytes {
            0 => memory::usable_bytes().unwrap_or(u64::MAX),
            configured => configured,
        };
        Self { memory_max_bytes, ..Self::default() }
    }

    pub(crate) fn level(&self) -> Level {
        Level::of(self.level.load(Relaxed))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Relaxed)
    }

    /// The memory budget in bytes.
    pub(crate) fn memory_max_bytes(&self) -> u64 {
        self.memory_max_bytes
    }

    /// How often the level has risen and fallen, and how much was refused.
    pub(crate) fn counts(&self) -> [u64; 3] {
        [&self.rises, &self.falls, &self.refused].map(|count| count.load(Relaxed))
    }

    /// What the level went by last.
    pub(crate) fn signals(&self) -> Signals {
        *self.signals.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
