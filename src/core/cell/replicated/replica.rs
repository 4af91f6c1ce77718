//! One actor's history as one node holds it.

use alloc::format;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Actor, Content, Delta, DeltaLog, LogLimits, Merged, Owed, SavedDeltaLog, Versions};
use crate::snapshot::BadSnapshot;
use crate::state_hash::StateHasher;

/// State that is what the changes of one actor make of it.
pub(crate) trait History: Sized {
    /// One change. It says how things are after it, so nothing is decided by applying it.
    type Change: Clone;
    /// What a change concerns, for whoever adds up several actors.
    type Key;

    /// Nothing yet.
    fn empty(seed: u64) -> Self;
    /// Applies a change of its log or of a snapshot.
    fn apply(&mut self, change: Self::Change) -> Option<Self::Key>;
    /// Everything that it concerns.
    fn keys(&self) -> impl Iterator<Item = Self::Key>;
    /// The changes that lead from nothing to this. Equal states have equal lists.
    fn changes(&self) -> Vec<Self::Change>;
    /// About how many bytes a change takes.
    fn bytes(change: &Self::Change) -> usize;
    fn hash_change(hasher: &mut StateHasher, change: &Self::Change);
    fn hash_into(&self, hasher: &mut StateHasher);
}

/// A prefix of one actor's history: what it makes up, and the newest of its changes.
#[derive(Clone, Debug)]
pub(crate) struct Replica<S: History> {
    pub(crate) state: S,
    pub(crate) log: DeltaLog<S::Change>,
    /// A snapshot of which some pieces are there.
    staged: Option<Staged<S>>,
}

#[derive(Clone, Debug)]
struct Staged<S> {
    version: u64,
    offset: u64,
    state: S,
}

/// A saved [`Replica`]: the list of changes that lead to its state, and its log. A snapshot that is
/// not complete is asked for again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SavedReplica<C> {
    version: u64,
    changes: Vec<C>,
    log: SavedDeltaLog<C>,
}

impl<S: History> Replica<S> {
    /// Nothing is known yet.
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: S::empty(seed), log: DeltaLog::new(0), staged: None }
    }

    /// Version up to which the history is known.
    pub(crate) fn version(&self) -> u64 {
        self.log.version()
    }

    /// Adds a change to the history; only its actor does so.
    pub(crate) fn change(&mut self, change: S::Change, limits: &LogLimits) -> Option<S::Key> {
        self.log.push(change.clone(), S::bytes(&change), limits);
        self.state.apply(change)
    }

    /// Takes over what is new. Calls `touched` with all that it concerns.
    pub(crate) fn merge(
        &mut self,
        content: Content<S::Change>,
        limits: &LogLimits,
        seed: u64,
        touched: impl FnMut(S::Key),
    ) -> Merged {
        match content {
            Content::Changes { from, changes } => {
                self.merge_changes(from, changes, limits, touched)
            }
            Content::Snapshot { version, .. } if version <= self.version() => Merged::Known,
            Content::Snapshot { version, offset, is_last, changes } => {
                match self.stage(version, offset, changes, seed) {
                    Ok(_) if is_last => self.take_staged(touched),
                    Ok(offset) => Merged::Staged { offset },
                    Err(offset) => Merged::PieceMissing { offset },
                }
            }
        }
    }

    fn merge_changes(
        &mut self,
        from: u64,
        changes: Vec<S::Change>,
        limits: &LogLimits,
        mut touched: impl FnMut(S::Key),
    ) -> Merged {
        let has = self.version();
        if from > has {
            return Merged::Hole { has };
        }
        let known = usize::try_from(has - from).unwrap_or(usize::MAX);
        for change in changes.into_iter().skip(known) {
            if let Some(key) = self.change(change, limits) {
                touched(key);
            }
        }
        if self.staged.as_ref().is_some_and(|staged| staged.version <= self.version()) {
            self.staged = None;
        }
        match self.version() {
            version if version > has => Merged::Applied { version },
            _ => Merged::Known,
        }
    }

    /// Keeps a piece; returns how much of the list is there, or as an error where it would have to
    /// begin.
    fn stage(
        &mut self,
        version: u64,
        offset: u64,
        changes: Vec<S::Change>,
        seed: u64,
    ) -> Result<u64, u64> {
        let is_another = self.staged.as_ref().is_none_or(|staged| staged.version != version);
        if is_another && offset > 0 {
            return Err(0);
        }
        if is_another {
            self.staged = None;
        }
        let staged =
            self.staged.get_or_insert_with(|| Staged { version, offset: 0, state: S::empty(seed) });
        let Some(known) = staged.offset.checked_sub(offset) else { return Err(staged.offset) };
        for change in changes.into_iter().skip(usize::try_from(known).unwrap_or(usize::MAX)) {
            staged.state.apply(change);
            staged.offset += 1;
        }
        Ok(staged.offset)
    }

    fn take_staged(&mut self, mut touched: impl FnMut(S::Key)) -> Merged {
        let Some(Staged { version, offset: _, state }) = self.staged.take() else {
            return Merged::Known;
        };
        self.state.keys().for_each(&mut touched);
        self.state = state;
        self.state.keys().for_each(touched);
        self.log = DeltaLog::new(version);
        Merged::Applied { version }
    }

    pub(crate) fn save(&self) -> SavedReplica<S::Change> {
        let Self { state, log, staged: _ } = self;
        SavedReplica { version: log.version(), changes: state.changes(), log: log.save() }
    }

    /// The history that was saved.
    ///
    /// # Errors
    /// When its log ends at another version.
    pub(crate) fn restore(
        saved: SavedReplica<S::Change>,
        actor: Actor,
        seed: u64,
    ) -> Result<Self, BadSnapshot> {
        let SavedReplica { version, changes, log } = saved;
        let (mut state, log) = (S::empty(seed), DeltaLog::restore(log));
        if log.version() != version {
            let ends = log.version();
            let what = format!("actor {actor} is at version {version}, its log ends at {ends}");
            return Err(BadSnapshot::new(what));
        }
        for change in changes {
            state.apply(change);
        }
        Ok(Self { state, log, staged: None })
    }

    pub(crate) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { state, log, staged } = self;
        state.hash_into(hasher);
        log.hash_into(hasher, S::hash_change);
        hasher.option(staged.as_ref(), |hasher, Staged { version, offset, state }| {
            hasher.number(*version);
            hasher.number(*offset);
            state.hash_into(hasher);
        });
    }
}

/// A snapshot of a history in pieces of at most so many bytes; a change that is larger is a piece of
/// its own. There is one piece at least.
pub(crate) fn pieces<S: History>(
    actor: Actor,
    replica: &Replica<S>,
    piece_bytes_max: usize,
) -> Vec<Delta<S::Change>> {
    let version = replica.version();
    let (mut all, mut offset, mut bytes, mut changes) = (Vec::new(), 0, 0, Vec::new());
    let piece = |offset, is_last, changes| Delta {
        actor,
        content: Content::Snapshot { version, offset, is_last, changes },
    };
    for change in replica.state.changes() {
        let more = S::bytes(&change);
        if !changes.is_empty() && bytes + more > piece_bytes_max {
            let count = changes.len() as u64;
            all.push(piece(offset, false, core::mem::take(&mut changes)));
            (offset, bytes) = (offset + count, 0);
        }
        bytes += more;
        changes.push(change);
    }
    all.push(piece(offset, true, changes));
    all
}

/// What a node lacks that knows so much, given each actor, its history and how much may be told of it.
pub(crate) fn owed_by<'a, S: History + 'a>(
    told: impl Iterator<Item = (Actor, &'a Replica<S>, u64)>,
    known: &Versions,
    bytes_max: usize,
) -> Owed<S::Change> {
    let mut owed = Owed { deltas: Vec::new(), snapshots: Vec::new() };
    let mut room = bytes_max;
    for (actor, replica, to) in told {
        let from = known.of(actor);
        if from >= to {
            continue;
        }
        match replica.log.since(from, to, room) {
            None => owed.snapshots.push(actor),
            Some(_) if room == 0 => {}
            Some((bytes, changes)) => {
                room = room.saturating_sub(bytes);
                owed.deltas.push(Delta { actor, content: Content::Changes { from, changes } });
            }
        }
    }
    owed
}
