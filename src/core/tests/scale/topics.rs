//! `>` over one topic, and over very many.

use allocation_counter::{AllocationInfo, measure};
use tidewire_protocol::{Name, Pattern};

use crate::world::{Received, World};

/// The topics of the large world.
const TOPICS: u64 = 1_000_000;
/// Followers of everything.
const FOLLOWERS: usize = 60;
/// Which topics of the large world are published to again: each of so many.
const EVERY: usize = 4_999;

fn topic(number: u64) -> Name {
    Name::parse(&format!("site.{number}.news")).unwrap()
}

fn pattern(raw: &str) -> Pattern {
    Pattern::parse(raw).unwrap()
}

/// A world with so many topics of one record each, and followers of everything, who have been
/// answered.
fn world(topics: u64) -> World {
    let mut world = World::new();
    for number in 0..topics {
        world.publish(&topic(number));
    }
    for _ in 0..FOLLOWERS {
        world.subscribe(&pattern(">"));
    }
    world.serve(&mut Received::from(0, FOLLOWERS));
    world
}

/// What one more subscriber of a pattern costs, with its answer.
fn one_more(world: &mut World, raw: &str) -> AllocationInfo {
    let pattern = pattern(raw);
    let mut received = Received::from(0, 2 * FOLLOWERS);
    measure(|| {
        world.subscribe(&pattern);
        world.serve(&mut received);
    })
}

#[test]
fn a_subscriber_of_everything_costs_the_same_with_one_topic_and_with_very_many() {
    let (mut small, mut large) = (world(1), world(TOPICS));
    let (few, many) = (one_more(&mut small, ">"), one_more(&mut large, ">"));
    assert_eq!(few, many, "allocations and bytes of one more subscriber");
    assert!(many.bytes_current < 8 * 1024, "{many:?}");

    // A pattern that nobody has used before outdates what is known of every topic; that is not
    // done at once either.
    let (few, many) = (one_more(&mut small, "site.>"), one_more(&mut large, "site.>"));
    assert_eq!(few, many, "allocations and bytes of a new pattern");

    a_record_reaches_everybody_once(&mut large);
}

/// In the large world, since making it is what takes the time.
fn a_record_reaches_everybody_once(world: &mut World) {
    let everybody = FOLLOWERS + 2;
    let mut received = Received::from(world.published, everybody);
    for number in (0..TOPICS).step_by(EVERY) {
        world.publish(&topic(number));
        world.serve(&mut received);
    }
    let records = TOPICS.div_ceil(EVERY as u64);
    for log in &received.by_slot {
        assert_eq!((log.records, log.misplaced), (records, 0), "every record once and in order");
    }
    // The second time what matches a topic is known, and every memory has found its size.
    for number in (0..TOPICS).step_by(EVERY) {
        world.publish(&topic(number));
        let pulled = measure(|| world.serve(&mut received));
        assert!(pulled.count_total <= 1, "to share the batch, not to deliver it: {pulled:?}");
    }
    for log in &received.by_slot {
        assert_eq!(
            (log.records, log.misplaced),
            (2 * records, 0),
            "every record once and in order"
        );
    }
}
