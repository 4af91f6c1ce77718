//! The newest version of one watched cell, as far as the application has not taken it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tidewire_protocol::frame::{CellKind, flags, read_entries};
use tidewire_protocol::options::WatchOptions;
use tidewire_protocol::{ClientFrame, Name, ServerFrame};

use crate::error::Error;
use crate::inbox::Opener;
use crate::reply::Entry;

/// The client's side of one watch. It holds one version, however many have arrived.
#[derive(Debug)]
pub(crate) struct WatchSlot {
    kind: CellKind,
    name: Name,
    options: WatchOptions,
    state: Mutex<State>,
    reader: AtomicWaker,
}

#[derive(Debug)]
struct State {
    sub: u32,
    /// Epoch and version of the newest value that has arrived.
    epoch: u64,
    version: u64,
    info: Option<Bytes>,
    opener: Option<Opener>,
    newest: Option<Newest>,
    /// Whether it may be stale.
    is_behind: bool,
    /// Version and parts of an update whose last part has not arrived.
    parts: (u64, Vec<Bytes>),
    end: Option<Error>,
}

/// What the application has not taken yet.
#[derive(Debug)]
pub(crate) struct Newest {
    pub(crate) version: u64,
    pub(crate) deleted: bool,
    pub(crate) stale_ms: Option<u64>,
    pub(crate) behind_ms: Option<u64>,
    pub(crate) value: NewestValue,
}

#[derive(Debug)]
pub(crate) enum NewestValue {
    /// One encoded value; `None` for nil.
    Whole(Option<Bytes>),
    /// Entries that changed; `None` for those that are gone.
    Entries {
        /// Whether entries that are not listed are gone.
        full: bool,
        changes: BTreeMap<String, Option<Entry>>,
    },
}

impl WatchSlot {
    pub(crate) fn new(kind: CellKind, name: Name, options: WatchOptions, opener: Opener) -> Self {
        let state = State {
            sub: 0,
            epoch: options.epoch.unwrap_or(0),
            version: options.version.unwrap_or(0),
            info: None,
            opener: Some(opener),
            newest: None,
            is_behind: false,
            parts: (0, Vec::new()),
            end: None,
        };
        Self { kind, name, options, state: Mutex::new(state), reader: AtomicWaker::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest version, if the application does not hold it yet; `None` when the watch has ended.
    pub(crate) fn poll_take(&self, context: &Context<'_>) -> Poll<Option<Newest>> {
        if let Some(taken) = self.take() {
            return Poll::Ready(taken);
        }
        self.reader.register(context.waker());
        // What has come before the reader was known wakes nobody.
        self.take().map_or(Poll::Pending, Poll::Ready)
    }

    pub(crate) fn kind(&self) -> CellKind {
        self.kind
    }

    pub(crate) fn sub(&self) -> u32 {
        self.state().sub
    }

    pub(crate) fn info(&self) -> Option<Bytes> {
        self.state().info.clone()
    }

    /// Epoch and version of the newest value that has arrived.
    pub(crate) fn held(&self) -> (u64, u64) {
        let state = self.state();
        (state.epoch, state.version)
    }

    /// Why the watch has ended, if it has.
    pub(crate) fn end_reason(&self) -> Option<Error> {
        self.state().end.clone()
    }

    /// The WATCH that starts, or goes on from the version that is held.
    pub(crate) fn open(&self, req: u64, sub: u32) -> Option<ClientFrame> {
        let mut state = self.state();
        if state.end.is_some() {
            return None;
        }
        state.sub = sub;
        state.parts.1.clear();
        // A value that may be stale is asked for again: whether it still is is not told otherwise.
        let holds = state.version > 0 && !state.is_behind;
        if core::mem::take(&mut state.is_behind) {
            state.version = 0;
        }
        let options = WatchOptions {
            epoch: holds.then_some(state.epoch),
            version: holds.then_some(state.version),
            ..self.options.clone()
        };
        Some(ClientFrame::Watch { req, sub, kind: self.kind, name: self.name.clone(), options })
    }

    /// The server has answered WATCH.
    pub(crate) fn opened(&self, frame: ServerFrame) {
        let ServerFrame::Watching { epoch, info, .. } = frame else {
            return self.end(&Error::BadReply("WATCHING expected".to_owned()));
        };
        let mut state = self.state();
        if epoch != state.epoch {
            // Versions of another epoch say nothing about the one that is held.
            (state.epoch, state.version) = (epoch, 0);
        }
        if info.is_some() {
            state.info = info;
        }
        let opener = state.opener.take();
        drop(state);
        // An opener that does not wait any more has dropped the watch as well.
        opener.map(|opener| opener.send(Ok(())));
    }

    /// Whether `watch` has not returned yet.
    pub(crate) fn is_opening(&self) -> bool {
        self.state().opener.is_some()
    }

    /// The watch is over. What has arrived can still be taken.
    pub(crate) fn end(&self, why: &Error) {
        let mut state = self.state();
        if state.end.is_some() {
            return;
        }
        state.end = Some(why.clone());
        if let Some(opener) = state.opener.take() {
            drop(opener.send(Err(why.clone())));
        }
        drop(state);
        self.reader.wake();
    }

    /// Replaces what the application has not taken yet by a newer version.
    pub(crate) fn receive(&self, frame: ServerFrame) {
        let ServerFrame::Update { version, flags, value, .. } = frame else {
            tracing::debug!(name = %self.name, "a frame that is none of a watch is ignored");
            return;
        };
        let mut state = self.state();
        let is_behind = flags & flags::BEHIND != 0;
        // Datagrams come late and twice. The same version again says that it may be stale, or is not.
        let is_known = version == state.version && is_behind == state.is_behind;
        let is_old = version < state.version || is_known;
        if state.end.is_some() || (is_old && state.version != 0) {
            return;
        }
        let deleted = flags & flags::DELETED != 0;
        let value = match self.kind {
            CellKind::Map | CellKind::Presence => {
                let full = deleted || flags & flags::FULL != 0;
                let Some(parts) = state.complete(version, flags, value) else { return };
                match state.merge(full, &parts) {
                    Ok(value) => value,
                    Err(error) => {
                        drop(state);
                        return self.end(&error);
                    }
                }
            }
            CellKind::Counter | CellKind::Tally | CellKind::Topic | CellKind::Rounds => {
                NewestValue::Whole(value)
            }
        };
        state.version = version;
        state.is_behind = is_behind;
        let age_ms = flags >> flags::INTERVAL_SHIFT;
        let stale_ms = (flags & flags::STALE != 0).then_some(age_ms);
        let behind_ms = is_behind.then_some(age_ms);
        state.newest = Some(Newest { version, deleted, stale_ms, behind_ms, value });
        drop(state);
        self.reader.wake();
    }

    /// `Some(None)` when there will be none any more.
    fn take(&self) -> Option<Option<Newest>> {
        let mut state = self.state();
        match state.newest.take() {
            Some(newest) => Some(Some(newest)),
            None => state.end.is_some().then_some(None),
        }
    }
}

impl State {
    /// Every part of an update, once the last one is here. Until then what is held stays as it
    /// is. A part of another version begins another update.
    fn complete(&mut self, version: u64, flags: u64, value: Option<Bytes>) -> Option<Vec<Bytes>> {
        if self.parts.0 != version {
            self.parts = (version, Vec::new());
        }
        self.parts.1.extend(value);
        (flags & flags::MORE == 0).then(|| std::mem::take(&mut self.parts.1))
    }

    /// Adds the changes of an update to those that were not taken yet.
    fn merge(&mut self, full: bool, parts: &[Bytes]) -> Result<NewestValue, Error> {
        let mut merged =
            match self.newest.take() {
                Some(Newest {
                    value: NewestValue::Entries { full: was_full, changes }, ..
                }) if !full => (was_full, changes),
                _ => (full, BTreeMap::new()),
            };
        for part in parts {
            for entry in read_entries(part)? {
                let (key, version) = (entry.key, entry.version);
                // Copied, so that one small entry does not keep the whole message alive.
                let value = entry
                    .value
                    .map(|value| Entry { version, value: Bytes::copy_from_slice(&value) });
                merged.1.insert(key, value);
            }
        }
        Ok(NewestValue::Entries { full: merged.0, changes: merged.1 })
    }
}
