//! Presence sets of a cluster: who is there, on whichever node.
//!
//! Each node holds the members of its own connections and tells the others what changes, as a
//! [history](super::replicated) of this life of the node. What a node shows is the union of what it knows
//! of all nodes. When a node is declared down, what came over it is gone with it, without a word of
//! its own; when it comes back, it tells everything anew.
//!
//! A member that is there over several nodes is shown once, with the data of the one that joined last, and
//! stays until all have left. Nothing is on disk: a node that starts again has no connections.

mod exchange;
mod present;
mod state;
#[cfg(test)]
mod tests;
mod view;

pub use present::PresenceChange;
pub use state::SavedAttendance;
pub use view::{MemberChange, SetChanges};

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::replicated::{Actor, LogLimits, Replica};
use present::Present;
use view::View;

/// A connection of this node, as its shell numbers them.
pub type Holder = (u64, u64);

/// A presence set and a member of it.
pub(crate) type Place = (Name, Arc<str>);

/// Bounds of what a node keeps of presence sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttendanceLimits {
    /// Sets beyond which no new one is joined here. What other nodes have is taken over.
    pub sets_max: usize,
    /// Members of a set, likewise.
    pub members_max: usize,
    /// Nodes whose members are known.
    pub nodes_max: usize,
    /// What is remembered of each node's changes.
    pub log: LogLimits,
}

impl Default for AttendanceLimits {
    fn default() -> Self {
        Self {
            sets_max: 100_000,
            members_max: 100_000,
            nodes_max: 1_024,
            log: LogLimits::default(),
        }
    }
}

/// Who is present in the cluster, as one node knows it.
#[derive(Debug)]
pub struct Attendance {
    own: Actor,
    limits: AttendanceLimits,
    /// Of each node the life that is known, and who is there over it; this one among them.
    nodes: BTreeMap<u64, (u64, Replica<Present>)>,
    /// Nodes that are down, and the life that ended so.
    down: BTreeMap<u64, u64>,
    /// Connections that hold each member here.
    holders: BTreeMap<Place, BTreeSet<Holder>>,
    /// What each connection holds, so that its end finds it.
    held: BTreeMap<Holder, BTreeSet<Place>>,
    view: View,
}

impl Attendance {
    /// Nobody is there. This is a new life of the node.
    #[must_use]
    pub fn new(own: Actor, limits: AttendanceLimits) -> Self {
        Self {
            own,
            limits,
            nodes: BTreeMap::from([(own.node, (own.incarnation, Replica::new(0)))]),
            down: BTreeMap::new(),
            holders: BTreeMap::new(),
            held: BTreeMap::new(),
            view: View::default(),
        }
    }

    /// Whose connections are held here.
    #[must_use]
    pub fn own(&self) -> Actor {
        self.own
    }

    /// A connection joins a set as this member. If it has joined before, the data is new.
    ///
    /// # Errors
    /// `limit_exceeded` when there are as many sets or members as allowed.
    pub fn join(
        &mut self,
        set: &Name,
        member: &str,
        holder: Holder,
        data: Bytes,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        self.check_room(set, member)?;
        let place: Place = (set.clone(), member.into());
        let own = self.replica().and_then(|own| own.state.entries.get(&place));
        if own.is_none_or(|entry| entry.data != data) {
            let member = Arc::clone(&place.1);
            let change =
                PresenceChange::Entered { set: set.clone(), member, data, joined_ms: now_ms };
            self.change(change);
        }
        self.holders.entry(place.clone()).or_default().insert(holder);
        self.held.entry(holder).or_default().insert(place);
        Ok(())
    }

    /// A connection leaves. The member stays while another one holds it.
    pub fn leave(&mut self, set: &Name, member: &str, holder: Holder) {
        let place: Place = (set.clone(), member.into());
        if let Some(held) = self.held.get_mut(&holder) {
            held.remove(&place);
            if held.is_empty() {
                self.held.remove(&holder);
            }
        }
        let Some(holders) = self.holders.get_mut(&place) else { return };
        holders.remove(&holder);
        if holders.is_empty() {
            self.holders.remove(&place);
            let (set, member) = place;
            self.change(PresenceChange::Left { set, member });
        }
    }

    /// A connection has ended.
    pub fn holder_ended(&mut self, holder: Holder) {
        for (set, member) in self.held.remove(&holder).unwrap_or_default() {
            self.leave(&set, &member, holder);
        }
    }

    fn replica(&self) -> Option<&Replica<Present>> {
        self.nodes.get(&self.own.node).map(|(_, replica)| replica)
    }

    fn change(&mut self, change: PresenceChange) {
        let Self { own, limits, nodes, .. } = self;
        let Some((_, replica)) = nodes.get_mut(&own.node) else { return };
        if let Some(place) = replica.change(change, &limits.log) {
            self.show(&place);
        }
    }

    /// Shows a member as it is now: with the data of the one who joined last, if anybody has.
    fn show(&mut self, place: &Place) {
        let entries = self.nodes.iter().filter_map(|(node, (_, replica))| {
            let entry = replica.state.entries.get(place)?;
            Some((entry.joined_ms, *node, &entry.data))
        });
        let newest = entries.max_by_key(|(joined_ms, node, _)| (*joined_ms, *node));
        let data = newest.map(|(.., data)| data.clone());
        self.view.show(place, data);
    }

    fn check_room(&self, set: &Name, member: &str) -> Result<(), Refusal> {
        let AttendanceLimits { sets_max, members_max, nodes_max: _, log: _ } = self.limits;
        let refuse = |message: String| Err(Refusal::new(ErrorCode::LimitExceeded, message));
        match self.view.members(set) {
            None if self.view.len() >= sets_max => refuse(format!(
                "presence set '{set}' finds no room: the limit of {sets_max} presence sets is reached; \
                 join one that there is, or wait until one is left by all"
            )),
            Some(members) if members.len() >= members_max && members.get(member).is_none() => {
                refuse(format!(
                    "presence set '{set}' takes no more members: the limit of {members_max} is \
                     reached; wait until somebody leaves"
                ))
            }
            None | Some(_) => Ok(()),
        }
    }
}
