//! The state of a keyed cell: its hash.

use super::{Keyed, Place, Slot};
use crate::state_hash::StateHasher;

impl Keyed {
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
