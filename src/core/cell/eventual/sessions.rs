//! What one actor has counted for which session, so that a retry is not counted again.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use tidewire_protocol::{Name, stable_hash};

use crate::cell::replicated::Actor;
use crate::state_hash::StateHasher;
use crate::{HashMap, hash_map};

/// Increments that are remembered of one session. Part of what replicas agree on, so it is the same
/// on all nodes and never configured.
pub(super) const WINDOW: usize = 64;

/// The answer to one increment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, i64, Actor, u64, u64)", into = "(u64, i64, Actor, u64, u64)")]
pub struct Answer {
    /// The session's number of it.
    pub(super) sequence: u64,
    /// Value of the counter after it, where it was counted.
    pub(super) value: i64,
    /// Who has counted it; somebody else may have inherited it.
    pub(super) actor: Actor,
    /// That actor's version.
    pub(super) version: u64,
    /// Of the counter and the amount.
    pub(super) fingerprint: u64,
}

impl From<(u64, i64, Actor, u64, u64)> for Answer {
    fn from(answer: (u64, i64, Actor, u64, u64)) -> Self {
        let (sequence, value, actor, version, fingerprint) = answer;
        Self { sequence, value, actor, version, fingerprint }
    }
}

impl From<Answer> for (u64, i64, Actor, u64, u64) {
    fn from(answer: Answer) -> Self {
        let Answer { sequence, value, actor, version, fingerprint } = answer;
        (sequence, value, actor, version, fingerprint)
    }
}

/// What tells one increment from another that comes under the same sequence by mistake.
pub(super) fn fingerprint(counter: &Name, amount: i64) -> u64 {
    stable_hash(counter.as_str().as_bytes()).rotate_left(17) ^ amount.cast_unsigned()
}

/// The newest increments of one session, complete from `floor` on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Sequences below this one are not remembered.
    pub(super) floor: u64,
    /// The actor takes nothing from this session any more.
    pub(super) is_closed: bool,
    /// In the order of their sequences.
    answers: VecDeque<Answer>,
}

/// What a window says about a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was not counted.
    New,
    /// It was.
    Counted(Answer),
    /// It is not remembered whether it was.
    TooOld,
}

impl Window {
    pub(super) fn find(&self, sequence: u64) -> Verdict {
        if sequence < self.floor {
            return Verdict::TooOld;
        }
        match self.answers.binary_search_by_key(&sequence, |answer| answer.sequence) {
            Ok(at) => self.answers.get(at).map_or(Verdict::New, |answer| Verdict::Counted(*answer)),
            Err(_) => Verdict::New,
        }
    }

    /// The largest sequence that was counted.
    pub(super) fn last(&self) -> u64 {
        self.answers.back().map_or(self.floor.saturating_sub(1), |answer| answer.sequence)
    }

    /// Increments that are remembered.
    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }

    fn insert(&mut self, answer: Answer) {
        let sequence = answer.sequence;
        match self.answers.binary_search_by_key(&sequence, |answer| answer.sequence) {
            Err(at) if sequence >= self.floor => self.answers.insert(at, answer),
            Ok(_) | Err(_) => return,
        }
        if self.answers.len() > WINDOW
            && let Some(oldest) = self.answers.pop_front()
        {
            self.floor = oldest.sequence.saturating_add(1);
        }
    }

    /// Adds what an earlier incarnation has counted for the same session.
    fn inherit(&mut self, earlier: Self) {
        let Self { floor, is_closed: _, answers } = earlier;
        self.floor = self.floor.max(floor);
        while self.answers.front().is_some_and(|answer| answer.sequence < self.floor) {
            self.answers.pop_front();
        }
        // The oldest go into the window last, or they would push its floor beyond the others.
        answers.into_iter().rev().for_each(|answer| self.insert(answer));
    }

    pub(super) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { floor, is_closed, answers } = self;
        hasher.number(*floor);
        hasher.flag(*is_closed);
        hasher.ordered(answers, |hasher, answer| answer.hash_into(hasher));
    }
}

impl Answer {
    pub(super) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { sequence, value, actor, version, fingerprint } = self;
        hasher.number(*sequence);
        hasher.number(*value);
        actor.hash_into(hasher);
        hasher.number(*version);
        hasher.number(*fingerprint);
    }
}

/// The windows of all sessions of one actor.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    windows: HashMap<u64, Window>,
    /// Of sessions up to this one, those that are not known may have been forgotten.
    pub(super) forgotten: u64,
}

impl Sessions {
    pub(super) fn new(seed: u64) -> Self {
        Self { windows: hash_map(seed), forgotten: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.windows.len()
    }

    pub(super) fn window(&self, session: u64) -> Option<&Window> {
        self.windows.get(&session)
    }

    pub(super) fn record(&mut self, session: u64, answer: Answer) {
        self.windows.entry(session).or_default().insert(answer);
    }

    /// Closes a session. One that may have been forgotten stays unknown: a window that begins now would
    /// say of everything before that it was not counted.
    pub(super) fn close(&mut self, session: u64) {
        if let Some(window) = self.windows.get_mut(&session) {
            window.is_closed = true;
        } else if session > self.forgotten {
            self.windows.insert(session, Window { is_closed: true, ..Window::default() });
        }
    }

    pub(super) fn put(&mut self, session: u64, window: Window) {
        self.windows.insert(session, window);
    }

    pub(super) fn forget(&mut self, session: u64) {
        self.windows.remove(&session);
        self.forgotten = self.forgotten.max(session);
    }

    /// The sessions in order of their ids.
    pub(super) fn in_order(&self) -> Vec<(u64, &Window)> {
        let mut all: Vec<_> = self.windows.iter().map(|(id, window)| (*id, window)).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    /// Adds what an earlier incarnation knows, within the bound: the sessions that were issued first
    /// leave first.
    pub(super) fn inherit(&mut self, earlier: Self, sessions_max: usize) {
        let Self { windows, forgotten } = earlier;
        self.forgotten = self.forgotten.max(forgotten);
        for (session, window) in windows {
            match self.windows.get_mut(&session) {
                Some(own) => own.inherit(window),
                None => self.put(session, window),
            }
        }
        let beyond = self.len().saturating_sub(sessions_max);
        let leaving: Vec<u64> = self.in_order().iter().take(beyond).map(|(id, _)| *id).collect();
        leaving.into_iter().for_each(|session| self.forget(session));
    }

    pub(super) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { windows, forgotten } = self;
        hasher.unordered(windows, |hasher, (session, window)| {
            hasher.number(*session);
            window.hash_into(hasher);
        });
        hasher.number(*forgotten);
    }
}
