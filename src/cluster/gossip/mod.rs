//! Gossip: who is there, who is not, and what they say of themselves. "Gossip suggests, Raft decides."
//!
//! It is SWIM, by foca: each node probes another one every 400 ms, asks others to try when there is no
//! answer, suspects it then, and takes it for dead if it does not deny that in time. All here is pure: time
//! comes in as milliseconds, chance as a seed, packets as bytes, and what is to be done goes out as
//! [`Output`]s. So a simulation runs a hundred nodes in one thread.

mod codec;
mod effects;
mod looking;
mod member;
mod renewing;
mod settings;
#[cfg(test)]
mod simulation;
mod status;
mod timers;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use foca::Foca;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use serde::Serialize;

use super::NodeId;
use codec::Codec;
use effects::Effects;
use looking::{ALONE_PAUSE_MS, LOOK_PAUSE_MS};
pub(crate) use member::Member;
use renewing::Renewal;
pub(crate) use status::{About, Activity, NODES_MAX, NodeLoad, Status};
use status::{Handler, Statuses};

/// A status is told at most so often,
const STATUS_PAUSE_MS: u64 = 1_000;
/// and at least so often, since who joins later has missed it.
const STATUS_REFRESH_MS: u64 = 10_000;

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NodeState {
    /// It answers.
    Alive,
    /// It does not answer somebody, and may still deny that it is dead.
    Suspect,
    /// It is taken for dead.
    Down,
    /// It has said that it goes.
    Left,
}

/// What is to be done, or known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// A packet, which may get lost.
    Send { to: Member, packet: Bytes },
    /// Another node is something else than before.
    Changed { node: NodeId, state: NodeState, incarnation: u64 },
    /// A node has said something new of itself.
    Said { node: NodeId },
    /// A node has been forgotten.
    Forgotten { node: NodeId },
    /// Others took this node for dead: it goes on with this incarnation.
    Renewed { incarnation: u64 },
}

/// What is known of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) member: Member,
    pub(crate) state: NodeState,
    /// Since when it is that.
    pub(crate) since_ms: u64,
}

/// The gossip of one node.
pub(crate) struct Gossip {
    foca: Foca<Member, Codec, SmallRng, Handler>,
    effects: Effects,
    /// All other nodes.
    known: BTreeMap<NodeId, Known>,
    statuses: Rc<RefCell<Statuses>>,
    news: Rc<RefCell<Vec<NodeId>>>,
    about: About,
    /// What others have been told last.
    told: About,
    sequence: u64,
    told_at_ms: Option<u64>,
    is_to_be_told: bool,
    called_at_ms: u64,
    looked_at_ms: u64,
    renewal: Renewal,
    refused: u64,
    suspicions: u64,
}

impl Gossip {
    pub(crate) fn new(own: Member, about: About, seed: u64, now_ms: u64) -> Self {
        let statuses = Rc::new(RefCell::new(Statuses::default()));
        let news = Rc::new(RefCell::new(Vec::new()));
        let handler =
            Handler { own: own.node, statuses: Rc::clone(&statuses), news: Rc::clone(&news) };
        let random = SmallRng::seed_from_u64(seed);
        let config = settings::for_nodes(1);
        let foca = Foca::with_custom_broadcast(own, config, random, Codec, handler);
        Self {
            foca,
            effects: Effects { now_ms, ..Effects::default() },
            known: BTreeMap::new(),
            statuses,
            news,
            told: about.clone(),
            about,
            sequence: 0,
            told_at_ms: None,
            is_to_be_told: true,
            called_at_ms: now_ms,
            looked_at_ms: now_ms,
            renewal: Renewal::default(),
            refused: 0,
            suspicions: 0,
        }
    }

    /// Asks another node to be let in.
    pub(crate) fn join(&mut self, now_ms: u64, seed: Member) {
        self.effects.now_ms = now_ms;
        let outcome = self.foca.announce(seed, &mut self.effects);
        self.done(outcome, false);
    }

    /// Takes a packet of another node.
    pub(crate) fn handle_datagram(&mut self, now_ms: u64, packet: &[u8]) {
        self.effects.now_ms = now_ms;
        let outcome = self.foca.handle_data(packet, &mut self.effects);
        self.done(outcome, false);
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now_ms: u64) {
        self.effects.now_ms = now_ms;
        loop {
            let due = self.effects.timers.take_due(now_ms);
            if due.is_empty() {
                break;
            }
            for timer in due {
                let outcome = self.foca.handle_timer(timer, &mut self.effects);
                self.done(outcome, true);
            }
        }
        self.renew_if_due(now_ms);
        self.call_if_alone(now_ms);
        self.tell_if_due(now_ms);
    }

    /// When [`Self::handle_timeout`] wants to be called at the latest.
    pub(crate) fn next_timeout_ms(&self) -> u64 {
        let refresh_ms = match self.told_at_ms {
            Some(at_ms) if self.is_to_be_told => at_ms.saturating_add(STATUS_PAUSE_MS),
            Some(at_ms) => at_ms.saturating_add(STATUS_REFRESH_MS),
            None => 0,
        };
        let alone_ms = self.called_at_ms.saturating_add(ALONE_PAUSE_MS);
        let renewal_ms = self.renewal.due_at_ms.unwrap_or(u64::MAX);
        refresh_ms
            .min(alone_ms)
            .min(renewal_ms)
            .min(self.effects.timers.next_ms().unwrap_or(u64::MAX))
    }

    /// What this node says of itself from now on.
    pub(crate) fn say(&mut self, about: About) {
        self.about = about.shortened();
        self.is_to_be_told |= self.about.differs_noticeably(&self.told);
    }

    /// Says goodbye. What is sent now is the last.
    pub(crate) fn leave(&mut self, now_ms: u64) {
        self.effects.now_ms = now_ms;
        self.about.activity = Activity::Leaving;
        self.tell(now_ms);
        let outcome = self.foca.leave_cluster(&mut self.effects);
        self.done(outcome, false);
    }

    /// What has come of the calls until now.
    pub(crate) fn take_outputs(&mut self) -> VecDeque<Output> {
        std::mem::take(&mut self.effects.outputs)
    }

    pub(crate) fn own(&self) -> &Member {
        self.foca.identity()
    }

    pub(crate) fn about(&self) -> &About {
        &self.about
    }

    /// All other nodes, in the order of their ids.
    pub(crate) fn known(&self) -> impl Iterator<Item = &Known> {
        self.known.values()
    }

    /// What a node has said of itself last, in its present life.
    pub(crate) fn said_by(&self, known: &Known) -> Option<About> {
        let statuses = self.statuses.borrow();
        let status = statuses.get(known.member.node)?;
        (status.incarnation == known.member.incarnation).then(|| status.about.clone())
    }

    /// Whether another node has said that it goes, in this life of it.
    pub(crate) fn has_left(&self, member: &Member) -> bool {
        let known = self.known.get(&member.node);
        known.is_some_and(|known| {
            known.state == NodeState::Left && known.member.incarnation >= member.incarnation
        })
    }

    /// Whether it knows of nobody who is there.
    pub(crate) fn is_alone(&self) -> bool {
        self.foca.num_members() == 0
    }

    /// Packets that could not be read, and times that a node was suspected.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.refused, self.suspicions)
    }

    fn done(&mut self, outcome: Result<(), foca::Error>, is_timer: bool) {
        if outcome.is_err() {
            self.refused += 1;
        }
        // foca does not tell of suspicions, so it is looked for them now and then.
        let looks_at_ms = self.looked_at_ms.saturating_add(LOOK_PAUSE_MS);
        let is_due = is_timer && self.effects.now_ms >= looks_at_ms;
        if std::mem::take(&mut self.effects.has_changed) || is_due {
            self.looked_at_ms = self.effects.now_ms;
            self.look();
        }
        self.hear();
        if std::mem::take(&mut self.effects.is_defunct) {
            self.taken_for_dead();
        }
    }

    fn tell_if_due(&mut self, now_ms: u64) {
        let is_due = self.told_at_ms.is_none_or(|at_ms| {
            let pause_ms = if self.is_to_be_told { STATUS_PAUSE_MS } else { STATUS_REFRESH_MS };
            now_ms >= at_ms.saturating_add(pause_ms)
        });
        if is_due && self.about.activity != Activity::Leaving {
            self.tell(now_ms);
        }
    }

    fn tell(&mut self, now_ms: u64) {
        self.sequence += 1;
        let Member { node, incarnation, .. } = *self.own();
        let about = self.about.clone().shortened();
        let status = Status { node, incarnation, sequence: self.sequence, about };
        let told = status.encode().is_ok_and(|bytes| self.foca.add_broadcast(&bytes).is_ok());
        self.refused += u64::from(!told);
        self.told = status.about;
        self.told_at_ms = Some(now_ms);
        self.is_to_be_told = false;
    }
}
