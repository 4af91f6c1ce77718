//! Tallies: declared options, one ballot per voter, counts that are always current.

mod ballots;
mod counts;
mod marks;
mod recovery;
mod runoff;
mod schedule;
mod state;
#[cfg(test)]
mod tests;

pub use recovery::TallyHead;
pub use state::SavedTally;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use tidewire_protocol::tally::{Choice, Rounds, Standings, TallyKind, TallyRules, TallyState};
use tidewire_protocol::{ErrorCode, Refusal};

use crate::access::LOCAL_ISSUER;
use ballots::{Ballots, Cast};
use counts::Counts;
use marks::OptionNames;
use schedule::Schedule;

/// A voter of a tally: a keyed hash of what the client named. The key is not known here, so the
/// voter cannot be found out from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct VoterId(#[serde(with = "serde_bytes")] pub [u8; 16]);

impl VoterId {
    /// The voter that is written like this: 32 hexadecimal digits.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        let mut id = [0; 16];
        if hex.len() != 2 * id.len() {
            return None;
        }
        for (byte, at) in id.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self(id))
    }
}

/// A poll with declared options and one ballot per voter.
#[derive(Debug)]
pub struct Tally {
    rules: TallyRules,
    voters_max: usize,
    version: u64,
    schedule: Schedule,
    names: OptionNames,
    ballots: Ballots,
    counts: Counts,
    /// Of a poll with partitions: the version with which its home partition created the poll.
    incarnation: Option<u64>,
}

/// The ballots of one partition of a ranked poll.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Profile {
    /// The poll's rules.
    pub rules: TallyRules,
    /// Distinct ballots as marks per rank, each with the number of its voters.
    pub ballots: Vec<(Box<[u16]>, u64)>,
}

impl Profile {
    /// The instant-runoff rounds of these ballots and those of other partitions of the poll.
    #[must_use]
    pub fn rounds_with(&self, others: &[Self]) -> Rounds {
        let ballots = || others.iter().chain([self]).flat_map(|profile| &profile.ballots);
        Rounds {
            options: self.rules.options.clone(),
            rounds: runoff::rounds(&self.rules, ballots().map(|(marks, count)| (&**marks, *count))),
            ballots: ballots().map(|(_, count)| count).sum(),
        }
    }
}

/// What became of a ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voted {
    /// A version of the tally that contains the ballot.
    pub version: u64,
    /// What became of it.
    pub status: VoteStatus,
    /// The revision under which the voter's ballot is stored.
    pub revision: u64,
}

/// The ways in which a ballot is answered without being refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum VoteStatus {
    /// The voter's first ballot.
    Accepted = 0,
    /// It replaced an earlier ballot, or the same one under a higher revision.
    Changed = 1,
    /// The same ballot is stored already; nothing has changed.
    Duplicate = 2,
}

impl Tally {
    /// A tally without ballots.
    ///
    /// # Errors
    /// `invalid_argument` for rules that contradict themselves.
    pub fn new(
        rules: TallyRules,
        voters_max: usize,
        hash_seed: u64,
        version: u64,
    ) -> Result<Self, Refusal> {
        rules.validate()?;
        Ok(Self {
            voters_max: voters_max.min(ballots::VOTERS_MAX),
            version,
            schedule: Schedule::of(&rules),
            names: OptionNames::of(&rules, hash_seed),
            ballots: Ballots::new(hash_seed),
            counts: Counts::of(&rules),
            incarnation: None,
            rules,
        })
    }

    /// The same as a partition of the poll that was created with this version.
    #[must_use]
    pub fn in_partition(self, incarnation: Option<u64>) -> Self {
        Self { incarnation, ..self }
    }

    /// Of a poll with partitions: which creation of it this belongs to.
    #[must_use]
    pub fn incarnation(&self) -> Option<u64> {
        self.incarnation
    }

    /// The rules it was created with.
    #[must_use]
    pub fn rules(&self) -> &TallyRules {
        &self.rules
    }

    /// Version of the last change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Number of voters whose ballot is stored.
    #[must_use]
    pub fn voters(&self) -> usize {
        self.ballots.voters()
    }

    /// Whether ballots are accepted at this time.
    #[must_use]
    pub fn state(&self, now_ms: u64) -> TallyState {
        self.schedule.state(now_ms)
    }

    /// When the state changes next by itself.
    #[must_use]
    pub fn next_transition_ms(&self, now_ms: u64) -> Option<u64> {
        self.schedule.next_transition_ms(now_ms)
    }

    /// Stamps a change of state that came by itself, so that watchers see it.
    pub fn touch(&mut self, version: u64) {
        self.version = version;
    }

    /// Opens the tally at once; it stays open until it is closed, by request or by a `closes_at`
    /// that still lies ahead. Returns whether something changed.
    pub fn open(&mut self, version: u64, now_ms: u64) -> bool {
        let changed = self.schedule.open(now_ms);
        self.stamp_if(changed, version)
    }

    /// Whether it can be opened.
    ///
    /// # Errors
    /// `tally_closed` if it is closed for good, or its results were hidden and have been shown.
    pub fn check_opens(&self, now_ms: u64) -> Result<(), Refusal> {
        if self.schedule.is_sealed() {
            return self.schedule.check_open(now_ms);
        }
        if self.rules.hidden && self.state(now_ms) == TallyState::Closed {
            let message = "its results were hidden until it was closed, and can be seen now: it is \
                           not opened again";
            return Err(Refusal::new(ErrorCode::TallyClosed, message));
        }
        Ok(())
    }

    /// Closes the tally until it is opened by request. Returns whether something changed.
    pub fn close(&mut self, version: u64, now_ms: u64) -> bool {
        let changed = self.schedule.close(now_ms);
        self.stamp_if(changed, version)
    }

    fn stamp_if(&mut self, changed: bool, version: u64) -> bool {
        if changed {
            self.version = version;
        }
        changed
    }

    /// Refuses voters whom another issuer knows than the one whose voters these are.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn check_issuer(&self, issuer: &str) -> Result<(), Refusal> {
        let wanted = self.rules.identity.as_deref().unwrap_or(LOCAL_ISSUER);
        if wanted == issuer {
            return Ok(());
        }
        let message = format!(
            "its voters are those of issuer '{}' (its rule 'identity'), and this one is known to '{}'",
            wanted.escape_default(),
            issuer.escape_default()
        );
        Err(Refusal::new(ErrorCode::Forbidden, message))
    }

    /// Takes one ballot. The same ballot under a revision that is not above the stored one is a
    /// duplicate even after the end, so that a retry does not look like a refusal.
    ///
    /// # Errors
    /// In this order: `tally_not_open` or `tally_closed`; `unknown_option` or `invalid_argument`
    /// for choices that the rules do not allow; `already_voted` if ballots are final;
    /// `stale_revision`; `invalid_argument` for a revision above 2^32 - 1; `limit_exceeded` for a
    /// voter too many. Nothing has changed then.
    pub fn vote(
        &mut self,
        voter: VoterId,
        choices: &[Choice],
        revision: Option<u64>,
        version: u64,
        now_ms: u64,
    ) -> Result<Voted, Refusal> {
        let marks = self.names.read(&self.rules, choices);
        let stored = self.ballots.of_voter(&voter);
        if let (Ok(marks), Some(stored)) = (&marks, stored)
            && self.is_retry(stored, marks, revision)
        {
            let (version, revision) = (self.version, u64::from(stored.revision));
            return Ok(Voted { version, status: VoteStatus::Duplicate, revision });
        }
        self.schedule.check_open(now_ms)?;
        let marks = marks?;
        let revision = match stored {
            Some(stored) => self.next_revision(stored, revision)?,
            None => self.first_revision(revision)?,
        };
        if let Some(stored) = stored {
            self.counts.remove(self.ballots.marks(stored));
        }
        self.counts.add(&marks);
        self.ballots.cast(voter, &marks, revision);
        self.version = version;
        let status = stored.map_or(VoteStatus::Accepted, |_| VoteStatus::Changed);
        Ok(Voted { version, status, revision: u64::from(revision) })
    }

    fn is_retry(&self, stored: Cast, marks: &[u16], revision: Option<u64>) -> bool {
        let not_newer = revision.is_none_or(|revision| revision <= u64::from(stored.revision));
        self.ballots.marks(stored) == marks && (not_newer || self.rules.is_final)
    }

    fn next_revision(&self, stored: Cast, revision: Option<u64>) -> Result<u32, Refusal> {
        if self.rules.is_final {
            let message = "this voter has voted, and ballots are final";
            return Err(Refusal::new(ErrorCode::AlreadyVoted, message));
        }
        let Some(revision) = revision else {
            return stored.revision.checked_add(1).ok_or_else(|| {
                invalid(format!("this voter's ballot has the last revision, {}", u32::MAX))
            });
        };
        if revision <= u64::from(stored.revision) {
            return Err(Refusal::new(
                ErrorCode::StaleRevision,
                format!(
                    "a ballot with revision {} of this voter is stored, and {revision} is not \
                     above it",
                    stored.revision
                ),
            ));
        }
        storable(revision)
    }

    fn first_revision(&self, revision: Option<u64>) -> Result<u32, Refusal> {
        if self.ballots.voters() >= self.voters_max {
            return Err(Refusal::new(
                ErrorCode::LimitExceeded,
                format!("no more than {} voters are kept (voters_max)", self.voters_max),
            ));
        }
        storable(revision.unwrap_or(1))
    }

    /// The counts at this time; the options and rules are left out.
    #[must_use]
    pub fn standings(&self, now_ms: u64) -> Standings {
        let state = self.state(now_ms);
        if self.is_hidden(now_ms) {
            let ballots = self.voters() as u64;
            return Standings { state, ballots, hidden: true, ..Standings::default() };
        }
        Standings { state, ..self.counts.standings() }
    }

    /// Whether nobody may see how the ballots were cast.
    #[must_use]
    pub fn is_hidden(&self, now_ms: u64) -> bool {
        self.rules.hidden && self.state(now_ms) != TallyState::Closed
    }

    /// Takes a voter's ballot out, as if it had never been cast. Returns whether there was one.
    pub fn invalidate(&mut self, voter: &VoterId, version: u64) -> bool {
        let Some(stored) = self.ballots.of_voter(voter) else { return false };
        self.counts.remove(self.ballots.marks(stored));
        self.ballots.remove(voter);
        self.version = version;
        true
    }

    /// The instant-runoff rounds of the ballots so far.
    ///
    /// # Errors
    /// `unsupported` for a tally that is not ranked, `forbidden` while the results are hidden.
    pub fn rounds(&self, now_ms: u64) -> Result<Rounds, Refusal> {
        self.check_ranked()?;
        self.check_shown(now_ms)?;
        Ok(Rounds {
            options: self.rules.options.clone(),
            rounds: runoff::rounds(&self.rules, self.ballots.distinct()),
            ballots: self.ballots.voters() as u64,
        })
    }

    /// The ballots so far, for a runoff over several partitions.
    ///
    /// # Errors
    /// As [`Self::rounds`].
    pub fn profile(&self, now_ms: u64) -> Result<Profile, Refusal> {
        self.check_ranked()?;
        self.check_shown(now_ms)?;
        let ballots = self.ballots.distinct().map(|(marks, count)| (marks.into(), count));
        Ok(Profile { rules: self.rules.clone(), ballots: ballots.collect() })
    }

    fn check_shown(&self, now_ms: u64) -> Result<(), Refusal> {
        if self.is_hidden(now_ms) {
            let message = "its results are hidden until it is closed";
            return Err(Refusal::new(ErrorCode::Forbidden, message));
        }
        Ok(())
    }

    fn check_ranked(&self) -> Result<(), Refusal> {
        let kind = match self.rules.kind {
            TallyKind::Ranked => return Ok(()),
            TallyKind::Single => "single",
            TallyKind::Multiple => "multiple",
        };
        let message =
            format!("a runoff needs ranked ballots, and the kind of this tally is {kind}");
        Err(Refusal::new(ErrorCode::Unsupported, message))
    }
}

fn storable(revision: u64) -> Result<u32, Refusal> {
    u32::try_from(revision)
        .map_err(|_wide| invalid(format!("revision {revision} is above {}", u32::MAX)))
}

fn invalid(message: String) -> Refusal {
    Refusal::new(ErrorCode::InvalidArgument, message)
}
