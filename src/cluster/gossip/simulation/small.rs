//! Three nodes, and a bad network.

use super::*;

#[test]
fn three_nodes_find_each_other_and_hear_what_each_says() {
    let network = Network::of(3, 1);
    for (of, by) in network.pairs() {
        let known = network.known(of, by).unwrap();
        let said = network.nodes[&by].said_by(known).unwrap();
        assert_eq!(said.name, format!("node-{of}"));
        assert_eq!(said.activity, Activity::Active);
    }
    assert_eq!(network.false_deaths(), 0);
}

#[test]
fn a_dead_node_is_noticed_and_comes_back_as_a_newer_one() {
    let mut network = Network::of(3, 2);
    network.crash(3);
    network.run(8_000);
    for by in [1, 2] {
        assert_eq!(network.state(3, by), Some(NodeState::Down));
    }
    network.start(3, 2);
    network.run(3_000);
    network.assert_all_alive();
    for by in [1, 2] {
        assert_eq!(network.known(3, by).unwrap().member.incarnation, 2);
    }
    assert_eq!(network.known(3, 3), None, "its earlier life is nobody else");
    assert_eq!(network.false_deaths(), 2, "those of the node that was dead");
}

#[test]
fn a_fast_restart_is_no_death() {
    let mut network = Network::of(3, 3);
    network.crash(3);
    network.run(100);
    network.start(3, 2);
    network.run(10_000);
    network.assert_all_alive();
    assert_eq!(network.false_deaths(), 0);
    assert_eq!(network.known(3, 1).unwrap().member.incarnation, 2);
}

#[test]
fn a_restart_with_the_same_incarnation_goes_on_with_a_higher_one() {
    let mut network = Network::of(3, 4);
    network.crash(3);
    network.run(8_000);
    network.start(3, 1);
    network.run(10_000);
    network.assert_all_alive();
    assert!(network.known(3, 1).unwrap().member.incarnation > 1);
}

#[test]
fn who_says_that_it_goes_has_left() {
    let mut network = Network::of(3, 5);
    let now_ms = network.now_ms;
    network.nodes.get_mut(&2).unwrap().leave(now_ms);
    network.take(2);
    network.run(500);
    network.crash(2);
    network.run(500);
    for by in [1, 3] {
        assert_eq!(network.state(2, by), Some(NodeState::Left));
    }
    network.run(60_000);
    assert_eq!(network.state(2, 1), Some(NodeState::Left));
    assert!(network.changes.iter().all(|(.., state)| *state != NodeState::Suspect));
}

#[test]
fn a_partition_heals_by_itself() {
    // One alone has to call by itself; of two against two each side has somebody to talk to.
    for (nodes, way) in [(3, (|a, b| (a == 1) == (b == 1)) as Way), (4, |a, b| (a < 3) == (b < 3))]
    {
        let mut network = Network::of(nodes, 6);
        network.way = way;
        network.run(15_000);
        for (of, by) in network.pairs() {
            let state = if way(of, by) { NodeState::Alive } else { NodeState::Down };
            assert_eq!(network.state(of, by), Some(state), "{of} seen by {by}");
        }
        network.way = |_, _| true;
        network.run(20_000);
        network.assert_all_alive();
    }
}

#[test]
fn a_way_that_is_cut_in_one_direction_kills_nobody() {
    let mut network = Network::of(4, 7);
    network.way = |from, to| (from, to) != (1, 2);
    network.run(60_000);
    assert_eq!(network.false_deaths(), 0);
    network.way = |_, _| true;
    network.run(10_000);
    network.assert_all_alive();
}

#[test]
fn a_bad_network_kills_nobody() {
    for seed in 0..5 {
        let mut network = Network::of(5, 8 + seed);
        // Lost, twice, late, and in another order.
        (network.lost, network.doubled, network.delay_ms_max) = (100, 100, 60);
        network.run(120_000);
        assert_eq!(network.false_deaths(), 0, "seed {seed}");
        network.lost = 0;
        network.run(5_000);
        network.assert_all_alive();
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let mut network = Network::of(5, seed);
        (network.lost, network.doubled, network.delay_ms_max) = (100, 50, 40);
        network.run(10_000);
        network.crash(4);
        network.run(10_000);
        network.trace
    };
    assert!(trace(1) == trace(1));
    assert!(trace(1) != trace(2));
}

#[test]
fn what_a_node_says_anew_reaches_the_others_and_a_late_comer() {
    let mut network = Network::of(3, 9);
    let about = About { activity: Activity::Draining, ..network.nodes[&1].about().clone() };
    network.nodes.get_mut(&1).unwrap().say(about);
    network.run(3_000);
    network.start(4, 1);
    network.run(3_000);
    for by in [2, 3, 4] {
        let known = network.known(1, by).unwrap();
        let said = network.nodes[&by].said_by(known).unwrap();
        assert_eq!(said.activity, Activity::Draining, "{by}");
    }
}

#[test]
fn a_packet_that_is_none_is_counted_and_changes_nothing() {
    let mut network = Network::of(3, 10);
    let now_ms = network.now_ms;
    let gossip = network.nodes.get_mut(&1).unwrap();
    for packet in [&b""[..], b"nonsense", &[1; 1000], &[0; 5000]] {
        gossip.handle_datagram(now_ms, packet);
    }
    assert_eq!(gossip.counts().0, 4);
    network.run(5_000);
    network.assert_all_alive();
}

#[test]
fn the_dead_are_forgotten_after_an_hour() {
    let mut network = Network::of(3, 11);
    network.crash(3);
    network.run(3_500_000);
    assert_eq!(network.state(3, 1), Some(NodeState::Down));
    network.run(200_000);
    assert_eq!((network.state(3, 1), network.state(2, 1)), (None, Some(NodeState::Alive)));
    assert_eq!(network.false_deaths(), 0);
}
