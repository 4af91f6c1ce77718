//! Watches: the newest value of a counter, tally, map or presence set.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tidewire_protocol::frame::CellKind;
use tidewire_protocol::tally::{Standings, TallyInfo};
use tidewire_protocol::wire;

use crate::client::Handle;
use crate::error::Error;
use crate::reply::Entry;
use crate::watch_slot::{Newest, NewestValue, WatchSlot};

/// A running watch. Dropping it ends it on the server as well.
///
/// A watch sees the newest version, not every version: what arrives while the application is busy
/// replaces what it has not taken yet.
#[derive(Debug)]
pub struct Watch {
    handle: Arc<Handle>,
    slot: Arc<WatchSlot>,
    pub(crate) entries: BTreeMap<String, Entry>,
    pub(crate) end: Option<Error>,
}

/// A newer version of the watched cell.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchEvent<'a> {
    /// The version. Every operation that was answered with a version up to this one is contained.
    pub version: u64,
    /// Whether the cell does not exist any more.
    pub deleted: bool,
    /// How old the value may get before the next one comes, in milliseconds, because the server is
    /// loaded; `None`: updates come as often as was asked for.
    pub stale_ms: Option<u64>,
    /// How old the value was when it was sent, in milliseconds, and may lack what was done since, because the
    /// node does not reach others that know more; `None`: it lacks nothing.
    pub behind_ms: Option<u64>,
    /// The value.
    pub value: WatchValue<'a>,
}

/// The value of a watched cell.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchValue<'a> {
    /// There is none: the cell does not exist (any more).
    Absent,
    /// A counter's number.
    Counter(i64),
    /// A tally's standings; what does not change is in [`Watch::tally_info`].
    Standings(Standings),
    /// A map or presence set.
    Entries {
        /// Everything that is there now.
        all: &'a BTreeMap<String, Entry>,
        /// The keys that were written or removed since the last event, in order.
        changed: Vec<String>,
    },
}

impl Watch {
    pub(crate) fn new(handle: Arc<Handle>, slot: Arc<WatchSlot>) -> Self {
        Self { handle, slot, entries: BTreeMap::new(), end: None }
    }

    /// The next newer version; `None` when the watch has ended ([`Watch::end_reason`] says why). As a stream:
    /// [`Watch::into_updates`].
    ///
    /// # Cancellation
    /// Safe: the newest version is not lost.
    pub async fn next(&mut self) -> Option<WatchEvent<'_>> {
        let newest = self.newest().await?;
        let (stale_ms, behind_ms) = (newest.stale_ms, newest.behind_ms);
        match self.event(newest) {
            Ok((version, deleted, held)) => {
                let value = held.into_value(&self.entries);
                Some(WatchEvent { version, deleted, stale_ms, behind_ms, value })
            }
            Err(error) => {
                self.end = Some(error);
                None
            }
        }
    }

    /// The next newer version as it arrived, without decoding it: for those who only need to know
    /// that they hold it. `None` when the watch has ended. Entries are merged as by `next`.
    ///
    /// # Cancellation
    /// Safe, as [`Watch::next`] is.
    pub async fn next_version(&mut self) -> Option<u64> {
        let newest = self.newest().await?;
        let version = newest.version;
        if let NewestValue::Entries { full, changes } = newest.value {
            self.merge(full, changes);
        }
        Some(version)
    }

    /// What does not change in the cell, encoded: a tally's options and rules.
    #[must_use]
    pub fn info(&self) -> Option<Bytes> {
        self.slot.info()
    }

    /// A tally's options and rules.
    #[must_use]
    pub fn tally_info(&self) -> Option<TallyInfo> {
        wire::from_slice(&self.slot.info()?).ok()
    }

    /// Epoch and version of the newest value that has arrived. A later watch that is given them
    /// in its options gets a value only if there is a newer one.
    #[must_use]
    pub fn held(&self) -> (u64, u64) {
        self.slot.held()
    }

    /// Why the watch has ended, once `next` has returned `None`.
    #[must_use]
    pub fn end_reason(&self) -> Option<Error> {
        self.end.clone().or_else(|| self.slot.end_reason())
    }

    async fn newest(&mut self) -> Option<Newest> {
        std::future::poll_fn(|context| self.poll_newest(context)).await
    }

    pub(crate) fn poll_newest(&mut self, context: &Context<'_>) -> Poll<Option<Newest>> {
        if self.end.is_some() {
            return Poll::Ready(None);
        }
        self.slot.poll_take(context)
    }

    pub(crate) fn event(&mut self, newest: Newest) -> Result<(u64, bool, Held), Error> {
        let held = match (newest.value, self.slot.kind()) {
            (NewestValue::Entries { full, changes }, _) => Held::Entries(self.merge(full, changes)),
            (NewestValue::Whole(None), _) => Held::Absent,
            (NewestValue::Whole(Some(value)), CellKind::Counter) => {
                Held::Counter(wire::from_slice(&value)?)
            }
            (NewestValue::Whole(Some(value)), _) => Held::Standings(wire::from_slice(&value)?),
        };
        Ok((newest.version, newest.deleted, held))
    }

    /// Brings the entries up to date and says which keys changed.
    fn merge(&mut self, full: bool, changes: BTreeMap<String, Option<Entry>>) -> Vec<String> {
        let mut changed = Vec::new();
        if full {
            let gone = |key: &String| !matches!(changes.get(key), Some(Some(_)));
            changed.extend(self.entries.keys().filter(|key| gone(key)).cloned());
            self.entries.retain(|key, _| !gone(key));
        }
        for (key, entry) in changes {
            let differs = match entry {
                Some(entry) => self.entries.insert(key.clone(), entry.clone()) != Some(entry),
                None => self.entries.remove(&key).is_some(),
            };
            if differs {
                changed.push(key);
            }
        }
        changed.sort_unstable();
        changed
    }
}

/// A value before it borrows from the watch.
pub(crate) enum Held {
    Absent,
    Counter(i64),
    Standings(Standings),
    Entries(Vec<String>),
}

impl Held {
    pub(crate) fn into_value(self, all: &BTreeMap<String, Entry>) -> WatchValue<'_> {
        match self {
            Self::Absent => WatchValue::Absent,
            Self::Counter(number) => WatchValue::Counter(number),
            Self::Standings(standings) => WatchValue::Standings(standings),
            Self::Entries(changed) => WatchValue::Entries { all, changed },
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.handle.link().abandon_watch(&self.slot);
    }
}
