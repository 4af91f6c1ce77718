//! A hundred nodes.

use super::*;

const NODES: u64 = 100;

/// Deaths that are simulated; the documented figures are of 20.
fn deaths() -> u64 {
    let set = std::env::var("TIDEWIRE_GOSSIP_DEATHS").ok();
    set.map_or(2, |set| set.parse().expect("TIDEWIRE_GOSSIP_DEATHS is a number"))
}

#[test]
fn a_death_among_a_hundred_is_known_to_all_within_5_s() {
    let mut latest_ms: Vec<u64> = Vec::new();
    for seed in 0..deaths() {
        let mut network = Network::of(NODES, 100 + seed);
        let died_at_ms = network.now_ms;
        network.crash(50);
        network.run(8_000);
        let deaths = network.changes.iter().filter(|(at_ms, _, of, state)| {
            (*of, *state) == (50, NodeState::Down) && *at_ms > died_at_ms
        });
        let known_after_ms: Vec<u64> = deaths.map(|(at_ms, ..)| at_ms - died_at_ms).collect();
        assert_eq!(known_after_ms.len() as u64, NODES - 1, "seed {seed}");
        latest_ms.extend(known_after_ms.iter().max());
        assert_eq!(network.false_deaths(), 0, "seed {seed}");
    }
    latest_ms.sort_unstable();
    let (first, half, last) =
        (latest_ms[0], latest_ms[latest_ms.len() / 2], latest_ms[latest_ms.len() - 1]);
    println!(
        "{} deaths, each known to all after {first} to {last} ms, half of them after {half} ms",
        latest_ms.len()
    );
    assert!(last <= 5_000, "{latest_ms:?}");
}

#[test]
fn a_hundred_nodes_are_quiet() {
    let mut network = Network::of(NODES, 200);
    network.run(30_000);
    (network.bytes, network.sent) = (0, 0);
    network.run(30_000);
    let (bytes, packets) = (network.bytes / 30 / NODES, network.sent / 30 / NODES);
    println!("{bytes} bytes/s and {packets} packets/s of each node");
    assert_eq!(network.false_deaths(), 0);
    assert!(bytes < 25_000, "{bytes}");
}
