//! When a tally accepts ballots: by its schedule, until a request overrides it.

use alloc::format;

use serde::{Deserialize, Serialize};
use tidewire_protocol::tally::{TallyRules, TallyState};
use tidewire_protocol::{ErrorCode, Refusal};

use crate::state_hash::StateHasher;

/// The part of the schedule that still applies.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Schedule {
    opens_at_ms: Option<u64>,
    closes_at_ms: Option<u64>,
    /// Closed by request, whatever the times say.
    is_closed: bool,
    /// Closed for good: its voters are not recognised any more.
    #[serde(default)]
    is_sealed: bool,
}

impl Schedule {
    pub(super) fn of(rules: &TallyRules) -> Self {
        let (opens_at_ms, closes_at_ms) = (rules.opens_at_ms, rules.closes_at_ms);
        Self { opens_at_ms, closes_at_ms, is_closed: false, is_sealed: false }
    }

    pub(super) fn seal(&mut self) {
        self.is_sealed = true;
    }

    /// Whether it can be opened again.
    pub(super) fn is_sealed(&self) -> bool {
        self.is_sealed
    }

    pub(super) fn state(&self, now_ms: u64) -> TallyState {
        if self.is_sealed
            || self.is_closed
            || self.closes_at_ms.is_some_and(|at_ms| at_ms <= now_ms)
        {
            TallyState::Closed
        } else if self.opens_at_ms.is_some_and(|at_ms| now_ms < at_ms) {
            TallyState::Scheduled
        } else {
            TallyState::Open
        }
    }

    pub(super) fn next_transition_ms(&self, now_ms: u64) -> Option<u64> {
        match self.state(now_ms) {
            TallyState::Scheduled => self.opens_at_ms,
            TallyState::Open => self.closes_at_ms,
            TallyState::Closed => None,
        }
    }

    /// Opens now. A close that has passed would close it again at once, so it is dropped.
    pub(super) fn open(&mut self, now_ms: u64) -> bool {
        if self.is_sealed || self.state(now_ms) == TallyState::Open {
            return false;
        }
        let closes_at_ms = self.closes_at_ms.filter(|at_ms| now_ms < *at_ms);
        *self = Self { opens_at_ms: None, closes_at_ms, is_closed: false, is_sealed: false };
        true
    }

    /// Closes now. What the schedule has closed stays closed anyway.
    pub(super) fn close(&mut self, now_ms: u64) -> bool {
        if self.state(now_ms) == TallyState::Closed {
            return false;
        }
        self.is_closed = true;
        true
    }

    pub(super) fn hash_into(self, hasher: &mut StateHasher) {
        let Self { opens_at_ms, closes_at_ms, is_closed, is_sealed } = self;
        hasher.option_number(opens_at_ms);
        hasher.option_number(closes_at_ms);
        hasher.number(u8::from(is_closed));
        hasher.flag(is_sealed);
    }

    /// Refuses a ballot at a time when none is accepted.
    pub(super) fn check_open(&self, now_ms: u64) -> Result<(), Refusal> {
        match (self.state(now_ms), self.opens_at_ms, self.closes_at_ms) {
            (TallyState::Open, _, _) => Ok(()),
            (TallyState::Scheduled, opens_at_ms, _) => {
                let wait_ms = opens_at_ms.unwrap_or(now_ms).saturating_sub(now_ms);
                let message = format!("ballots are accepted in {wait_ms} ms (opens_at_ms)");
                Err(Refusal::new(ErrorCode::TallyNotOpen, message).retry_after_ms(wait_ms))
            }
            (TallyState::Closed, ..) if self.is_sealed => Err(Refusal::new(
                ErrorCode::TallyClosed,
                "it is closed for good: it was restored without the key that its voters were hashed \
                 with, so that nobody would be known to have voted",
            )),
            (TallyState::Closed, _, Some(at_ms)) if !self.is_closed => Err(Refusal::new(
                ErrorCode::TallyClosed,
                format!(
                    "no ballot is accepted from closes_at_ms {at_ms} on, {} ms ago",
                    now_ms.saturating_sub(at_ms)
                ),
            )),
            (TallyState::Closed, _, _) => Err(Refusal::new(
                ErrorCode::TallyClosed,
                "it has been closed, and no ballot is accepted until it is opened again",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLANNED: Schedule = Schedule {
        opens_at_ms: Some(100),
        closes_at_ms: Some(200),
        is_closed: false,
        is_sealed: false,
    };

    #[test]
    fn the_schedule_opens_and_closes_on_the_millisecond() {
        let states = [99, 100, 199, 200].map(|now_ms| PLANNED.state(now_ms));
        let (open, closed) = (TallyState::Open, TallyState::Closed);
        assert_eq!(states, [TallyState::Scheduled, open, open, closed]);
        let next = [99, 100, 200].map(|now_ms| PLANNED.next_transition_ms(now_ms));
        assert_eq!(next, [Some(100), Some(200), None]);
    }

    #[test]
    fn a_refusal_before_the_opening_says_when_to_come_back() {
        let refused = PLANNED.check_open(40).unwrap_err();
        assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::TallyNotOpen, Some(60)));
        assert!(PLANNED.check_open(230).unwrap_err().message.contains("200 on, 30 ms ago"));
    }

    #[test]
    fn a_request_overrides_the_schedule() {
        let mut early = PLANNED;
        assert!(early.open(10) && !early.open(10));
        assert_eq!(early.state(10), TallyState::Open);
        assert_eq!(
            (early.state(200), early.next_transition_ms(10)),
            (TallyState::Closed, Some(200))
        );

        let mut late = PLANNED;
        assert!(late.open(200));
        assert_eq!((late.state(9_999), late.next_transition_ms(200)), (TallyState::Open, None));

        let mut shut = PLANNED;
        assert!(shut.close(10) && !shut.close(150));
        assert_eq!((shut.state(150), shut.next_transition_ms(10)), (TallyState::Closed, None));
        assert!(shut.check_open(150).unwrap_err().message.contains("has been closed"));
        assert!(shut.open(150));
        assert_eq!((shut.state(150), shut.state(200)), (TallyState::Open, TallyState::Closed));
    }

    #[test]
    fn closing_what_the_schedule_has_closed_changes_nothing() {
        let mut over = PLANNED;
        assert!(!over.close(200));
        assert!(!over.is_closed);
    }
}
