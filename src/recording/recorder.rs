//! The recorder of a server: at most one recording at a time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::file::{self, FileName};
use super::format::Header;
use super::session::{Beginning, Entry, Limits, QUEUE_ENTRIES_MAX, Session, Status, StopReason};
use super::writer;

/// Fewest bytes that a recording may be given.
pub(super) const BYTES_MIN: u64 = 64 * 1024;
/// Longest time that a recording may be given: a week.
const SECONDS_MAX: u64 = 7 * 86_400;
/// How long the end of a recording may take, from the request on.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Tells shards when to record, and knows the recording of now or the last one.
pub(crate) struct Recorder {
    wishes: Vec<Wish>,
    current: Mutex<Current>,
    started: AtomicU64,
    ended: [AtomicU64; StopReason::CODES.len()],
}

/// The recording of now, or the last one.
#[derive(Default)]
struct Current {
    session: Option<Arc<Session>>,
    /// The way to its writer, until it is over.
    queue: Option<SyncSender<Entry>>,
}

/// What one shard is asked for.
struct Wish {
    /// Number of the recording that it is to be part of; 0: none.
    session: AtomicU64,
    /// Rung when that changes, since a shard without commands sleeps.
    bell: Notify,
}

/// What is to be recorded where.
#[derive(Clone, Debug)]
pub(crate) struct StartRequest {
    /// Directory of the recordings; none: the server has no place for them.
    pub(crate) directory: Option<PathBuf>,
    /// Name of the file.
    pub(crate) name: String,
    /// The bounds.
    pub(crate) limits: Limits,
    /// Name of the node.
    pub(crate) node: String,
    /// Unix time of now.
    pub(crate) now_ms: u64,
}

/// Why no recording has begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartRefused {
    /// One is under way.
    #[error("recording '{0}' is under way, and there is one at a time: stop it first")]
    Busy(String),
    /// There is no place for it.
    #[error("this server has no directory for recordings: set data_dir or recordings_dir")]
    NoDirectory,
    /// Its name or a bound is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// A file of this name exists.
    #[error("a recording '{0}' exists already, and none is overwritten: use another name")]
    Exists(String),
    /// The file or its writer cannot be made.
    #[error("the recording cannot be written: {0}")]
    Io(std::io::Error),
}

impl Recorder {
    /// A recorder of so many shards.
    pub(crate) fn new(shards: u16) -> Self {
        let wish = |_| Wish { session: AtomicU64::new(0), bell: Notify::new() };
        Self {
            wishes: (0..shards).map(wish).collect(),
            current: Mutex::default(),
            started: AtomicU64::new(0),
            ended: Default::default(),
        }
    }

    fn shards(&self) -> u16 {
        u16::try_from(self.wishes.len()).unwrap_or(u16::MAX)
    }

    /// Number of the recording that a shard is to be part of; 0: none. One load.
    pub(super) fn wanted(&self, shard: u16) -> u64 {
        let wish = self.wishes.get(usize::from(shard));
        wish.map_or(0, |wish| wish.session.load(Ordering::Acquire))
    }

    /// Waits until a shard is asked for something.
    pub(crate) async fn rung(&self, shard: u16) {
        match self.wishes.get(usize::from(shard)) {
            Some(wish) => wish.bell.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Begins a recording. The shards join one after the other, so that no two stand still to be
    /// copied at the same time.
    ///
    /// # Errors
    /// See [`StartRefused`]; nothing has begun then.
    pub(crate) fn start(self: &Arc<Self>, request: StartRequest) -> Result<Status, StartRefused> {
        let StartRequest { directory, name, limits, node, now_ms } = request;
        let name = FileName::parse(&name).map_err(StartRefused::Invalid)?;
        check(limits)?;
        let directory = directory.ok_or(StartRefused::NoDirectory)?;
        let mut current = self.lock();
        if let Some(session) = current.session.as_ref().filter(|session| !session.is_over()) {
            return Err(StartRefused::Busy(session.name.clone()));
        }
        let (path, file) = file::create(&directory, &name).map_err(|error| {
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                StartRefused::Exists(name.as_str().to_owned())
            } else {
                StartRefused::Io(error)
            }
        })?;
        let (queue, entries) = mpsc::sync_channel(QUEUE_ENTRIES_MAX);
        let session = Arc::new(Session::new(Beginning {
            number: self.started.fetch_add(1, Ordering::Relaxed) + 1,
            name: name.as_str().to_owned(),
            path,
            limits,
            started_at_ms: now_ms,
        }));
        let server = concat!("tidewire/", env!("CARGO_PKG_VERSION")).to_owned();
        let header = Header { server, node, started_at_ms: now_ms, shards: self.shards() };
        let (recorder, shared) = (Arc::clone(self), Arc::clone(&session));
        std::thread::Builder::new()
            .name("tidewire-record".to_owned())
            .spawn(move || writer::run(&recorder, &shared, &entries, file, &header))
            .map_err(StartRefused::Io)?;
        let status = session.status();
        *current = Current { session: Some(session), queue: Some(queue) };
        Ok(status)
    }

    /// Ends the recording that is under way, and waits until its file is complete. `None` if
    /// there is none.
    pub(crate) async fn stop(&self, reason: StopReason) -> Option<Status> {
        let session = self.lock().session.clone().filter(|session| !session.is_over())?;
        self.end(&session, reason);
        let mut is_over = session.is_over.subscribe();
        // Beyond the time the status says that it is still stopping.
        drop(tokio::time::timeout(STOP_PATIENCE, is_over.wait_for(|over| *over)).await);
        Some(session.status())
    }

    /// The recording of now, or the last one of this process.
    pub(crate) fn status(&self) -> Option<Status> {
        self.lock().session.as_ref().map(|session| session.status())
    }

    /// Recordings that have been started, and how many have ended for which reason.
    pub(crate) fn counts(&self) -> (u64, impl Iterator<Item = (&'static str, u64)>) {
        let ended = self.ended.iter().map(|count| count.load(Ordering::Relaxed));
        (self.started.load(Ordering::Relaxed), StopReason::CODES.into_iter().zip(ended))
    }

    /// The recording of this number and the way to its writer, while it goes on.
    pub(super) fn join(&self, number: u64) -> Option<(Arc<Session>, SyncSender<Entry>)> {
        let current = self.lock();
        let session = current.session.clone().filter(|session| session.number == number)?;
        Some((session, current.queue.clone()?))
    }

    /// Asks a shard to join; false if there is no such shard.
    pub(super) fn ask(&self, shard: usize, session: u64) -> bool {
        let Some(wish) = self.wishes.get(shard) else { return false };
        wish.session.store(session, Ordering::Release);
        wish.bell.notify_one();
        true
    }

    /// Asks every shard to end its part.
    pub(super) fn end(&self, session: &Session, reason: StopReason) {
        session.stop(reason);
        for shard in 0..self.wishes.len() {
            self.ask(shard, 0);
        }
    }

    /// Counts a recording that is over, and gives the memory of its queue back.
    pub(super) fn close(&self, reason: &StopReason) {
        self.lock().queue = None;
        if let Some(count) = self.ended.get(reason.number()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(limits: Limits) -> Result<(), StartRefused> {
    let Limits { max_bytes, max_seconds } = limits;
    if max_bytes < BYTES_MIN {
        let rule = format!("max_bytes is at least {BYTES_MIN}, not {max_bytes}");
        return Err(StartRefused::Invalid(rule));
    }
    if !(1..=SECONDS_MAX).contains(&max_seconds) {
        let rule = format!("max_seconds is 1 to {SECONDS_MAX}, not {max_seconds}");
        return Err(StartRefused::Invalid(rule));
    }
    Ok(())
}
