//! Tallies of a shard: creation, ballots, opening and closing.
//!
//! A poll with partitions has a tally in each of several shards. What concerns the poll as a whole
//! goes to its home partition, which passes it on to the others; see docs/decisions.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use tidewire_protocol::frame::{CellKind, TallyOp};
use tidewire_protocol::tally::{Choice, TallyReply, TallyRules};
use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::cells::{about, no_tally};
use super::log::LogEntry;
use super::message::{Command, DispatcherId, Event, Origin, Reply, Request, TallyPart};
use super::{Shard, Timer, refuse};
use crate::access::LOCAL_ISSUER;
use crate::cell::{Tally, VoterId};
use crate::{partition_in, shard_of_partition};

/// The dispatcher by way of which partitions are told: always the same, so that its queues keep
/// the order.
pub(super) const FORWARDING: DispatcherId = 0;

impl Shard {
    pub(super) fn vote(
        &mut self,
        name: &Name,
        (voter, issuer): (VoterId, Option<&str>),
        choices: &[Choice],
        revision: Option<u64>,
    ) -> Result<Reply, Refusal> {
        let version = self.cells.next_version();
        let now_ms = self.now_ms;
        let tally = self.cells.tallies.get_mut(name).ok_or_else(|| no_tally(name))?;
        let is_theirs = tally.check_issuer(issuer.unwrap_or(LOCAL_ISSUER));
        let voted = is_theirs
            .and_then(|()| tally.vote(voter, choices, revision, version, now_ms))
            .map_err(|refusal| about("tally", name, refusal))?;
        let is_part = tally.incarnation().is_some();
        if voted.version == version {
            self.cells.mark(CellKind::Tally, name);
            self.log_ballot(name, voter, version);
        }
        let partition = is_part.then(|| partition_in(name, self.config.shard));
        Ok(Reply::Voted { epoch: self.config.epoch, voted, partition })
    }

    /// Takes the ballots of these voters out of a tally.
    pub(super) fn invalidate(
        &mut self,
        name: &Name,
        voters: Vec<VoterId>,
        issuer: Option<&str>,
    ) -> Result<Reply, Refusal> {
        let version = self.cells.next_version();
        let tally = self.cells.tallies.get_mut(name).ok_or_else(|| no_tally(name))?;
        let is_theirs = issuer.map_or(Ok(()), |issuer| tally.check_issuer(issuer));
        is_theirs.map_err(|refusal| about("tally", name, refusal))?;
        let gone: Vec<VoterId> =
            voters.into_iter().filter(|voter| tally.invalidate(voter, version)).collect();
        let count = gone.len() as u64;
        if count > 0 {
            self.cells.mark(CellKind::Tally, name);
            let tally = name.clone();
            self.log(|| LogEntry::Invalidated { tally, voters: gone, version });
        }
        Ok(Reply::Settled(count))
    }

    /// Where a tally stands, if it is one partition of a poll.
    pub(super) fn part_of(&self, name: &Name, tally: &Tally) -> Option<TallyPart> {
        Some(TallyPart {
            partition: partition_in(name, self.config.shard),
            incarnation: tally.incarnation()?,
            version: tally.version(),
            standings: tally.standings(self.now_ms),
        })
    }

    /// Carries out what a client asks of a poll; in its home partition, if it has several.
    pub(super) fn change_tally(
        &mut self,
        origin: Origin,
        name: &Name,
        op: TallyOp,
        rules: Option<Arc<TallyRules>>,
    ) -> Result<Reply, Refusal> {
        let partitions = self.config.policies.partitions(name);
        let version = self.cells.next_version();
        let incarnation = self.cells.tallies.get(name).and_then(Tally::incarnation);
        let incarnation = (partitions > 1).then(|| incarnation.unwrap_or(version));
        let created = match op {
            TallyOp::Create => self.create_tally(name, rules.clone(), version, incarnation)?,
            TallyOp::Open | TallyOp::Close | TallyOp::Delete => {
                let tally = self.cells.tallies.get(name).ok_or_else(|| no_tally(name))?;
                if op == TallyOp::Open {
                    tally
                        .check_opens(self.now_ms)
                        .map_err(|refusal| about("tally", name, refusal))?;
                }
                false
            }
        };
        let reply = self.changed_tally(name, op, created, version);
        if incarnation.is_some() {
            self.pass_on(origin, name, partitions, op, &rules, incarnation);
        }
        Ok(reply)
    }

    /// Carries out what the home partition has passed on. There it has been checked; here it
    /// fails for want of room only.
    pub(super) fn change_part(
        &mut self,
        name: &Name,
        op: TallyOp,
        rules: Option<Arc<TallyRules>>,
        incarnation: Option<u64>,
    ) -> Result<Reply, Refusal> {
        let version = self.cells.next_version();
        let is_other = |tally: &Tally| tally.incarnation() != incarnation;
        let created = match op {
            TallyOp::Create => {
                if self.cells.tallies.get(name).is_some_and(is_other) {
                    self.remove_tally(name);
                    self.log_tally(name);
                }
                self.create_tally(name, rules, version, incarnation)?
            }
            TallyOp::Open | TallyOp::Close | TallyOp::Delete => false,
        };
        Ok(self.changed_tally(name, op, created, version))
    }

    /// Opens, closes or deletes a tally, if it is there, and says how it stands then.
    fn changed_tally(&mut self, name: &Name, op: TallyOp, created: bool, version: u64) -> Reply {
        let now_ms = self.now_ms;
        let mut reply = TallyReply { created, version, ..TallyReply::default() };
        let Some(tally) = self.cells.tallies.get_mut(name) else { return Reply::Tally(reply) };
        let changed = match op {
            TallyOp::Create => false,
            TallyOp::Open => tally.open(version, now_ms),
            TallyOp::Close => tally.close(version, now_ms),
            TallyOp::Delete => true,
        };
        reply.state = tally.state(now_ms);
        if changed {
            self.cells.changed.insert((CellKind::Tally, name.clone()));
        }
        if op == TallyOp::Delete {
            self.remove_tally(name);
        } else {
            reply.version = tally.version();
            let next_ms = tally.next_transition_ms(now_ms);
            self.schedule(next_ms, Timer::Tally(name.clone()));
        }
        if changed {
            self.log_tally(name);
        }
        Reply::Tally(reply)
    }

    /// Tells the other partitions of a poll; they reply to whoever asked as well.
    fn pass_on(
        &mut self,
        origin: Origin,
        name: &Name,
        partitions: u16,
        op: TallyOp,
        rules: &Option<Arc<TallyRules>>,
        incarnation: Option<u64>,
    ) {
        let command = || {
            let (name, rules) = (name.clone(), rules.clone());
            Command::Request(origin, Request::Tally { name, op, rules, incarnation })
        };
        let commands: Vec<(u16, Command)> = (1..partitions)
            .map(|partition| (shard_of_partition(self.config.shard, partition), command()))
            .collect();
        self.round.events.push((FORWARDING, Event::Forward(commands)));
    }

    fn create_tally(
        &mut self,
        name: &Name,
        rules: Option<Arc<TallyRules>>,
        version: u64,
        incarnation: Option<u64>,
    ) -> Result<bool, Refusal> {
        let Some(rules) = rules else {
            let message = format!("tally '{name}' is not created: 'rules' are missing");
            return Err(refuse(ErrorCode::InvalidArgument, message));
        };
        if let Some(tally) = self.cells.tallies.get(name) {
            if *tally.rules() == *rules {
                return Ok(false);
            }
            return Err(refuse(
                ErrorCode::AlreadyExists,
                format!("tally '{name}' exists with other rules: delete it or use another name"),
            ));
        }
        self.check_shard_room("tally", name)?;
        if self.counts_tally(name) {
            self.check_tenant("tally", name)?;
        }
        let tally =
            Tally::new((*rules).clone(), self.config.limits.voters_max, self.config.seed, version)
                .map_err(|refusal| about("tally", name, refusal))?;
        self.cells.tallies.insert(name.clone(), tally.in_partition(incarnation));
        if self.counts_tally(name) {
            self.cell_made(name);
        }
        self.cells.mark(CellKind::Tally, name);
        self.log_tally(name);
        Ok(true)
    }

    fn remove_tally(&mut self, name: &Name) {
        if self.cells.tallies.remove(name).is_some() && self.counts_tally(name) {
            self.cell_gone(name);
        }
    }

    /// A scheduled opening or closing has come: watchers are to see it.
    pub(super) fn transit_tally(&mut self, name: &Name) {
        let (now_ms, version) = (self.now_ms, self.cells.next_version());
        let Some(tally) = self.cells.tallies.get_mut(name) else { return };
        tally.touch(version);
        let next_ms = tally.next_transition_ms(now_ms);
        self.cells.mark(CellKind::Tally, name);
        self.log_tally(name);
        self.schedule(next_ms, Timer::Tally(name.clone()));
    }
}
