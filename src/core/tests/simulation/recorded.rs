//! A shard whose inputs are recorded, so that they can be replayed.

use tidewire_core::shard::{Command, Round, Shard, ShardSnapshot, ShardStats};
use tidewire_core::state_hash::StateHash;

/// A shard, and from some time on what goes into it.
pub(crate) struct Recorded {
    pub(crate) shard: Shard,
    start: Option<(Vec<u8>, StateHash)>,
    pub(crate) inputs: Vec<Input>,
}

#[derive(Clone)]
pub(crate) enum Input {
    Command(Command, u64),
    Timeout(u64),
    Seal,
}

impl Recorded {
    pub(crate) fn new(shard: Shard) -> Self {
        Self { shard, start: None, inputs: Vec::new() }
    }

    pub(crate) fn record(&mut self) {
        let snapshot = self.shard.snapshot().expect("no round is open");
        let stored = rmp_serde::to_vec_named(&snapshot).unwrap();
        self.start = Some((stored, self.shard.state_hash()));
    }

    fn note(&mut self, input: &Input) {
        if self.start.is_some() {
            self.inputs.push(input.clone());
        }
    }

    pub(crate) fn handle(&mut self, command: Command, now_ms: u64) {
        self.note(&Input::Command(command.clone(), now_ms));
        self.shard.handle(command, now_ms);
    }

    pub(crate) fn handle_timeout(&mut self, now_ms: u64) {
        self.note(&Input::Timeout(now_ms));
        self.shard.handle_timeout(now_ms);
    }

    pub(crate) fn seal(&mut self) -> Option<Round> {
        self.note(&Input::Seal);
        self.shard.seal()
    }

    pub(crate) fn stats(&self) -> ShardStats {
        self.shard.stats()
    }

    /// Does again what was recorded, from the stored snapshot alone.
    pub(crate) fn replay(&self) -> StateHash {
        let (stored, hash) = self.start.as_ref().unwrap();
        let snapshot: ShardSnapshot = rmp_serde::from_slice(stored).unwrap();
        let mut shard = Shard::restore(snapshot).unwrap();
        assert_eq!(shard.state_hash(), *hash, "restored");
        for input in self.inputs.clone() {
            match input {
                Input::Command(command, now_ms) => shard.handle(command, now_ms),
                Input::Timeout(now_ms) => shard.handle_timeout(now_ms),
                Input::Seal => drop(shard.seal()),
            }
        }
        shard.state_hash()
    }
}
