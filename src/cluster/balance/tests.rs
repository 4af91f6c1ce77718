//! Nodes that see each other late and roughly, as by gossip, and pass connections on: they settle, nobody who
//! took some gives any back, and few move.

use proptest::prelude::*;

use super::*;

const RULES: Rules = Rules { percent: 20, least: 20, per_turn: 50 };

fn other(node: u64, connections: u64) -> Other {
    Other { node: NodeId::new(node).unwrap(), connections }
}

#[test]
fn small_differences_and_small_clusters_are_left_alone() {
    let asked = |rules, own, others: &[Other]| {
        let mut balance = Balance::default();
        (balance.is_due(rules, own, others), balance.serving(rules, own, others).len())
    };
    assert_eq!(asked(RULES, 119, &[other(2, 90), other(3, 91)]), (false, 0), "within 20 %");
    assert_eq!(asked(RULES, 30, &[other(2, 0), other(3, 0)]), (false, 0), "within 20 connections");
    assert_eq!(asked(RULES, 60, &[other(2, 0), other(3, 0)]), (true, 8));
    assert_eq!(asked(RULES, 1_000_000, &[]), (false, 0), "nobody else is there");
    let off = Rules { percent: 0, ..RULES };
    assert_eq!(asked(off, 1_000_000, &[other(2, 0)]), (false, 0));
}

#[test]
fn who_has_begun_goes_on_to_half_of_the_margin_and_rests_within_it() {
    let mut balance = Balance::default();
    let others = [other(2, 900), other(3, 900)];
    assert_eq!(balance.serving(RULES, 1_190, &others), [], "not yet beyond");
    assert!(!balance.serving(RULES, 1_300, &others).is_empty());
    assert!(!balance.serving(RULES, 1_150, &others).is_empty(), "it has begun");
    assert_eq!(balance.serving(RULES, 1_040, &others), [], "half of the margin is reached");
    assert_eq!(balance.serving(RULES, 1_150, &others), []);
}

#[test]
fn a_node_that_is_drained_asks_everybody_within_a_minute_and_evenly() {
    let others = [other(2, 0), other(3, 500)];
    let mut balance = Balance::default();
    let (mut left, mut turns, mut most) = (30_000_u64, 0, 0);
    while left > 0 {
        let asked = balance.drained(RULES, left, &others).len();
        (left, turns, most) = (left - asked as u64, turns + 1, most.max(asked));
    }
    assert!((59..=60).contains(&turns) && most <= 501, "{turns} turns of {most} at most");
    let mut balance = Balance::default();
    let to = balance.drained(RULES, 60, &[other(2, 7), other(3, 7)]);
    assert_eq!(to.len(), 50, "few of them as usual");
    assert_eq!(to.iter().filter(|node| node.get() == 2).count(), 25);
    assert_eq!(balance.drained(RULES, 10, &[]), [], "nobody else is there");
    assert_eq!(balance.by_level(&[other(2, 7), other(3, 6)])[0].get(), 3);
}

/// Turns between a decision and the arrival, and between a change and its being seen.
const UNDER_WAY: usize = 2;

struct World {
    connections: Vec<u64>,
    /// What each says of itself; it says nothing new for a small change.
    said: Vec<u64>,
    /// What is seen of each, the oldest first.
    seen: VecDeque<Vec<u64>>,
    under_way: VecDeque<Vec<(usize, usize)>>,
    balances: Vec<Balance>,
    gave: Vec<u64>,
    took: Vec<u64>,
}

impl World {
    fn new(connections: Vec<u64>, lag: usize) -> Self {
        let nodes = connections.len();
        Self {
            said: connections.clone(),
            seen: std::iter::repeat_n(connections.clone(), lag + 1).collect(),
            under_way: std::iter::repeat_n(Vec::new(), UNDER_WAY).collect(),
            balances: vec![Balance::default(); nodes],
            gave: vec![0; nodes],
            took: vec![0; nodes],
            connections,
        }
    }

    fn turn(&mut self) {
        for (from, to) in self.under_way.pop_front().unwrap() {
            self.connections[from] -= 1;
            self.connections[to] += 1;
            self.took[to] += 1;
        }
        for (said, now) in self.said.iter_mut().zip(&self.connections) {
            if said.abs_diff(*now) > ((*said).max(*now) / 10).max(10) {
                *said = *now;
            }
        }
        self.seen.push_back(self.said.clone());
        let seen = self.seen.pop_front().unwrap();
        let mut asked = Vec::new();
        for (from, balance) in self.balances.iter_mut().enumerate() {
            let others = seen.iter().enumerate().filter(|(node, _)| *node != from);
            let others: Vec<Other> =
                others.map(|(node, seen)| other(node as u64 + 1, *seen)).collect();
            let going = self.under_way.iter().flatten().filter(|(who, _)| *who == from).count();
            let own = self.connections[from] - going as u64;
            for to in balance.serving(RULES, own, &others) {
                asked.push((from, usize::try_from(to.get()).unwrap() - 1));
                self.gave[from] += 1;
            }
        }
        self.under_way.push_back(asked);
    }
}

proptest! {
    #[test]
    fn nodes_settle_without_passing_connections_to_and_fro(
        connections in prop::collection::vec(0_u64..3_000, 2..9),
        lag in 0_usize..4,
    ) {
        let before = connections.clone();
        let sum: u64 = before.iter().sum();
        let mut world = World::new(connections, lag);
        let mut last_move = 0;
        for turn in 0..1_500 {
            let moved: u64 = world.gave.iter().sum();
            world.turn();
            if world.gave.iter().sum::<u64>() > moved {
                last_move = turn;
            }
        }
        prop_assert!(last_move < 1_000, "moves until turn {last_move}");
        prop_assert_eq!(world.connections.iter().sum::<u64>(), sum);
        let average = sum / before.len() as u64;
        let margin = (average * RULES.percent / 100).max(RULES.least);
        for (node, now) in world.connections.iter().enumerate() {
            let (gave, took) = (world.gave[node], world.took[node]);
            prop_assert!(gave == 0 || took == 0, "node {node} took {took} and gave {gave}");
            // What is seen of the others is a tenth off.
            let beyond = average + margin + margin / 2 + average / 10 + 10;
            prop_assert!(*now <= beyond, "{now} with an average of {average}: {before:?}");
        }
        let too_many: u64 = before.iter().map(|count| count.saturating_sub(average)).sum();
        let moved: u64 = world.gave.iter().sum();
        prop_assert!(moved <= too_many + too_many / 10, "{moved} moved, {too_many} were too many");
    }
}
