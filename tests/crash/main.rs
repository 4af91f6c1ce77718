//! The crash laboratory: a server that keeps names on disk is killed at random moments under load,
//! and started again. What was acknowledged must be there, at its place, and nothing twice.
//!
//! `TIDEWIRE_CRASHES` says how often (20 unless set); `TIDEWIRE_CRASH_SEED` repeats a run's moments.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::print_stderr,
    reason = "a test that meets what it does not expect is to fail"
)]

mod chance;
#[path = "../live/daemon.rs"]
#[allow(dead_code, reason = "the laboratory needs less of it than the other tests")]
mod daemon;
mod examiner;
mod full_disk;
mod ledger;
mod load;
mod once;
mod power_cut;
mod stalled_disk;
mod volume;

use std::time::Duration;

use chance::{chance, number};
use daemon::{Daemon, Via};
use ledger::Ledger;

/// Everything is on disk and nothing leaves, so that everything can be asked for. Little of it is in
/// memory, so that most is read back.
pub(crate) const CONFIG: &str = "
# So that clients over QUIC soon notice that the server is gone.
heartbeat_ms = 300

[limits]
topic_bytes_max = 1048576
topic_batches_max = 3200000000

[storage]
free_bytes_min = 268435456
# So that checkpoints are made and blocks removed all the time.
checkpoint_bytes = 262144

[[policy]]
names = \"map.>\"
durability = \"disk\"
map_keys_max = 100000

[[policy]]
names = \">\"
durability = \"disk\"
retention_records = 100000000
retention_bytes = 4294967296
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let crashes = number("TIDEWIRE_CRASHES", 20);
    let mut seed = number("TIDEWIRE_CRASH_SEED", u64::from(std::process::id()));
    eprintln!("{crashes} crashes, TIDEWIRE_CRASH_SEED={seed}");
    let mut daemon = Daemon::start(CONFIG);
    let mut ledger = Ledger::default();
    let (mut numbered, mut done) = (0, 0);
    load::prepare(&daemon.connect(Via::Ws).await).await;
    for round in 0..crashes {
        let once = once::work(&daemon, round).await;
        let load = load::begin(&daemon, round).await;
        let moment = Duration::from_millis(20 + chance(&mut seed) % 400);
        // The moment is the point of the test; nothing is waited for.
        tokio::time::sleep(moment).await;
        let data_dir = daemon.kill();
        let added = load.end(&mut ledger).await;
        let once = once.await.unwrap();
        daemon = Daemon::start_in(data_dir, CONFIG);
        examiner::examine(&daemon, &mut ledger, round).await;
        once::examine(&daemon, &once, round).await;
        numbered += once.acknowledged();
        done += once.done();
        eprintln!("crash {round} after {moment:?}: {added}");
    }
    examiner::examine_all(&daemon, &mut ledger).await;
    eprintln!("in all: {ledger}; {numbered} numbered publishes, {done} records of groups");
    assert!(numbered >= usize::try_from(crashes).unwrap() * 10, "{numbered} numbered publishes");
    assert!(ledger.is_worth_something(crashes), "too little was acknowledged: {ledger}");
}
