//! What a node has to remember of a Raft group beside its log: how it voted, how far the log is
//! committed, and how far it is not needed any more.
//!
//! The journal decides nothing by it, but that a shard is recovered as far as its log is committed,
//! and that blocks stay while the group may ask for them. `docs/storage.md` draws the format.

use super::checkpoint::{opened, sealed};

/// The version of the format.
const VERSION: u8 = 1;
const HAS_VOTE: u8 = 1;
const HAS_NODE: u8 = 2;
const IS_LEADER: u8 = 4;
const HAS_COMMITTED: u8 = 8;
const HAS_PURGED: u8 = 16;

/// An entry of a group's log. No two entries of a group are the same in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryId {
    /// The term of the leader that made it; 0 before there was a group.
    pub(crate) term: u64,
    /// Its place in the log, which is the index of its block.
    pub(crate) index: u64,
}

/// Whom a node has given its vote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vote {
    pub(crate) term: u64,
    pub(crate) node: Option<u64>,
    /// It is known to lead: a majority has voted for it.
    pub(crate) is_leader: bool,
}

/// What is remembered of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupState {
    pub(crate) vote: Option<Vote>,
    /// The last entry that is known to be committed.
    pub(crate) committed: Option<EntryId>,
    /// The last entry that the group does not ask for any more.
    pub(crate) purged: Option<EntryId>,
}

impl GroupState {
    /// Index of the first entry that the group may ask for.
    pub(crate) fn wanted_from(&self) -> u64 {
        behind(self.purged)
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let Self { vote, committed, purged } = self;
        let Vote { term, node, is_leader } = vote.unwrap_or_default();
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(vote.is_some(), HAS_VOTE)
            | flag(node.is_some(), HAS_NODE)
            | flag(is_leader, IS_LEADER)
            | flag(committed.is_some(), HAS_COMMITTED)
            | flag(purged.is_some(), HAS_PURGED);
        let (committed, purged) = (committed.unwrap_or_default(), purged.unwrap_or_default());
        let mut bytes = vec![0, 0, 0, 0, VERSION, flags];
        let numbers = [term, node.unwrap_or_default()];
        let entries = [committed.term, committed.index, purged.term, purged.index];
        for number in numbers.into_iter().chain(entries) {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        sealed(bytes)
    }

    /// # Errors
    /// What is wrong with the bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let rest = opened(bytes).ok_or("its checksum does not fit its bytes")?;
        let [version, flags, rest @ ..] = rest else { return Err("it is too short".into()) };
        if *version != VERSION {
            return Err(format!("its format is version {version}, and {VERSION} is known here"));
        }
        let (numbers, []) = rest.as_chunks() else { return Err("it is cut off".into()) };
        let Ok([term, node, committed_term, committed_index, purged_term, purged_index]) =
            <[[u8; 8]; 6]>::try_from(numbers)
        else {
            return Err("it is too short or too long".into());
        };
        let is_set = |flag: u8| flags & flag != 0;
        let id = |term, index| EntryId {
            term: u64::from_be_bytes(term),
            index: u64::from_be_bytes(index),
        };
        let vote = Vote {
            term: u64::from_be_bytes(term),
            node: is_set(HAS_NODE).then(|| u64::from_be_bytes(node)),
            is_leader: is_set(IS_LEADER),
        };
        Ok(Self {
            vote: is_set(HAS_VOTE).then_some(vote),
            committed: is_set(HAS_COMMITTED).then(|| id(committed_term, committed_index)),
            purged: is_set(HAS_PURGED).then(|| id(purged_term, purged_index)),
        })
    }
}

/// Index behind an entry, or of the first one.
pub(crate) fn behind(id: Option<EntryId>) -> u64 {
    id.map_or(0, |id| id.index.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> impl Strategy<Value = Option<EntryId>> {
        proptest::option::of(any::<(u64, u64)>().prop_map(|(term, index)| EntryId { term, index }))
    }

    fn vote() -> impl Strategy<Value = Option<Vote>> {
        let vote = any::<(u64, Option<u64>, bool)>();
        proptest::option::of(vote.prop_map(|(term, node, is_leader)| Vote {
            term,
            node,
            is_leader,
        }))
    }

    proptest! {
        #[test]
        fn a_state_is_read_back_and_a_flipped_bit_is_noticed(
            vote in vote(), committed in id(), purged in id(), bit in 0_usize..432,
        ) {
            let state = GroupState { vote, committed, purged };
            let mut bytes = state.to_bytes();
            prop_assert_eq!(bytes.len() * 8, 432);
            prop_assert_eq!(GroupState::from_bytes(&bytes), Ok(state));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(GroupState::from_bytes(&bytes).is_err());
            prop_assert!(GroupState::from_bytes(&bytes[..bit / 8]).is_err());
        }
    }
}
