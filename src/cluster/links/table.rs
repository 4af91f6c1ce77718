//! Which links there are, and who serves what.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::mpsc;

use super::choice::{Choice, choose};
use super::greeting::{Failed, two_nodes};
use super::link::Link;
use super::reason::Reason;
use super::{Incoming, LinkError};
use crate::cluster::NodeId;
use crate::cluster::gossip::{Member, NODES_MAX};

/// Packets that wait for a link with a node; more are dropped.
const WAITING_MAX: usize = 8;
/// A node that could not be dialed is left alone for so long.
const FAILED_PAUSE_MS: u64 = 500;

/// A dial that is under way, for all who wait for it.
pub(super) type Dialed = Shared<BoxFuture<'static, Result<Arc<Link>, LinkError>>>;

/// All of it is bounded by the number of nodes, which gossip bounds.
#[derive(Default)]
pub(super) struct Table {
    links: HashMap<NodeId, Arc<Link>>,
    /// The newest life of each node, as gossip tells it, and whether it is there.
    known: HashMap<NodeId, (Member, bool)>,
    pub(super) dials: HashMap<NodeId, Dialed>,
    failed_at_ms: HashMap<NodeId, u64>,
    waiting: HashMap<NodeId, Vec<Bytes>>,
    pub(super) services: HashMap<u8, mpsc::Sender<Incoming>>,
}

impl Table {
    pub(super) fn link(&self, node: NodeId) -> Option<Arc<Link>> {
        let link = self.links.get(&node)?;
        link.connection.close_reason().is_none().then(|| Arc::clone(link))
    }

    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        self.links.values().cloned().collect()
    }

    pub(super) fn known(&self, node: NodeId) -> Option<Member> {
        self.known.get(&node).map(|(member, _)| member.clone())
    }

    pub(super) fn learn(&mut self, member: &Member, is_there: bool) {
        if self.known.len() < NODES_MAX || self.known.contains_key(&member.node) {
            self.known.insert(member.node, (member.clone(), is_there));
        }
    }

    pub(super) fn forget(&mut self, node: NodeId) {
        self.known.remove(&node);
        self.failed_at_ms.remove(&node);
        self.waiting.remove(&node);
    }

    /// Puts a link in its place, if it is the better one; returns what waits for it.
    pub(super) fn take(&mut self, link: &Arc<Link>, now_ms: u64) -> Result<Vec<Bytes>, Failed> {
        let member = &link.member;
        if let Some((known, is_there)) = self.known.get(&member.node) {
            check_known(known, *is_there, member)?;
        }
        match self.links.entry(member.node) {
            Entry::Vacant(place) => {
                place.insert(Arc::clone(link));
            }
            Entry::Occupied(mut place) => {
                let older = place.get();
                older.look(now_ms);
                match choose(older.side(), older.is_heard(now_ms), link.side()) {
                    Choice::Replace(reason) => {
                        older.connection.close(reason.code(), reason.name().as_bytes());
                        place.insert(Arc::clone(link));
                    }
                    Choice::Refuse(reason @ Reason::Duplicate) => {
                        return Err(Failed::ours(reason, "there is another link with this node"));
                    }
                    Choice::Refuse(reason) => {
                        return Err(Failed::ours(reason, two_nodes(&older.member, member)));
                    }
                }
            }
        }
        self.failed_at_ms.remove(&member.node);
        Ok(self.waiting.remove(&member.node).unwrap_or_default())
    }

    /// Whether it was the link with its node until now.
    pub(super) fn remove(&mut self, link: &Arc<Link>) -> bool {
        let node = link.member.node;
        let is_it = self.links.get(&node).is_some_and(|one| Arc::ptr_eq(one, link));
        if is_it {
            self.links.remove(&node);
        }
        is_it
    }

    /// Keeps a packet until there is a link; not if one could not be had a moment ago.
    pub(super) fn keep(&mut self, node: NodeId, packet: Bytes, now_ms: u64) -> bool {
        let failed_at_ms = self.failed_at_ms.get(&node);
        if failed_at_ms.is_some_and(|at_ms| now_ms < at_ms.saturating_add(FAILED_PAUSE_MS)) {
            return false;
        }
        let has_room = self.waiting.len() < NODES_MAX || self.waiting.contains_key(&node);
        if !has_room {
            return false;
        }
        let waiting = self.waiting.entry(node).or_default();
        let is_kept = waiting.len() < WAITING_MAX;
        if is_kept {
            waiting.push(packet);
        }
        is_kept
    }

    pub(super) fn failed(&mut self, node: NodeId, now_ms: u64) {
        if self.failed_at_ms.len() < NODES_MAX || self.failed_at_ms.contains_key(&node) {
            self.failed_at_ms.insert(node, now_ms);
        }
        self.waiting.remove(&node);
    }
}

/// Whether who comes can be the node that gossip knows.
fn check_known(known: &Member, is_there: bool, member: &Member) -> Result<(), Failed> {
    if member.incarnation < known.incarnation {
        let sentence = format!(
            "node {} has been here with incarnation {}, and now says {}: a node that has lost its data \
             directory joins under a new id",
            member.node, known.incarnation, member.incarnation
        );
        return Err(Failed::ours(Reason::Stale, sentence));
    }
    // A node that has moved is noticed to be gone from its old place first.
    if is_there && member.address != known.address {
        return Err(Failed::ours(Reason::TwoNodes, two_nodes(known, member)));
    }
    Ok(())
}
