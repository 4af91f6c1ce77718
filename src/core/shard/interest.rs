//! A set of dispatchers, as a bit set; and everything that the dispatchers of a shard follow.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidewire_protocol::frame::CellKind;

use super::message::{DispatcherId, Event, Interest, SessionId, is_peer};
use super::{Shard, tell};
use crate::state_hash::StateHasher;

/// The dispatchers that follow something: those of this server, and other nodes, each of which stands
/// for its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dispatchers(u128);

impl Dispatchers {
    /// A set of one.
    #[must_use]
    pub fn of(dispatcher: DispatcherId) -> Self {
        let mut set = Self::default();
        set.insert(dispatcher);
        set
    }

    /// Adds a dispatcher (numbers from 0 to 127).
    pub fn insert(&mut self, dispatcher: DispatcherId) {
        self.0 |= bit(dispatcher);
    }

    /// Removes a dispatcher.
    pub fn remove(&mut self, dispatcher: DispatcherId) {
        self.0 &= !bit(dispatcher);
    }

    /// Whether a dispatcher is in it.
    #[must_use]
    pub fn contains(self, dispatcher: DispatcherId) -> bool {
        self.0 & bit(dispatcher) != 0
    }

    /// Whether nobody follows.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members of either set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The members that are not in the other one.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn hash_into(self, hasher: &mut StateHasher) {
        for half in self.halves() {
            hasher.number(half);
        }
    }

    /// The members, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = DispatcherId> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            let lowest = u8::try_from(left.trailing_zeros()).ok().filter(|lowest| *lowest < 128)?;
            left &= left - 1;
            Some(lowest)
        })
    }

    /// Those below 64, and the others.
    fn halves(self) -> [u64; 2] {
        let low = u64::try_from(self.0 & u128::from(u64::MAX)).unwrap_or(0);
        [low, u64::try_from(self.0 >> 64).unwrap_or(0)]
    }
}

fn bit(dispatcher: DispatcherId) -> u128 {
    1_u128.checked_shl(u32::from(dispatcher)).unwrap_or(0)
}

/// One number, as long as no other node is in it; else two.
impl Serialize for Dispatchers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.halves() {
            [low, 0] => low.serialize(serializer),
            halves => halves.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Dispatchers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Halves)
    }
}

struct Halves;

impl<'de> Visitor<'de> for Halves {
    type Value = Dispatchers;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a set of dispatchers: one number, or two")
    }

    fn visit_u64<E>(self, low: u64) -> Result<Dispatchers, E> {
        Ok(Dispatchers(low.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut halves: A) -> Result<Dispatchers, A::Error> {
        let mut next = || halves.next_element::<u64>().map(Option::unwrap_or_default);
        let (low, high) = (next()?, next()?);
        Ok(Dispatchers(u128::from(high) << 64 | u128::from(low)))
    }
}

/// What dispatchers follow in a shard, or in what stands for it. A thing may be there several times.
pub type Interests = Vec<Following>;

/// Who follows one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Following {
    /// The thing.
    pub interest: Interest,
    /// Who is to be told how it is.
    pub to: Dispatchers,
    /// Which of them are to be told of changes.
    pub stays: Dispatchers,
}

impl Shard {
    /// Everything that is followed here, in a fixed order.
    #[must_use]
    pub fn interests(&self) -> Interests {
        let mut interests = Interests::new();
        let mut add = |interest, to: Dispatchers| {
            if !to.is_empty() {
                interests.push(Following { interest, to, stays: to });
            }
        };
        for (_, topic) in &self.topics.by_id {
            add(Interest::Topic(topic.name.clone()), topic.followers);
            add(Interest::Cell(CellKind::Map, topic.name.clone()), topic.map_followers);
        }
        for ((kind, name), to) in &self.cells.followers {
            add(Interest::Cell(*kind, name.clone()), *to);
        }
        add(Interest::CommitLog, self.log_followers);
        interests.sort_by(|one, other| one.interest.cmp(&other.interest));
        interests
    }

    /// Dispatchers that have followed something in what stood for this shard before follow it here:
    /// they are told how it is now.
    pub fn take_interests(&mut self, interests: Interests) {
        let each = interests.iter().map(|following| following.to);
        let all = each.fold(Dispatchers::default(), Dispatchers::union);
        tell(&mut self.round.events, all, &Event::Renumbered { shard: self.config.shard });
        for Following { interest, to, stays } in interests {
            let mut event = None;
            for dispatcher in to.iter() {
                event = Some(self.followed_by(dispatcher, interest.clone()));
            }
            if let Some(event) = event {
                tell(&mut self.round.events, to, &event);
            }
            for dispatcher in to.without(stays).iter() {
                self.unfollow(dispatcher, interest.clone());
            }
        }
    }

    /// Tells all who follow something how it is, as if they followed it anew.
    pub fn tell_anew(&mut self) {
        let interests = self.interests();
        self.take_interests(interests);
    }

    /// Other nodes follow another leader from now on.
    pub fn forget_peers(&mut self) {
        for Following { interest, to, .. } in self.interests() {
            for peer in to.iter().filter(|dispatcher| is_peer(*dispatcher)) {
                self.unfollow(peer, interest.clone());
            }
        }
    }

    /// A node is gone: its connections have ended, and nothing is told to it any more.
    pub(super) fn peer_ended(&mut self, peer: DispatcherId) {
        let is_of = |session: &&SessionId| session.dispatcher == peer;
        let sessions = self.cells.sessions.keys().chain(self.consuming.keys()).filter(is_of);
        for session in sessions.copied().collect::<BTreeSet<_>>() {
            self.session_ended(session);
        }
        for Following { interest, to, .. } in self.interests() {
            if to.contains(peer) {
                self.unfollow(peer, interest);
            }
        }
    }

    /// A dispatcher begins to follow something; returns what it is told.
    pub(super) fn followed_by(&mut self, dispatcher: DispatcherId, interest: Interest) -> Event {
        match interest {
            Interest::Topic(name) => self.follow_topic(dispatcher, &name),
            Interest::CommitLog => {
                self.seal_batches();
                self.log_followers.insert(dispatcher);
                let (base, slots) = self.topics.log_snapshot(dispatcher);
                let (shard, epoch) = (self.config.shard, self.config.epoch);
                Event::LogSnapshot { shard, epoch, base, slots }
            }
            Interest::Cell(kind, name) => self.follow_cell(dispatcher, kind, name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(members: &[DispatcherId]) -> Dispatchers {
        let mut set = Dispatchers::default();
        members.iter().for_each(|member| set.insert(*member));
        set
    }

    #[test]
    fn a_set_is_stored_and_read_back() {
        for members in [&[][..], &[0, 63], &[64], &[1, 127]] {
            let stored = rmp_serde::to_vec(&set(members)).unwrap();
            let read: Dispatchers = rmp_serde::from_slice(&stored).unwrap();
            assert_eq!(read.iter().collect::<Vec<_>>(), members);
        }
        let as_before = rmp_serde::to_vec(&0b101_u64).unwrap();
        assert_eq!(rmp_serde::from_slice::<Dispatchers>(&as_before).unwrap(), set(&[0, 2]));
        assert_eq!(rmp_serde::to_vec(&set(&[0, 2])).unwrap(), as_before);
    }
}
