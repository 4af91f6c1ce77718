//! The journal: the door between what a shard has done and what may be seen of it.
//!
//! A shard hands over rounds; the journal says when they are committed. Replies, deliveries and
//! updates travel inside the round, so nothing can be seen before its commit, whatever commit
//! means: this memory now, a disk or a quorum in later rooms.

use tidewire_core::shard::Round;

/// Commits rounds of one shard, in order.
pub trait Journal {
    /// Takes a round over and appends to `committed` every round that is committed by now.
    fn append(&mut self, round: Round, committed: &mut Vec<Round>);
}

/// The room in which a round is committed as soon as it is in memory.
#[derive(Debug, Default)]
pub struct Memory;

impl Journal for Memory {
    fn append(&mut self, round: Round, committed: &mut Vec<Round>) {
        committed.push(round);
    }
}
