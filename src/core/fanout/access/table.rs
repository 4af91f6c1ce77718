//! The permissions in use, and what was decided by them.

use alloc::sync::Arc;

use slab::Slab;
use tidewire_protocol::Name;

use crate::access::{Operations, Permissions};
use crate::{HashMap, hash_map};

/// Verdicts that are remembered in all; beyond it they are made anew.
const VERDICTS_MAX: usize = 65_536;

/// The permissions in use, each kept once, with what they allow on names that were asked about.
#[derive(Debug)]
pub(in crate::fanout) struct Accesses {
    seed: u64,
    by_value: HashMap<Arc<Permissions>, usize>,
    in_use: Slab<InUse>,
    /// Verdicts in all.
    verdicts: usize,
}

#[derive(Debug)]
struct InUse {
    permissions: Arc<Permissions>,
    users: usize,
    verdicts: HashMap<Name, Operations>,
}

impl Accesses {
    pub(in crate::fanout) fn new(seed: u64) -> Self {
        Self { seed, by_value: hash_map(seed), in_use: Slab::new(), verdicts: 0 }
    }

    /// Their place, and the permissions that are equal to these and kept.
    pub(super) fn add(&mut self, permissions: &Arc<Permissions>) -> (usize, Arc<Permissions>) {
        if let Some((known, place)) = self.by_value.get_key_value(permissions) {
            if let Some(in_use) = self.in_use.get_mut(*place) {
                in_use.users += 1;
            }
            return (*place, Arc::clone(known));
        }
        let permissions = Arc::clone(permissions);
        let verdicts = hash_map(self.seed);
        let kept = Arc::clone(&permissions);
        let place = self.in_use.insert(InUse { permissions: kept, users: 1, verdicts });
        self.by_value.insert(Arc::clone(&permissions), place);
        (place, permissions)
    }

    pub(super) fn remove(&mut self, place: usize) {
        let Some(in_use) = self.in_use.get_mut(place) else { return };
        in_use.users -= 1;
        if in_use.users == 0 {
            let in_use = self.in_use.remove(place);
            self.by_value.remove(&in_use.permissions);
            self.verdicts -= in_use.verdicts.len();
        }
    }

    /// What is allowed with a name.
    #[inline]
    pub(super) fn operations(&mut self, place: usize, name: &Name) -> Operations {
        match self.in_use.get(place).and_then(|in_use| in_use.verdicts.get(name)) {
            Some(known) => *known,
            None => self.decide(place, name),
        }
    }

    #[cold]
    fn decide(&mut self, place: usize, name: &Name) -> Operations {
        if self.verdicts >= VERDICTS_MAX {
            // Their memory goes as well.
            let seed = self.seed;
            self.in_use.iter_mut().for_each(|(_, in_use)| in_use.verdicts = hash_map(seed));
            self.verdicts = 0;
        }
        let Some(in_use) = self.in_use.get_mut(place) else { return Operations::NONE };
        let operations = in_use.permissions.operations(name);
        in_use.verdicts.insert(name.clone(), operations);
        self.verdicts += 1;
        operations
    }

    /// Sets of permissions.
    pub(super) fn len(&self) -> usize {
        self.in_use.len()
    }
}
