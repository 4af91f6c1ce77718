//! What a server holds when nobody is there.

use std::time::{Duration, Instant};

use super::daemon::{Daemon, PATIENCE};

#[derive(Clone, Debug)]
pub(crate) struct Remains {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    pub(crate) resident_bytes: u64,
}

/// Looks that find nobody, before what is left counts.
const LOOKS: u32 = 20;
/// What is to be nothing, as the server itself counts it.
const GONE: [&str; 3] = ["tidewire_connections", "tidewire_subscriptions", "tidewire_cells"];
/// The server's own, if its load has changed: `$sys.load`.
const TOPICS_MAX: u64 = 1;

impl Remains {
    /// Waits until everybody and everything is gone.
    pub(crate) async fn when_quiet(daemon: &Daemon) -> Self {
        let deadline = Instant::now() + PATIENCE;
        // One or two come and go with each look: the fewest of several looks are those that stay.
        let (mut looks, mut descriptors, mut threads) = (0, usize::MAX, usize::MAX);
        loop {
            let metrics = daemon.get("/metrics");
            let left: Vec<String> = GONE
                .iter()
                .filter(|name| !metrics.lines().any(|line| line == format!("{name} 0")))
                .map(|name| metrics.lines().find(|line| line.starts_with(&format!("{name} "))))
                .map(|line| line.unwrap_or("a figure is missing").to_owned())
                .chain(
                    topics(&metrics)
                        .filter(|topics| *topics > TOPICS_MAX)
                        .map(|topics| format!("{topics} topics")),
                )
                .collect();
            if left.is_empty() {
                looks += 1;
                descriptors = descriptors.min(daemon.entries_in_proc("fd"));
                threads = threads.min(daemon.entries_in_proc("task"));
            }
            if looks >= LOOKS {
                return Self { descriptors, threads, resident_bytes: daemon.resident_bytes() };
            }
            assert!(Instant::now() < deadline, "there still are {left:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn topics(metrics: &str) -> impl Iterator<Item = u64> {
    metrics.lines().filter_map(|line| line.strip_prefix("tidewire_topics ")?.parse().ok())
}
