//! Presence sets of a shard: who joins, who leaves, whose connection ends.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewire_protocol::frame::{CellKind, PresenceOp};
use tidewire_protocol::{Name, Refusal};

use super::Shard;
use super::cells::{about, entries};
use super::message::{CellValue, Reply, SessionId};
use crate::cell::{Keyed, SavedKeyed};
use crate::snapshot::BadSnapshot;
use crate::state_hash::StateHasher;

/// Tombstones that a presence set keeps for watchers that lag a little.
const PRESENCE_TOMBSTONES_MAX: usize = 1024;

/// Who is there: members, each held by one or more connections.
#[derive(Debug)]
pub(super) struct Presence {
    pub(super) members: Keyed,
    holders: BTreeMap<String, BTreeSet<SessionId>>,
    told: u64,
}

/// A saved [`Presence`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SavedPresence {
    members: SavedKeyed,
    holders: Vec<(String, BTreeSet<SessionId>)>,
    told: u64,
}

impl Presence {
    pub(super) fn save(&self) -> SavedPresence {
        let Self { members, holders, told } = self;
        let holders = holders.iter().map(|(member, held)| (member.clone(), held.clone()));
        SavedPresence { members: members.save(), holders: holders.collect(), told: *told }
    }

    pub(super) fn restore(saved: SavedPresence) -> Result<Self, BadSnapshot> {
        let SavedPresence { members, holders, told } = saved;
        let holders = holders.into_iter().collect();
        Ok(Self { members: Keyed::restore(members)?, holders, told })
    }

    pub(super) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { members, holders, told } = self;
        members.hash_into(hasher);
        hasher.ordered(holders, |hasher, (member, sessions)| {
            hasher.text(member);
            hasher.ordered(sessions, |hasher, session| session.hash_into(hasher));
        });
        hasher.number(*told);
    }
}

impl Shard {
    pub(super) fn change_presence(
        &mut self,
        session: SessionId,
        name: &Name,
        op: PresenceOp,
        member: &str,
        data: Bytes,
    ) -> Result<Reply, Refusal> {
        match op {
            PresenceOp::Join => self.join(session, name, member, data)?,
            PresenceOp::Leave => self.leave(session, name, member),
        }
        Ok(Reply::Done)
    }

    pub(super) fn join(
        &mut self,
        session: SessionId,
        name: &Name,
        member: &str,
        data: Bytes,
    ) -> Result<(), Refusal> {
        let members_max = self.config.limits.members_max;
        let created = !self.cells.presence.contains_key(name);
        if created {
            self.check_room("presence set", name)?;
        }
        let version = self.cells.next_version();
        let set = self.cells.presence.entry(name.clone()).or_insert_with(|| Presence {
            members: Keyed::new(members_max, PRESENCE_TOMBSTONES_MAX),
            holders: BTreeMap::new(),
            told: version - 1,
        });
        if created {
            self.topics.census.name_made(self.config.limits.tenants.find(name));
        }
        let unchanged = set.members.get(member).is_some_and(|entry| *entry.value == data);
        if !unchanged {
            set.members
                .set(member, data, None, version)
                .map_err(|refusal| about("presence set", name, refusal))?;
            self.cells.changed.insert((CellKind::Presence, name.clone()));
        }
        set.holders.entry(member.into()).or_default().insert(session);
        self.cells.sessions.entry(session).or_default().insert((name.clone(), member.into()));
        Ok(())
    }

    pub(super) fn leave(&mut self, session: SessionId, name: &Name, member: &str) {
        if let Some(joined) = self.cells.sessions.get_mut(&session) {
            joined.remove(&(name.clone(), member.into()));
            if joined.is_empty() {
                self.cells.sessions.remove(&session);
            }
        }
        let version = self.cells.next_version();
        let Some(set) = self.cells.presence.get_mut(name) else { return };
        let Some(holders) = set.holders.get_mut(member) else { return };
        holders.remove(&session);
        if holders.is_empty() {
            set.holders.remove(member);
            set.members.remove(member, version);
            self.cells.mark(CellKind::Presence, name);
        }
    }

    pub(super) fn session_ended(&mut self, session: SessionId) {
        self.stop_consuming(session);
        for (name, member) in self.cells.sessions.remove(&session).unwrap_or_default() {
            self.leave(session, &name, &member);
        }
    }

    pub(super) fn presence_changes(
        &mut self,
        name: &Name,
        is_followed: bool,
    ) -> Option<(u64, CellValue)> {
        let set = self.cells.presence.get_mut(name)?;
        let version = set.members.version();
        let told = core::mem::replace(&mut set.told, version);
        let changes = is_followed.then(|| (version, entries(&set.members, Some(told))));
        if set.members.is_empty() {
            self.cells.presence.remove(name);
            self.cell_gone(name);
        }
        changes
    }
}
