//! A seeded simulation of a cluster that counts: messages are lost, repeated and reordered, nodes are cut
//! off from each other, crash with and without their memory, start again and are removed, and
//! sessions repeat their increments wherever they find a node.
//!
//! The law, when everything has healed: every node has the same, and its value is the sum of the
//! increments that were counted and not lost with all who knew of them. None is in it twice. One that was
//! answered is in it, or its actor's last version is before it, and a read says so. Nothing is kept apart of a node
//! that was removed.

mod clients;
mod figures;
mod lives;
mod network;
mod world;

use figures::Figures;
use world::World;

fn run(seed: u64, nodes: u64, steps: usize) -> Figures {
    let mut world = World::new(seed, nodes);
    for _ in 0..steps {
        world.step();
    }
    world.heal();
    world.check();
    world.figures
}

#[test]
fn every_increment_counts_once_on_every_node_or_is_lost_with_all_who_knew_of_it() {
    let mut sum = Figures::default();
    for seed in 1..=30 {
        sum.add(&run(seed, 3, 500));
        sum.add(&run(1_000 + seed, 5, 500));
    }
    // All of it happens, or the simulation would show nothing.
    let Figures { counted, duplicates, unknown, decided, refused, lost, .. } = sum;
    assert!(counted > 20_000 && duplicates > 1_000 && unknown > 1_000, "{sum:?}");
    assert!(decided > 50 && refused > 100 && lost > 100, "{sum:?}");
    let Figures { crashes, taken_over, removed, sealed, snapshots, holes, .. } = sum;
    assert!(crashes > 300 && taken_over > 200 && removed > 20 && sealed > 20, "{sum:?}");
    assert!(snapshots > 500 && holes > 100, "{sum:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    assert_eq!(run(77, 5, 400), run(77, 5, 400));
    assert_ne!(run(77, 5, 400).trace, run(78, 5, 400).trace);
}
