//! Where the blocks of a state lie that was taken over from another node: in a tree beside the log's own,
//! until the log goes on behind them.
//!
//! They have the indices that they have in the leader's log, and so have other blocks of the earlier state
//! here, which has to stay whole until the new one counts. So there are two such trees, and each state of a
//! shard goes into the one that the state before it does not use. Which one counts, and up to which
//! index, is written together with the checkpoint that says so.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tidewire_core::{SHARDS, SHARDS_MAX};

use super::checkpoint::{opened, sealed};

/// The version of the format.
const VERSION: u8 = 1;
/// Durable shards.
const DURABLE: usize = (SHARDS_MAX - SHARDS) as usize;

/// One of the two trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    First,
    Second,
}

/// Blocks of a shard before this index are in this tree, and those from it on in the log's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) slot: Slot,
    pub(crate) before: u64,
}

impl Slot {
    /// The other one.
    fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

impl Place {
    /// The key under which it lies beside the record of its shard's checkpoint.
    pub(super) fn key(shard: u16) -> Vec<u8> {
        let mut key = shard.to_be_bytes().to_vec();
        key.push(0);
        key
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let slot = match self.slot {
            Slot::First => 1,
            Slot::Second => 2,
        };
        let mut bytes = vec![0, 0, 0, 0, VERSION, slot];
        bytes.extend_from_slice(&self.before.to_be_bytes());
        sealed(bytes)
    }

    /// # Errors
    /// What is wrong with the bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let rest = opened(bytes).ok_or("the checksum of where its blocks lie does not fit")?;
        let [VERSION, slot @ (1 | 2), before @ ..] = rest else {
            return Err("where its blocks lie has a format that is not known here".to_owned());
        };
        let before = before.try_into().map_err(|_short| "where its blocks lie is cut off")?;
        let slot = if *slot == 1 { Slot::First } else { Slot::Second };
        Ok(Self { slot, before: u64::from_be_bytes(before) })
    }
}

/// The places of all shards, for everybody who reads blocks.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<[Option<Place>; DURABLE]>);

impl Places {
    /// Where the blocks of a shard lie that were taken over; nothing if none were.
    pub(super) fn of(&self, shard: u16) -> Option<Place> {
        let at = shard.checked_sub(SHARDS)?;
        self.lock().get(usize::from(at)).copied().flatten()
    }

    pub(super) fn set(&self, shard: u16, place: Place) {
        let mut places = self.lock();
        let at = shard.checked_sub(SHARDS).and_then(|at| places.get_mut(usize::from(at)));
        if let Some(known) = at {
            *known = Some(place);
        }
    }

    /// The tree for the next state of a shard.
    pub(super) fn next_slot(&self, shard: u16) -> Slot {
        self.of(shard).map_or(Slot::First, |place| place.slot.other())
    }

    fn lock(&self) -> MutexGuard<'_, [Option<Place>; DURABLE]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back_and_a_flipped_bit_is_noticed() {
        for slot in [Slot::First, Slot::Second] {
            let place = Place { slot, before: 700 };
            let bytes = place.to_bytes();
            assert_eq!(Place::from_bytes(&bytes), Ok(place));
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(Place::from_bytes(&damaged).is_err(), "bit {bit}");
            }
            assert!(Place::from_bytes(&bytes[..9]).is_err());
        }
    }

    #[test]
    fn states_take_turns_in_two_trees() {
        let places = Places::default();
        for expected in [Slot::First, Slot::Second, Slot::First] {
            let slot = places.next_slot(SHARDS);
            assert_eq!(slot, expected);
            places.set(SHARDS, Place { slot, before: 7 });
        }
        assert_eq!(places.of(SHARDS + 1), None);
    }
}
