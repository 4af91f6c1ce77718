//! What a watcher of a poll holds, and what must be true of it.

use tidewire_core::shard::SessionId;
use tidewire_protocol::tally::Standings;

use super::{PARTITIONS, options_of};

#[derive(Default)]
pub(super) struct Watcher {
    pub(super) session: Option<SessionId>,
    pub(super) version: u64,
    pub(super) generation: usize,
    pub(super) ballots: u64,
    pub(super) last: Option<Standings>,
    pub(super) updates: u64,
}

impl Watcher {
    /// Takes an update; `acknowledged` are the first ballots that were answered.
    pub(super) fn take(
        &mut self,
        standings: Standings,
        newest: usize,
        acknowledged: &[(u64, u64)],
    ) {
        let generation = standings.counts.len() - options_of(0);
        assert!(generation >= self.generation, "never back to an earlier poll");
        if generation > self.generation {
            (self.generation, self.ballots) = (generation, 0);
        }
        let versions = standings.partitions.as_ref().expect("versions of the partitions");
        assert_eq!(versions.len(), usize::from(PARTITIONS));
        // Voters change their ballots, and none is lost.
        assert!(standings.ballots >= self.ballots);
        if generation == newest {
            let contained = acknowledged.iter().filter(|(of, v)| versions[*of as usize] >= *v);
            assert!(standings.ballots >= contained.count() as u64, "whose vote was answered is in");
        }
        let first_ranks: u64 = standings.counts.iter().sum();
        assert_eq!(first_ranks + standings.blank + standings.overvotes, standings.ballots);
        self.ballots = standings.ballots;
        self.updates += 1;
        self.last = Some(standings);
    }
}
