//! A node that leads a shard: rounds are told when their entries are committed. What a round has logged
//! is one entry, so that it is committed as a whole or not at all.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::follows::{Copy, Follows};
use super::{Entry, Output, Proposal, leader_lost};
use crate::is_durable;
use crate::relay::Told;
use crate::shard::{Command, Round, Shard, ShardConfig, is_peer};
use crate::topic::EXTENT_BYTES;

/// Bytes of the log after which a shard is told how far it goes.
const REACH_BYTES: u64 = EXTENT_BYTES / 4;

#[derive(Debug)]
pub(super) struct Leads {
    pub(super) shard: Shard,
    pub(super) term: u64,
    rounds: VecDeque<UnderWay>,
    reached: Reached,
}

/// A round that cannot be told yet.
#[derive(Debug)]
struct UnderWay {
    round: Round,
    /// It has logged something, as one entry, which is not committed yet.
    is_missing: bool,
}

/// How far the log goes, beyond what the shard has been told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reached {
    bytes: u64,
}

impl Reached {
    /// An entry lies in the log; batches before this sequence lie in it or before it.
    pub(super) fn add(&mut self, entry: Entry, next_sequence: u64) -> Option<Command> {
        self.bytes += entry.bytes;
        let next_block = entry.index + 1;
        let is_due = self.bytes >= REACH_BYTES;
        is_due.then(|| Command::Stored {
            next_sequence,
            next_block,
            bytes: core::mem::take(&mut self.bytes),
        })
    }
}

impl Leads {
    pub(super) fn new(shard: Shard, term: u64) -> Self {
        Self { shard, term, rounds: VecDeque::new(), reached: Reached::default() }
    }

    /// In place of one that is taken out, for a moment.
    pub(super) fn empty(config: &ShardConfig) -> Self {
        Self::new(Shard::new(config.clone()), 0)
    }

    pub(super) fn under_way(&self) -> usize {
        self.rounds.len()
    }

    pub(super) fn seal(&mut self, now_ms: u64, output: &mut Output) {
        let Some(mut round) = self.shard.seal() else { return };
        output.told.append(&mut round.early);
        output.recalls.append(&mut round.recalls);
        if !is_durable(self.shard.number()) {
            output.told.append(&mut round.events);
            return;
        }
        let log = core::mem::take(&mut round.log);
        if log.is_empty() {
            self.rounds.push_back(UnderWay { round, is_missing: false });
            return self.tell_committed(&mut output.told);
        }
        let (version, time_ms) = (round.version, now_ms);
        output.proposal = Some(Proposal { log, version, time_ms });
        self.rounds.push_back(UnderWay { round, is_missing: true });
    }

    /// An entry is committed. Within a term nobody else makes any, so it is the oldest one that is
    /// missing.
    pub(super) fn committed(&mut self, entry: Entry, output: &mut Output) {
        if entry.term != self.term {
            return;
        }
        let Some(oldest) = self.rounds.iter_mut().find(|round| round.is_missing) else { return };
        oldest.is_missing = false;
        if let Some(last) = oldest.round.batches.last()
            && let Some(stored) = self.reached.add(entry, last.sequence + 1)
        {
            self.shard.handle(stored, entry.time_ms);
        }
        self.tell_committed(&mut output.told);
    }

    fn tell_committed(&mut self, told: &mut Told) {
        while self.rounds.front().is_some_and(|round| !round.is_missing) {
            let round = self.rounds.pop_front().map(|under_way| under_way.round);
            told.extend(round.into_iter().flat_map(|round| round.events));
        }
    }

    /// The node leads it no more. What was begun in this turn is lost with what is under way.
    pub(super) fn end(mut self, told: &mut Told) -> Follows {
        let (number, refusal) = (self.shard.number(), leader_lost());
        if let Some(round) = self.shard.seal() {
            let is_missing = !round.log.is_empty();
            self.rounds.push_back(UnderWay { round, is_missing });
        }
        let is_ahead = self.rounds.iter().any(|round| round.is_missing);
        for UnderWay { mut round, .. } in self.rounds {
            round.lose(&refusal);
            told.extend(own(round.events));
        }
        self.shard.forget_peers();
        self.shard.demote(&refusal);
        let round = self.shard.seal();
        told.extend(round.into_iter().flat_map(|round| own(round.events)));
        let copy = match is_durable(number) {
            false => Some(Copy::None),
            true => is_ahead.then_some(Copy::Awaited),
        };
        if let Some(copy) = copy {
            return Follows::with_interests(number, copy, self.shard.interests());
        }
        // Who asked for something in a round that was lost has not been told how it is.
        self.shard.tell_anew();
        Follows::new(number, Copy::Whole(self.shard))
    }
}

/// Other nodes hear nothing more from this one: they ask the next leader.
fn own(events: Told) -> Vec<(u8, crate::shard::Event)> {
    events.into_iter().filter(|(to, _)| !is_peer(*to)).collect()
}
