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
use tokio::sync::mpsc;

use super::META;
use super::base::Base;
use super::checkpoint::Record;
use super::disk::Disk;
use super::ends::{Ends, KeptEnds};
use super::group_state::GroupState;
use super::message::{Change, GroupWrite, Message, Notice, Outcome, Pending, Reach};
use super::packing::{Gathered, collect, gather};
use super::saving::{Covered, Job};
use super::space::Space;
use super::staging::{Staged, Staging};
use super::state::State;
use super::taking_over::TakenOver;

/// How long the written ends may be behind, and how often the free space is looked at at least.
const ENDS_PAUSE: Duration = Duration::from_millis(500);
/// Superfluous blocks that are removed between two commits.
pub(super) const REMOVALS_MAX: usize = 256;

/// Where the committer starts, and what it works with.
pub(crate) struct Committer<D> {
    pub(crate) disk: D,
    pub(crate) state: Arc<State>,
    pub(crate) ends: Ends,
    pub(crate) kept_ends: KeptEnds,
    /// What is remembered of groups: as of the last time that it was written, or has to be.
    pub(crate) groups: HashMap<u16, GroupState>,
    /// Groups of which something is to be written with the next commit.
    pub(crate) noted: Vec<u16>,
    /// To each durable shard, in order.
    pub(crate) rooms: Vec<mpsc::Sender<Notice>>,
    /// To the thread that writes checkpoints.
    pub(crate) checkpoints: SyncSender<Job>,
    /// What checkpoints have made superfluous: what is left of it, and which blocks they said.
    pub(crate) covered: Vec<(Covered, Vec<Range<u64>>)>,
    /// The blocks of each shard that have been removed.
    pub(crate) removed: HashMap<u16, Vec<Range<u64>>>,
    /// States that were taken from other nodes, and what they have taken the place of.
    pub(crate) taken_over: TakenOver,
    /// What is kept in the file.
    pub(crate) space: Space,
    /// Free bytes below which the disk counts as full.
    pub(crate) free_bytes_min: u64,
}

impl<D: Disk> Committer<D> {
    /// Commits until it is told to stop, or nobody can hand over rounds any more.
    pub(crate) fn run(mut self, queue: &Receiver<Message>) {
        self.write_ends();
        let mut stops = false;
        while !stops {
            self.look_at_space();
            match queue.recv_timeout(ENDS_PAUSE) {
                Ok(first) => {
                    let (gathered, other) = gather(first, queue);
                    self.commit(gathered);
                    stops = matches!(other, Some(Message::Stop));
                    if let Some(other) = other {
                        self.go_on(other);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.commit(Gathered::default()),
                Err(RecvTimeoutError::Disconnected) => stops = true,
            }
            self.remove_some();
            if self.kept_ends.are_older_than(ENDS_PAUSE) {
                self.write_ends();
            }
        }
        // A group may have noted something while its note before that was taken.
        while let Ok(last) = queue.try_recv() {
            self.commit(gather(last, queue).0);
        }
        self.commit(Gathered::default());
        self.write_ends();
    }

    /// Commits what has gathered; or, when nothing has, what was only noted.
    fn commit(&mut self, gathered: Gathered) {
        let Gathered { rounds, mut groups } = gathered;
        let were_any = !rounds.is_empty() || !groups.is_empty();
        groups.iter().for_each(|write| self.note(write.shard, write.state));
        groups.retain_mut(|write| match write.change {
            Change::Note => {
                write.done.take().into_iter().for_each(|taken| taken.tell(Ok(())));
                false
            }
            Change::State | Change::Append(_) | Change::Truncate(_) | Change::Take(_) => true,
        });
        if were_any && rounds.is_empty() && groups.is_empty() {
            return;
        }
        let outcome = match self.state.failure() {
            None => self.write(&rounds, &mut groups),
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
        for done in groups.into_iter().filter_map(|write| write.done) {
            let again = |error: &io::Error| io::Error::other(error.to_string());
            done.tell(outcome.as_ref().map(|_reached| ()).map_err(again));
        }
    }

    /// What is remembered of a group is to be written with the next commit.
    fn note(&mut self, shard: u16, state: GroupState) {
        self.groups.insert(shard, state);
        if !self.noted.contains(&shard) {
            self.noted.push(shard);
        }
    }

    fn tell(&self, shard: u16, notice: Notice) {
        let room = shard.checked_sub(SHARDS).and_then(|at| self.rooms.get(usize::from(at)));
        if let Some(room) = room {
            // There is a place for everything under way; a shard that has stopped needs none.
            drop(room.try_send(notice));
        }
    }

    /// Writes these as one commit; returns how far the shards' logs go that have rounds in it.
    fn write(
        &mut self,
        rounds: &[Pending],
        groups: &mut [GroupWrite],
    ) -> io::Result<Vec<(u16, Vec<Reach>)>> {
        let began = Instant::now();
        let is_of_group = |pending: &&Pending| self.groups.contains_key(&pending.shard);
        if let Some(Pending { shard, .. }) = rounds.iter().find(is_of_group) {
            let what =
                format!("the log of shard {shard} belongs to its group, which takes no rounds");
            return Err(io::Error::other(what));
        }
        let mut staging = Staging::behind(&self.ends);
        staging.add_rounds(collect(rounds)?);
        groups.iter_mut().try_for_each(|write| staging.add_group(write))?;
        for shard in self.noted.drain(..) {
            staging.remember(shard, self.groups.get(&shard).copied().unwrap_or_default());
        }
        if staging.is_empty() {
            return Ok(Vec::new());
        }
        let _under_way = self.state.commits();
        if let Some(shortened) = staging.shortened() {
            // Otherwise a start after a crash would miss what is about to go: in the logs, whose ends
            // are written, and in commits behind these, of which it wants to find all blocks.
            self.kept_ends.write(&shortened)?;
        }
        let Staged { writes, ends, reached } = staging.finish()?;
        let (blocks, bytes, states) = (writes.blocks.len(), writes.bytes(), writes.states.clone());
        let taken = writes.taken.iter().flat_map(|taken| &taken.blocks);
        for (key, block) in writes.blocks.iter().chain(taken) {
            self.space.logged(key.shard, block.len() as u64);
        }
        self.disk.commit(writes)?;
        self.ends = ends;
        states.into_iter().for_each(|(shard, state)| self.purged(shard, state));
        self.state.committed(blocks as u64, bytes, began.elapsed());
        Ok(reached)
    }

    /// What a group does not ask for any more may go, if nothing else is in it.
    fn purged(&mut self, shard: u16, state: GroupState) {
        let (known, wanted_from) = (self.state.wanted().from(shard), state.wanted_from());
        if wanted_from == known {
            return;
        }
        self.state.wanted().set(shard, wanted_from);
        // No checkpoint says so of a group without a shard.
        if shard == META && wanted_from > 0 {
            self.write_ends();
            self.covered.retain(|(known, _)| known.shard != shard);
            let covered =
                Covered::unused(shard, Record::NONE, std::iter::once(0..wanted_from).collect(), 0);
            self.covered.push((covered, Vec::new()));
        }
    }

    /// Goes on with something else. Every round that was handed over before it is committed.
    fn go_on(&mut self, message: Message) {
        let (shard, outcome) = match message {
            Message::Checkpoint { shard, snapshot, base } => {
                let covers = base.as_ref().map_or(self.ends.next(shard), Base::covers);
                let job = Job::Save { shard, covers, snapshot, base };
                if self.state.failure().is_none() && self.checkpoints.try_send(job).is_ok() {
                    self.taken_over.saves(shard);
                    return;
                }
                (shard, Ok(None))
            }
            Message::Written { shard, outcome } => {
                let is_stale = self.taken_over.is_stale(shard);
                let outcome = outcome.map(|covered| (!is_stale).then_some(covered));
                (shard, outcome.and_then(|covered| self.finish_checkpoint(covered)))
            }
            Message::TakeOver { covered, place, done } => {
                done.tell(self.take_over(*covered, place));
                return;
            }
            Message::Snapshot { shard, bytes, done } => {
                let outcome = match self.state.failure() {
                    None => self.disk.save_snapshot(shard, &bytes),
                    Some(failure) => Err(io::Error::other(failure)),
                };
                done.tell(outcome.inspect_err(|error| self.state.fail(error)));
                return;
            }
            Message::Round(_) | Message::Group(_) | Message::Stop => return,
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

    fn finish_checkpoint(&mut self, covered: Option<Covered>) -> io::Result<Option<Record>> {
        let Some(covered) = covered else { return Ok(None) };
        let (shard, record) = (covered.shard, covered.record);
        if self.state.failure().is_some() || !self.may_count(&covered) {
            return Ok(None);
        }
        // The ends say that every commit before them was whole. Of later ones a start wants to find
        // all blocks, so none of them may be covered.
        self.write_ends();
        if !self.kept_ends.say(&self.ends) {
            return Ok(None);
        }
        self.disk.finish_checkpoint(shard, record, covered.base.as_ref())?;
        self.counts(covered);
        // There is a place for it, unless much else waits: then it is for the next checkpoint.
        drop(self.checkpoints.try_send(Job::Clean { shard }));
        Ok(Some(record))
    }

    /// A checkpoint counts: what it has made superfluous is to go.
    pub(super) fn counts(&mut self, mut covered: Covered) {
        let (shard, record) = (covered.shard, covered.record);
        self.state.checkpointed(record.bytes);
        self.space.saved(shard);
        self.taken_over.counts(shard, record);
        let said = covered.unused.clone();
        if let Some(done) = self.removed.get(&shard) {
            covered.without(done);
        }
        self.covered.retain(|(known, _)| known.shard != shard);
        self.covered.push((covered, said));
    }

    /// Whether a checkpoint holds nothing that its group might still take back. A leader's shard is
    /// ahead of what is committed; by the time that its state is written, what is in it usually is.
    fn may_count(&self, covered: &Covered) -> bool {
        match (&covered.base, self.groups.get(&covered.shard)) {
            (None, None) => true,
            (Some(base), Some(state)) => {
                base.is_taken_over || state.committed.is_some_and(|id| id >= base.last)
            }
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// Removes some of what checkpoints have made superfluous, and no group wants any more.
    fn remove_some(&mut self) {
        if self.state.failure().is_some() {
            return;
        }
        self.remove_left();
        let (state, wanted) = (&self.state, self.state.wanted());
        let has_work = |(covered, _): &mut (Covered, _)| {
            !state.is_held(covered.shard) && covered.hold(wanted.from(covered.shard))
        };
        let Some(at) = self.covered.iter_mut().rposition(has_work) else { return };
        let Some((covered, said)) = self.covered.get_mut(at) else { return };
        match self.disk.remove_covered(covered, REMOVALS_MAX) {
            Ok(true) => {
                let (shard, kept_bytes) = (covered.shard, covered.kept_bytes);
                let done = match covered.wait(said) {
                    Some(done) => done,
                    None => self.covered.remove(at).1,
                };
                self.space.removed(shard, kept_bytes);
                self.removed.insert(shard, done);
            }
            Ok(false) => {}
            Err(error) => self.state.fail(&error),
        }
    }

    pub(super) fn write_ends(&mut self) {
        if self.state.failure().is_some() {
            return;
        }
        if let Err(error) = self.kept_ends.write(&self.ends) {
            let file = self.kept_ends.path().display();
            tracing::warn!(%error, %file, "the ends of the logs are not written down");
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
