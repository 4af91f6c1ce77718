//! The committer: one thread that writes what all shards have logged.
//!
//! It takes what has gathered while it wrote, so a commit grows with the load and a lone round waits
//! for nothing. After an error it commits nothing any more: what the disk holds is not known then.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use tidewire_core::SHARDS;
use tidewire_core::shard::{Round, ShardSnapshot};
use tokio::sync::mpsc;

use super::block::Head;
use super::checkpoint::Record;
use super::ends::{Ends, EndsFile};
use super::key::Key;
use super::packing::{collect, gather};
use super::saving::{Covered, Job};
use super::space::Space;
use super::state::State;
use super::store::Disk;

/// How long the written ends may be behind, and how often the free space is looked at at least.
const ENDS_PAUSE: Duration = Duration::from_millis(500);
/// Superfluous blocks that are removed between two commits.
const REMOVALS_MAX: usize = 256;

/// A round on its way to the disk.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) shard: u16,
    pub(crate) round: Round,
    /// The shard's time, Unix milliseconds.
    pub(crate) time_ms: u64,
    /// Bytes that it takes, about.
    pub(crate) weight: usize,
}

/// What the committer is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// A round is to be committed.
    Round(Pending),
    /// A shard's state after the rounds that it has handed over so far.
    Checkpoint { shard: u16, snapshot: Box<ShardSnapshot> },
    /// The parts of a checkpoint have been written, or not.
    Written { shard: u16, outcome: io::Result<Covered> },
    /// No more rounds come.
    Stop,
}

/// What became of a round.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is on the disk.
    Committed(Round),
    /// It may not be.
    Failed(Round),
}

/// What a shard is told.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A round that was handed over, with the weight that it had, and how the shard's log goes on with
    /// it.
    Round(Outcome, usize, Vec<Reach>),
    /// A checkpoint is done with. It has so many bytes; none if there is none.
    Checkpoint(u64),
}

/// How far the log of a shard goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Index of the block behind.
    pub(crate) next_block: u64,
    /// Sequence behind the last batch in the blocks before that, if there is one in the last of them.
    pub(crate) next_sequence: Option<u64>,
    /// Bytes of the blocks since the reach before.
    pub(crate) bytes: u64,
}

/// Where the committer starts, and what it works with.
pub(crate) struct Committer<D> {
    pub(crate) disk: D,
    pub(crate) state: Arc<State>,
    pub(crate) ends: Ends,
    pub(crate) ends_file: EndsFile,
    /// What the file holds.
    pub(crate) ends_written: Ends,
    /// To each durable shard, in order.
    pub(crate) rooms: Vec<mpsc::Sender<Notice>>,
    /// To the thread that writes checkpoints.
    pub(crate) checkpoints: SyncSender<Job>,
    /// What checkpoints have made superfluous: what is left of it, and which blocks they said.
    pub(crate) covered: Vec<(Covered, Vec<Range<u64>>)>,
    /// The blocks of each shard that have been removed.
    pub(crate) removed: HashMap<u16, Vec<Range<u64>>>,
    /// What is kept in the file.
    pub(crate) space: Space,
    /// Free bytes below which the disk counts as full.
    pub(crate) free_bytes_min: u64,
}

impl<D: Disk> Committer<D> {
    /// Commits until it is told to stop, or nobody can hand over rounds any more.
    pub(crate) fn run(mut self, queue: &Receiver<Message>) {
        let mut written = (self.ends_written.clone(), Instant::now());
        self.write_ends(&mut written);
        let mut stops = false;
        while !stops {
            self.look_at_space();
            match queue.recv_timeout(ENDS_PAUSE) {
                Ok(first) => {
                    let (rounds, other) = gather(first, queue);
                    self.commit(rounds);
                    stops = matches!(other, Some(Message::Stop));
                    if let Some(other) = other {
                        self.checkpoint(other, &mut written);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => stops = true,
            }
            self.remove_some();
            if written.1.elapsed() >= ENDS_PAUSE {
                self.write_ends(&mut written);
            }
        }
        self.write_ends(&mut written);
    }

    fn commit(&mut self, rounds: Vec<Pending>) {
        let outcome = match self.state.failure() {
            None => self.write(&rounds),
            Some(failure) => Err(io::Error::other(failure)),
        };
        let mut outcome = outcome.inspect_err(|error| self.state.fail(error));
        // The last round of each shard tells how far its log goes: all before it are in it as well.
        let mut notices = Vec::with_capacity(rounds.len());
        for Pending { shard, round, weight, .. } in rounds.into_iter().rev() {
            notices.push(match &mut outcome {
                Ok(reached) => {
                    let at = reached.iter().position(|(known, _)| *known == shard);
                    let reach = at.map(|at| reached.swap_remove(at).1).unwrap_or_default();
                    (shard, Notice::Round(Outcome::Committed(round), weight, reach))
                }
                Err(_) => (shard, Notice::Round(Outcome::Failed(round), weight, Vec::new())),
            });
        }
        notices.into_iter().rev().for_each(|(shard, notice)| self.tell(shard, notice));
    }

    fn tell(&self, shard: u16, notice: Notice) {
        let room = shard.checked_sub(SHARDS).and_then(|at| self.rooms.get(usize::from(at)));
        if let Some(room) = room {
            // There is a place for everything under way; a shard that has stopped needs none.
            drop(room.try_send(notice));
        }
    }

    /// Writes the blocks of these rounds as one commit; returns how far the shards' logs go.
    fn write(&mut self, rounds: &[Pending]) -> io::Result<Vec<(u16, Vec<Reach>)>> {
        let bodies = collect(rounds)?;
        if bodies.is_empty() {
            return Ok(Vec::new());
        }
        let began = Instant::now();
        let _under_way = self.state.commits();
        let commit = self.ends.commit + 1;
        let blocks = u16::try_from(bodies.len())
            .map_err(|_many| io::Error::other("a commit has more blocks than can be numbered"))?;
        let mut next = self.ends.next.clone();
        let (mut bytes, mut reached) = (0, Vec::new());
        let mut written = Vec::with_capacity(bodies.len());
        for (place, (shard, body)) in (0..).zip(bodies) {
            let index = take_index(&mut next, shard);
            let (version, time_ms, entries) = (0, 0, 0);
            let head = Head { shard, index, commit, place, blocks, version, time_ms, entries };
            let next_sequence = body.next_sequence;
            let block = body.finish(head);
            bytes += block.len();
            self.space.logged(shard, block.len() as u64);
            let reach = Reach { next_block: index + 1, next_sequence, bytes: block.len() as u64 };
            add_reach(&mut reached, shard, reach);
            written.push((Key { shard, index }, block));
        }
        self.disk.commit(written)?;
        self.ends = Ends { commit, next };
        self.state.committed(u64::from(blocks), bytes as u64, began.elapsed());
        Ok(reached)
    }

    /// Goes on with a checkpoint. Every round that was handed over before it is committed.
    fn checkpoint(&mut self, message: Message, written: &mut (Ends, Instant)) {
        let (shard, outcome) = match message {
            Message::Checkpoint { shard, snapshot } => {
                let covers = self.ends.next(shard);
                let job = Job::Save { shard, covers, snapshot };
                if self.state.failure().is_none() && self.checkpoints.try_send(job).is_ok() {
                    return;
                }
                (shard, Ok(None))
            }
            Message::Written { shard, outcome } => {
                (shard, outcome.and_then(|covered| self.finish_checkpoint(covered, written)))
            }
            Message::Round(_) | Message::Stop => return,
        };
        let bytes = match outcome {
            Ok(record) => record.map_or(0, |record| record.bytes),
            Err(error) => {
                self.state.fail(&error);
                0
            }
        };
        self.tell(shard, Notice::Checkpoint(bytes));
    }

    fn finish_checkpoint(
        &mut self,
        mut covered: Covered,
        written: &mut (Ends, Instant),
    ) -> io::Result<Option<Record>> {
        let (shard, record) = (covered.shard, covered.record);
        if self.state.failure().is_some() {
            return Ok(None);
        }
        // The ends say that every commit before them was whole. Of later ones a start wants to find
        // all blocks, so none of them may be covered.
        self.write_ends(written);
        if written.0 != self.ends {
            return Ok(None);
        }
        self.disk.finish_checkpoint(shard, record)?;
        self.state.checkpointed(record.bytes);
        self.space.saved(shard);
        let said = covered.unused.clone();
        if let Some(done) = self.removed.get(&shard) {
            covered.without(done);
        }
        self.covered.retain(|(known, _)| known.shard != shard);
        self.covered.push((covered, said));
        // There is a place for it, unless much else waits: then it is for the next checkpoint.
        drop(self.checkpoints.try_send(Job::Clean { shard }));
        Ok(Some(record))
    }

    /// Removes some of what checkpoints have made superfluous.
    fn remove_some(&mut self) {
        let Some((covered, _)) = self.covered.last_mut() else { return };
        if self.state.failure().is_some() || self.state.is_held() {
            return;
        }
        match self.disk.remove_covered(covered, REMOVALS_MAX) {
            Ok(true) => {
                if let Some((covered, said)) = self.covered.pop() {
                    self.space.removed(covered.shard, covered.kept_bytes);
                    self.removed.insert(covered.shard, said);
                }
            }
            Ok(false) => {}
            Err(error) => self.state.fail(&error),
        }
    }

    fn write_ends(&self, (written, at): &mut (Ends, Instant)) {
        *at = Instant::now();
        if *written == self.ends || self.state.failure().is_some() {
            return;
        }
        match self.ends_file.write(&self.ends) {
            Ok(()) => *written = self.ends.clone(),
            Err(error) => {
                let file = self.ends_file.path().display();
                tracing::warn!(%error, %file, "the ends of the logs are not written down");
            }
        }
    }

    /// Before each commit: it costs a microsecond, and the reserve is for what is under way.
    fn look_at_space(&self) {
        let looked = self.disk.free_bytes().and_then(|free| Ok((free, self.disk.file_bytes()?)));
        match looked {
            Ok((free, file)) => {
                let reusable = self.space.reusable(file);
                self.state.set_free_bytes(free, reusable, self.free_bytes_min);
            }
            Err(error) => tracing::warn!(%error, "the system does not say how much space is free"),
        }
    }
}

fn add_reach(reached: &mut Vec<(u16, Vec<Reach>)>, shard: u16, reach: Reach) {
    match reached.iter_mut().find(|(known, _)| *known == shard) {
        Some((_, reaches)) => reaches.push(reach),
        None => reached.push((shard, vec![reach])),
    }
}

fn take_index(next: &mut Vec<(u16, u64)>, shard: u16) -> u64 {
    match next.iter_mut().find(|(known, _)| *known == shard) {
        Some((_, next)) => {
            *next += 1;
            *next - 1
        }
        None => {
            next.push((shard, 1));
            0
        }
    }
}
