//! The state of a keyed cell: its hash and its saved form.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Keyed, Place, Slot};
use crate::snapshot::BadSnapshot;
use crate::state_hash::StateHasher;

/// A saved [`Keyed`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedKeyed {
    keys_max: usize,
    tombstones_max: usize,
    version: u64,
    horizon: u64,
    entries: Vec<SavedEntry>,
}

/// Key, version, expiry, value (none: a tombstone).
type SavedEntry = (Arc<str>, u64, Option<u64>, Option<Bytes>);

impl Keyed {
    /// A copy to be stored; values are shared with it.
    #[must_use]
    pub fn save(&self) -> SavedKeyed {
        let Self {
            keys_max,
            tombstones_max,
            version,
            horizon,
            slots,
            log,
            tombstones: _,
            expiries: _,
        } = self;
        let entries = slots.iter().map(|(key, slot)| {
            let value = log.get(&(slot.version, Arc::clone(key))).cloned().flatten();
            (Arc::clone(key), slot.version, slot.expires_at_ms, value)
        });
        SavedKeyed {
            keys_max: *keys_max,
            tombstones_max: *tombstones_max,
            version: *version,
            horizon: *horizon,
            entries: entries.collect(),
        }
    }

    /// The cell that was saved.
    ///
    /// # Errors
    /// When a key stands in it twice or is newer than the cell.
    pub fn restore(saved: SavedKeyed) -> Result<Self, BadSnapshot> {
        let SavedKeyed { keys_max, tombstones_max, version, horizon, entries } = saved;
        let mut cell = Self { version, horizon, ..Self::new(keys_max, tombstones_max) };
        for (key, version, expires_at_ms, value) in entries {
            let slot = Slot { version, expires_at_ms };
            if version > cell.version || cell.slots.insert(Arc::clone(&key), slot).is_some() {
                let key = key.escape_default();
                let what = format!("key '{key}' stands twice in a cell, or is newer than it");
                return Err(BadSnapshot::new(what));
            }
            if value.is_none() {
                cell.tombstones.insert((version, Arc::clone(&key)));
            }
            cell.expiries.extend(expires_at_ms.map(|at_ms| (at_ms, Arc::clone(&key))));
            cell.log.insert((version, key), value);
        }
        Ok(cell)
    }

    pub(crate) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { keys_max, tombstones_max, version, horizon, slots, log, tombstones, expiries } =
            self;
        hasher.size(*keys_max);
        hasher.size(*tombstones_max);
        hasher.number(*version);
        hasher.number(*horizon);
        hasher.ordered(slots, |hasher, (key, slot)| {
            let Slot { version, expires_at_ms } = slot;
            hasher.text(key);
            hasher.number(*version);
            hasher.option_number(*expires_at_ms);
        });
        hasher.ordered(log, |hasher, (place, value)| {
            hash_place(hasher, place);
            hasher.option(value.as_ref(), |hasher, value| hasher.bytes(value));
        });
        hasher.ordered(tombstones, hash_place);
        hasher.ordered(expiries, hash_place);
    }
}

fn hash_place(hasher: &mut StateHasher, (number, key): &Place) {
    hasher.number(*number);
    hasher.text(key);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::state_hash::assert_each_counts;

    fn keyed() -> Keyed {
        let mut keyed = Keyed::new(10, 10);
        for (key, expires_at_ms, version) in [("a", Some(50), 3), ("b", None, 4), ("c", None, 6)] {
            keyed.set(key, Bytes::from_static(b"x"), expires_at_ms, version).unwrap();
        }
        keyed.remove("b", 9);
        keyed
    }

    #[test]
    fn every_field_of_a_keyed_cell_counts() {
        assert_each_counts(
            keyed,
            Keyed::hash_into,
            &[
                |keyed| keyed.keys_max += 1,
                |keyed| keyed.tombstones_max += 1,
                |keyed| keyed.version += 1,
                |keyed| keyed.horizon += 1,
                |keyed| keyed.slots.get_mut("a").unwrap().version += 1,
                |keyed| keyed.slots.get_mut("a").unwrap().expires_at_ms = None,
                |keyed| *keyed.log.get_mut(&(6, "c".into())).unwrap() = Some(Bytes::new()),
                |keyed| *keyed.log.get_mut(&(6, "c".into())).unwrap() = None,
                |keyed| keyed.tombstones.clear(),
                |keyed| keyed.expiries.clear(),
                |keyed| keyed.drop_oldest_tombstone(),
                |keyed| keyed.set("a", Bytes::from_static(b"y"), Some(50), 3).unwrap(),
            ],
        );
    }
}
