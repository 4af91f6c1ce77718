use super::*;
use crate::cluster::meta::placement::GroupPlacement;

fn id(node: u64) -> NodeId {
    NodeId::new(node).unwrap()
}

fn ids(nodes: &[u64]) -> BTreeSet<NodeId> {
    nodes.iter().map(|node| id(*node)).collect()
}

/// A group of which node 1 looks.
#[derive(Clone)]
struct Case {
    wanted: GroupPlacement,
    voters: BTreeSet<NodeId>,
    voters_before: Option<BTreeSet<NodeId>>,
    learners: BTreeSet<NodeId>,
    reachable: BTreeSet<NodeId>,
    caught_up: BTreeSet<NodeId>,
    removed: BTreeSet<NodeId>,
    is_changing: bool,
    leader: Option<NodeId>,
    others: usize,
}

impl Case {
    /// All reach each other, and all have all.
    fn new(voters: &[u64], wanted: &[u64]) -> Self {
        let everybody = ids(&[1, 2, 3, 4, 5, 6]);
        let leader = wanted.first().copied().unwrap_or(1);
        Self {
            wanted: GroupPlacement { copies: ids(wanted), leader: id(leader) },
            voters: ids(voters),
            voters_before: None,
            learners: BTreeSet::new(),
            reachable: everybody.clone(),
            caught_up: everybody,
            removed: BTreeSet::new(),
            is_changing: false,
            leader: Some(id(1)),
            others: 0,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn learners(self, learners: &[u64]) -> Self {
        self.with(|case| case.learners = ids(learners))
    }

    fn away(self, node: u64) -> Self {
        self.with(|case| case.reachable.retain(|one| *one != id(node)))
    }

    fn view(&self) -> GroupView<'_> {
        GroupView {
            own: id(1),
            leader: self.leader,
            wanted: &self.wanted.copies,
            preferred: Some(self.wanted.leader),
            voters: &self.voters,
            voters_before: self.voters_before.as_ref(),
            learners: &self.learners,
            is_changing: self.is_changing,
            reachable: &self.reachable,
            caught_up: &self.caught_up,
            removed: &self.removed,
            others_under_way: self.others,
        }
    }

    fn step(&self) -> Step {
        self.view().next_step()
    }
}

#[test]
fn one_copy_becomes_three_in_one_change() {
    let case = Case::new(&[1], &[1, 2, 3]);
    assert_eq!(case.step(), Step::AddLearner(id(2)));
    let half = case.clone().away(3).step();
    assert_eq!(half, Step::Nothing(Why::Unreachable(id(3))), "nothing is sent in vain");
    assert_eq!(case.clone().learners(&[2]).step(), Step::AddLearner(id(3)));
    let case = case.learners(&[2, 3]);
    assert_eq!(case.step(), Step::ChangeVoters(ids(&[1, 2, 3])));
    let slow = case.clone().with(|case| case.caught_up.retain(|one| *one != id(3)));
    assert_eq!(slow.step(), Step::Nothing(Why::CatchingUp(id(3))));
    assert_eq!(case.away(3).step(), Step::Nothing(Why::Unreachable(id(3))));
}

#[test]
fn members_as_wanted_are_left_alone() {
    let case = Case::new(&[1, 2, 3], &[1, 2, 3]);
    assert_eq!(case.step(), Step::Nothing(Why::Settled));
    assert_eq!(case.clone().away(3).step(), Step::Nothing(Why::Settled));
    assert_eq!(case.clone().learners(&[4]).step(), Step::RemoveLearner(id(4)));
    let joint = case.clone().with(|case| case.voters_before = Some(ids(&[1])));
    assert_eq!(joint.step(), Step::ChangeVoters(ids(&[1, 2, 3])), "who died has left it so");
    let changing = joint.with(|case| case.is_changing = true);
    assert_eq!(changing.step(), Step::Nothing(Why::Changing));
    let follower = case.with(|case| case.leader = Some(id(2)));
    assert_eq!(follower.step(), Step::Nothing(Why::NotLeader));
}

#[test]
fn who_should_lead_leads_when_it_can() {
    let case = Case::new(&[1, 2, 3], &[2, 1, 3]);
    assert_eq!(case.step(), Step::TransferLeadership(id(2)));
    assert_eq!(case.clone().away(2).step(), Step::Nothing(Why::Settled));
    let slow = case.with(|case| case.caught_up.clear());
    assert_eq!(slow.step(), Step::Nothing(Why::Settled));
}

#[test]
fn a_leader_that_goes_hands_over_first() {
    let case = Case::new(&[1, 2, 3], &[2, 3, 4]);
    assert_eq!(case.step(), Step::TransferLeadership(id(2)));
    assert_eq!(case.clone().away(2).step(), Step::TransferLeadership(id(3)));
    let slow = case.with(|case| case.caught_up.clear());
    assert_eq!(slow.step(), Step::Nothing(Why::CatchingUp(id(2))));
    // Nobody is there to take over: the others are made voters by one that is none.
    let alone = Case::new(&[1], &[2]).learners(&[2]);
    assert_eq!(alone.step(), Step::ChangeVoters(ids(&[2])));
}

#[test]
fn a_dead_copy_stays_until_an_operator_has_removed_its_node() {
    let case = Case::new(&[1, 2, 3], &[1, 2, 4]).away(3);
    assert_eq!(case.step(), Step::Nothing(Why::NotRemoved(id(3))));
    let removed = case.with(|case| case.removed = ids(&[3]));
    assert_eq!(removed.step(), Step::AddLearner(id(4)));
    let removed = removed.learners(&[4]);
    assert_eq!(removed.step(), Step::ChangeVoters(ids(&[1, 2, 4])));
}

#[test]
fn a_living_copy_is_not_given_up_while_another_one_is_away() {
    let case = Case::new(&[1, 2, 3], &[1, 2, 4]).learners(&[4]).away(2);
    assert_eq!(case.step(), Step::Nothing(Why::Unreachable(id(2))));
    let removed = case.with(|case| case.removed = ids(&[3]));
    assert_eq!(removed.step(), Step::ChangeVoters(ids(&[1, 2, 4])), "that one is lost anyway");
    let five = Case::new(&[1, 2, 3, 4, 5], &[1, 2, 3]).away(2);
    assert_eq!(five.step(), Step::Nothing(Why::Unreachable(id(2))));
}

#[test]
fn without_a_majority_nothing_is_tried() {
    let case = Case::new(&[1, 2, 3], &[1, 4, 5]).away(2).away(3);
    assert_eq!(case.step(), Step::Nothing(Why::NoMajority));
    let joint = Case::new(&[1, 4, 5], &[1, 4, 5]).away(2).away(3);
    let joint = joint.with(|case| case.voters_before = Some(ids(&[1, 2, 3])));
    assert_eq!(joint.step(), Step::Nothing(Why::NoMajority));
}

#[test]
fn a_group_never_rests_at_two() {
    assert_eq!(Case::new(&[1], &[1, 2]).step(), Step::Nothing(Why::Even));
    assert_eq!(Case::new(&[1, 2], &[1, 2, 3]).step(), Step::AddLearner(id(3)));
    assert_eq!(Case::new(&[1, 2], &[1]).step(), Step::ChangeVoters(ids(&[1])));
}

#[test]
fn one_group_of_a_node_changes_at_a_time() {
    let case = Case::new(&[1], &[1, 2, 3]).with(|case| case.others = 1);
    assert_eq!(case.step(), Step::Nothing(Why::OthersFirst));
    assert!(!case.view().is_under_way());
    // One that has begun goes on, or two that have begun would wait for each other.
    let begun = case.learners(&[2]);
    assert_eq!(begun.step(), Step::AddLearner(id(3)));
    assert!(begun.view().is_under_way());
    assert!(!begun.away(3).view().is_under_way(), "it holds up nobody");
    let fewer = Case::new(&[1, 2, 3], &[1]).with(|case| case.others = 1);
    assert_eq!(fewer.step(), Step::Nothing(Why::OthersFirst));
}
