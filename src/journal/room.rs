//! A shard's end of the journal on disk: rounds go in, and come back when they are committed.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use tidewire_core::shard::{LogEntry, Recall, Round, ShardSnapshot};
use tidewire_core::topic::EXTENT_BYTES;
use tidewire_protocol::Refusal;
use tokio::sync::mpsc;

use super::committer::{Message, Notice, Outcome, Pending, Reach};
use super::recall;
use super::state::State;

/// Rounds of one shard under way; beyond them the shard takes no commands.
pub(crate) const ROUNDS_MAX: usize = 64;
/// Bytes of one shard under way, beyond which it takes no commands. What all shards have under way
/// has to fit into the disk's reserve, several times over.
const BYTES_MAX: usize = 1024 * 1024;
/// A checkpoint is made when so many times its size has been logged, so that writing the state
/// again and again costs half as much as writing the log.
const CHECKPOINT_RATIO: u64 = 2;

/// The rounds of one shard that are on their way to the disk.
pub(crate) struct DiskRoom {
    pub(super) shard: u16,
    pub(super) queue: SyncSender<Message>,
    pub(super) notices: mpsc::Receiver<Notice>,
    pub(super) state: Arc<State>,
    pub(super) rounds: usize,
    pub(super) bytes: usize,
    pub(super) checkpoints: Checkpoints,
    /// How far the log goes, beyond what the shard has been told.
    pub(super) reach: Reach,
    /// To the thread that reads what is recalled.
    pub(super) recalls: SyncSender<recall::Job>,
}

/// Bytes of the log after which the shard is told how far it goes.
const REACH_BYTES: u64 = EXTENT_BYTES / 4;

/// When the next checkpoint of a shard is due.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// Bytes logged since the last one was begun.
    pub(super) logged_bytes: u64,
    /// Bytes of the last one.
    pub(super) last_bytes: u64,
    /// Bytes that are logged before one is made, however small it would be.
    pub(super) bytes_min: u64,
    pub(super) is_under_way: bool,
}

impl DiskRoom {
    pub(super) fn has_room(&self) -> bool {
        self.rounds < ROUNDS_MAX && (self.rounds == 0 || self.bytes < BYTES_MAX)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.rounds > 0
    }

    /// Hands a round over. Returns it at once if nothing has to be written for it, or if nothing
    /// can be written any more.
    pub(super) fn append(&mut self, round: Round, time_ms: u64) -> Option<Outcome> {
        if round.log.is_empty() && self.rounds == 0 {
            return Some(match self.state.failure() {
                None => Outcome::Committed(round),
                Some(_) => Outcome::Failed(round),
            });
        }
        let weight = round.log.iter().map(LogEntry::weight).sum();
        let pending = Pending { shard: self.shard, round, time_ms, weight };
        match self.queue.try_send(Message::Round(pending)) {
            Ok(()) => {
                self.rounds += 1;
                self.bytes += weight;
                self.checkpoints.logged_bytes += weight as u64;
                None
            }
            // The queue has a place for every round that may be under way, so it is never full.
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                self.state.fail(&io::Error::other("the journal takes nothing any more"));
                match message {
                    Message::Round(pending) => Some(Outcome::Failed(pending.round)),
                    Message::Checkpoint { .. } | Message::Written { .. } | Message::Stop => None,
                }
            }
        }
    }

    /// Waits until a round has come back.
    pub(super) async fn next(&mut self) -> Outcome {
        loop {
            match self.notices.recv().await {
                Some(Notice::Round(outcome, weight, reach)) => {
                    if let Some(Reach { next_block, bytes }) = reach {
                        self.reach = Reach { next_block, bytes: self.reach.bytes + bytes };
                    }
                    self.rounds -= 1;
                    self.bytes -= weight;
                    return outcome;
                }
                Some(Notice::Checkpoint(bytes)) => {
                    self.checkpoints.is_under_way = false;
                    self.checkpoints.last_bytes = bytes;
                }
                None => std::future::pending().await,
            }
        }
    }

    /// How far the log goes with the rounds that have come back, if that is to be told.
    pub(super) fn take_reach(&mut self) -> Option<Reach> {
        let is_due = self.reach.bytes >= REACH_BYTES;
        let told = Reach { bytes: 0, ..self.reach };
        is_due.then(|| std::mem::replace(&mut self.reach, told))
    }

    /// Has batches read from the log. Returns them if that cannot be asked for now.
    pub(super) fn recall(&self, recall: Recall) -> Option<Recall> {
        let job = recall::Job { shard: self.shard, recall };
        match self.recalls.try_send(job) {
            Ok(()) => None,
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => Some(job.recall),
        }
    }

    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.state.refusal()
    }

    /// Whether so much has been logged that the state is to be saved.
    pub(super) fn wants_checkpoint(&self) -> bool {
        let Checkpoints { logged_bytes, last_bytes, bytes_min, is_under_way } = self.checkpoints;
        let due_bytes = last_bytes.saturating_mul(CHECKPOINT_RATIO).max(bytes_min);
        !is_under_way && logged_bytes >= due_bytes && self.state.failure().is_none()
    }

    /// Hands over the state after all rounds that were handed over before.
    pub(super) fn checkpoint(&mut self, snapshot: ShardSnapshot) {
        let (shard, snapshot) = (self.shard, Box::new(snapshot));
        let handed = self.queue.try_send(Message::Checkpoint { shard, snapshot });
        self.checkpoints.is_under_way = handed.is_ok();
        self.checkpoints.logged_bytes = 0;
    }
}
