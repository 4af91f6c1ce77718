//! A cluster with its groups, as far as it matters who is a member of what: operators and crashes come by a seed.
//!
//! The model of a group knows voters, learners, a joint change in two steps, who leads, and how far each copy is. It
//! knows no log: an entry is committed when a majority of each set of voters is up.

mod group;
mod operator;

use std::collections::BTreeSet;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use self::group::Group;
use super::apply::tests::{founded, id, join};
use super::*;
use crate::cluster::NodeId;

struct Cluster {
    meta: Meta,
    groups: Vec<Group>,
    down: BTreeSet<NodeId>,
    random: SmallRng,
    next_id: u64,
    /// Copies that were begun.
    copies: usize,
}

impl Cluster {
    fn new(seed: u64) -> Self {
        let group =
            || Group { voters: BTreeSet::from([id(1)]), leader: Some(id(1)), ..Group::default() };
        Self {
            meta: founded(),
            groups: (0..17).map(|_| group()).collect(),
            down: BTreeSet::new(),
            random: SmallRng::seed_from_u64(seed),
            next_id: 2,
            copies: 0,
        }
    }

    fn apply(&mut self, command: &MetaCommand) {
        drop(self.meta.apply(command));
        if let Some(due) = self.meta.placement_due() {
            assert_eq!(self.meta.apply(&due), Ok(Outcome::Changed));
            assert_eq!(self.meta.placement_due(), None);
        }
    }

    /// Every leader looks at its groups once.
    fn turn(&mut self) -> bool {
        let mut is_moving = false;
        let mut begun_by = BTreeSet::new();
        for index in 0..self.groups.len() {
            let step = self.step_of(index);
            let begins = match &step {
                Step::AddLearner(_) => self.groups[index].learners.is_empty(),
                Step::ChangeVoters(voters) => {
                    // Nothing had to be sent before: some copies are given up.
                    self.groups[index].voters_before.is_none()
                        && voters.is_subset(&self.groups[index].voters)
                }
                Step::RemoveLearner(_) | Step::TransferLeadership(_) | Step::Nothing(_) => false,
            };
            if let (Step::ChangeVoters(voters), None) = (&step, &self.groups[index].voters_before) {
                let mut leaving = self.groups[index].voters.difference(voters);
                let removed = self.meta.removed();
                let is_allowed = |node| !self.down.contains(node) || removed.contains(node);
                assert!(leaving.all(is_allowed), "a dead copy was given up before its removal");
            }
            let is_first = !begins || begun_by.insert(self.groups[index].leader);
            assert!(is_first, "a node begins with two groups at once");
            self.copies += usize::from(matches!(step, Step::AddLearner(_)));
            is_moving |= self.groups[index].take(step);
            // A copy on a node that was removed stays as it is.
            is_moving |= self.groups[index].lacks.keys().any(|node| !self.down.contains(node));
            is_moving |= self.groups[index].voters_before.is_some();
            self.check(index);
        }
        for index in 0..self.groups.len() {
            self.groups[index].run(&self.down, &mut self.random);
            self.check(index);
        }
        is_moving
    }

    fn step_of(&self, index: usize) -> Step {
        let leader = self.groups[index].leader.filter(|leader| !self.down.contains(leader));
        let Some(leader) = leader else { return Step::Nothing(Why::NotLeader) };
        let others = (0..self.groups.len())
            .filter(|other| *other != index && self.groups[*other].leader == Some(leader));
        let others_under_way =
            others.filter(|other| self.with_view(*other, 0, |view| view.is_under_way())).count();
        self.with_view(index, others_under_way, |view| view.next_step())
    }

    /// A group as its leader sees it.
    fn with_view<T>(
        &self,
        index: usize,
        others_under_way: usize,
        look: impl FnOnce(&GroupView<'_>) -> T,
    ) -> T {
        let group = &self.groups[index];
        let (wanted, preferred) = self
            .meta
            .placement
            .groups
            .get(index)
            .map_or((&self.meta.placement.meta, None), |group| (&group.copies, Some(group.leader)));
        let up = |node: &NodeId| !self.down.contains(node);
        let reachable = self.meta.nodes.keys().copied().filter(up).collect();
        let caught_up = self.meta.nodes.keys().copied();
        let caught_up = caught_up.filter(|node| !group.lacks.contains_key(node)).collect();
        look(&GroupView {
            own: group.leader.unwrap_or_else(|| id(u64::MAX)),
            leader: group.leader,
            wanted,
            preferred,
            voters: &group.voters,
            voters_before: group.voters_before.as_ref(),
            learners: &group.learners,
            is_changing: group.is_changing,
            reachable: &reachable,
            caught_up: &caught_up,
            removed: &self.meta.removed(),
            others_under_way,
        })
    }

    /// What holds at any time: odd at rest, and available with one node down.
    fn check(&self, index: usize) {
        let group = &self.groups[index];
        if group.voters_before.is_none() {
            assert!(group.voters.len() % 2 == 1, "{:?}", group.voters);
        }
        let is_redundant = group.sets().all(|voters| voters.len() >= 3);
        assert!(!is_redundant || group.has_majority(&self.down), "group {index} stands still");
    }

    /// Nodes that are down and vote somewhere.
    fn missed(&self) -> usize {
        let votes = |node: &&NodeId| self.groups.iter().any(|group| group.votes(**node));
        self.down.iter().filter(votes).count()
    }

    /// All that can come back does, and then it settles.
    fn settle(&mut self) {
        let removed = self.meta.removed();
        self.down.retain(|node| removed.contains(node));
        for _ in 0..2_000 {
            if !self.turn() && self.is_settled() {
                return;
            }
        }
        let steps: Vec<Step> = (0..17).map(|index| self.step_of(index)).collect();
        let groups = self.groups.iter().map(|group| (&group.voters, group.leader, &group.lacks));
        panic!("it does not settle: {steps:?}, {:?}", groups.collect::<Vec<_>>());
    }

    fn is_settled(&self) -> bool {
        (0..self.groups.len()).all(|index| {
            let placement = &self.meta.placement;
            let wanted = placement.groups.get(index).map_or(&placement.meta, |group| &group.copies);
            let group = &self.groups[index];
            let leads =
                placement.groups.get(index).is_none_or(|of| group.leader == Some(of.leader));
            group.voters == *wanted
                && group.voters_before.is_none()
                && group.learners.is_empty()
                && leads
        })
    }
}

#[test]
fn members_always_settle_where_they_are_wanted_and_one_crash_stops_no_group() {
    for seed in 0..50 {
        let mut cluster = Cluster::new(seed);
        for _ in 0..60 {
            cluster.happen();
            for _ in 0..cluster.random.random_range(0..12) {
                cluster.turn();
            }
        }
        cluster.settle();
    }
}

#[test]
fn a_cluster_grows_from_one_to_three_to_five_and_sends_each_copy_once() {
    let mut cluster = Cluster::new(1);
    cluster.apply(&join(2));
    cluster.settle();
    assert_eq!(cluster.copies, 0, "two nodes are no reason to move anything");
    cluster.apply(&join(3));
    cluster.settle();
    assert_eq!(cluster.copies, 2 * 17);
    cluster.apply(&join(4));
    cluster.settle();
    assert_eq!(cluster.copies, 2 * 17 + 12);
    cluster.apply(&join(5));
    cluster.settle();
    assert_eq!(cluster.copies, 2 * 17 + 12 + 9);
    cluster.apply(&MetaCommand::Drain { node: id(1), on: true });
    cluster.settle();
    assert!(cluster.groups.iter().all(|group| !group.votes(id(1))));
    cluster.apply(&MetaCommand::Remove { node: id(1) });
    cluster.settle();
}

#[test]
fn a_node_that_dies_for_good_is_replaced_when_it_was_removed() {
    let mut cluster = Cluster::new(2);
    for node in [2, 3, 4] {
        cluster.apply(&join(node));
    }
    cluster.settle();
    cluster.down.insert(id(2));
    for _ in 0..50 {
        cluster.turn();
    }
    assert!(cluster.groups.iter().any(|group| group.votes(id(2))), "nobody has decided anything");
    cluster.apply(&MetaCommand::Remove { node: id(2) });
    cluster.settle();
    assert!(cluster.groups.iter().all(|group| !group.votes(id(2))));
}

#[test]
fn the_same_seed_gives_the_same_cluster() {
    let run = || {
        let mut cluster = Cluster::new(7);
        for _ in 0..100 {
            cluster.happen();
            cluster.turn();
        }
        let groups = cluster.groups.iter().map(|group| (group.voters.clone(), group.leader));
        (cluster.meta.clone(), groups.collect::<Vec<_>>())
    };
    assert_eq!(run(), run());
}
