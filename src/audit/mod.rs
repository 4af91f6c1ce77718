//! The record of who did what: JSON lines in a file, and records of the topic `$sys.audit`.

mod entry;

pub(crate) use entry::Entry;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tidewire_core::shard::{Command, Origin, Request, SessionId, Terms};
use tidewire_protocol::Name;
use tidewire_protocol::frame::AckLevel;
use tidewire_protocol::record::payload_body;
use tokio::sync::mpsc;

use crate::config::AuditConfig;
use crate::server::Shared;

/// The topic.
const TOPIC: &str = "$sys.audit";
/// Entries that wait to be written; beyond it they are counted only.
const QUEUE: usize = 8_192;
/// A server that stops waits so long for its record.
const FINISH: Duration = Duration::from_secs(2);
/// Entries that are written together.
const TOGETHER: usize = 256;

/// Where entries go.
#[derive(Debug)]
pub(crate) struct Audit {
    sender: Option<mpsc::Sender<Entry>>,
    taken: AtomicU64,
    lost: AtomicU64,
    written: AtomicU64,
}

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
#[error("audit.file: cannot write {path}: {source}")]
pub struct AuditError {
    /// The file.
    pub path: PathBuf,
    /// The system's reason.
    pub source: io::Error,
}

/// The other end: what writes.
#[derive(Debug)]
pub(crate) struct Writer {
    entries: mpsc::Receiver<Entry>,
    file: Option<(PathBuf, File)>,
    topic: Option<Name>,
}

impl Audit {
    /// What a configuration asks for.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(crate) fn open(config: &AuditConfig) -> Result<(Self, Option<Writer>), AuditError> {
        let off = || Self {
            sender: None,
            taken: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            written: AtomicU64::new(0),
        };
        if config.file.is_none() && !config.topic {
            return Ok((off(), None));
        }
        let file = match &config.file {
            Some(path) => Some((path.clone(), append_to(path)?)),
            None => None,
        };
        let (sender, entries) = mpsc::channel(QUEUE);
        let topic = config.topic.then(|| Name::parse(TOPIC).ok()).flatten();
        Ok((Self { sender: Some(sender), ..off() }, Some(Writer { entries, file, topic })))
    }

    /// Whether anything is put on record.
    pub(crate) fn is_on(&self) -> bool {
        self.sender.is_some()
    }

    /// Puts something on record, unless too much waits to be written.
    pub(crate) fn record(&self, entry: impl FnOnce() -> Entry) {
        let Some(sender) = &self.sender else { return };
        match sender.try_reserve() {
            Ok(place) => {
                self.taken.fetch_add(1, Relaxed);
                place.send(entry());
            }
            Err(_full) => {
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

fn append_to(path: &PathBuf) -> Result<File, AuditError> {
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).mode(0o600).open(path);
    file.map_err(|source| AuditError { path: path.clone(), source })
}

/// Writes what comes until the server ends.
pub(crate) async fn write(shared: Arc<Shared>, writer: Writer) {
    let Writer { mut entries, mut file, topic } = writer;
    let mut some = Vec::with_capacity(TOGETHER);
    while entries.recv_many(&mut some, TOGETHER).await > 0 {
        let lines: Vec<String> = some.drain(..).map(|entry| entry.line()).collect();
        let count = lines.len() as u64;
        if let Some((path, open)) = file.take() {
            let text = lines.join("\n") + "\n";
            let written = tokio::task::spawn_blocking(move || {
                let outcome = write_to(&path, open, text.as_bytes());
                (path, outcome)
            });
            match written.await {
                Ok((path, Ok(open))) => file = Some((path, open)),
                Ok((path, Err(error))) => {
                    shared.audit.lost.fetch_add(count, Relaxed);
                    tracing::error!(%error, file = %path.display(), "the audit file cannot be written");
                    file = append_to(&path).ok().map(|open| (path, open));
                }
                Err(error) => tracing::error!(%error, "the audit file cannot be written"),
            }
        }
        for line in topic.iter().flat_map(|_| &lines) {
            publish(&shared, topic.as_ref(), line).await;
        }
        shared.audit.written.fetch_add(count, Relaxed);
    }
}

/// Writes to the file, or to a new one of its name if it was moved away.
fn write_to(path: &PathBuf, mut open: File, text: &[u8]) -> io::Result<File> {
    use std::os::unix::fs::MetadataExt as _;
    let is_same = |there: std::fs::Metadata| {
        open.metadata().is_ok_and(|here| (here.dev(), here.ino()) == (there.dev(), there.ino()))
    };
    if !path.metadata().is_ok_and(is_same) {
        open = append_to(path).map_err(|error| error.source)?;
    }
    open.write_all(text)?;
    open.sync_data()?;
    Ok(open)
}

/// Publishes a line on behalf of nobody.
async fn publish(shared: &Shared, topic: Option<&Name>, line: &str) {
    let Some(topic) = topic else { return };
    let session = SessionId { dispatcher: 0, slot: u32::MAX, generation: 0 };
    let origin = Origin { session, stream: 0, req: 0 };
    let shard = shared.config.policies().home(topic);
    let request = Request::Publish {
        topic: topic.clone(),
        ack: AckLevel::None,
        body: payload_body(line.as_bytes()),
        count: 1,
        terms: Terms::default(),
    };
    if let Some(queue) = shared.shards.get(usize::from(shard)) {
        // Fails only when the server is stopping.
        drop(queue.send(Command::Request(origin, request)).await);
    }
}
