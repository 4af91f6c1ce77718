//! A node's part in a shard of a cluster: it leads it, or follows whoever does, perhaps with a copy of
//! its own.
//!
//! Names on disk are replicated: what the leader's shard logs becomes entries of a log, and what they
//! did is told when they are committed, which is when they are applied here. Nodes with a copy repeat
//! them, and tell their own followers; requests go to the leader. Names in memory are held by the
//! leader alone: everyone else relays.
//!
//! What is pure of this is here: which commands go where, what is told when, and what happens to
//! what is under way when the leader is another one. Who leads is decided by the log's own engine;
//! links and disks are the shell's.

mod follows;
mod held;
mod leads;

pub use held::HELD_MS;

use alloc::vec::Vec;

use tidewire_protocol::{ErrorCode, Refusal};

use crate::relay::Told;
use crate::shard::{
    Command, DispatcherId, Event, LogEntry, Recall, Shard, ShardConfig, ShardSnapshot,
};
use crate::snapshot::BadSnapshot;
use follows::{Copy, Follows};
use held::Held;
use leads::Leads;

/// What one turn of a member wants to be done.
#[derive(Debug, Default)]
pub struct Output {
    /// What dispatchers, and nodes that follow this one, are told, in order.
    pub told: Told,
    /// What the leader is sent, in order.
    pub to_leader: Vec<Command>,
    /// What is to be read from the log.
    pub recalls: Vec<Recall>,
    /// What is to be appended to the replicated log, as one entry.
    pub proposal: Option<Proposal>,
}

/// What a round of the leader's shard has logged.
#[derive(Debug)]
pub struct Proposal {
    /// The changes, in order.
    pub log: Vec<LogEntry>,
    /// Cells have no version above this one then.
    pub version: u64,
    /// The shard's time, Unix milliseconds.
    pub time_ms: u64,
}

/// A committed entry of the replicated log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that made it.
    pub term: u64,
    /// Its place in the log.
    pub index: u64,
    /// Bytes that it takes in the log.
    pub bytes: u64,
    /// As in [`Proposal::version`].
    pub version: u64,
    /// As in [`Proposal::time_ms`].
    pub time_ms: u64,
}

/// What waits on a node that does not lead a shard, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Requests that wait for a leader.
    pub held: usize,
    /// Requests that wait for the leader's answer.
    pub pending: usize,
    /// Things that are followed by way of the leader.
    pub followed: usize,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Member {
    config: ShardConfig,
    now_ms: u64,
    part: Part,
    held: Held,
    output: Output,
}

/// What the node does for the shard.
#[derive(Debug)]
enum Part {
    Leads(alloc::boxed::Box<Leads>),
    Follows(alloc::boxed::Box<Follows>),
}

impl Member {
    /// The part of a node that holds no copy of a shard, and knows no leader yet.
    #[must_use]
    pub fn without_copy(config: ShardConfig) -> Self {
        Self::begin(config, Copy::None)
    }

    /// The part of a node that holds a copy of a durable shard, and knows no leader yet.
    #[must_use]
    pub fn with_copy(config: ShardConfig, shard: Shard) -> Self {
        Self::begin(config, Copy::Whole(shard))
    }

    /// The part of a node whose copy of a durable shard lacks much, or is empty.
    #[must_use]
    pub fn behind(config: ShardConfig, shard: Shard) -> Self {
        Self::begin(config, Copy::Behind(shard))
    }

    /// The copy has everything that is known to be committed: those who follow something on this node
    /// do so here from now on.
    pub fn caught_up(&mut self) {
        if let Part::Follows(follows) = &mut self.part {
            self.output.to_leader.extend(follows.caught_up());
        }
    }

    /// The copy does not count any more: the node is not among those that hold the shard.
    pub fn fall_behind(&mut self) {
        if let Part::Follows(follows) = &mut self.part {
            self.output.to_leader.extend(follows.fall_behind());
        }
    }

    /// Whether the node has a copy that answers nobody yet.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        matches!(&self.part, Part::Follows(follows) if matches!(follows.copy, Copy::Behind(_)))
    }

    fn begin(config: ShardConfig, copy: Copy) -> Self {
        let follows = Follows::new(config.shard, copy);
        Self {
            config,
            now_ms: 0,
            part: Part::Follows(follows.into()),
            held: Held::default(),
            output: Output::default(),
        }
    }

    /// A command of one of this node's dispatchers.
    pub fn handle(&mut self, command: Command, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        match &mut self.part {
            Part::Leads(leads) => leads.shard.handle(command, self.now_ms),
            Part::Follows(follows) => {
                follows.handle(command, self.now_ms, &mut self.held, &mut self.output);
            }
        }
    }

    /// A command of another node, which follows this one. Returns false if it cannot be taken: this node
    /// does not lead the shard, or it is none that a node may send.
    #[must_use]
    pub fn handle_peer(&mut self, peer: DispatcherId, command: Command, now_ms: u64) -> bool {
        self.now_ms = self.now_ms.max(now_ms);
        match (&mut self.part, command.of_peer(peer)) {
            (Part::Leads(leads), Some(command)) => {
                leads.shard.handle(command, self.now_ms);
                true
            }
            (Part::Leads(_) | Part::Follows(_), _) => false,
        }
    }

    /// A node that followed this one does so no more.
    pub fn peer_ended(&mut self, peer: DispatcherId) {
        if let Part::Leads(leads) = &mut self.part {
            leads.shard.handle(Command::PeerEnded(peer), self.now_ms);
        }
    }

    /// What the leader has told this node.
    pub fn take(&mut self, event: Event) {
        if let Part::Follows(follows) = &mut self.part {
            follows.heard(self.now_ms);
            follows.relay.take(event, &mut self.output.told);
        }
    }

    /// The leader can be reached from now on; it knows nothing of this node.
    pub fn connect(&mut self) {
        if let Part::Follows(follows) = &mut self.part {
            follows.connect(&mut self.held, &mut self.output);
        }
    }

    /// The leader cannot be reached any more, or is none any more. What was sent to it and not answered
    /// may or may not have been done.
    pub fn disconnect(&mut self) {
        if let Part::Follows(follows) = &mut self.part {
            follows.disconnect(self.now_ms, &mut self.output.told);
        }
    }

    /// An entry of the log is committed, and all before it have been applied here. `changes` decodes it,
    /// which is not needed if it was made here. Returns false if it could not be applied: the copy has to
    /// be made again before that ([`Self::is_awaited`]).
    ///
    /// # Errors
    /// When it does not follow from what was applied before: the copy is damaged, and of no use.
    pub fn apply(
        &mut self,
        entry: Entry,
        changes: impl FnOnce() -> Result<Vec<LogEntry>, BadSnapshot>,
    ) -> Result<bool, BadSnapshot> {
        if let Part::Leads(leads) = &mut self.part {
            if entry.term <= leads.term {
                leads.committed(entry, &mut self.output);
                return Ok(true);
            }
            // Somebody else leads, of which the entry is the first sign.
            self.follow();
        }
        let Part::Follows(follows) = &mut self.part else { return Ok(false) };
        if follows.is_awaited() {
            return Ok(false);
        }
        self.now_ms = self.now_ms.max(entry.time_ms);
        follows.repeat(entry, changes()?, &mut self.output)?;
        Ok(true)
    }

    /// This node leads the shard from now on, in this term, and has applied everything that was
    /// committed before. What is in memory begins anew, in this epoch.
    pub fn lead(&mut self, term: u64, epoch: u64, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        let Part::Follows(follows) = &mut self.part else { return };
        if follows.is_awaited() {
            follows.leads_then = Some((term, epoch));
            return;
        }
        follows.disconnect(self.now_ms, &mut self.output.told);
        let recalls = follows.relay.take_recalls();
        follows.is_current(&mut self.output.told);
        let follows =
            core::mem::replace(follows, Follows::new(self.config.shard, Copy::None).into());
        let shard = self.shard_to_lead(*follows, epoch);
        let mut leads = Leads::new(shard, term);
        for command in self.held.take_all() {
            leads.shard.handle(command, self.now_ms);
        }
        recalls.for_each(|recall| leads.shard.handle(recall, self.now_ms));
        self.part = Part::Leads(leads.into());
    }

    fn shard_to_lead(&self, follows: Follows, epoch: u64) -> Shard {
        let Follows { copy, relay, .. } = follows;
        match copy {
            Copy::Whole(mut shard) => {
                shard.promote(self.now_ms);
                shard
            }
            Copy::Behind(mut shard) => {
                shard.take_interests(relay.into_interests());
                shard.promote(self.now_ms);
                shard
            }
            Copy::None | Copy::Awaited => {
                let mut shard = Shard::new(ShardConfig { epoch, ..self.config.clone() });
                shard.begin_above(epoch, self.now_ms);
                shard.take_interests(relay.into_interests());
                shard
            }
        }
    }

    /// This node leads the shard no more. What was under way may or may not be committed.
    pub fn follow(&mut self) {
        let leads = match &mut self.part {
            Part::Leads(leads) => core::mem::replace(leads, Leads::empty(&self.config).into()),
            Part::Follows(follows) => return follows.leads_then = None,
        };
        self.part = Part::Follows(leads.end(&mut self.output.told).into());
    }

    /// Whether the copy has gone beyond what is committed, and has to be made again from the log, up to
    /// the last entry that was applied. Until then no entry may be applied.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        match &self.part {
            Part::Leads(_) => false,
            Part::Follows(follows) => follows.is_awaited(),
        }
    }

    /// The copy, made again or from a snapshot of another node: everybody who follows it is told how it
    /// is.
    pub fn replace_copy(&mut self, shard: Shard) {
        let Part::Follows(follows) = &mut self.part else { return };
        let leads_then = follows.replace_copy(shard);
        if let Some((term, epoch)) = leads_then {
            self.lead(term, epoch, self.now_ms);
        }
    }

    /// What is told of commands that the shard has not heard of.
    pub fn tell(&mut self, told: Told) {
        self.output.told.extend(told);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        match &mut self.part {
            Part::Leads(leads) => leads.shard.handle_timeout(self.now_ms),
            Part::Follows(follows) => {
                follows.look(self.now_ms, &mut self.held, &mut self.output);
            }
        }
    }

    /// When [`Self::handle_timeout`] is due next.
    #[must_use]
    pub fn next_timeout_ms(&self) -> Option<u64> {
        match &self.part {
            Part::Leads(leads) => leads.shard.next_timeout_ms(),
            Part::Follows(follows) => follows.next_look_ms(&self.held),
        }
    }

    /// Ends the turn: returns what is to be done for it.
    pub fn seal(&mut self) -> Output {
        match &mut self.part {
            Part::Leads(leads) => leads.seal(self.now_ms, &mut self.output),
            Part::Follows(follows) => follows.seal(&mut self.output),
        }
        core::mem::take(&mut self.output)
    }

    /// What waits here for the shard's leader, or for its answer.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let (pending, followed) = match &self.part {
            Part::Leads(_) => (0, 0),
            Part::Follows(follows) => (follows.relay.pending(), follows.relay.followed()),
        };
        Waiting { held: self.held.len(), pending, followed }
    }

    /// The term in which this node leads the shard.
    #[must_use]
    pub fn term(&self) -> Option<u64> {
        match &self.part {
            Part::Leads(leads) => Some(leads.term),
            Part::Follows(_) => None,
        }
    }

    /// The copy of the shard, whether this node leads it or not.
    #[must_use]
    pub fn copy(&self) -> Option<&Shard> {
        match &self.part {
            Part::Leads(leads) => Some(&leads.shard),
            Part::Follows(follows) => match &follows.copy {
                Copy::Whole(shard) | Copy::Behind(shard) => Some(shard),
                Copy::None | Copy::Awaited => None,
            },
        }
    }

    /// Rounds that are not committed yet.
    #[must_use]
    pub fn under_way(&self) -> usize {
        match &self.part {
            Part::Leads(leads) => leads.under_way(),
            Part::Follows(_) => 0,
        }
    }

    /// The state as of the last entry that was applied, to be saved; `None` while more than that is in
    /// it, or there is none.
    #[must_use]
    pub fn checkpoint(&self) -> Option<ShardSnapshot> {
        self.copy().filter(|_| self.under_way() == 0).and_then(Shard::checkpoint)
    }
}

/// Why a request was not carried out, as far as is known.
fn leader_lost() -> Refusal {
    let message = "the node that leads the shard of this name has changed while the request was \
                   under way: it may or may not have been carried out; repeat it with the same \
                   sequence or id, which counts once";
    Refusal::new(ErrorCode::Unavailable, message).retry_after_ms(LOST_RETRY_AFTER_MS)
}

fn no_leader() -> Refusal {
    let message = "no node leads the shard of this name at the moment: too few of its nodes can \
                   reach each other; nothing was done, try again";
    Refusal::new(ErrorCode::Unavailable, message).retry_after_ms(RETRY_AFTER_MS)
}

const RETRY_AFTER_MS: u64 = 1_000;
/// Whoever asks again waits at its node until another one leads.
const LOST_RETRY_AFTER_MS: u64 = 50;
