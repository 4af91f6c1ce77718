//! What the logs of all groups carry together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::groups;
use crate::journal::{BlockKind, Done, EntryId, GroupEntry, GroupLog, META};

/// Entries of a group under way.
const IN_FLIGHT: usize = 16;
const PAYLOAD_BYTES: usize = 128;

/// Appends entries one by one, so many of them under way at the same time, and counts those on the disk.
async fn append_until(log: GroupLog, until: Instant, stored: Arc<AtomicU64>) {
    let places = Arc::new(tokio::sync::Semaphore::new(IN_FLIGHT));
    let mut index = log.last().map_or(0, |last| last.index + 1);
    while Instant::now() < until {
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        let stored = Arc::clone(&stored);
        let done = Done::new(move |outcome| {
            outcome.unwrap();
            stored.fetch_add(1, Relaxed);
            drop(place);
        });
        let id = EntryId { term: 1, index };
        let bytes = vec![7; PAYLOAD_BYTES].into();
        let kind = BlockKind::Membership;
        let entry = GroupEntry { id, kind, version: 0, time_ms: 0, entries: 0, bytes };
        log.append(vec![entry], done).await.unwrap();
        index += 1;
    }
    drop(places.acquire_many(IN_FLIGHT as u32).await.unwrap());
}

#[ignore = "a measurement; run it with --release --ignored --nocapture"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_groups_carry_so_many_entries_a_second() {
    let place = std::env::var_os("TIDEWIRE_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let directory = tempfile::tempdir_in(place).unwrap();
    let (groups, storage) = groups(&directory.path().join("data"));
    let (began, stored) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let until = began + Duration::from_secs(5);
    let logs = groups.iter().map(|group| group.log.clone()).filter(|log| log.shard() != META);
    let tasks: Vec<_> =
        logs.map(|log| tokio::spawn(append_until(log, until, Arc::clone(&stored)))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    let (stored, took) = (stored.load(Relaxed), began.elapsed().as_secs_f64());
    let stats = storage.state.stats();
    let commit_ms = stats.commit_us as f64 / 1_000.0 / stats.commits as f64;
    println!(
        "{:.0} entries/s, {:.1} commits/s of {:.1} entries and {commit_ms:.2} ms",
        stored as f64 / took,
        stats.commits as f64 / took,
        stored as f64 / stats.commits as f64,
    );
    drop(groups);
    storage.join();
}
