//! The record of who did what: JSON lines in a file, and records of the topic `$sys.audit`.

mod entry;
mod log;

pub use log::AuditError;

pub(crate) use entry::Entry;
use log::Log;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tidewire_protocol::Name;
use tokio::sync::mpsc;

use crate::config::AuditConfig;
use crate::server::Shared;

/// The topic.
const TOPIC: &str = "$sys.audit";
/// Entries that wait to be written; beyond it they are counted only.
const QUEUE: usize = 8_192;
/// Entries in a second of what anybody can make at will: refused requests, connections.
const NOISE_PER_S: u32 = 200;
/// A server that stops waits so long for its record.
const FINISH: Duration = Duration::from_secs(2);
/// Entries that are written together.
const TOGETHER: usize = 256;

/// Where entries go.
#[derive(Debug)]
pub(crate) struct Audit {
    sender: Option<mpsc::Sender<Entry>>,
    noise: Option<DefaultDirectRateLimiter>,
    taken: AtomicU64,
    lost: AtomicU64,
    written: AtomicU64,
}

/// The other end: what writes.
#[derive(Debug)]
pub(crate) struct Writer {
    entries: mpsc::Receiver<Entry>,
    file: Option<Log>,
    topic: bool,
}

impl Audit {
    /// What a configuration asks for.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(crate) fn open(config: &AuditConfig) -> Result<(Self, Option<Writer>), AuditError> {
        let off = || Self {
            sender: None,
            noise: NonZeroU32::new(NOISE_PER_S).map(Quota::per_second).map(RateLimiter::direct),
            taken: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            written: AtomicU64::new(0),
        };
        if config.file.is_none() && !config.topic {
            return Ok((off(), None));
        }
        let file = config.file.as_deref().map(Log::open).transpose()?;
        let (sender, entries) = mpsc::channel(QUEUE);
        let topic = config.topic;
        Ok((Self { sender: Some(sender), ..off() }, Some(Writer { entries, file, topic })))
    }

    /// Whether anything is put on record.
    pub(crate) fn is_on(&self) -> bool {
        self.sender.is_some()
    }

    /// Puts something on record, unless too much waits to be written; of what anybody can make at will
    /// only so much in a second, and so much that room is left for the rest.
    pub(crate) fn record(&self, entry: impl FnOnce() -> Entry) {
        let Some(sender) = &self.sender else { return };
        let entry = entry();
        let has_room = !entry.is_noise()
            || sender.capacity() > QUEUE / 2
                && self.noise.as_ref().is_none_or(|noise| noise.check().is_ok());
        match sender.try_reserve() {
            Ok(place) if has_room => {
                self.taken.fetch_add(1, Relaxed);
                place.send(entry);
            }
            Ok(_) | Err(_) => {
                self.lost.fetch_add(1, Relaxed);
            }
        }
    }

    /// Waits until what has happened is on record, but not for long.
    pub(crate) async fn finish(&self) {
        let deadline = tokio::time::Instant::now() + FINISH;
        while self.written.load(Relaxed) < self.taken.load(Relaxed)
            && tokio::time::Instant::now() < deadline
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Entries that could not be put on record.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Entries that are on record.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }
}

/// Writes what comes until the server ends.
pub(crate) async fn write(shared: Arc<Shared>, writer: Writer) {
    let Writer { mut entries, mut file, topic } = writer;
    let topic = topic.then(|| Name::parse(TOPIC).ok()).flatten();
    let topic = topic.map(|name| (shared.config.policies().home(&name), name));
    let mut some = Vec::with_capacity(TOGETHER);
    while entries.recv_many(&mut some, TOGETHER).await > 0 {
        let lines: Vec<String> = some.drain(..).map(|entry| entry.line()).collect();
        let count = lines.len() as u64;
        if let Some(mut log) = file.take() {
            let text = lines.join("\n") + "\n";
            let written = tokio::task::spawn_blocking(move || {
                let outcome = log.write(text.as_bytes());
                (log, outcome)
            });
            match written.await {
                Ok((log, outcome)) => {
                    if let Err(error) = outcome {
                        shared.audit.lost.fetch_add(count, Relaxed);
                        tracing::error!(%error, count, "entries are not in the audit file");
                    }
                    file = Some(log);
                }
                Err(error) => tracing::error!(%error, "the audit file is not written any more"),
            }
        }
        for line in &lines {
            if let Some((shard, name)) = &topic {
                shared.publish(*shard, name, line).await;
            }
        }
        shared.audit.written.fetch_add(count, Relaxed);
    }
}
