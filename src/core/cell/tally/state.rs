//! A tally's state: its hash and its saved form.

use alloc::format;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use tidewire_protocol::tally::{Choice, TallyRules, TallyState};

use super::ballots::{Ballots, SavedBallots};
use super::counts::Counts;
use super::schedule::Schedule;
use super::{OptionNames, Tally, VoterId, marks};
use crate::snapshot::BadSnapshot;
use crate::state_hash::StateHasher;

/// A saved [`Tally`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedTally {
    rules: TallyRules,
    voters_max: usize,
    version: u64,
    schedule: Schedule,
    ballots: SavedBallots,
    counts: Counts,
    incarnation: Option<u64>,
}

impl SavedTally {
    /// Closes it for good.
    pub fn seal(&mut self) {
        self.schedule.seal();
    }

    /// Whether nobody may see how the ballots were cast.
    #[must_use]
    pub fn is_hidden(&self, now_ms: u64) -> bool {
        self.rules.hidden && self.schedule.state(now_ms) != TallyState::Closed
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &TallyRules {
        &self.rules
    }

    /// Its ballots: the voter's hash, the choices that it is made of, revision.
    pub fn ballots(&self) -> impl Iterator<Item = (VoterId, Vec<Choice>, u32)> {
        let ballots = self.ballots.iter();
        ballots.map(|(voter, marks, revision)| (voter, marks::choices(marks), revision))
    }
}

impl Tally {
    /// A copy to be stored.
    #[must_use]
    pub fn save(&self) -> SavedTally {
        let Self { rules, voters_max, version, schedule, ballots, counts, incarnation, names: _ } =
            self;
        SavedTally {
            rules: rules.clone(),
            voters_max: *voters_max,
            version: *version,
            schedule: *schedule,
            ballots: ballots.save(),
            counts: counts.clone(),
            incarnation: *incarnation,
        }
    }

    /// The tally that was saved; the seed may be another one.
    ///
    /// # Errors
    /// When the rules contradict themselves, or the counts or ballots do not belong to them.
    pub fn restore(saved: SavedTally, hash_seed: u64) -> Result<Self, BadSnapshot> {
        let SavedTally { rules, voters_max, version, schedule, ballots, counts, incarnation } =
            saved;
        rules.validate().map_err(|refusal| BadSnapshot::new(refusal.message))?;
        let (counted, declared) = (counts.options(), rules.options.len());
        if counted != declared {
            let what = format!("a tally of {declared} options has counts of {counted}");
            return Err(BadSnapshot::new(what));
        }
        Ok(Self {
            voters_max,
            version,
            schedule,
            names: OptionNames::of(&rules, hash_seed),
            ballots: Ballots::restore(ballots, hash_seed)?,
            counts,
            incarnation,
            rules,
        })
    }

    pub(crate) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { rules, voters_max, version, schedule, names, ballots, counts, incarnation } =
            self;
        hasher.option_number(*incarnation);
        hash_rules(rules, hasher);
        hasher.size(*voters_max);
        hasher.number(*version);
        schedule.hash_into(hasher);
        names.hash_into(hasher);
        ballots.hash_into(hasher);
        counts.hash_into(hasher);
    }
}

fn hash_rules(rules: &TallyRules, hasher: &mut StateHasher) {
    let TallyRules {
        kind,
        options,
        choices_max,
        is_final,
        opens_at_ms,
        closes_at_ms,
        overvote,
        exhaust_after_skips,
        hidden,
        identity,
    } = rules;
    hasher.number(*kind as u8);
    hasher.ordered(options, |hasher, option| hasher.text(option));
    hasher.option_number(*choices_max);
    hasher.number(u8::from(*is_final));
    hasher.option_number(*opens_at_ms);
    hasher.option_number(*closes_at_ms);
    hasher.number(*overvote as u8);
    hasher.number(*exhaust_after_skips);
    hasher.flag(*hidden);
    hasher.option(identity.as_deref(), StateHasher::text);
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use tidewire_protocol::tally::{Choice, Overvote, TallyKind};

    use super::super::VoterId;
    use super::*;
    use crate::state_hash::assert_each_counts;

    fn tally() -> Tally {
        let options = ["A", "B", "C"].map(ToString::to_string).to_vec();
        let mut rules = TallyRules::new(TallyKind::Ranked, options);
        rules.closes_at_ms = Some(900);
        let mut tally = Tally::new(rules, 100, 7, 1).unwrap();
        for voter in 0..6_u8 {
            let choices = [Choice::Index(u64::from(voter % 3)), Choice::Skipped];
            tally.vote(VoterId([voter; 16]), &choices, None, 2 + u64::from(voter), 10).unwrap();
        }
        tally
    }

    fn vote(tally: &mut Tally, voter: u8, choices: &[Choice], revision: u64) {
        tally.vote(VoterId([voter; 16]), choices, Some(revision), 7, 10).unwrap();
    }

    #[test]
    fn every_field_of_a_tally_counts() {
        assert_each_counts(
            tally,
            Tally::hash_into,
            &[
                |tally| tally.rules.kind = TallyKind::Single,
                |tally| tally.rules.options.reverse(),
                |tally| tally.rules.choices_max = Some(3),
                |tally| tally.rules.is_final = true,
                |tally| tally.rules.opens_at_ms = Some(1),
                |tally| tally.rules.closes_at_ms = None,
                |tally| tally.rules.overvote = Overvote::Exhaust,
                |tally| tally.rules.exhaust_after_skips = 2,
                |tally| tally.voters_max += 1,
                |tally| tally.incarnation = Some(1),
                |tally| tally.touch(99),
                |tally| assert!(tally.close(7, 10)),
                |tally| vote(tally, 0, &[Choice::Index(1)], 2),
                |tally| vote(tally, 0, &[Choice::Index(0)], 2),
                |tally| vote(tally, 9, &[Choice::Index(0)], 1),
                |tally| tally.counts.add(&[1]),
                |tally| tally.counts.remove(&[]),
                |tally| {
                    tally.names = OptionNames::of(
                        &TallyRules::new(TallyKind::Single, std::vec!["A".to_string()]),
                        7,
                    )
                },
            ],
        );
    }

    #[test]
    fn neither_the_seed_nor_the_order_of_voters_counts() {
        let hash = |seed: u64, voters: [u8; 3]| {
            let options = ["A", "B", "C"].map(ToString::to_string).to_vec();
            let rules = TallyRules::new(TallyKind::Single, options);
            let mut tally = Tally::new(rules, 100, seed, 1).unwrap();
            for voter in voters {
                let choices = [Choice::Index(u64::from(voter))];
                tally.vote(VoterId([voter; 16]), &choices, None, 5, 10).unwrap();
            }
            let mut hasher = StateHasher::new();
            tally.hash_into(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash(7, [0, 1, 2]), hash(7, [2, 0, 1]));
        assert_eq!(hash(7, [0, 1, 2]), hash(8, [0, 1, 2]));
    }
}
