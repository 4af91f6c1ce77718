//! The model of a group.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt as _;
use rand::rngs::SmallRng;

use crate::cluster::NodeId;
use crate::cluster::meta::Step;

/// Turns in which a copy catches up.
const TURNS_OF_COPY: u32 = 3;

#[derive(Default)]
pub(super) struct Group {
    pub(super) voters: BTreeSet<NodeId>,
    pub(super) voters_before: Option<BTreeSet<NodeId>>,
    /// The leader has begun a joint change and is about to finish it.
    pub(super) is_changing: bool,
    pub(super) learners: BTreeSet<NodeId>,
    pub(super) leader: Option<NodeId>,
    /// Turns that each copy lacks.
    pub(super) lacks: BTreeMap<NodeId, u32>,
}

impl Group {
    pub(super) fn sets(&self) -> impl Iterator<Item = &BTreeSet<NodeId>> {
        [Some(&self.voters), self.voters_before.as_ref()].into_iter().flatten()
    }

    pub(super) fn votes(&self, node: NodeId) -> bool {
        self.sets().any(|voters| voters.contains(&node))
    }

    pub(super) fn has_majority(&self, down: &BTreeSet<NodeId>) -> bool {
        self.sets().all(|voters| voters.difference(down).count() * 2 > voters.len())
    }

    /// Who may be elected: one that has all that is committed.
    pub(super) fn elect(&mut self, down: &BTreeSet<NodeId>, random: &mut SmallRng) {
        self.is_changing = false;
        self.leader = None;
        if !self.has_majority(down) {
            return;
        }
        let is_able = |node: &&NodeId| !down.contains(node) && !self.lacks.contains_key(node);
        let able: Vec<NodeId> = self.voters.iter().filter(is_able).copied().collect();
        if !able.is_empty() {
            self.leader = Some(able[random.random_range(0..able.len())]);
        }
    }

    pub(super) fn take(&mut self, step: Step) -> bool {
        match step {
            Step::AddLearner(node) => {
                assert!(!self.votes(node));
                self.learners.insert(node);
                self.lacks.insert(node, TURNS_OF_COPY);
            }
            Step::RemoveLearner(node) => {
                assert!(self.learners.remove(&node));
                self.lacks.remove(&node);
            }
            Step::ChangeVoters(voters) => {
                assert!(voters.len() % 2 == 1, "rests at {}", voters.len());
                // A new one that lacks something would hold up commits.
                let new = voters.difference(&self.voters);
                assert!(new.into_iter().all(|node| !self.lacks.contains_key(node)));
                if self.voters_before.is_none() {
                    self.voters_before = Some(std::mem::replace(&mut self.voters, voters));
                    self.learners = self.learners.difference(&self.voters).copied().collect();
                }
                self.is_changing = true;
            }
            Step::TransferLeadership(node) => {
                assert!(self.votes(node) && !self.lacks.contains_key(&node));
                self.leader = Some(node);
            }
            Step::Nothing(_) => return false,
        }
        true
    }

    /// Copies go on, and a joint change comes to its end.
    pub(super) fn run(&mut self, down: &BTreeSet<NodeId>, random: &mut SmallRng) {
        let is_led = self.leader.is_some_and(|leader| !down.contains(&leader));
        if !is_led || !self.has_majority(down) {
            return self.elect(down, random);
        }
        self.lacks
            .iter_mut()
            .filter(|(node, _)| !down.contains(node))
            .for_each(|(_, lacks)| *lacks -= 1);
        self.lacks.retain(|_, lacks| *lacks > 0);
        if self.is_changing && random.random_bool(0.5) {
            (self.voters_before, self.is_changing) = (None, false);
            if !self.leader.is_some_and(|leader| self.voters.contains(&leader)) {
                self.elect(down, random);
            }
        }
    }
}
