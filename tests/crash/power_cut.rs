//! Power cuts: the disk keeps what was synced, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use crate::daemon::{Daemon, Via};
use crate::ledger::Ledger;
use crate::volume::volume_or_say;
use crate::{CONFIG, chance, examiner, load, number};

const VOLUME_MIB: u64 = 2_048;

/// `TIDEWIRE_POWER_CUTS` says how often (4 unless set).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_in_a_power_cut() {
    let cuts = number("TIDEWIRE_POWER_CUTS", 4);
    let mut seed = number("TIDEWIRE_CRASH_SEED", u64::from(std::process::id()));
    let files = Arc::new(tempfile::tempdir().unwrap());
    let Some(volume) = volume_or_say(files.path(), VOLUME_MIB) else { return };
    let data_dir = volume.path().join("data");
    let start = || Daemon::start_over(Arc::clone(&files), data_dir.clone(), CONFIG);
    let mut ledger = Ledger::default();
    let mut daemon = start();
    load::prepare(&daemon.connect(Via::Ws).await).await;
    for round in 0..cuts {
        let load = load::begin(&daemon, round).await;
        let moment = Duration::from_millis(20 + chance(&mut seed) % 400);
        // The moment is the point of the test; nothing is waited for.
        tokio::time::sleep(moment).await;
        volume.cut();
        drop(daemon.kill());
        let added = load.end(&mut ledger).await;
        volume.mount_again();
        daemon = start();
        examiner::examine(&daemon, &mut ledger, round).await;
        eprintln!("power cut {round} after {moment:?}: {added}");
    }
    examiner::examine_all(&daemon, &mut ledger).await;
    drop(daemon);
    assert!(ledger.is_worth_something(cuts), "too little was acknowledged: {ledger}");
}
