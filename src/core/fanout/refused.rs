//! What was refused of late, for people who look on. It is a window, not a record: when nobody takes what is in it, or
//! too much comes, the rest is counted only.

use alloc::vec::Vec;

use tidewire_protocol::{ErrorCode, Refusal, ServerFrame};

use super::Dispatcher;
use crate::shard::SessionId;

/// Refusals that wait to be taken.
const WAITING_MAX: usize = 64;

/// A request that was refused, or a subscription that was ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Unix time in milliseconds, of the dispatcher's clock.
    pub at_ms: u64,
    /// Whose request it was.
    pub session: SessionId,
    /// Why.
    pub refusal: Refusal,
}

/// Refusals that wait to be taken.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    waiting: Vec<Refused>,
    left_out: u64,
}

impl Dispatcher {
    /// What was refused since this was asked last, and how much more than that.
    pub fn take_refused(&mut self) -> Option<(Vec<Refused>, u64)> {
        let Refusals { waiting, left_out } = &mut self.refusals;
        if waiting.is_empty() {
            return None;
        }
        Some((core::mem::take(waiting), core::mem::take(left_out)))
    }

    /// A request was refused.
    pub(super) fn refused(&mut self, session: SessionId, refusal: &Refusal) {
        self.stats.refusals += 1;
        if self.refusals.waiting.len() >= WAITING_MAX {
            self.refusals.left_out += 1;
            return;
        }
        let (at_ms, refusal) = (self.now_ms, refusal.clone());
        self.refusals.waiting.push(Refused { at_ms, session, refusal });
    }

    /// The same of an answer that says so.
    pub(super) fn refused_by(&mut self, session: SessionId, answer: Option<&ServerFrame>) {
        match answer {
            Some(ServerFrame::Error { code, message, .. }) => {
                let code = ErrorCode::from_number(*code).unwrap_or(ErrorCode::Internal);
                self.refused(session, &Refusal::new(code, message.as_str()));
            }
            Some(_) | None => self.stats.refusals += 1,
        }
    }
}
