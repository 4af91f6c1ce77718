//! Tallies of a shard: creation, ballots, opening and closing.

use alloc::boxed::Box;
use alloc::format;

use tidewire_protocol::frame::{CellKind, TallyOp};
use tidewire_protocol::tally::{Choice, TallyReply, TallyRules};
use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::cells::{about, no_tally};
use super::message::Reply;
use super::{Shard, Timer, refuse};
use crate::cell::{Tally, VoterId};

impl Shard {
    pub(super) fn vote(
        &mut self,
        name: &Name,
        voter: VoterId,
        choices: &[Choice],
        revision: Option<u64>,
    ) -> Result<Reply, Refusal> {
        let version = self.cells.next_version();
        let now_ms = self.now_ms;
        let tally = self.cells.tallies.get_mut(name).ok_or_else(|| no_tally(name))?;
        let voted = tally
            .vote(voter, choices, revision, version, now_ms)
            .map_err(|refusal| about("tally", name, refusal))?;
        if voted.version == version {
            self.cells.mark(CellKind::Tally, name);
        }
        Ok(Reply::Voted { epoch: self.config.epoch, voted })
    }

    pub(super) fn change_tally(
        &mut self,
        name: &Name,
        op: TallyOp,
        rules: Option<Box<TallyRules>>,
    ) -> Result<Reply, Refusal> {
        let now_ms = self.now_ms;
        let version = self.cells.next_version();
        let created = match op {
            TallyOp::Create => self.create_tally(name, rules, version)?,
            TallyOp::Open | TallyOp::Close => {
                let tally = self.cells.tallies.get_mut(name).ok_or_else(|| no_tally(name))?;
                let changed = if op == TallyOp::Open {
                    tally.open(version, now_ms)
                } else {
                    tally.close(version, now_ms)
                };
                if changed {
                    self.cells.mark(CellKind::Tally, name);
                }
                false
            }
            TallyOp::Delete => {
                let tally = self.cells.tallies.remove(name).ok_or_else(|| no_tally(name))?;
                self.cells.mark(CellKind::Tally, name);
                let state = tally.state(now_ms);
                return Ok(Reply::Tally(TallyReply { created: false, state, version }));
            }
        };
        let tally = self.cells.tallies.get(name).ok_or_else(|| no_tally(name))?;
        let reply = TallyReply { created, state: tally.state(now_ms), version: tally.version() };
        let next_ms = tally.next_transition_ms(now_ms);
        self.schedule(next_ms, Timer::Tally(name.clone()));
        Ok(Reply::Tally(reply))
    }

    pub(super) fn create_tally(
        &mut self,
        name: &Name,
        rules: Option<Box<TallyRules>>,
        version: u64,
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
        self.check_room("tally", name)?;
        let tally = Tally::new(*rules, self.config.limits.voters_max, self.config.seed, version)
            .map_err(|refusal| about("tally", name, refusal))?;
        self.cells.tallies.insert(name.clone(), tally);
        self.cells.mark(CellKind::Tally, name);
        Ok(true)
    }

    /// A scheduled opening or closing has come: watchers are to see it.
    pub(super) fn transit_tally(&mut self, name: &Name) {
        let (now_ms, version) = (self.now_ms, self.cells.next_version());
        let Some(tally) = self.cells.tallies.get_mut(name) else { return };
        tally.touch(version);
        let next_ms = tally.next_transition_ms(now_ms);
        self.cells.mark(CellKind::Tally, name);
        self.schedule(next_ms, Timer::Tally(name.clone()));
    }
}
