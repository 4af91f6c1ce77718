//! When a voter stands for election, and whom it would vote for.
//!
//! openraft draws its election timeout once, at its start, and looks at it every one and a half heartbeats: two voters that
//! have once stood at the same time do so again and again, and nobody is elected. So it is told here when to stand. Each
//! pause is drawn anew; and nobody stands before a majority has said that it would vote for it (the pre-vote of Ongaro's
//! thesis, 2014, 9.6), so a node that was cut off for a while does not disturb those that were not.

use std::ops::RangeInclusive;

use super::types::NodeId;

/// How long a voter votes for nobody else after it has heard from a leader.
pub(crate) const VOTERS_LEASE_MS: u64 = 800;
/// The pause beyond that before a voter asks the others. A leader that hands over has its heir elected before.
const FIRST_MS: RangeInclusive<u64> = 250..=600;
/// The pause before it asks again, or when it would vote for another one that may be elected.
const AGAIN_MS: RangeInclusive<u64> = 150..=600;
/// How long who leads, or does not vote, is left alone.
const REST_MS: u64 = 500;
/// How long asking, and standing, takes at most.
const ASKING_MS_MAX: u64 = 10_000;
/// How often a voter waits for others that want to be elected before it asks by itself.
const PROMISES_MAX: u8 = 3;

/// The last entry of a log: term and index.
pub(crate) type Last = Option<(u64, u64)>;

/// One voter, in one group.
#[derive(Debug)]
pub(crate) struct Standing {
    own: NodeId,
    /// When it has heard from a leader last; from its start on it may be that one is there.
    heard_ms: u64,
    due_ms: u64,
    /// It has asked the others, and waits for what they say.
    asks: bool,
    promises: u8,
}

impl Standing {
    /// A voter that has just started: alone it may stand at once.
    pub(crate) fn start(own: NodeId, now_ms: u64) -> Self {
        Self { own, heard_ms: now_ms, due_ms: now_ms, asks: false, promises: 0 }
    }

    /// A leader is there. `chance`: any number.
    pub(crate) fn hear(&mut self, now_ms: u64, chance: u64) {
        self.heard_ms = now_ms;
        self.asks = false;
        self.promises = 0;
        self.due_ms = now_ms + VOTERS_LEASE_MS + drawn(&FIRST_MS, chance);
    }

    /// When it is to be looked whether this node should stand.
    pub(crate) fn due_ms(&self) -> u64 {
        self.due_ms
    }

    /// It leads, or does not vote.
    pub(crate) fn rest(&mut self, now_ms: u64) {
        self.due_ms = now_ms + REST_MS;
    }

    /// Whether the others are to be asked now, if there are any. Otherwise it is due later.
    pub(crate) fn ask(&mut self, is_alone: bool, now_ms: u64, chance: u64) -> bool {
        self.asks = is_alone || !self.hears(now_ms);
        if self.asks {
            self.promises = 0;
            self.due_ms = now_ms + ASKING_MS_MAX;
        } else {
            self.due_ms = self.heard_ms + VOTERS_LEASE_MS + drawn(&FIRST_MS, chance);
        }
        self.asks
    }

    /// Whether it has asked, and no leader was heard of since.
    pub(crate) fn asks(&self) -> bool {
        self.asks
    }

    /// It has stood, or not enough others would vote for it. Unless a leader is there it asks again later.
    pub(crate) fn asked(&mut self, now_ms: u64, chance: u64) {
        if std::mem::take(&mut self.asks) {
            self.due_ms = now_ms + drawn(&AGAIN_MS, chance);
        }
    }

    /// Whether a leader was heard of so lately that nobody stands yet.
    pub(crate) fn is_led(&self, now_ms: u64) -> bool {
        now_ms < self.heard_ms + VOTERS_LEASE_MS + FIRST_MS.end()
    }

    /// Whether it would vote for a candidate, whose log ends so. Of two that ask at the same time the greater
    /// id goes first.
    pub(crate) fn would_vote(
        &mut self,
        (candidate, last): (NodeId, Last),
        own_last: Last,
        now_ms: u64,
        chance: u64,
    ) -> bool {
        let goes_first = self.asks && (own_last, self.own) > (last, candidate);
        if self.hears(now_ms) || last < own_last || goes_first {
            return false;
        }
        if self.promises < PROMISES_MAX {
            self.promises += 1;
            self.due_ms = self.due_ms.max(now_ms + drawn(&AGAIN_MS, chance));
        }
        true
    }

    fn hears(&self, now_ms: u64) -> bool {
        now_ms < self.heard_ms + VOTERS_LEASE_MS
    }
}

fn drawn(range: &RangeInclusive<u64>, chance: u64) -> u64 {
    range.start() + chance % (range.end() - range.start() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: Last = Some((3, 40));

    #[test]
    fn who_hears_from_a_leader_neither_stands_nor_votes() {
        let mut voter = Standing::start(1, 0);
        voter.hear(10_000, 7);
        assert!((11_050..=11_400).contains(&voter.due_ms()));
        assert!(!voter.would_vote((2, Some((9, 90))), LAST, 10_799, 1));
        assert!(!voter.ask(false, 10_799, 1));
        assert!(voter.due_ms() > 10_799);
        assert!(voter.would_vote((2, LAST), LAST, 10_800, 1));
        assert!(voter.ask(false, 11_400, 1) && voter.asks());
        voter.hear(11_500, 1);
        voter.asked(11_600, 1);
        assert!(!voter.asks() && voter.due_ms() > 12_500);
        assert!(voter.is_led(12_899) && !voter.is_led(12_900));
    }

    #[test]
    fn a_start_is_followed_by_a_while_in_which_a_leader_may_be_there() {
        let mut voter = Standing::start(1, 500);
        assert_eq!(voter.due_ms(), 500, "it is looked whether it is alone");
        assert!(!voter.ask(false, 500, 3));
        assert!(voter.due_ms() >= 500 + VOTERS_LEASE_MS);
        assert!(!voter.would_vote((2, LAST), None, 600, 3));
        assert!(voter.ask(true, 600, 3), "nobody else votes");
    }

    #[test]
    fn nobody_votes_for_a_log_that_lacks_something() {
        let mut voter = Standing::start(1, 0);
        assert!(!voter.would_vote((2, Some((3, 39))), LAST, 5_000, 1));
        assert!(!voter.would_vote((2, Some((2, 90))), LAST, 5_000, 1));
        assert!(!voter.would_vote((2, None), LAST, 5_000, 1));
        assert!(voter.would_vote((2, Some((4, 1))), LAST, 5_000, 1));
    }

    #[test]
    fn of_two_that_ask_at_once_one_goes_first() {
        let mut voters = [1, 2].map(|node| Standing::start(node, 0));
        assert!(voters.iter_mut().all(|voter| voter.ask(false, 5_000, 9)));
        let [one, other] = &mut voters;
        assert!(one.would_vote((2, LAST), LAST, 5_001, 9));
        assert!(!other.would_vote((1, LAST), LAST, 5_001, 9));
        assert!(one.would_vote((2, Some((5, 1))), LAST, 5_001, 9));
        assert!(!other.would_vote((1, Some((1, 1))), LAST, 5_001, 9));
    }

    #[test]
    fn a_promise_puts_it_off_and_not_for_ever() {
        let mut voter = Standing::start(1, 0);
        voter.hear(0, 0);
        for now_ms in (1_000..).step_by(100).take(40) {
            assert!(voter.would_vote((2, LAST), LAST, now_ms, 0));
        }
        assert!(voter.due_ms() < 2_000, "{voter:?}");
    }

    /// Voters with no way to agree on a time: whoever is elected is so within a second of the first who asks.
    #[test]
    fn voters_that_begin_together_do_not_stay_together() {
        let mut random = 1_u64;
        let mut chance = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random >> 33
        };
        let mut rounds = Vec::new();
        for _ in 0..1_000 {
            let mut voters = [1, 2].map(|node| Standing::start(node, 0));
            for voter in &mut voters {
                voter.hear(0, chance());
            }
            // A question takes 20 ms; who asks within that time does not know of the other.
            let mut round = 0;
            let elected_ms = loop {
                round += 1;
                assert!(round < 20);
                let at_ms = voters.iter().map(Standing::due_ms).min().unwrap();
                let due = |voter: &mut Standing| {
                    voter.due_ms() < at_ms + 20 && voter.ask(false, at_ms, 0)
                };
                let asking: Vec<usize> = (0..2).filter(|at| due(&mut voters[*at])).collect();
                let wins = asking.iter().filter(|at| {
                    let candidate = voters[**at].own;
                    voters[1 - **at].would_vote((candidate, LAST), LAST, at_ms + 20, 0)
                });
                let wins = wins.copied().collect::<Vec<_>>();
                for at in asking {
                    let again = chance();
                    voters[at].asked(at_ms + 40, again);
                }
                if let [_] = wins[..] {
                    break at_ms;
                }
                assert!(wins.is_empty(), "two at once");
            };
            rounds.push(elected_ms);
        }
        rounds.sort_unstable();
        assert!(rounds[990] < 1_500, "{}", rounds[990]);
    }
}
