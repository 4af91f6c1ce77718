//! Who follows one thing by way of the relay, and who still waits for how it is.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::shard::{DispatcherId, Dispatchers};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// Who has been told how it is, and gets each change.
    live: Dispatchers,
    /// What the leader was asked for, in that order.
    asked: VecDeque<Asked>,
}

/// One question for how it is.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// Who gets the answer.
    to: Dispatchers,
    /// Which of them still want to hear of changes.
    stays: Dispatchers,
}

impl Followed {
    /// These follow it, and know something of it.
    pub(super) fn by(live: Dispatchers) -> Self {
        Self { live, asked: VecDeque::new() }
    }

    pub(super) fn ask(&mut self, dispatcher: DispatcherId) {
        let to = Dispatchers::of(dispatcher);
        self.asked.push_back(Asked { to, stays: to });
    }

    pub(super) fn leave(&mut self, dispatcher: DispatcherId) {
        self.live.remove(dispatcher);
        self.asked.iter_mut().for_each(|asked| asked.stays.remove(dispatcher));
    }

    /// Who gets what has come. `is_followed`: changes follow it.
    pub(super) fn answered(&mut self, is_followed: bool) -> Dispatchers {
        let Some(Asked { to, stays }) = self.asked.pop_front() else { return self.live };
        if is_followed {
            self.live = self.live.union(stays);
        }
        to
    }

    /// Whoever leads it now knows nothing of this. Returns the dispatchers for which it is asked, in
    /// order: one for all who have something, so that it crosses the link once for them.
    pub(super) fn ask_again(&mut self) -> Vec<DispatcherId> {
        let live = core::mem::take(&mut self.live);
        if !live.is_empty() {
            self.asked.push_front(Asked { to: live, stays: live });
        }
        self.asked.iter().filter_map(|asked| asked.to.iter().next()).collect()
    }

    /// What is still to be told: to whom, and who is to be told of changes behind that.
    pub(super) fn into_questions(self) -> impl Iterator<Item = (Dispatchers, Dispatchers)> {
        let live = (!self.live.is_empty()).then_some((self.live, self.live));
        live.into_iter().chain(self.asked.into_iter().map(|asked| (asked.to, asked.stays)))
    }

    pub(super) fn live(&self) -> Dispatchers {
        self.live
    }

    pub(super) fn all(&self) -> Dispatchers {
        self.asked.iter().fold(self.live, |all, asked| all.union(asked.stays))
    }

    /// Whether somebody wants to hear of it.
    pub(super) fn is_followed(&self) -> bool {
        !self.all().is_empty()
    }

    /// Whether nobody does, and nobody waits for an answer.
    pub(super) fn is_done(&self) -> bool {
        self.live.is_empty() && self.asked.is_empty()
    }
}
