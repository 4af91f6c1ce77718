//! What each command does to the state.

use std::collections::BTreeSet;

use tidewire_core::SHARDS_MAX;

use super::command::MetaCommand;
use super::placement::{GroupPlacement, Placement, copies_of};
use super::policies::{Policies, PolicyText};
use super::refusal::MetaRefusal;
use super::state::{
    GROUPS, IDS_MAX, MemberState, Meta, MetaNode, MetaSeal, NAME_BYTES_MAX, NODES_MAX, REPLICAS_MAX,
};
use crate::cluster::{NodeAddress, NodeId};

/// What has become of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The state is another one.
    Changed,
    /// It was so already: a command may come twice, since who asks may ask again without an answer.
    Unchanged,
}

impl Meta {
    /// Applies the next command of the log. The same commands give the same state on every node.
    ///
    /// # Errors
    /// When a rule forbids it; the state is as before.
    pub(crate) fn apply(&mut self, command: &MetaCommand) -> Result<Outcome, MetaRefusal> {
        let is_founding = matches!(command, MetaCommand::Found { .. });
        if !is_founding && !self.is_founded() {
            return Err(MetaRefusal::NotFounded);
        }
        self.check_level(command)?;
        // Their checks come before their changes, and what refuses has changed nothing.
        let mut next = self.clone();
        next.carry_out(command)?;
        if next == *self {
            return Ok(Outcome::Unchanged);
        }
        next.revision = self.revision.saturating_add(1);
        *self = next;
        Ok(Outcome::Changed)
    }

    /// Whether the cluster has decided on what a command needs. It is looked at before it is written, too: a node
    /// that knows less stops at an entry that it cannot read.
    ///
    /// # Errors
    /// When its feature level has not been decided on.
    pub(crate) fn check_level(&self, command: &MetaCommand) -> Result<(), MetaRefusal> {
        self.check_needed(command.level())
    }

    fn check_needed(&self, needed: u32) -> Result<(), MetaRefusal> {
        // Before it is founded nothing is decided, and it begins at the level of its first node.
        if self.is_founded() && needed > self.feature_level {
            return Err(MetaRefusal::FeatureLevelNeeded { needed, has: self.feature_level });
        }
        Ok(())
    }

    fn carry_out(&mut self, command: &MetaCommand) -> Result<(), MetaRefusal> {
        match command {
            MetaCommand::Found { .. } => self.found(command),
            MetaCommand::Join { node, name, address, feature_level } => {
                self.join(*node, name, address, *feature_level)
            }
            MetaCommand::Drain { node, on } => self.drain(*node, *on),
            MetaCommand::Remove { node } => self.remove(*node),
            MetaCommand::Seal { number, nodes, digest } => self.seal(*number, nodes, *digest),
            MetaCommand::SetReplicas { replicas } => {
                check_replicas(*replicas)?;
                self.replicas = *replicas;
                Ok(())
            }
            MetaCommand::SetFeatureLevel { level } => self.set_feature_level(*level),
            MetaCommand::SetPolicies { expected_version, policies } => {
                self.set_policies(*expected_version, policies)
            }
            MetaCommand::Move { shard, nodes } => self.move_copies(*shard, nodes),
            MetaCommand::ClearMove { shard } => {
                self.exceptions.remove(&group_of(*shard)?);
                Ok(())
            }
            MetaCommand::Place { revision, placement } => self.place(*revision, placement),
        }
    }

    fn found(&mut self, command: &MetaCommand) -> Result<(), MetaRefusal> {
        let MetaCommand::Found {
            cluster,
            epoch,
            feature_level,
            replicas,
            node,
            name,
            address,
            policies,
        } = command
        else {
            return Ok(());
        };
        if *cluster != self.cluster {
            return Err(MetaRefusal::OtherCluster { has: self.cluster, says: *cluster });
        }
        if self.is_founded() {
            let is_first = |first: &MetaNode| first.joined_revision == 1;
            let is_same = *epoch == self.epoch && self.nodes.get(node).is_some_and(is_first);
            return if is_same {
                Ok(())
            } else {
                Err(MetaRefusal::FoundedAlready { epoch: self.epoch })
            };
        }
        if *epoch == 0 {
            return Err(MetaRefusal::Epoch);
        }
        check_replicas(*replicas)?;
        check_name(*node, name)?;
        // The first node keeps its logs, so all that there is lies there.
        let copies = BTreeSet::from([*node]);
        let group = GroupPlacement { copies: copies.clone(), leader: *node };
        self.placement = Placement { meta: copies, groups: vec![group; usize::from(GROUPS)] };
        self.epoch = *epoch;
        self.feature_level = *feature_level;
        self.replicas = *replicas;
        self.policies = Policies { version: 1, text: policies.clone() };
        self.put(*node, name, address, *feature_level);
        Ok(())
    }

    fn join(
        &mut self,
        node: NodeId,
        name: &str,
        address: &NodeAddress,
        feature_level: u32,
    ) -> Result<(), MetaRefusal> {
        match self.nodes.get(&node) {
            Some(known) if !known.is_member() => return Err(MetaRefusal::Removed { node }),
            Some(_) => {}
            None if self.members().count() >= NODES_MAX => return Err(MetaRefusal::NodesMax),
            None if self.nodes.len() >= IDS_MAX => return Err(MetaRefusal::IdsMax),
            None => {}
        }
        if feature_level < self.feature_level {
            let needed = self.feature_level;
            return Err(MetaRefusal::NodeTooOld { node, level: feature_level, needed });
        }
        check_name(node, name)?;
        self.put(node, name, address, feature_level);
        Ok(())
    }

    /// Puts in what a node says of itself. What was decided about it stays.
    fn put(&mut self, node: NodeId, name: &str, address: &NodeAddress, feature_level: u32) {
        let known = self.nodes.get(&node);
        let (state, joined_revision) = known.map_or_else(
            || (MemberState::Active, self.revision.saturating_add(1)),
            |known| (known.state, known.joined_revision),
        );
        let (name, address) = (name.to_owned(), address.clone());
        let joined = MetaNode { name, address, state, joined_revision, feature_level };
        self.nodes.insert(node, joined);
    }

    fn drain(&mut self, node: NodeId, on: bool) -> Result<(), MetaRefusal> {
        let is_last = self.is_last_active(node);
        let known = self.nodes.get_mut(&node).ok_or(MetaRefusal::Unknown { node })?;
        if !known.is_member() {
            return Err(MetaRefusal::Removed { node });
        }
        if on && is_last {
            return Err(MetaRefusal::LastActive { node });
        }
        known.state = if on { MemberState::Draining } else { MemberState::Active };
        Ok(())
    }

    fn remove(&mut self, node: NodeId) -> Result<(), MetaRefusal> {
        let is_last = self.is_last_active(node);
        let mut gone = self.removed();
        if gone.contains(&node) {
            return Ok(());
        }
        gone.insert(node);
        let groups = self.placement.without_majority(&gone);
        let known = self.nodes.get_mut(&node).ok_or(MetaRefusal::Unknown { node })?;
        if is_last {
            return Err(MetaRefusal::LastActive { node });
        }
        if groups > 0 {
            return Err(MetaRefusal::HoldsTooMuch { node, groups });
        }
        known.state = MemberState::Removed;
        for nodes in self.exceptions.values_mut() {
            nodes.retain(|named| *named != node);
        }
        self.exceptions.retain(|_, nodes| !nodes.is_empty());
        Ok(())
    }

    fn seal(
        &mut self,
        number: u64,
        nodes: &BTreeSet<NodeId>,
        digest: u64,
    ) -> Result<(), MetaRefusal> {
        let seal = MetaSeal { number, nodes: nodes.clone(), digest };
        if self.seal.as_ref() == Some(&seal) {
            return Ok(());
        }
        let has = self.seal.as_ref().map_or(0, |seal| seal.number);
        if Some(number) != has.checked_add(1) || *nodes != self.removed() {
            return Err(MetaRefusal::SealStale { number, has });
        }
        self.seal = Some(seal);
        Ok(())
    }

    fn is_last_active(&self, node: NodeId) -> bool {
        self.active() == BTreeSet::from([node])
    }

    fn set_feature_level(&mut self, level: u32) -> Result<(), MetaRefusal> {
        if level < self.feature_level {
            return Err(MetaRefusal::FeatureLevelDown { level, has: self.feature_level });
        }
        let lowest = self.members().min_by_key(|(_, node)| node.feature_level);
        if let Some((node, known)) = lowest.filter(|(_, node)| node.feature_level < level) {
            let level_of = known.feature_level;
            return Err(MetaRefusal::NodeTooOld { node, level: level_of, needed: level });
        }
        self.feature_level = level;
        Ok(())
    }

    fn set_policies(&mut self, expected: u64, text: &PolicyText) -> Result<(), MetaRefusal> {
        let Policies { version, text: present } = &self.policies;
        if *version == expected.saturating_add(1) && present == text {
            return Ok(());
        }
        if *version != expected {
            return Err(MetaRefusal::PoliciesVersion { expected, has: *version });
        }
        self.policies = Policies { version: version.saturating_add(1), text: text.clone() };
        Ok(())
    }

    fn move_copies(&mut self, shard: u16, nodes: &[NodeId]) -> Result<(), MetaRefusal> {
        let group = group_of(shard)?;
        let needed = copies_of(self.active().len(), self.replicas);
        let different: BTreeSet<&NodeId> = nodes.iter().collect();
        if different.len() != usize::from(needed) || nodes.len() != different.len() {
            return Err(MetaRefusal::Copies { shard, needed, named: different.len() });
        }
        for node in nodes {
            let known = self.nodes.get(node).ok_or(MetaRefusal::Unknown { node: *node })?;
            match known.state {
                MemberState::Active => {}
                state @ (MemberState::Draining | MemberState::Removed) => {
                    return Err(MetaRefusal::NotActive { node: *node, state });
                }
            }
        }
        self.exceptions.insert(group, nodes.to_vec());
        Ok(())
    }

    fn place(&mut self, revision: u64, placement: &Placement) -> Result<(), MetaRefusal> {
        if *placement == self.placement {
            return Ok(());
        }
        if revision != self.revision {
            return Err(MetaRefusal::Stale { revision, has: self.revision });
        }
        placement.check(|node| self.nodes.contains_key(&node), &self.removed())?;
        self.placement = placement.clone();
        Ok(())
    }
}

/// The group that a shard belongs to, durable or in memory.
fn group_of(shard: u16) -> Result<u16, MetaRefusal> {
    if shard >= SHARDS_MAX {
        return Err(MetaRefusal::Shard { shard, last: SHARDS_MAX - 1 });
    }
    Ok(shard % GROUPS)
}

fn check_replicas(replicas: u16) -> Result<(), MetaRefusal> {
    let is_allowed = replicas % 2 == 1 && replicas <= REPLICAS_MAX;
    if is_allowed { Ok(()) } else { Err(MetaRefusal::Replicas { replicas }) }
}

fn check_name(node: NodeId, name: &str) -> Result<(), MetaRefusal> {
    let is_allowed =
        !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(char::is_control);
    if is_allowed { Ok(()) } else { Err(MetaRefusal::Name { node }) }
}

#[cfg(test)]
pub(super) mod tests;
