//! Keyed cells: the entries of a map or presence set, and what has changed since a version.
//!
//! The shard owns one per map and presence set. Each dispatcher whose sessions watch it keeps a
//! replica, fed with the shard's changes, and takes from it what each watcher lacks.

mod changes;
mod state;
#[cfg(test)]
mod tests;

pub use changes::{Change, Changes, Encoded, EncodedChanges, Part};
pub use state::SavedKeyed;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use bytes::Bytes;
use tidewire_protocol::{ErrorCode, Refusal};

/// Characters of a key that a refusal shows.
const SHOWN_CHARS_MAX: usize = 64;

/// Values by key, with tombstones of the keys that went last.
#[derive(Clone, Debug)]
pub struct Keyed {
    keys_max: usize,
    tombstones_max: usize,
    version: u64,
    horizon: u64,
    // Ordered, not hashed: the keys are the clients' choice, and order is wanted anyway.
    slots: BTreeMap<Arc<str>, Slot>,
    /// The last change of each key in order of version; `None`: the key went.
    log: BTreeMap<Place, Option<Bytes>>,
    /// Those places of the log that are tombstones.
    tombstones: BTreeSet<Place>,
    /// Expiry and key.
    expiries: BTreeSet<(u64, Arc<str>)>,
}

/// A version and the key that it changed.
type Place = (u64, Arc<str>);

#[derive(Clone, Copy, Debug)]
struct Slot {
    version: u64,
    expires_at_ms: Option<u64>,
}

/// A key that has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The key.
    pub key: &'a Arc<str>,
    /// Version at which the value was set.
    pub version: u64,
    /// The value.
    pub value: &'a Bytes,
}

impl Keyed {
    /// An empty cell. Its first change raises the horizon to that change's version: what a
    /// client holds from before belongs to an earlier cell of the same name.
    #[must_use]
    pub fn new(keys_max: usize, tombstones_max: usize) -> Self {
        Self {
            keys_max,
            tombstones_max,
            version: 0,
            horizon: 0,
            slots: BTreeMap::new(),
            log: BTreeMap::new(),
            tombstones: BTreeSet::new(),
            expiries: BTreeSet::new(),
        }
    }

    /// An empty copy of a cell that is at this version, to be filled with [`Self::apply`]. It
    /// knows nothing of what went before, so that version is its horizon. It has no limit of
    /// keys of its own: it holds what the original holds.
    #[must_use]
    pub fn replica(tombstones_max: usize, version: u64) -> Self {
        Self { version, horizon: version, ..Self::new(usize::MAX, tombstones_max) }
    }

    /// Version of the last change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The oldest version from which every change is known.
    #[must_use]
    pub fn horizon(&self) -> u64 {
        self.horizon
    }

    /// Number of keys that have a value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.tombstones.len()
    }

    /// Whether no key has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What stands under a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Entry<'_>> {
        let (key, slot) = self.slots.get_key_value(key)?;
        let value = self.log.get(&(slot.version, Arc::clone(key)))?.as_ref()?;
        Some(Entry { key, version: slot.version, value })
    }

    /// Version of a key's last change. For a key that is not known it is the horizon: it may
    /// have gone so late and been forgotten.
    #[must_use]
    pub fn key_version(&self, key: &str) -> u64 {
        self.slots.get(key).map_or(self.horizon, |slot| slot.version)
    }

    /// Sets the value of a key and when it expires, both anew.
    ///
    /// # Errors
    /// `limit_exceeded` for a key that has no value when as many as allowed have one.
    pub fn set(
        &mut self,
        key: &str,
        value: Bytes,
        expires_at_ms: Option<u64>,
        version: u64,
    ) -> Result<(), Refusal> {
        if self.len() >= self.keys_max && self.get(key).is_none() {
            let shown: String =
                key.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
            return Err(Refusal::new(
                ErrorCode::LimitExceeded,
                format!(
                    "key '{shown}' finds no room: the limit of {} keys is reached",
                    self.keys_max
                ),
            ));
        }
        self.write(key, Some(value), Slot { version, expires_at_ms });
        Ok(())
    }

    /// Removes a key and leaves a tombstone, so that watchers learn of it. Returns whether it had
    /// a value; if not, nothing changes.
    pub fn remove(&mut self, key: &str, version: u64) -> bool {
        let is_there = self.get(key).is_some();
        if is_there {
            self.write(key, None, Slot { version, expires_at_ms: None });
        }
        is_there
    }

    /// Takes over one change of the cell that this is a replica of. A change that is not newer
    /// than what is known of its key does nothing.
    pub fn apply(&mut self, key: &str, version: u64, value: Option<Bytes>) {
        if self.slots.get(key).is_some_and(|slot| slot.version >= version) {
            return;
        }
        let is_change = value.is_some() || self.get(key).is_some();
        if is_change {
            self.write(key, value, Slot { version, expires_at_ms: None });
        }
        self.advance(version);
    }

    /// The same with room for so many keys; those that are there stay.
    #[must_use]
    pub fn with_keys_max(self, keys_max: usize) -> Self {
        Self { keys_max, ..self }
    }

    /// Sets a key, or leaves a tombstone for one that has gone, whatever the limit is: the caller has
    /// looked at it, or repeats what was logged.
    pub fn put(
        &mut self,
        key: &str,
        version: u64,
        expires_at_ms: Option<u64>,
        value: Option<Bytes>,
    ) {
        self.write(key, value, Slot { version, expires_at_ms });
    }

    /// Notes that everything up to this version is known, also where it changed nothing here.
    pub fn advance(&mut self, version: u64) {
        if self.version == 0 {
            self.horizon = version;
        }
        self.version = self.version.max(version);
    }

    /// When the next key expires.
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.expiries.first().map(|(at_ms, _)| *at_ms)
    }

    /// A key that has expired, the longest overdue first. It stays until it is removed.
    #[must_use]
    pub fn expired(&self, now_ms: u64) -> Option<Arc<str>> {
        let (at_ms, key) = self.expiries.first()?;
        (*at_ms <= now_ms).then(|| Arc::clone(key))
    }

    fn write(&mut self, key: &str, value: Option<Bytes>, slot: Slot) {
        self.advance(slot.version);
        let key = self.forget(key).unwrap_or_else(|| key.into());
        let place = (slot.version, Arc::clone(&key));
        if value.is_none() {
            self.tombstones.insert(place.clone());
        }
        self.log.insert(place, value);
        if let Some(at_ms) = slot.expires_at_ms {
            self.expiries.insert((at_ms, Arc::clone(&key)));
        }
        self.slots.insert(key, slot);
        while self.tombstones.len() > self.tombstones_max {
            self.drop_oldest_tombstone();
        }
    }

    /// Takes a key out of every index; returns it if it was known.
    fn forget(&mut self, key: &str) -> Option<Arc<str>> {
        let (key, slot) = self.slots.remove_entry(key)?;
        let place = (slot.version, Arc::clone(&key));
        self.log.remove(&place);
        self.tombstones.remove(&place);
        if let Some(at_ms) = slot.expires_at_ms {
            self.expiries.remove(&(at_ms, Arc::clone(&key)));
        }
        Some(key)
    }

    fn drop_oldest_tombstone(&mut self) {
        let Some((version, key)) = self.tombstones.pop_first() else { return };
        self.forget(&key);
        self.horizon = self.horizon.max(version);
    }
}
