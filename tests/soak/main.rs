//! The soak: clients come, do everything that clients do, and go, in good order or not, for as long as is
//! asked. Afterwards the server is as it was: no descriptor, subscription, topic or cell is left, and its
//! memory has not grown.
//!
//! `TIDEWIRE_SOAK_SECONDS` says how long (20 unless set); `TIDEWIRE_SOAK_RATE` how many clients come in a
//! second (40 unless set).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::print_stderr,
    reason = "a test that meets what it does not expect is to fail"
)]

#[path = "../live/daemon.rs"]
#[allow(dead_code, reason = "the soak needs less of it than the other tests")]
mod daemon;
mod life;
mod remains;

use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::Daemon;
use remains::Remains;
use tokio::task::JoinSet;

/// What is remembered of those who have gone, and what the journal logs before it is shortened, has found
/// its size soon.
const CONFIG: &str = "\
heartbeat_ms = 500
handshake_timeout_ms = 1000
[storage]
checkpoint_bytes = 65536
[limits]
producer_idle_ms = 2000
[[policy]]
names = 'map.>'
map_keys_max = 1000
allow_delete = true
[[policy]]
names = 'kept.>'
durability = 'disk'
allow_delete = true
[[policy]]
names = '>'
allow_delete = true
";

/// Lives at the same time, at most.
const LIVES_MAX: usize = 64;
/// Before the first look: caches and buffers have found their sizes.
const WARM_UP_PERCENT: u32 = 25;
/// What memory may have grown by since then: this, and a twentieth.
const NOISE_BYTES: u64 = 12 * 1024 * 1024;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_is_left_of_those_who_were_there() {
    let length = Duration::from_secs(number("TIDEWIRE_SOAK_SECONDS", 20));
    let pause = Duration::from_secs(1) / u32::try_from(number("TIDEWIRE_SOAK_RATE", 40)).unwrap();
    let daemon = Arc::new(Daemon::start(CONFIG));
    let mut lives = 0;
    live(&daemon, length * WARM_UP_PERCENT / 100, pause, &mut lives).await;
    let before = Remains::when_quiet(&daemon).await;
    live(&daemon, length * (100 - WARM_UP_PERCENT) / 100, pause, &mut lives).await;
    let after = Remains::when_quiet(&daemon).await;
    eprintln!("{lives} lives; before: {before:?}; after: {after:?}");
    assert!(lives > u64::from(u32::try_from(length.as_secs()).unwrap()), "{lives} lives");
    // Threads that have nothing to do end after a while.
    assert!(after.descriptors <= before.descriptors && after.threads <= before.threads);
    let most = before.resident_bytes + before.resident_bytes / 20 + NOISE_BYTES;
    assert!(after.resident_bytes <= most, "memory: {before:?}, then {after:?}");
}

/// Lets clients live, one after the other and many at once.
async fn live(daemon: &Arc<Daemon>, length: Duration, pause: Duration, lives: &mut u64) {
    let deadline = Instant::now() + length;
    let mut living = JoinSet::new();
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while Instant::now() < deadline {
        ticks.tick().await;
        if living.len() >= LIVES_MAX {
            living.join_next().await.unwrap().unwrap();
        }
        *lives += 1;
        living.spawn(life::live(Arc::clone(daemon), *lives));
    }
    while let Some(ended) = living.join_next().await {
        ended.unwrap();
    }
}
