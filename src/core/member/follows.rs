//! A node that follows the leader of a shard, perhaps with a copy of its own.

use alloc::vec::Vec;

use super::held::{HELD_MS, Held, refuse};
use super::leads::Reached;
use super::{Entry, Output, leader_lost};
use crate::relay::{Relay, Told};
use crate::shard::{Behind, Command, Dispatchers, Following, Interests, LogEntry, Shard};
use crate::snapshot::BadSnapshot;

#[derive(Debug)]
pub(super) struct Follows {
    shard: u16,
    pub(super) copy: Copy,
    /// What is asked of the leader; and without a copy, what is followed here.
    pub(super) relay: Relay,
    is_connected: bool,
    /// Since when no leader is reached.
    lost_ms: Option<u64>,
    /// When the leader has told something last.
    heard_ms: u64,
    behind: Behind,
    reached: Reached,
    /// It is to lead the shard as soon as its copy is there: in this term and epoch.
    pub(super) leads_then: Option<(u64, u64)>,
}

/// The node's own copy of the shard.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one for each shard of a node")]
pub(super) enum Copy {
    /// It has none.
    None,
    /// It is repeating what it has missed, and answers nobody yet.
    Behind(Shard),
    /// As of the last entry that was applied.
    Whole(Shard),
    /// It had gone too far, and is being made again.
    Awaited,
}

impl Follows {
    pub(super) fn new(shard: u16, copy: Copy) -> Self {
        Self::with_interests(shard, copy, Interests::new())
    }

    pub(super) fn with_interests(shard: u16, copy: Copy, interests: Interests) -> Self {
        Self {
            shard,
            copy,
            relay: Relay::new(shard, interests),
            is_connected: false,
            lost_ms: None,
            heard_ms: 0,
            behind: Behind::default(),
            reached: Reached::default(),
            leads_then: None,
        }
    }

    pub(super) fn is_awaited(&self) -> bool {
        matches!(self.copy, Copy::Awaited)
    }

    pub(super) fn handle(
        &mut self,
        command: Command,
        now_ms: u64,
        held: &mut Held,
        output: &mut Output,
    ) {
        if !self.is_connected {
            self.lost_ms.get_or_insert(now_ms);
        }
        if let Command::Follow(dispatcher, _) = &command {
            self.behind.tell(self.shard, *dispatcher, &mut output.told);
        }
        if is_about_following(&command) {
            match &mut self.copy {
                Copy::Whole(shard) => {
                    // A copy has the time of what it repeats.
                    let at_ms = shard.now_ms();
                    return shard.handle(command, at_ms);
                }
                // It is answered from the copy, once that is there.
                Copy::Awaited => return drop(self.relay.handle(command)),
                Copy::None | Copy::Behind(_) => {}
            }
        }
        if self.is_connected {
            output.to_leader.extend(self.relay.handle(command));
        } else if is_about_following(&command) || matches!(command, Command::SessionEnded(_)) {
            // The relay remembers it.
            drop(self.relay.handle(command));
        } else {
            let has_waited = self.behind_at_ms().is_none_or(|at_ms| at_ms <= now_ms);
            let rest = if has_waited { self.answer(command, output) } else { Some(command) };
            if let Some(command) = rest {
                held.hold(command, now_ms, &mut output.told);
            }
        }
    }

    /// Answers a read from the copy, which may be stale; gives back what it cannot answer.
    fn answer(&mut self, command: Command, output: &mut Output) -> Option<Command> {
        if let (Copy::Whole(shard), Command::Request(origin, request)) = (&mut self.copy, &command)
            && let Some(event) = shard.read_copy(*origin, request)
        {
            output.told.push((origin.session.dispatcher, event));
            return None;
        }
        Some(command)
    }

    /// When it is said of what is shown that it may be stale: when a leader was not reached for so long.
    /// `None`: it has been said, or there is no need.
    fn behind_at_ms(&self) -> Option<u64> {
        let lost_ms = self.lost_ms.filter(|_| !self.is_connected && !self.behind.is_there());
        lost_ms.map(|lost_ms| lost_ms.saturating_add(HELD_MS))
    }

    /// What has waited for a leader too long is answered from the copy or refused, and what is shown may
    /// be stale.
    pub(super) fn look(&mut self, now_ms: u64, held: &mut Held, output: &mut Output) {
        if self.behind_at_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            let followed = match &self.copy {
                Copy::Whole(shard) => all_of(&shard.interests()),
                Copy::None | Copy::Behind(_) | Copy::Awaited => self.relay.all(),
            };
            let as_of_ms = match &self.copy {
                Copy::Whole(shard) => shard.now_ms(),
                Copy::None | Copy::Behind(_) | Copy::Awaited => self.heard_ms,
            };
            self.behind.begin(self.shard, as_of_ms, followed, &mut output.told);
        }
        while let Some(command) = held.take_late(now_ms) {
            if let Some(command) = self.answer(command, output) {
                refuse(&command, &mut output.told);
            }
        }
    }

    /// When [`Self::look`] is due next.
    pub(super) fn next_look_ms(&self, held: &Held) -> Option<u64> {
        held.next_timeout_ms().into_iter().chain(self.behind_at_ms()).min()
    }

    /// The leader has told something.
    pub(super) fn heard(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
    }

    /// The leader is reached, or is this node: what is shown is as of now.
    pub(super) fn is_current(&mut self, told: &mut Told) {
        self.lost_ms = None;
        self.behind.end(self.shard, told);
    }

    pub(super) fn connect(&mut self, held: &mut Held, output: &mut Output) {
        self.is_connected = true;
        self.is_current(&mut output.told);
        if matches!(self.copy, Copy::None | Copy::Behind(_)) {
            output.to_leader.extend(self.relay.connect());
        }
        for command in held.take_all() {
            output.to_leader.extend(self.relay.handle(command));
        }
    }

    pub(super) fn disconnect(&mut self, now_ms: u64, told: &mut Told) {
        if core::mem::take(&mut self.is_connected) {
            self.lost_ms = Some(now_ms);
            self.relay.disconnect(&leader_lost(), told);
        }
    }

    pub(super) fn repeat(
        &mut self,
        entry: Entry,
        changes: Vec<LogEntry>,
        output: &mut Output,
    ) -> Result<(), BadSnapshot> {
        let (Copy::Whole(shard) | Copy::Behind(shard)) = &mut self.copy else {
            return Err(BadSnapshot::new("an entry is applied to a shard that is not there"));
        };
        shard.replicate(changes, entry.version, entry.time_ms)?;
        let next_sequence = shard.progress().sequence;
        if let Some(stored) = self.reached.add(entry, next_sequence) {
            shard.handle(stored, entry.time_ms);
        }
        self.seal(output);
        Ok(())
    }

    pub(super) fn seal(&mut self, output: &mut Output) {
        let (Copy::Whole(shard) | Copy::Behind(shard)) = &mut self.copy else { return };
        if let Some(round) = shard.seal() {
            debug_assert!(round.log.is_empty(), "a copy decides nothing");
            output.told.extend(round.events);
            output.recalls.extend(round.recalls);
        }
    }

    pub(super) fn replace_copy(&mut self, mut shard: Shard) -> Option<(u64, u64)> {
        self.copy = match &self.copy {
            Copy::None | Copy::Behind(_) => Copy::Behind(shard),
            Copy::Whole(earlier) => {
                shard.take_interests(earlier.interests());
                Copy::Whole(shard)
            }
            Copy::Awaited => {
                shard.take_interests(self.take_followers());
                let now_ms = shard.now_ms();
                self.relay.take_recalls().for_each(|recall| shard.handle(recall, now_ms));
                Copy::Whole(shard)
            }
        };
        self.leads_then.take()
    }

    /// The copy has caught up: it answers those who follow something here from now on. Returns what the
    /// leader is told for it.
    pub(super) fn caught_up(&mut self) -> Vec<Command> {
        let Copy::Behind(mut shard) = core::mem::replace(&mut self.copy, Copy::None) else {
            return Vec::new();
        };
        let interests = self.take_followers();
        let unfollow = |following: &Following| {
            let dispatcher = following.to.iter().next().unwrap_or_default();
            Command::Unfollow(dispatcher, following.interest.clone())
        };
        let commands = match self.is_connected {
            true => interests.iter().map(unfollow).collect(),
            false => Vec::new(),
        };
        shard.take_interests(interests);
        let now_ms = shard.now_ms();
        self.relay.take_recalls().for_each(|recall| shard.handle(recall, now_ms));
        self.copy = Copy::Whole(shard);
        commands
    }

    /// The node holds no copy that counts any more. Returns what the leader is told for it.
    pub(super) fn fall_behind(&mut self) -> Vec<Command> {
        match core::mem::replace(&mut self.copy, Copy::None) {
            Copy::Whole(shard) => {
                self.relay.follow(shard.interests());
                self.copy = Copy::Behind(shard);
                if self.is_connected { self.relay.connect() } else { Vec::new() }
            }
            other @ (Copy::None | Copy::Behind(_) | Copy::Awaited) => {
                self.copy = other;
                Vec::new()
            }
        }
    }

    /// Who follows something by way of the relay, which forgets them.
    fn take_followers(&mut self) -> Interests {
        let rest = self.relay.without_followers();
        core::mem::replace(&mut self.relay, rest).into_interests()
    }
}

/// Who follows any of these.
fn all_of(interests: &Interests) -> Dispatchers {
    let each = interests.iter().map(|following| following.to);
    each.fold(Dispatchers::default(), Dispatchers::union)
}

/// Whether a copy answers it as well as the leader.
fn is_about_following(command: &Command) -> bool {
    match command {
        Command::Follow(..)
        | Command::Unfollow(..)
        | Command::Recall(..)
        | Command::Stored { .. }
        | Command::Recalled(_) => true,
        Command::Request(..)
        | Command::Publishes(_)
        | Command::SessionEnded(_)
        | Command::DeadLetter(_)
        | Command::Buried(_)
        | Command::Tenants(_)
        | Command::TenantFull { .. }
        | Command::PeerEnded(_) => false,
    }
}
