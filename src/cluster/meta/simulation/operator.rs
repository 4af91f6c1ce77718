//! What operators do, and what comes by itself.

use std::collections::BTreeSet;

use rand::RngExt as _;

use super::{Cluster, MetaCommand, NodeId, join};
use crate::cluster::meta::placement::copies_of;

impl Cluster {
    fn any_of(&mut self, nodes: impl IntoIterator<Item = NodeId>) -> Option<NodeId> {
        let nodes: Vec<NodeId> = nodes.into_iter().collect();
        (!nodes.is_empty()).then(|| nodes[self.random.random_range(0..nodes.len())])
    }

    fn members(&self) -> BTreeSet<NodeId> {
        self.meta.members().map(|(node, _)| node).collect()
    }

    /// Something happens, as an operator would do it, or as it comes.
    pub(super) fn happen(&mut self) {
        let members = self.members();
        match self.random.random_range(0..9) {
            0 | 1 if members.len() < 9 => {
                self.apply(&join(self.next_id));
                self.next_id += 1;
            }
            2 => {
                let on = self.random.random_bool(0.5);
                let Some(node) = self.any_of(members) else { return };
                self.apply(&MetaCommand::Drain { node, on });
            }
            3 => self.remove(),
            4 | 5 if self.missed() == 0 => {
                let up: Vec<NodeId> = members.difference(&self.down).copied().collect();
                let Some(node) = self.any_of(up) else { return };
                self.down.insert(node);
            }
            6 => {
                let down: Vec<NodeId> = members.intersection(&self.down).copied().collect();
                let Some(node) = self.any_of(down) else { return };
                self.down.remove(&node);
                // It has missed what was committed meanwhile.
                for group in self
                    .groups
                    .iter_mut()
                    .filter(|group| group.votes(node) && group.voters.len() > 1)
                {
                    let lacks = group.lacks.entry(node).or_insert(0);
                    *lacks = (*lacks).max(2);
                }
            }
            7 => {
                let replicas = [1, 3, 3, 5][self.random.random_range(0..4)];
                self.apply(&MetaCommand::SetReplicas { replicas });
            }
            8 => {
                let count = copies_of(self.meta.active().len(), self.meta.replicas);
                let nodes = self.meta.active().into_iter().rev().take(count.into()).collect();
                let shard = self.random.random_range(0..32);
                self.apply(&MetaCommand::Move { shard, nodes });
            }
            _ => {}
        }
    }

    /// An operator removes a node for good, and stops it, unless some group could not do without it.
    fn remove(&mut self) {
        let Some(node) = self.any_of(self.members()) else { return };
        let mut without = self.down.clone();
        without.insert(node);
        let is_missed =
            self.groups.iter().any(|group| group.votes(node) && !group.has_majority(&without));
        let others_missed =
            self.missed() - usize::from(self.down.contains(&node) && self.missed() > 0);
        if is_missed
            || others_missed > 0
            || self.meta.clone().apply(&MetaCommand::Remove { node }).is_err()
        {
            return;
        }
        self.apply(&MetaCommand::Remove { node });
        self.down.insert(node);
    }
}
