//! How the members of a group become the ones that are wanted: one step after the other.
//!
//! The leader of a group looks at it every now and then, and whenever something has changed, and takes the one next
//! step. All that counts is what is there now, so another leader goes on where the last one has stopped.

use std::collections::BTreeSet;

use crate::cluster::NodeId;

/// A group, as one of its nodes sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupView<'a> {
    /// Who looks.
    pub(crate) own: NodeId,
    /// Who leads, if that is known.
    pub(crate) leader: Option<NodeId>,
    /// Who should have copies, of [`Placement`](super::Placement).
    pub(crate) wanted: &'a BTreeSet<NodeId>,
    /// Who should lead; nothing if it does not matter.
    pub(crate) preferred: Option<NodeId>,
    /// Those that vote; during a joint change those that shall vote.
    pub(crate) voters: &'a BTreeSet<NodeId>,
    /// Those that vote, too, until the joint change is over. A leader that died may have left it so.
    pub(crate) voters_before: Option<&'a BTreeSet<NodeId>>,
    /// Those that have copies and do not vote.
    pub(crate) learners: &'a BTreeSet<NodeId>,
    /// Whether this leader has begun a change that is not committed yet, or asked somebody else to lead.
    pub(crate) is_changing: bool,
    /// Whom this node reaches, as its links say; it itself need not be among them.
    pub(crate) reachable: &'a BTreeSet<NodeId>,
    /// Whose logs are (nearly) as long as the leader's.
    pub(crate) caught_up: &'a BTreeSet<NodeId>,
    /// Those that an operator has removed, [`Meta::removed`](super::Meta::removed).
    pub(crate) removed: &'a BTreeSet<NodeId>,
    /// Other groups of this node that are [under way](Self::is_under_way).
    pub(crate) others_under_way: usize,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send a node all there is, without a vote.
    AddLearner(NodeId),
    /// Make these the voters, by joint consensus. Those that vote no more get no more entries either. A joint change
    /// that was left behind is finished by the same.
    ChangeVoters(BTreeSet<NodeId>),
    /// Send a node no more.
    RemoveLearner(NodeId),
    /// Let another node lead. openraft 0.9 has no such thing: the leader waits until that node has all entries and
    /// asks it, over the link, to begin an election. Should it fail, the next one wins, and this is tried again.
    TransferLeadership(NodeId),
    /// Wait.
    Nothing(Why),
}

/// Why there is nothing to do. Operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Why {
    #[error("its copies are where they should be")]
    Settled,
    #[error("another node leads it")]
    NotLeader,
    #[error("a change is under way")]
    Changing,
    #[error("too few of its voters are reached: it waits for them")]
    NoMajority,
    #[error("it should have an even number of copies, which it never gets")]
    Even,
    #[error("node {0} is not reached: it waits for it")]
    Unreachable(NodeId),
    #[error("node {0} catches up")]
    CatchingUp(NodeId),
    #[error(
        "node {0} is not reached and has not been removed: start it, or `tidewire admin cluster remove {0}`"
    )]
    NotRemoved(NodeId),
    #[error("another group of this node changes")]
    OthersFirst,
}

impl GroupView<'_> {
    /// Whether a change has begun and can go on, so that other groups of this node wait. One that waits for a node
    /// which is not there holds up nobody.
    pub(crate) fn is_under_way(&self) -> bool {
        let leads = self.leader == Some(self.own);
        let is_joint = self.voters_before.is_some();
        leads
            && (self.is_changing
                || is_joint
                || self.has_begun() && self.newcomers().all(|node| self.reaches(node)))
    }

    /// The one next step.
    pub(crate) fn next_step(&self) -> Step {
        if self.leader != Some(self.own) {
            return Step::Nothing(Why::NotLeader);
        }
        if self.is_changing {
            return Step::Nothing(Why::Changing);
        }
        let sets = [Some(self.voters), self.voters_before].into_iter().flatten();
        if !sets.into_iter().all(|voters| self.reaches_majority(voters)) {
            return Step::Nothing(Why::NoMajority);
        }
        if self.voters_before.is_some() {
            return Step::ChangeVoters(self.voters.clone());
        }
        if self.wanted.len().is_multiple_of(2) {
            return Step::Nothing(Why::Even);
        }
        let mut unwanted = self.learners.difference(self.wanted);
        if let Some(node) = unwanted.find(|node| !self.voters.contains(node)) {
            return Step::RemoveLearner(*node);
        }
        if self.voters == self.wanted {
            return self.lead_or_rest();
        }
        self.change().unwrap_or_else(Step::Nothing)
    }

    /// Members are as wanted: the right one leads, or will.
    fn lead_or_rest(&self) -> Step {
        match self.preferred {
            Some(node) if node != self.own && self.may_lead(node) => Step::TransferLeadership(node),
            Some(_) | None => Step::Nothing(Why::Settled),
        }
    }

    fn change(&self) -> Result<Step, Why> {
        self.check_leaving()?;
        if let Some(step) = self.hand_over()? {
            return Ok(step);
        }
        if !self.has_begun() && self.others_under_way > 0 {
            return Err(Why::OthersFirst);
        }
        // Three copies are not made of two, so nothing is sent before all of them can come.
        if let Some(node) = self.newcomers().find(|node| !self.reaches(*node)) {
            return Err(Why::Unreachable(node));
        }
        if let Some(node) = self.newcomers().find(|node| !self.learners.contains(node)) {
            return Ok(Step::AddLearner(node));
        }
        let mut newcomers = self.newcomers();
        if let Some(node) = newcomers.find(|node| !self.caught_up.contains(node)) {
            return Err(Why::CatchingUp(node));
        }
        self.check_staying()?;
        if !self.reaches_majority(self.wanted) {
            return Err(Why::NoMajority);
        }
        Ok(Step::ChangeVoters(self.wanted.clone()))
    }

    /// Only an operator knows that a node does not come back, so a copy that is not reached stays until then.
    fn check_leaving(&self) -> Result<(), Why> {
        let mut leaving = self.voters.difference(self.wanted);
        let stays = |node: &&NodeId| !self.reaches(**node) && !self.removed.contains(node);
        leaving.find(stays).map_or(Ok(()), |node| Err(Why::NotRemoved(*node)))
    }

    /// While one that stays is not reached no copy is given up that is; that of a removed node is no loss.
    fn check_staying(&self) -> Result<(), Why> {
        let gives_up = self.voters.difference(self.wanted).any(|node| !self.removed.contains(node));
        let mut staying = self.voters.intersection(self.wanted);
        let away = staying.find(|node| !self.reaches(**node));
        away.filter(|_| gives_up).map_or(Ok(()), |node| Err(Why::Unreachable(*node)))
    }

    /// A leader that goes hands over first to one that stays. If nobody does, it makes the others the voters and stops.
    fn hand_over(&self) -> Result<Option<Step>, Why> {
        if self.wanted.contains(&self.own) {
            return Ok(None);
        }
        let staying = || self.voters.intersection(self.wanted).copied();
        let preferred = self.preferred.filter(|node| staying().any(|one| one == *node));
        let mut heirs = preferred.into_iter().chain(staying());
        match (heirs.find(|node| self.may_lead(*node)), staying().next()) {
            (Some(node), _) => Ok(Some(Step::TransferLeadership(node))),
            (None, Some(node)) if self.reaches(node) => Err(Why::CatchingUp(node)),
            (None, Some(node)) => Err(Why::Unreachable(node)),
            (None, None) => Ok(None),
        }
    }

    fn may_lead(&self, node: NodeId) -> bool {
        self.voters.contains(&node) && self.reaches(node) && self.caught_up.contains(&node)
    }

    /// Those that shall vote and do not.
    fn newcomers(&self) -> impl Iterator<Item = NodeId> {
        self.wanted.difference(self.voters).copied()
    }

    fn has_begun(&self) -> bool {
        self.newcomers().any(|node| self.learners.contains(&node))
    }

    fn reaches(&self, node: NodeId) -> bool {
        node == self.own || self.reachable.contains(&node)
    }

    fn reaches_majority(&self, voters: &BTreeSet<NodeId>) -> bool {
        voters.iter().filter(|node| self.reaches(**node)).count() * 2 > voters.len()
    }
}

#[cfg(test)]
mod tests;
