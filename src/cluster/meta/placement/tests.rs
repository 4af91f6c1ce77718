use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn id(node: u64) -> NodeId {
    NodeId::new(node).unwrap()
}

fn ids(nodes: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
    nodes.into_iter().map(id).collect()
}

fn placed(active: &BTreeSet<NodeId>, replicas: u16, now: &Placement) -> Placement {
    let next = place(active, replicas, &BTreeMap::new(), now);
    assert_eq!(place(active, replicas, &BTreeMap::new(), &next), next, "it follows from itself");
    next
}

/// How often each of these nodes is named.
fn counts(
    active: &BTreeSet<NodeId>,
    named: impl Iterator<Item = NodeId>,
) -> BTreeMap<NodeId, usize> {
    let mut counts: BTreeMap<NodeId, usize> = active.iter().map(|node| (*node, 0)).collect();
    named.for_each(|node| *counts.entry(node).or_default() += 1);
    counts
}

fn copies_by_node(active: &BTreeSet<NodeId>, placement: &Placement) -> BTreeMap<NodeId, usize> {
    counts(active, placement.groups.iter().flat_map(|group| group.copies.iter().copied()))
}

fn leads_by_node(active: &BTreeSet<NodeId>, placement: &Placement) -> BTreeMap<NodeId, usize> {
    counts(active, placement.groups.iter().map(|group| group.leader))
}

fn spread(counts: &BTreeMap<NodeId, usize>) -> usize {
    counts.values().max().unwrap() - counts.values().min().unwrap()
}

/// Copies that have to be sent.
fn sent(from: &Placement, to: &Placement) -> usize {
    let pairs = from.groups.iter().zip(&to.groups);
    pairs.map(|(from, to)| to.copies.difference(&from.copies).count()).sum()
}

/// Copies that have to be sent whatever is chosen: what is missing, and beyond that what some have above their share,
/// or others below it.
fn sent_at_least(active: &BTreeSet<NodeId>, replicas: u16, now: &Placement) -> usize {
    let count = usize::from(copies_of(active.len(), replicas));
    let kept: Vec<usize> =
        now.groups.iter().map(|group| group.copies.intersection(active).count()).collect();
    let missing: usize = kept.iter().map(|kept| count.saturating_sub(*kept)).sum();
    let total = count * usize::from(GROUPS);
    let (least, most) = (total / active.len(), total.div_ceil(active.len()));
    let loads = copies_by_node(active, now);
    let loads = || active.iter().map(|node| loads[node]);
    let above: usize = loads().map(|load| load.saturating_sub(most)).sum();
    let below: usize = loads().map(|load| least.saturating_sub(load)).sum();
    (missing + above).max(below)
}

fn on_node_1() -> Placement {
    let group = GroupPlacement { copies: ids([1]), leader: id(1) };
    Placement { meta: ids([1]), groups: vec![group; usize::from(GROUPS)] }
}

#[test]
fn there_are_never_two_copies_and_as_many_as_are_wanted_otherwise() {
    let counts: Vec<u16> = (0..9).map(|active| copies_of(active, 5)).collect();
    assert_eq!(counts, [0, 1, 1, 3, 3, 5, 5, 5, 5]);
}

#[test]
fn a_second_node_changes_nothing_and_a_third_one_everything() {
    let two = placed(&ids([1, 2]), 3, &on_node_1());
    assert_eq!(two, on_node_1());
    let three = placed(&ids([1, 2, 3]), 3, &two);
    assert!(three.groups.iter().all(|group| group.copies == ids([1, 2, 3])));
    assert_eq!(three.meta, ids([1, 2, 3]));
    assert_eq!(spread(&leads_by_node(&ids([1, 2, 3]), &three)), 1);
}

#[test]
fn of_three_with_one_gone_three_are_kept_and_the_dead_one_leads_nothing() {
    let three = placed(&ids([1, 2, 3]), 3, &on_node_1());
    let two = placed(&ids([1, 3]), 3, &three);
    assert!(two.groups.iter().all(|group| group.copies == ids([1, 2, 3])));
    assert_eq!(two.meta, ids([1, 2, 3]));
    let leads = leads_by_node(&ids([1, 3]), &two);
    assert_eq!((leads[&id(1)], leads[&id(3)]), (8, 8));
    let again = placed(&ids([1, 3, 4]), 3, &two);
    assert!(again.groups.iter().all(|group| group.copies == ids([1, 3, 4])));
    assert_eq!(sent(&two, &again), 16);
    // With only one left that is active the others have been told to go.
    let one = placed(&ids([3]), 3, &two);
    assert!(one.groups.iter().all(|group| group.copies == ids([3]) && group.leader == id(3)));
}

#[test]
fn who_joins_gets_a_fair_share_and_who_goes_gives_all_of_it_away() {
    let three = placed(&ids(1..=3), 3, &on_node_1());
    let four = placed(&ids(1..=4), 3, &three);
    assert_eq!(copies_by_node(&ids(1..=4), &four)[&id(4)], 12);
    assert_eq!(sent(&three, &four), 12);
    let five = placed(&ids(1..=5), 3, &four);
    assert_eq!(sent(&four, &five), 9);
    let without = ids([1, 3, 4, 5]);
    let four = placed(&without, 3, &five);
    assert!(four.groups.iter().all(|group| group.copies.is_subset(&without)));
    // One group may have to make room for another one.
    let gone = copies_by_node(&ids(1..=5), &five)[&id(2)];
    assert!((gone..=gone + 1).contains(&sent(&five, &four)), "{} of {gone}", sent(&five, &four));
}

#[test]
fn who_joins_takes_no_copy_of_a_leader() {
    let three = placed(&ids([1, 2, 3]), 3, &on_node_1());
    let four = placed(&ids([1, 2, 3, 4]), 3, &three);
    assert_eq!(sent(&three, &four), 12);
    for (before, after) in three.groups.iter().zip(&four.groups) {
        assert!(after.copies.contains(&before.leader), "what it has in memory is lost");
    }
}

#[test]
fn the_meta_group_has_three_copies_also_where_shards_have_one() {
    let placement = placed(&ids(1..=5), 1, &on_node_1());
    assert!(placement.groups.iter().all(|group| group.copies.len() == 1));
    assert_eq!(placement.meta.len(), 3);
    assert_eq!(placed(&ids(1..=5), 5, &placement).meta.len(), 5);
    let gone = placed(&ids([2, 3, 4, 5]), 1, &placement);
    assert!(gone.meta.is_subset(&ids([2, 3, 4, 5])) && gone.meta.len() == 3);
    assert!(gone.meta.intersection(&placement.meta).count() >= 2, "as few as can be have moved");
}

#[test]
fn what_an_operator_has_chosen_stays_and_what_is_missing_is_added() {
    let active = ids(1..=6);
    let even = placed(&active, 3, &on_node_1());
    let chosen: BTreeMap<u16, Vec<NodeId>> =
        (0..10).map(|group| (group, vec![id(6), id(5), id(4)])).collect();
    let next = place(&active, 3, &chosen, &even);
    assert!((0..10).all(|group| next.groups[group].copies == ids([4, 5, 6])));
    // The others do what they can about it.
    assert_eq!(spread(&copies_by_node(&active, &next)), 4);
    assert_eq!(place(&active, 3, &chosen, &next), next);

    let next = place(&ids([1, 2, 3, 5, 6]), 3, &chosen, &next);
    assert!((0..10).all(|group| next.groups[group].copies.is_superset(&ids([5, 6]))));
    assert!(next.groups.iter().all(|group| group.copies.len() == 3));
    let next = place(&active, 5, &chosen, &next);
    assert!((0..10).all(|group| next.groups[group].copies.is_superset(&ids([4, 5, 6]))));
    assert!(next.groups.iter().all(|group| group.copies.len() == 5));
    let next = place(&active, 1, &chosen, &next);
    assert!(next.groups.iter().all(|group| group.copies.len() == 1));
}

#[test]
fn without_active_nodes_nothing_changes() {
    assert_eq!(placed(&BTreeSet::new(), 3, &on_node_1()), on_node_1());
}

#[test]
fn the_choice_is_the_same_for_everybody_and_differs_by_group() {
    let placement = placed(&ids(1..=9), 3, &Placement::default());
    assert_eq!(placement, placed(&ids((1..=9).rev()), 3, &Placement::default()));
    let different: BTreeSet<_> = placement.groups.iter().map(|group| &group.copies).collect();
    assert!(different.len() >= 8, "{different:?}");
}

proptest! {
    /// Nodes come and go one or several at a time, and the number of copies changes.
    #[test]
    fn copies_are_spread_evenly_and_as_few_move_as_can(
        steps in vec((vec(1..40_u64, 1..4), prop_oneof![4 => Just(None), 1 => (0..4_u16).prop_map(Some)]), 1..30),
    ) {
        let (mut active, mut replicas, mut now) = (ids([1]), 3, on_node_1());
        for (changed, other_replicas) in steps {
            let (before, replicas_before) = (active.clone(), replicas);
            replicas = other_replicas.map_or(replicas, |half| 2 * half + 1);
            for node in changed {
                if !active.remove(&id(node)) || active.is_empty() {
                    active.insert(id(node));
                }
            }
            let next = placed(&active, replicas, &now);
            let count = usize::from(copies_of(active.len(), replicas));
            let is_kept = active.len() == 2 && replicas > 1;
            for (group, before) in next.groups.iter().zip(&now.groups) {
                prop_assert!(active.contains(&group.leader) && group.copies.contains(&group.leader));
                let stays_at_three = is_kept && group.copies == before.copies;
                prop_assert!(group.copies.len() == count || stays_at_three);
                prop_assert!(group.copies.is_subset(&active) || stays_at_three);
            }
            prop_assert_ne!(next.meta.len(), 2);
            if !is_kept {
                prop_assert!(spread(&copies_by_node(&active, &next)) <= 1);
                prop_assert!(spread(&leads_by_node(&active, &next)) <= 1);
                let least = sent_at_least(&active, replicas, &now);
                let extra = sent(&now, &next).saturating_sub(least);
                // Copies of one group exclude each other, so some have to make room in two steps.
                prop_assert!(extra <= 4, "{extra} more than are needed");
                let has_joined = before.is_subset(&active) && replicas == replicas_before;
                let are_as_many = count == usize::from(copies_of(before.len(), replicas));
                if has_joined && are_as_many && before.len() != 2 {
                    prop_assert_eq!(extra, 0);
                }
            }
            now = next;
        }
    }

    /// Whoever computes it, from whatever placement.
    #[test]
    fn what_follows_is_legal_and_follows_from_itself(
        now in crate::cluster::meta::command::tests::placement(),
        active in proptest::collection::btree_set(1..12_u64, 1..9),
        replicas in (0..4_u16).prop_map(|half| 2 * half + 1),
        chosen in proptest::collection::btree_map(0..GROUPS, vec((1..12_u64).prop_map(id), 1..4), 0..5),
    ) {
        let active = ids(active);
        let next = place(&active, replicas, &chosen, &now);
        prop_assert_eq!(place(&active, replicas, &chosen, &next), next.clone());
        prop_assert_eq!(next.groups.len(), usize::from(GROUPS));
        for group in &next.groups {
            prop_assert_eq!(group.copies.len() % 2, 1);
            prop_assert!(group.copies.contains(&group.leader) && active.contains(&group.leader));
        }
    }
}
