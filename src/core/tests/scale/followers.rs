//! One topic and a hundred thousand followers.

use allocation_counter::measure;
use tidewire_core::shard::SessionId;
use tidewire_protocol::{Name, Pattern};

use crate::world::{NOW_MS, Received, World};

const FOLLOWERS: usize = 100_000;
/// Rounds of one record each that are counted.
const ROUNDS: usize = 3;
/// Bytes that a follower holds: its session, its subscription, its cursor.
const BYTES_PER_FOLLOWER_MAX: i64 = 768;

#[test]
fn a_hundred_thousand_followers_get_every_record_once_and_cost_what_they_may() {
    let (mut world, mut followers) = (World::new(), Vec::with_capacity(FOLLOWERS));
    let topic = Name::parse("news.today").unwrap();
    let pattern = Pattern::parse("news.today").unwrap();
    world.publish(&topic);
    let mut received = Received::from(1, FOLLOWERS);

    let joined = measure(|| {
        followers.extend((0..FOLLOWERS).map(|_| world.subscribe(&pattern)));
        world.serve(&mut received);
    });
    let each = joined.bytes_current / FOLLOWERS as i64;
    assert!(each <= BYTES_PER_FOLLOWER_MAX, "{each} bytes per follower");

    every_record_comes_once_and_allocates_nothing(&mut world, &topic, &mut received);
    who_leaves_gives_back_the_memory(&mut world, &followers, joined.bytes_current);
}

fn every_record_comes_once_and_allocates_nothing(
    world: &mut World,
    topic: &Name,
    received: &mut Received,
) {
    // The first round lets queues find their sizes.
    world.publish(topic);
    world.serve(received);
    for _ in 0..ROUNDS {
        let published = measure(|| world.publish(topic));
        let pulled = measure(|| world.serve(received));
        assert!(published.count_total < 20, "of a round, not of its followers: {published:?}");
        assert!(pulled.count_total <= 1, "to share the batch, not to deliver it: {pulled:?}");
    }
    let records = 1 + ROUNDS as u64;
    for log in &received.by_slot {
        assert_eq!((log.records, log.misplaced), (records, 0), "every record once and in order");
    }
}

fn who_leaves_gives_back_the_memory(world: &mut World, followers: &[SessionId], taken: i64) {
    let left = measure(|| {
        for session in followers {
            world.close(*session);
        }
        world.serve(&mut Received::default());
        world.dispatcher.handle_timeout(NOW_MS);
    });
    let kept = taken + left.bytes_current;
    assert!(kept < 64 * 1024, "{kept} of {taken} bytes are kept");
}
