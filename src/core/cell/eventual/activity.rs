//! When each session of this node was active, for forgetting those that are idle. It is not told to
//! others: they hear who was forgotten.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::state_hash::StateHasher;
use crate::{HashMap, hash_map};

/// How far a session's time may be behind before it is moved.
const ACTIVITY_MS: u64 = 1_000;

#[derive(Debug)]
pub(super) struct Activity {
    active_ms: HashMap<u64, u64>,
    /// Those who were active longest ago come first.
    oldest_first: BTreeSet<(u64, u64)>,
}

impl Activity {
    pub(super) fn new(seed: u64) -> Self {
        Self { active_ms: hash_map(seed), oldest_first: BTreeSet::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.active_ms.len()
    }

    pub(super) fn knows(&self, session: u64) -> bool {
        self.active_ms.contains_key(&session)
    }

    pub(super) fn touch(&mut self, session: u64, now_ms: u64) {
        let before = self.active_ms.get(&session).copied();
        if before.is_some_and(|before| now_ms < before.saturating_add(ACTIVITY_MS)) {
            return;
        }
        self.set(session, now_ms);
    }

    pub(super) fn set(&mut self, session: u64, active_ms: u64) {
        if let Some(before) = self.active_ms.insert(session, active_ms) {
            self.oldest_first.remove(&(before, session));
        }
        self.oldest_first.insert((active_ms, session));
    }

    /// Drops those that are not to be kept.
    pub(super) fn keep(&mut self, mut is_kept: impl FnMut(u64) -> bool) {
        self.active_ms.retain(|session, _| is_kept(*session));
        self.oldest_first.retain(|(_, session)| self.active_ms.contains_key(session));
    }

    pub(super) fn pop_idle(&mut self, now_ms: u64, idle_ms: u64) -> Option<u64> {
        let (active_ms, _) = self.oldest_first.first()?;
        (active_ms.saturating_add(idle_ms) <= now_ms).then(|| self.pop_oldest()).flatten()
    }

    pub(super) fn pop_oldest(&mut self) -> Option<u64> {
        let (_, session) = self.oldest_first.pop_first()?;
        self.active_ms.remove(&session);
        Some(session)
    }

    /// Time and session, those who were active longest ago first.
    pub(super) fn save(&self) -> Vec<(u64, u64)> {
        self.oldest_first.iter().copied().collect()
    }

    pub(super) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { active_ms, oldest_first } = self;
        hasher.size(active_ms.len());
        hasher.ordered(oldest_first, |hasher, (active_ms, session)| {
            hasher.number(*active_ms);
            hasher.number(*session);
        });
    }
}
