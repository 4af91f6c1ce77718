//! Recovery of a durable shard of which most is on disk only: every record that it says is there is
//! where it says.

use proptest::prelude::*;
use tidewire_core::shard::{Command, LogEntry, Shard, ShardConfig, ShardLimits, ShardSnapshot};
use tidewire_core::topic::{EXTENT_BYTES, LoggedBatch};

use super::commands::Chance;
use super::recovery::shard_config;

/// A block of the journal.
struct Block {
    entries: Vec<LogEntry>,
    version: u64,
    now_ms: u64,
}

/// A shard, its journal and the last checkpoint with the first block that is not in it.
struct Life {
    shard: Shard,
    blocks: Vec<Block>,
    checkpoint: Option<(Vec<u8>, usize)>,
}

/// With room for a few records in memory.
fn config(seed: u64) -> ShardConfig {
    let config = shard_config(seed);
    let limits = ShardLimits { bytes_max: 100, ..config.limits.clone() };
    ShardConfig { limits, ..config }
}

impl Life {
    fn new(seed: u64) -> Self {
        Self { shard: Shard::new(config(seed)), blocks: Vec::new(), checkpoint: None }
    }

    fn turn(&mut self, chance: &mut Chance, now_ms: &mut u64) {
        let commands = chance.turn(now_ms);
        self.shard.handle_timeout(*now_ms);
        commands.into_iter().for_each(|command| self.shard.handle(command, *now_ms));
        let Some(round) = self.shard.seal() else { return };
        if round.log.is_empty() {
            return;
        }
        let (entries, version) = (round.log, round.version);
        self.blocks.push(Block { entries, version, now_ms: *now_ms });
        if chance.below(3) > 0 {
            let next_sequence = self.shard.progress().sequence;
            let (next_block, bytes) = (self.blocks.len() as u64, EXTENT_BYTES / 2);
            self.shard.handle(Command::Stored { next_sequence, next_block, bytes }, *now_ms);
            assert!(self.shard.seal().is_none_or(|round| round.log.is_empty()));
        }
        if chance.below(20) == 0 {
            let saved = self.shard.checkpoint().unwrap();
            let saved = rmp_serde::to_vec_named(&saved).unwrap();
            self.checkpoint = Some((saved, self.blocks.len()));
        }
    }

    /// Makes the shard again from the checkpoint and what was logged behind it.
    fn restart(&mut self, seed: u64, now_ms: u64) {
        let (mut shard, covers) = match &self.checkpoint {
            None => (Shard::new(config(seed)), 0),
            Some((saved, covers)) => {
                let saved = rmp_serde::from_slice::<ShardSnapshot>(saved).unwrap();
                (Shard::resume(saved, config(seed)).unwrap(), *covers)
            }
        };
        for (index, block) in self.blocks.iter().enumerate().skip(covers) {
            for entry in &block.entries {
                shard.recover(entry.clone(), block.now_ms).unwrap();
            }
            shard.recover_block(index as u64, EXTENT_BYTES / 3);
            shard.recover_round(block.version, block.now_ms);
        }
        shard.end_recovery(now_ms);
        self.shard = shard;
    }

    /// Looks for every batch that is cold, or would be after a restart; returns how many there are.
    fn check(&mut self) -> usize {
        let mut found = 0;
        for snapshot in [self.shard.snapshot().unwrap(), self.shard.checkpoint().unwrap()] {
            let unused = snapshot.extents().unused_blocks();
            for stored in snapshot.stored() {
                let extent = snapshot.extents().find(stored.sequence).unwrap();
                let blocks = extent.blocks.start as usize..extent.blocks.end as usize;
                let is_it = |entry: &LogEntry| {
                    let LogEntry::Batch(LoggedBatch(batch)) = entry else { return false };
                    let this = (batch.sequence, batch.base, batch.next(), &batch.topic);
                    this == (stored.sequence, stored.base, stored.next, &stored.topic)
                        && batch.body.len() == stored.bytes as usize
                };
                assert!(self.blocks[blocks].iter().flat_map(|block| &block.entries).any(is_it));
                let is_unused =
                    |range: &core::ops::Range<u64>| range.contains(&extent.blocks.start);
                assert!(!unused.iter().any(is_unused), "what is kept is not removed");
                found += 1;
            }
        }
        found
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn what_is_cold_lies_where_it_says_through_any_number_of_restarts(seed in any::<u64>()) {
        let (mut chance, mut now_ms) = (Chance(seed), 1);
        let mut life = Life::new(seed);
        for number in 0..4 {
            for _ in 0..chance.below(120) {
                life.turn(&mut chance, &mut now_ms);
            }
            life.check();
            let before = life.shard.durable_hash();
            life.restart(number, now_ms);
            prop_assert_eq!(before, life.shard.durable_hash());
            life.check();
        }
    }
}

#[test]
fn the_random_commands_make_much_cold() {
    let (mut chance, mut now_ms) = (Chance(7), 1);
    let mut life = Life::new(7);
    let mut found = 0;
    for _ in 0..300 {
        life.turn(&mut chance, &mut now_ms);
        found += life.check();
    }
    assert!(found > 1_000, "{found}");
}
