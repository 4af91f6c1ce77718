//! Gossip looks at what foca knows, since foca tells of deaths and not of suspicions; and after whom it has lost.

use std::collections::BTreeSet;

use foca::State;

use super::status::Statuses;
use super::{Activity, Gossip, Known, Member, NodeId, NodeState, Output, settings};

/// How often it is looked for suspicions.
pub(super) const LOOK_PAUSE_MS: u64 = 400;
/// How often a node that has nobody left calls those that it has known.
pub(super) const ALONE_PAUSE_MS: u64 = 2_000;
/// How many it calls at a time.
const ALONE_CALLS: usize = 3;

impl Gossip {
    /// Compares what is known with what foca knows.
    pub(super) fn look(&mut self) {
        let now_ms = self.effects.now_ms;
        let own = self.own().node;
        let (mut seen, mut has_somebody_come) = (0, false);
        // foca remembers earlier lives of this node, too.
        for one in self.foca.iter_membership_state().filter(|one| one.id().node != own) {
            let member = one.id();
            seen += 1;
            let state = match one.state() {
                State::Alive => NodeState::Alive,
                State::Suspect => NodeState::Suspect,
                State::Down if has_left(&self.statuses.borrow(), member) => NodeState::Left,
                State::Down => NodeState::Down,
            };
            let before = self.known.get(&member.node);
            if before.is_some_and(|known| known.state == state && known.member == *member) {
                continue;
            }
            let was_there = before.is_some_and(|known| match known.state {
                NodeState::Alive | NodeState::Suspect => known.member == *member,
                NodeState::Down | NodeState::Left => false,
            });
            has_somebody_come |= state == NodeState::Alive && !was_there;
            self.suspicions += u64::from(state == NodeState::Suspect);
            let (node, incarnation) = (member.node, member.incarnation);
            self.effects.outputs.push_back(Output::Changed { node, state, incarnation });
            let known = Known { member: member.clone(), state, since_ms: now_ms };
            self.known.insert(node, known);
        }
        // Who is new has heard nothing yet.
        self.is_to_be_told |= has_somebody_come;
        if self.known.len() > seen {
            self.forget();
        }
        let config = settings::for_nodes(self.foca.num_members() + 1);
        if self.foca.set_config(config).is_err() {
            self.refused += 1;
        }
    }

    /// Forgets whom foca has forgotten.
    fn forget(&mut self) {
        let seen: BTreeSet<NodeId> =
            self.foca.iter_membership_state().map(|one| one.id().node).collect();
        let gone: Vec<NodeId> =
            self.known.keys().filter(|id| !seen.contains(id)).copied().collect();
        for node in gone {
            self.known.remove(&node);
            self.statuses.borrow_mut().forget(node);
            self.effects.outputs.push_back(Output::Forgotten { node });
        }
    }

    /// Tells who has said something; who has said that it goes has left.
    pub(super) fn hear(&mut self) {
        let news = std::mem::take(&mut *self.news.borrow_mut());
        let own = self.own().node;
        for node in news.into_iter().filter(|node| *node != own) {
            self.effects.outputs.push_back(Output::Said { node });
            let statuses = self.statuses.borrow();
            if let Some(known) = self.known.get_mut(&node)
                && known.state == NodeState::Down
                && has_left(&statuses, &known.member)
            {
                known.state = NodeState::Left;
                let incarnation = known.member.incarnation;
                let state = NodeState::Left;
                self.effects.outputs.push_back(Output::Changed { node, state, incarnation });
            }
        }
    }

    /// foca calls those that are down only while somebody else is there.
    pub(super) fn call_if_alone(&mut self, now_ms: u64) {
        if now_ms < self.called_at_ms.saturating_add(ALONE_PAUSE_MS) {
            return;
        }
        self.called_at_ms = now_ms;
        if !self.is_alone() || self.about.activity == Activity::Leaving {
            return;
        }
        let down = self.known.values().filter(|known| known.state == NodeState::Down);
        let mut down: Vec<Member> = down.map(|known| known.member.clone()).collect();
        // Others each time.
        let turn = usize::try_from(now_ms / ALONE_PAUSE_MS).unwrap_or(0);
        let first = turn.checked_rem(down.len()).unwrap_or(0);
        down.rotate_left(first);
        for member in down.into_iter().take(ALONE_CALLS) {
            self.join(now_ms, member);
        }
    }
}

/// Whether a node has said that it goes, in this life.
fn has_left(statuses: &Statuses, member: &Member) -> bool {
    statuses.get(member.node).is_some_and(|status| {
        status.incarnation == member.incarnation && status.about.activity == Activity::Leaving
    })
}
