//! A circuit breaker: leaves alone what has failed several times in a row, and tries it with one
//! attempt before all go to it again (Nygard, *Release It!*, 2nd edition, 2018, chapter 5).
//!
//! Time and randomness are passed in.

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BreakerLimits {
    /// Failures in a row that open it.
    pub(crate) failures_max: u32,
    /// The first pause; each that follows without a success is twice as long.
    pub(crate) pause_ms: u64,
    /// The longest one.
    pub(crate) pause_max_ms: u64,
}

/// A breaker.
#[derive(Debug)]
pub(crate) struct Breaker {
    limits: BreakerLimits,
    state: State,
    /// Pauses since the last success.
    pauses: u32,
    /// Counts the changes of the state: what was begun before one says nothing about what is now.
    changes: u64,
    opened: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// All may try; so many have failed in a row.
    Closed { failures: u32 },
    /// Nobody may.
    Open { until_ms: u64 },
    /// One tries.
    HalfOpen,
}

/// An attempt under way. Must be ended with [`Breaker::end`].
#[derive(Debug)]
#[must_use]
pub(crate) struct Attempt {
    changes: u64,
}

/// What has become of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Succeeded,
    Failed,
    /// Whoever tried has gone away before there was an outcome.
    Abandoned,
}

impl Breaker {
    /// A breaker that lets everybody try.
    pub(crate) fn new(limits: BreakerLimits) -> Self {
        let state = State::Closed { failures: 0 };
        Self { limits, state, pauses: 0, changes: 0, opened: 0 }
    }

    /// Whether nobody, or one only, may try.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }

    /// How often it has opened, not counting attempts that failed while it was half open.
    pub(crate) fn opened(&self) -> u64 {
        self.opened
    }

    /// Begins an attempt.
    ///
    /// # Errors
    /// In how many milliseconds it may be worth to ask again.
    pub(crate) fn begin(&mut self, now_ms: u64) -> Result<Attempt, u64> {
        match self.state {
            State::Closed { .. } => {}
            State::Open { until_ms } if now_ms < until_ms => return Err(until_ms - now_ms),
            State::Open { .. } => self.become_state(State::HalfOpen),
            State::HalfOpen => return Err(self.limits.pause_ms),
        }
        Ok(Attempt { changes: self.changes })
    }

    /// Ends an attempt. `random`: any number, evenly distributed; whether it has opened or closed by
    /// this.
    pub(crate) fn end(&mut self, attempt: Attempt, ended: Ended, now_ms: u64, random: u64) -> bool {
        if attempt.changes != self.changes {
            return false;
        }
        let was_open = self.is_open();
        match (self.state, ended) {
            (State::Closed { .. }, Ended::Succeeded) => self.state = State::Closed { failures: 0 },
            (State::Closed { failures }, Ended::Failed) => {
                let failures = failures.saturating_add(1);
                self.state = State::Closed { failures };
                if failures >= self.limits.failures_max {
                    self.opened += 1;
                    self.pause(now_ms, random);
                }
            }
            (State::HalfOpen, Ended::Succeeded) => {
                self.pauses = 0;
                self.become_state(State::Closed { failures: 0 });
            }
            (State::HalfOpen, Ended::Failed) => self.pause(now_ms, random),
            // The next one is the probe.
            (State::HalfOpen, Ended::Abandoned) => {
                self.become_state(State::Open { until_ms: now_ms });
            }
            (State::Closed { .. }, Ended::Abandoned) | (State::Open { .. }, _) => {}
        }
        was_open != self.is_open()
    }

    /// Opens for a while: a half to all of the pause, so that many do not come back at once.
    fn pause(&mut self, now_ms: u64, random: u64) {
        let doubled = self.limits.pause_ms.saturating_mul(1 << self.pauses.min(32));
        let pause_ms = doubled.min(self.limits.pause_max_ms);
        let half_ms = pause_ms / 2;
        let until_ms = now_ms.saturating_add(half_ms + random % (pause_ms - half_ms + 1));
        self.pauses = self.pauses.saturating_add(1);
        self.become_state(State::Open { until_ms });
    }

    fn become_state(&mut self, state: State) {
        self.state = state;
        self.changes += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: BreakerLimits =
        BreakerLimits { failures_max: 3, pause_ms: 1_000, pause_max_ms: 8_000 };

    fn fail(breaker: &mut Breaker, now_ms: u64) {
        let attempt = breaker.begin(now_ms).unwrap();
        breaker.end(attempt, Ended::Failed, now_ms, u64::MAX);
    }

    fn open(now_ms: u64) -> Breaker {
        let mut breaker = Breaker::new(LIMITS);
        (0..3).for_each(|_| fail(&mut breaker, now_ms));
        assert!(breaker.is_open());
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_others_do_not() {
        let mut breaker = Breaker::new(LIMITS);
        for _ in 0..10 {
            fail(&mut breaker, 0);
            fail(&mut breaker, 0);
            let attempt = breaker.begin(0).unwrap();
            assert!(!breaker.end(attempt, Ended::Succeeded, 0, 0));
        }
        assert!(!breaker.is_open());
        (0..3).for_each(|_| fail(&mut breaker, 5));
        assert!(breaker.is_open());
        assert!((500..=1_000).contains(&breaker.begin(5).unwrap_err()));
        assert_eq!(breaker.opened(), 1);
    }

    #[test]
    fn one_tries_and_its_success_lets_all_in() {
        let mut breaker = open(0);
        let probe = breaker.begin(1_001).unwrap();
        assert_eq!(breaker.begin(1_001).unwrap_err(), 1_000, "one at a time");
        assert!(breaker.end(probe, Ended::Succeeded, 1_002, 0), "it has closed");
        let both = [breaker.begin(1_003).unwrap(), breaker.begin(1_003).unwrap()];
        for one in both {
            assert!(!breaker.end(one, Ended::Succeeded, 1_004, 0));
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_until_a_success() {
        let (mut breaker, mut now_ms) = (open(0), 0);
        for pause_ms in [2_000, 4_000, 8_000, 8_000] {
            now_ms += 10_000;
            let probe = breaker.begin(now_ms).unwrap();
            assert!(!breaker.end(probe, Ended::Failed, now_ms, 1), "it stays open");
            let left_ms = breaker.begin(now_ms).unwrap_err();
            assert!((pause_ms / 2..=pause_ms).contains(&left_ms), "{left_ms}");
        }
        let probe = breaker.begin(now_ms + 8_000).unwrap();
        breaker.end(probe, Ended::Succeeded, now_ms, 0);
        (0..3).for_each(|_| fail(&mut breaker, now_ms));
        assert!(breaker.begin(now_ms).unwrap_err() <= 1_000);
    }

    #[test]
    fn a_probe_that_is_abandoned_is_followed_by_another() {
        let mut breaker = open(0);
        let probe = breaker.begin(2_000).unwrap();
        breaker.end(probe, Ended::Abandoned, 2_000, 0);
        let probe = breaker.begin(2_000).unwrap();
        assert!(breaker.end(probe, Ended::Succeeded, 2_000, 0));
    }

    #[test]
    fn what_began_before_says_nothing_about_what_is_now() {
        let mut breaker = Breaker::new(LIMITS);
        let [early, late] = [breaker.begin(0).unwrap(), breaker.begin(0).unwrap()];
        (0..3).for_each(|_| fail(&mut breaker, 0));
        assert!(!breaker.end(early, Ended::Succeeded, 1, 0));
        assert!(breaker.is_open());
        let probe = breaker.begin(2_000).unwrap();
        assert!(!breaker.end(late, Ended::Failed, 2_001, 0));
        assert!(breaker.end(probe, Ended::Succeeded, 2_002, 0));
    }

    proptest! {
        /// Whatever happens, one attempt at most is under way while it is open, and it always lets one
        /// try again within the longest pause.
        #[test]
        fn it_never_stays_shut(steps in prop::collection::vec((0..4_u8, 0..3_000_u64, any::<u64>()), 1..200)) {
            let (mut breaker, mut now_ms) = (Breaker::new(LIMITS), 0);
            let mut under_way: Vec<(Attempt, bool)> = Vec::new();
            for (step, wait_ms, random) in steps {
                now_ms += wait_ms;
                if step == 0 {
                    if let Ok(attempt) = breaker.begin(now_ms) {
                        under_way.push((attempt, breaker.is_open()));
                    }
                } else if let Some((attempt, _)) = under_way.pop() {
                    let ended = [Ended::Succeeded, Ended::Failed, Ended::Abandoned];
                    breaker.end(attempt, ended[usize::from(step) - 1], now_ms, random);
                }
                let current = |(attempt, probes): &&(Attempt, bool)| {
                    *probes && attempt.changes == breaker.changes
                };
                prop_assert!(under_way.iter().filter(current).count() <= 1);
            }
            for (attempt, _) in under_way {
                breaker.end(attempt, Ended::Failed, now_ms, 0);
            }
            prop_assert!(breaker.begin(now_ms + LIMITS.pause_max_ms).is_ok());
        }
    }
}
