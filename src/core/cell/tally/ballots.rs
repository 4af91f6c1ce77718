//! The ballots of a tally: what each voter cast, with equal ballots stored once.
//!
//! Voters are many and distinct ballots few, so a voter costs 24 bytes in a hash table and a
//! ballot costs its marks once, however many cast it.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use slab::Slab;

use super::VoterId;
use crate::snapshot::BadSnapshot;
use crate::state_hash::StateHasher;
use crate::{HashMap, hash_map};

/// Most voters that the numbers of ballots suffice for.
pub(super) const VOTERS_MAX: usize = u32::MAX as usize;

#[derive(Debug)]
pub(super) struct Ballots {
    voters: HashMap<VoterId, Cast>,
    distinct: Slab<Ballot>,
    /// Numbers of the distinct ballots, found by their marks.
    by_marks: HashTable<u32>,
    hasher: FixedState,
}

/// Saved [`Ballots`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SavedBallots {
    /// Marks of the distinct ballots.
    distinct: Vec<Box<[u16]>>,
    /// Voters, each with the place of the ballot in `distinct` and its revision.
    voters: Vec<(VoterId, u32, u32)>,
}

impl SavedBallots {
    pub(super) fn iter(&self) -> impl Iterator<Item = (VoterId, &[u16], u32)> {
        self.voters.iter().filter_map(|(voter, place, revision)| {
            Some((*voter, &**self.distinct.get(*place as usize)?, *revision))
        })
    }
}

/// What a voter has cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cast {
    ballot: u32,
    pub(super) revision: u32,
}

#[derive(Debug)]
struct Ballot {
    marks: Box<[u16]>,
    voters: u32,
}

impl Ballots {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self {
            voters: hash_map(hash_seed),
            distinct: Slab::new(),
            by_marks: HashTable::new(),
            hasher: FixedState::with_seed(hash_seed),
        }
    }

    pub(super) fn voters(&self) -> usize {
        self.voters.len()
    }

    pub(super) fn of_voter(&self, voter: &VoterId) -> Option<Cast> {
        self.voters.get(voter).copied()
    }

    pub(super) fn marks(&self, cast: Cast) -> &[u16] {
        self.distinct.get(cast.ballot as usize).map_or(&[], |ballot| &ballot.marks)
    }

    /// The distinct ballots, each with the number of its voters.
    pub(super) fn distinct(&self) -> impl Iterator<Item = (&[u16], u64)> {
        self.distinct.iter().map(|(_, ballot)| (&*ballot.marks, u64::from(ballot.voters)))
    }

    /// Stores a voter's ballot in place of an earlier one.
    pub(super) fn cast(&mut self, voter: VoterId, marks: &[u16], revision: u32) {
        let ballot = self.acquire(marks);
        if let Some(earlier) = self.voters.insert(voter, Cast { ballot, revision }) {
            self.release(earlier.ballot);
        }
    }

    /// Takes a voter's ballot out.
    pub(super) fn remove(&mut self, voter: &VoterId) {
        if let Some(cast) = self.voters.remove(voter) {
            self.release(cast.ballot);
        }
    }

    pub(super) fn save(&self) -> SavedBallots {
        let Self { voters, distinct, by_marks: _, hasher: _ } = self;
        let mut places = hash_map(0);
        let mut saved = Vec::with_capacity(distinct.len());
        for ((id, ballot), place) in distinct.iter().zip(0_u32..) {
            places.insert(id as u64, place);
            saved.push(ballot.marks.clone());
        }
        let voters = voters.iter().filter_map(|(voter, Cast { ballot, revision })| {
            Some((*voter, *places.get(&u64::from(*ballot))?, *revision))
        });
        SavedBallots { voters: voters.collect(), distinct: saved }
    }

    pub(super) fn restore(saved: SavedBallots, hash_seed: u64) -> Result<Self, BadSnapshot> {
        let mut ballots = Self::new(hash_seed);
        for (voter, place, revision) in saved.voters {
            let Some(marks) = saved.distinct.get(place as usize) else {
                return Err(BadSnapshot::new("a voter's ballot is not there"));
            };
            if ballots.voters.contains_key(&voter) {
                return Err(BadSnapshot::new("a voter has two ballots"));
            }
            ballots.cast(voter, marks, revision);
        }
        Ok(ballots)
    }

    /// By content: the numbers of ballots mean nothing, so they do not count, nor does the table
    /// that finds them beyond its size.
    pub(super) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { voters, distinct, by_marks, hasher: _ } = self;
        hasher.unordered(voters, |hasher, (voter, cast)| {
            hasher.bytes(&voter.0);
            hash_marks(self.marks(*cast), hasher);
            hasher.number(cast.revision);
        });
        hasher.unordered(distinct, |hasher, (_, ballot)| {
            let Ballot { marks, voters } = ballot;
            hash_marks(marks, hasher);
            hasher.number(*voters);
        });
        hasher.size(by_marks.len());
    }

    fn acquire(&mut self, marks: &[u16]) -> u32 {
        let hash = self.hasher.hash_one(marks);
        let distinct = &mut self.distinct;
        let is_it = |id: &u32| distinct.get(*id as usize).is_some_and(|b| *b.marks == *marks);
        if let Some(id) = self.by_marks.find(hash, is_it).copied() {
            if let Some(ballot) = distinct.get_mut(id as usize) {
                ballot.voters += 1;
            }
            return id;
        }
        // The callers stop at `VOTERS_MAX`, so every number fits.
        let key = distinct.insert(Ballot { marks: marks.into(), voters: 1 });
        let id = u32::try_from(key).unwrap_or(u32::MAX);
        let hasher = &self.hasher;
        self.by_marks.insert_unique(hash, id, |id| {
            distinct.get(*id as usize).map_or(0, |ballot| hasher.hash_one(&*ballot.marks))
        });
        id
    }

    fn release(&mut self, id: u32) {
        let Some(ballot) = self.distinct.get_mut(id as usize) else { return };
        ballot.voters -= 1;
        if ballot.voters > 0 {
            return;
        }
        let hash = self.hasher.hash_one(&*ballot.marks);
        if let Ok(entry) = self.by_marks.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        self.distinct.remove(id as usize);
    }
}

fn hash_marks(marks: &[u16], hasher: &mut StateHasher) {
    hasher.size(marks.len());
    marks.iter().for_each(|mark| hasher.number(*mark));
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn voter(number: u8) -> VoterId {
        VoterId([number; 16])
    }

    #[test]
    fn a_voter_takes_no_more_than_24_bytes() {
        assert_eq!(size_of::<(VoterId, Cast)>(), 24);
    }

    #[test]
    fn equal_ballots_are_stored_once_and_freed_with_their_last_voter() {
        let mut ballots = Ballots::new(3);
        for number in 0..100 {
            ballots.cast(voter(number), &[u16::from(number) % 2, 7], 1);
        }
        assert_eq!(ballots.distinct().collect::<Vec<_>>(), [(&[0, 7][..], 50), (&[1, 7], 50)]);
        for number in 0..100 {
            ballots.cast(voter(number), &[1, 7], 2);
        }
        assert_eq!(ballots.distinct().collect::<Vec<_>>(), [(&[1, 7][..], 100)]);
        assert_eq!((ballots.by_marks.len(), ballots.voters()), (1, 100));
    }

    #[test]
    fn the_number_of_a_freed_ballot_is_used_again() {
        let mut ballots = Ballots::new(3);
        for mark in 0..10_000 {
            ballots.cast(voter(1), &[mark], 1);
        }
        assert_eq!((ballots.distinct.len(), ballots.by_marks.len()), (1, 1));
        assert!(ballots.distinct.capacity() < 8, "{}", ballots.distinct.capacity());
        assert_eq!(ballots.marks(ballots.of_voter(&voter(1)).unwrap()), [9_999]);
    }

    #[test]
    fn the_same_ballot_under_another_revision_stays_stored() {
        let mut ballots = Ballots::new(3);
        ballots.cast(voter(1), &[5], 1);
        ballots.cast(voter(1), &[5], 9);
        assert_eq!(ballots.distinct().collect::<Vec<_>>(), [(&[5][..], 1)]);
        assert_eq!(ballots.of_voter(&voter(1)).unwrap().revision, 9);
    }
}
