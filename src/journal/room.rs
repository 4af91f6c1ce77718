//! A shard's end of the journal on disk: rounds go in, and come back when they are committed.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use tidewire_core::shard::{Command, LogEntry, Recall, Round, ShardSnapshot};
use tidewire_core::topic::EXTENT_BYTES;
use tidewire_protocol::Refusal;
use tokio::sync::mpsc;

use super::base::Base;
use super::message::{Message, Notice, Outcome, Pending, Reach};
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
/// The pause between two checkpoints that are to free a part of a full disk.
const PAUSE_WHEN_FULL_MS: u64 = 2_000;
/// Bytes of records that have left, for which a checkpoint is made when the disk is full, if it has no
/// more itself: their blocks can go then.
const RELEASED_WHEN_FULL_BYTES: u64 = 256 * 1024;

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
    pub(super) reached: Reached,
    /// To the thread that reads what is recalled.
    pub(super) recalls: SyncSender<recall::Job>,
}

/// Bytes of the log after which the shard is told how far it goes.
const REACH_BYTES: u64 = EXTENT_BYTES / 4;

/// How far the log of a shard goes: what it has not been told yet.
#[derive(Debug)]
pub(super) struct Reached {
    next_sequence: u64,
    next_block: u64,
    bytes: u64,
    due: Vec<Command>,
}

impl Reached {
    /// Nothing beyond this batch is known to be on disk.
    pub(super) fn at(next_sequence: u64) -> Self {
        Self { next_sequence, next_block: 0, bytes: 0, due: Vec::new() }
    }

    fn add(&mut self, reach: Reach) {
        self.next_block = reach.next_block;
        self.next_sequence = reach.next_sequence.unwrap_or(self.next_sequence);
        self.bytes += reach.bytes;
        if self.bytes >= REACH_BYTES {
            let (next_sequence, next_block) = (self.next_sequence, self.next_block);
            let bytes = std::mem::take(&mut self.bytes);
            self.due.push(Command::Stored { next_sequence, next_block, bytes });
        }
    }
}

/// When the next checkpoint of a shard is due.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// Bytes logged since the last one was begun.
    pub(super) logged_bytes: u64,
    /// Bytes of records that had left topics by then.
    pub(super) released_before: u64,
    /// When it was last looked whether one would free something, on a full disk.
    pub(super) looked_ms: u64,
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
                    Message::Group(_)
                    | Message::Checkpoint { .. }
                    | Message::Snapshot { .. }
                    | Message::TakeOver { .. }
                    | Message::Written { .. }
                    | Message::Stop => None,
                }
            }
        }
    }

    /// Waits until a round has come back.
    pub(super) async fn next(&mut self) -> Outcome {
        loop {
            match self.notices.recv().await {
                Some(Notice::Round(outcome, weight, reaches)) => {
                    reaches.into_iter().for_each(|reach| self.reached.add(reach));
                    self.rounds -= 1;
                    self.bytes -= weight;
                    return outcome;
                }
                Some(Notice::Checkpoint(bytes)) => self.finished(bytes),
                None => std::future::pending().await,
            }
        }
    }

    /// Waits until a state that was handed over is done with, of a shard whose rounds its group commits.
    /// Returns whether it counts.
    pub(crate) async fn saved(&mut self) -> bool {
        loop {
            match self.notices.recv().await {
                Some(Notice::Checkpoint(bytes)) => {
                    self.finished(bytes);
                    return bytes > 0;
                }
                // Its group takes none.
                Some(Notice::Round(..)) => {}
                None => std::future::pending().await,
            }
        }
    }

    fn finished(&mut self, bytes: u64) {
        self.checkpoints.is_under_way = false;
        self.checkpoints.last_bytes = bytes;
    }

    /// The group has logged so much.
    pub(crate) fn logged(&mut self, bytes: u64) {
        self.checkpoints.logged_bytes += bytes;
    }

    /// The shard was made again: what it says of itself begins anew.
    pub(crate) fn made_again(&mut self) {
        self.checkpoints.released_before = 0;
    }

    /// Whether somebody needs what the log of the shard has.
    pub(crate) fn is_held(&self) -> bool {
        self.state.is_held(self.shard)
    }

    /// Whether the disk's reserve is reached.
    pub(crate) fn is_full(&self) -> bool {
        self.state.is_full()
    }

    /// What the shard is to be told of its log, as far as the rounds have come back.
    pub(super) fn take_stored(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.reached.due)
    }

    /// Has batches read from the log. Returns them if that cannot be asked for now.
    pub(crate) fn recall(&self, recall: Recall) -> Option<Recall> {
        let job = recall::Job { shard: self.shard, recall };
        match self.recalls.try_send(job) {
            Ok(()) => None,
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => Some(job.recall),
        }
    }

    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.state.refusal()
    }

    /// Whether so much has been logged that the state is to be saved, or so many bytes of records have
    /// left since (`released_bytes`: since the start) that their blocks are to go.
    pub(crate) fn wants_checkpoint(&mut self, released_bytes: u64, now_ms: u64) -> bool {
        let may_free = self.may_free(released_bytes);
        let looked_ms = self.checkpoints.looked_ms;
        if may_free && now_ms >= looked_ms.saturating_add(PAUSE_WHEN_FULL_MS) {
            self.checkpoints.looked_ms = now_ms;
        }
        let Checkpoints {
            logged_bytes, released_before, last_bytes, bytes_min, is_under_way, ..
        } = self.checkpoints;
        let due_bytes = last_bytes.saturating_mul(CHECKPOINT_RATIO).max(bytes_min);
        let released = released_bytes.saturating_sub(released_before);
        let is_due = logged_bytes >= due_bytes
            || released >= due_bytes
            || (may_free && self.checkpoints.looked_ms == now_ms);
        is_due && !is_under_way && self.state.failure().is_none()
    }

    /// Whether a checkpoint would free a part of a full disk.
    fn may_free(&self, released_bytes: u64) -> bool {
        let Checkpoints { released_before, last_bytes, .. } = self.checkpoints;
        let released = released_bytes.saturating_sub(released_before);
        self.state.is_full() && released >= last_bytes.max(RELEASED_WHEN_FULL_BYTES)
    }

    /// When the shard is to look again whether a checkpoint is wanted, though nothing happens.
    pub(crate) fn next_look_ms(&self, released_bytes: u64) -> Option<u64> {
        let looked_ms = self.checkpoints.looked_ms;
        self.may_free(released_bytes).then(|| looked_ms.saturating_add(PAUSE_WHEN_FULL_MS))
    }

    /// Hands over the state after all rounds that were handed over before.
    pub(super) fn checkpoint(&mut self, snapshot: ShardSnapshot, released_bytes: u64) {
        self.save(snapshot, None, released_bytes);
    }

    /// Hands over the state as of an entry of the shard's group. It counts only if this entry is
    /// committed by the time that it is written. What is said of the log itself does not change: after
    /// a state was taken over from elsewhere the log is to be purged up to its entry. Returns whether it
    /// is heard of again ([`Self::saved`]).
    pub(crate) fn checkpoint_at(
        &mut self,
        base: Base,
        snapshot: ShardSnapshot,
        released: u64,
    ) -> bool {
        self.save(snapshot, Some(base), released);
        self.checkpoints.is_under_way
    }

    /// A state was taken over that has so many bytes: the next checkpoint is due when as much is logged
    /// behind it as behind one of this shard's own.
    pub(crate) fn taken_over(&mut self, state_bytes: u64) {
        let Checkpoints { bytes_min, .. } = self.checkpoints;
        self.checkpoints =
            Checkpoints { last_bytes: state_bytes, bytes_min, ..Checkpoints::default() };
    }

    fn save(&mut self, snapshot: ShardSnapshot, base: Option<Base>, released_bytes: u64) {
        let (shard, snapshot) = (self.shard, Box::new(snapshot));
        let handed = self.queue.try_send(Message::Checkpoint { shard, snapshot, base });
        self.checkpoints.is_under_way = handed.is_ok();
        self.checkpoints.logged_bytes = 0;
        self.checkpoints.released_before = released_bytes;
    }
}
