//! Records that are on disk only.

use std::sync::mpsc as threads;

use bytes::Bytes;
use tidewire_core::shard::{Interest, Recalled, Recaller};
use tidewire_core::topic::Batch;

use super::*;
use crate::journal::staging::Writes;
use crate::journal::{DiskRoom, batches_in, verify};

const RECORDS: u64 = 300;
const PAYLOAD_BYTES: usize = 9_000;

/// The durable shard of the first number, with what reads for it.
fn opened(data: &Path) -> (Shard, DiskRoom, Storage, threads::Receiver<(Recaller, Recalled)>) {
    let Opened { shards, mut storage, .. } = open(data, "n").unwrap();
    let (sender, receiver) = threads::channel();
    let hand_over = move |_shard, to, recalled| sender.send((to, recalled)).unwrap();
    storage.start_recalling(hand_over).unwrap();
    let (shard, room) = shards.into_iter().next().unwrap();
    (shard, room, storage, receiver)
}

/// The batches of its topic, as a dispatcher gets them that begins to follow it.
fn batches_of(shard: &mut Shard) -> Vec<Arc<Batch>> {
    batches_of_topic(shard, &topic_in(SHARDS))
}

fn batches_of_topic(shard: &mut Shard, topic: &str) -> Vec<Arc<Batch>> {
    let topic = Interest::Topic(Name::parse(topic).unwrap());
    shard.handle(Command::Follow(3, topic), 2_000);
    let events = shard.seal().unwrap().events.into_iter();
    let mut snapshots = events.filter_map(|(_, event)| match event {
        Event::TopicSnapshot { batches, .. } => Some(batches),
        _ => None,
    });
    snapshots.next().unwrap()
}

/// What is read when this batch is recalled.
fn recalled(
    shard: &mut Shard,
    room: &DiskRoom,
    from: &threads::Receiver<(Recaller, Recalled)>,
    sequence: u64,
) -> Recalled {
    shard.handle(Command::Recall(3, sequence), 2_000);
    for recall in shard.seal().unwrap().recalls {
        assert_eq!(room.recall(recall), None);
    }
    let (to, recalled) = from.recv().unwrap();
    assert_eq!(to, Recaller::Dispatcher(3));
    assert!(recalled.sequences.contains(&sequence));
    recalled
}

#[tokio::test]
async fn what_is_cold_after_a_restart_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    filled(&data, RECORDS, PAYLOAD_BYTES).await;
    let (mut shard, room, storage, receiver) = opened(&data);
    let batches = batches_of(&mut shard);
    assert_eq!(batches.last().unwrap().next(), RECORDS);
    let cold: Vec<&Arc<Batch>> = batches.iter().filter(|batch| batch.body.is_cold()).collect();
    assert!(cold.len() > 50, "{} of {}", cold.len(), batches.len());
    let mut bodies: Vec<(u64, Bytes)> = Vec::new();
    for batch in cold {
        if bodies.last().is_none_or(|(sequence, _)| *sequence < batch.sequence) {
            let recalled = recalled(&mut shard, &room, &receiver, batch.sequence);
            assert_eq!(recalled.reason, None);
            bodies.extend(recalled.bodies);
        }
        let found = bodies.binary_search_by_key(&batch.sequence, |(sequence, _)| *sequence);
        let (_, body) = &bodies[found.unwrap()];
        assert_eq!(*body, payload_body(&payload(batch.base, PAYLOAD_BYTES)));
    }
    drop(room);
    storage.join();
}

#[tokio::test]
async fn a_block_that_is_damaged_is_an_error_and_found_by_a_look_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    filled(&data, RECORDS, PAYLOAD_BYTES).await;
    let (mut shard, room, storage, _receiver) = opened(&data);
    let sequence = batches_of(&mut shard).first().unwrap().sequence + 40;
    drop((shard, room));
    storage.join();
    let mut store = Store::open(&data.join("journal"), 30_000).unwrap();
    let holds_it = |block: &[u8]| {
        let batches = batches_in(block).unwrap();
        batches.iter().any(|(found, _)| *found == sequence)
    };
    let mut blocks = store.scan(SHARDS, 0).map(Result::unwrap);
    let (key, mut block) = blocks.find(|(_, block)| holds_it(block)).unwrap();
    drop(blocks);
    block[5_000] ^= 1;
    store.commit(Writes::of(vec![(key, block)])).unwrap();
    drop(store);

    let (mut shard, room, storage, receiver) = opened(&data);
    let found = recalled(&mut shard, &room, &receiver, sequence);
    let refused = found.reason.as_ref().unwrap();
    assert!(refused.contains("checksum"), "{refused}");
    assert_eq!(found.body(sequence), None);
    assert!(found.bodies.len() > 10, "what lies in the blocks beside it is there");
    drop((shard, room));
    storage.join();
    let report = verify(&data, &|_bytes| ()).unwrap();
    assert_eq!(report.damaged, 1, "{:?}", report.findings);
    let holes = &report.holes[&topic_in(SHARDS)];
    assert_eq!(holes.len(), 1);
    // 100 was the oldest record that is kept.
    assert!((holes[0].0..holes[0].1).contains(&140), "{holes:?}");
}

#[tokio::test]
async fn what_is_kept_for_long_does_not_keep_what_was_logged_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let (mut shard, room, storage, _receiver) = opened(&data);
    let (busy, rare) = (topic_in(SHARDS), "rare.".to_owned());
    let is_here = |topic: &String| shard_of(&Name::parse(topic).unwrap()) == 0;
    let rare = (0..).map(|number| format!("{rare}{number}")).find(is_here).unwrap();
    let mut journal = Journal::Disk(room);
    for record in 0..40 {
        let command = publish(&rare, 1, &payload(record, 300));
        assert_eq!(offset(turn(&mut shard, &mut journal, command).await), record);
        for _ in 0..30 {
            let command = publish(&busy, 1, &payload(record, PAYLOAD_BYTES));
            turn(&mut shard, &mut journal, command).await;
        }
        save_if_due(&shard, &mut journal);
    }
    // 10 MB were logged, and 2 MB are kept.
    let state = Arc::clone(&storage.state);
    drop((shard, journal));
    storage.join();
    assert!(state.stats().cleaned_bytes > 4_000_000, "{}", state.stats().cleaned_bytes);
    let store = Store::open(&data.join("journal"), 30_000).unwrap();
    let bytes: usize = store.scan(SHARDS, 0).map(|block| block.unwrap().1.len()).sum();
    assert!(bytes < 6_000_000, "{bytes}");
    drop(store);

    let (mut shard, room, storage, receiver) = opened(&data);
    let batches = batches_of_topic(&mut shard, &rare);
    assert_eq!(batches.last().unwrap().next(), 40);
    for batch in batches.iter().filter(|batch| batch.body.is_cold()) {
        let recalled = recalled(&mut shard, &room, &receiver, batch.sequence);
        let expected = payload_body(&payload(batch.base, 300));
        assert_eq!(recalled.body(batch.sequence), Some(&expected));
    }
    drop((shard, room));
    storage.join();
    assert!(verify(&data, &|_bytes| ()).unwrap().is_whole());
}
