//! One recording under way: what its shards, its writer and the admin listener share.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Instant;

use serde::Serialize;
use tidewire_core::shard::ShardSnapshot;
use tidewire_core::state_hash::StateHash;
use tokio::sync::watch;

use super::format::{HashMark, Turn};

/// Entries that wait for the writer.
pub(super) const QUEUE_ENTRIES_MAX: usize = 32_768;
/// Bytes of inputs that wait for the writer, about.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How much a recording may take.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Limits {
    /// Bytes of its file.
    pub(crate) max_bytes: u64,
    /// How long it goes on.
    pub(crate) max_seconds: u64,
}

/// What a shard hands to the writer.
pub(super) enum Entry {
    /// Its state at the start.
    Start(Box<ShardSnapshot>, StateHash),
    /// What it was told, and about how many bytes that is.
    Turn(Turn, usize),
    /// Its state hash in between, or at the end.
    Hash(HashMark),
}

/// Why a recording ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// Somebody asked for it.
    Requested,
    /// The file has as many bytes as it may.
    MaxBytes(u64),
    /// It has gone on for as long as it may.
    MaxSeconds(u64),
    /// The writer does not keep up with a shard.
    QueueFull(u16),
    /// The file cannot be written.
    WriteFailed(String),
    /// The server stops.
    ServerStopping,
}

impl StopReason {
    /// Words for programs and metrics, in the order of [`Self::number`].
    pub(crate) const CODES: [&str; 6] =
        ["requested", "max_bytes", "max_seconds", "queue_full", "write_failed", "server_stopping"];

    /// Place in [`Self::CODES`].
    pub(crate) fn number(&self) -> usize {
        match self {
            Self::Requested => 0,
            Self::MaxBytes(_) => 1,
            Self::MaxSeconds(_) => 2,
            Self::QueueFull(_) => 3,
            Self::WriteFailed(_) => 4,
            Self::ServerStopping => 5,
        }
    }

    /// A word for programs.
    pub(crate) fn code(&self) -> &'static str {
        Self::CODES.get(self.number()).copied().unwrap_or_default()
    }

    /// Whether it ended as it was meant to.
    pub(crate) fn is_planned(&self) -> bool {
        match self {
            Self::Requested | Self::ServerStopping | Self::MaxBytes(_) | Self::MaxSeconds(_) => {
                true
            }
            Self::QueueFull(_) | Self::WriteFailed(_) => false,
        }
    }

    /// A sentence for people.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Requested => "it was stopped by request".to_owned(),
            Self::MaxBytes(max) => format!("the file has reached its bound of {max} bytes"),
            Self::MaxSeconds(max) => format!("its time of {max} seconds is over"),
            Self::QueueFull(shard) => format!(
                "the disk did not keep up with shard {shard}: what it was told is there up to then"
            ),
            Self::WriteFailed(error) => format!("the file could not be written: {error}"),
            Self::ServerStopping => "the server was stopped".to_owned(),
        }
    }
}

/// A recording, from its start on.
pub(super) struct Session {
    /// Grows with each recording of a process; never 0.
    pub(super) number: u64,
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) limits: Limits,
    pub(super) started_at_ms: u64,
    pub(super) started: Instant,
    queued_bytes: AtomicUsize,
    pub(super) inputs: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// Shards whose state at the start has been written.
    pub(super) shards: AtomicUsize,
    /// Shards that have ended without a last word.
    pub(super) given_up: AtomicUsize,
    longest_pause_us: AtomicU64,
    stop: OnceLock<StopReason>,
    pub(super) is_over: watch::Sender<bool>,
}

/// What a session is made with.
pub(super) struct Beginning {
    pub(super) number: u64,
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) limits: Limits,
    pub(super) started_at_ms: u64,
}

impl Session {
    pub(super) fn new(beginning: Beginning) -> Self {
        let Beginning { number, name, path, limits, started_at_ms } = beginning;
        Self {
            number,
            name,
            path,
            limits,
            started_at_ms,
            started: Instant::now(),
            queued_bytes: AtomicUsize::new(0),
            inputs: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            shards: AtomicUsize::new(0),
            given_up: AtomicUsize::new(0),
            longest_pause_us: AtomicU64::new(0),
            stop: OnceLock::new(),
            is_over: watch::Sender::new(false),
        }
    }

    /// Hands something to the writer; false if it is too far behind or has ended.
    pub(super) fn push(&self, queue: &SyncSender<Entry>, entry: Entry) -> bool {
        let bytes = entry.bytes();
        if self.queued_bytes.fetch_add(bytes, Relaxed) + bytes > QUEUE_BYTES_MAX {
            self.queued_bytes.fetch_sub(bytes, Relaxed);
            return false;
        }
        match queue.try_send(entry) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.queued_bytes.fetch_sub(bytes, Relaxed);
                false
            }
        }
    }

    /// The writer has taken this from the queue.
    pub(super) fn taken(&self, entry: &Entry) {
        self.queued_bytes.fetch_sub(entry.bytes(), Relaxed);
    }

    /// Gives the reason to stop, unless there is one already.
    pub(super) fn stop(&self, reason: StopReason) {
        // The first reason is the one that counts.
        drop(self.stop.set(reason));
    }

    pub(super) fn stop_reason(&self) -> Option<&StopReason> {
        self.stop.get()
    }

    pub(super) fn is_over(&self) -> bool {
        *self.is_over.borrow()
    }

    /// A shard has stood still for so long to be copied.
    pub(super) fn note_pause(&self, pause: std::time::Duration) {
        let pause_us = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        self.longest_pause_us.fetch_max(pause_us, Relaxed);
    }

    pub(super) fn now_ms(&self) -> u64 {
        let since_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.started_at_ms.saturating_add(since_ms)
    }

    pub(super) fn status(&self) -> Status {
        let stop = self.stop_reason();
        Status {
            state: match (self.is_over(), stop) {
                (true, _) => "finished",
                (false, Some(_)) => "stopping",
                (false, None) => "recording",
            },
            name: self.name.clone(),
            // A path may be no text, and the admin listener speaks JSON.
            file: self.path.display().to_string(),
            limits: self.limits,
            started_at_ms: self.started_at_ms,
            shards: self.shards.load(Relaxed),
            inputs: self.inputs.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            longest_pause_us: self.longest_pause_us.load(Relaxed),
            stop_code: stop.map(StopReason::code),
            stop_reason: stop.map(StopReason::sentence),
        }
    }
}

/// A recording as the admin listener shows it.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "docs/recording.md describes the fields")]
pub(crate) struct Status {
    pub(crate) state: &'static str,
    pub(crate) name: String,
    pub(crate) file: String,
    #[serde(flatten)]
    pub(crate) limits: Limits,
    pub(crate) started_at_ms: u64,
    pub(crate) shards: usize,
    pub(crate) inputs: u64,
    pub(crate) bytes: u64,
    pub(crate) longest_pause_us: u64,
    pub(crate) stop_code: Option<&'static str>,
    pub(crate) stop_reason: Option<String>,
}

impl Entry {
    fn bytes(&self) -> usize {
        match self {
            Self::Turn(_, bytes) => *bytes,
            // Only one shard at a time hands over its state, and what it shares costs nothing.
            Self::Start(..) | Self::Hash(_) => 0,
        }
    }
}
