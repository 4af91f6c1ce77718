//! Watchers of a tally: each is a watch of its own, holds the newest standings it was sent, and
//! notes when it got them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::try_join_all;
use tidewire_client::{
    CellKind, Client, Error, Name, Standings, Watch, WatchEvent, WatchOptions, WatchValue,
};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::freshness::{Clock, WatcherLog, lock};

/// All watchers of one tally. Dropping them ends them.
#[derive(Debug)]
pub(crate) struct Watchers {
    all: Vec<Arc<Watcher>>,
    goal: Arc<Goal>,
    /// Ends the tasks with the watchers.
    _following: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Watcher {
    log: Arc<WatcherLog>,
    version: AtomicU64,
    standings: Mutex<Option<Standings>>,
    end: Mutex<Option<String>>,
}

/// The version that somebody waits for, so that only reaching it wakes them.
#[derive(Debug)]
struct Goal {
    version: AtomicU64,
    reached: Notify,
}

impl Watchers {
    /// Opens so many watches, spread evenly over the connections.
    ///
    /// # Errors
    /// When the server refuses one of them.
    pub(crate) async fn start(
        clients: &[Client],
        count: usize,
        tally: &Name,
        clock: Clock,
    ) -> Result<Self, Error> {
        let goal = Arc::new(Goal { version: AtomicU64::new(u64::MAX), reached: Notify::new() });
        let connections = clients.len().max(1);
        let shares = clients.iter().enumerate().map(|(at, client)| {
            let share = (count + connections - 1 - at) / connections;
            open(client, share, tally)
        });
        let mut following = JoinSet::new();
        let mut all = Vec::with_capacity(count);
        for watch in try_join_all(shares).await?.into_iter().flatten() {
            let watcher = Arc::new(Watcher::default());
            all.push(Arc::clone(&watcher));
            following.spawn(follow(watch, watcher, Arc::clone(&goal), clock));
        }
        Ok(Self { all, goal, _following: following })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// What they note, for a meter.
    pub(crate) fn logs(&self) -> Vec<Arc<WatcherLog>> {
        self.all.iter().map(|watcher| Arc::clone(&watcher.log)).collect()
    }

    /// The longest time that one of them got no update.
    pub(crate) fn longest_pause(&self) -> Duration {
        self.all.iter().map(|watcher| watcher.log.longest_pause()).max().unwrap_or_default()
    }

    /// Waits until every watcher that still runs holds this version, or the time is over. Returns
    /// how many do not hold it.
    pub(crate) async fn hold(&self, version: u64, limit: Duration) -> usize {
        // Published before the versions are looked at; a watcher does it the other way round, so
        // one of the two always sees the other.
        self.goal.version.store(version, Ordering::SeqCst);
        let everyone = async {
            loop {
                let reached = self.goal.reached.notified();
                let waited_for = self
                    .all
                    .iter()
                    .any(|watcher| !watcher.holds(version) && lock(&watcher.end).is_none());
                if !waited_for {
                    break;
                }
                reached.await;
            }
        };
        // Whether the time is over shows in who lags.
        drop(tokio::time::timeout(limit, everyone).await);
        self.goal.version.store(u64::MAX, Ordering::SeqCst);
        self.all.iter().filter(|watcher| !watcher.holds(version)).count()
    }

    /// What is wrong with the first watcher that does not hold exactly these standings.
    pub(crate) fn disagreement(&self, version: u64, standings: &Standings) -> Option<String> {
        let wrong: Vec<String> = self
            .all
            .iter()
            .enumerate()
            .filter_map(|(at, watcher)| {
                watcher.disagreement(version, standings).map(|fault| format!("{at} {fault}"))
            })
            .collect();
        let first = wrong.first()?;
        let (bad, count) = (wrong.len(), self.all.len());
        Some(format!("{bad} of {count} watchers disagree with the server: watcher {first}"))
    }
}

impl Watcher {
    fn holds(&self, version: u64) -> bool {
        self.version.load(Ordering::SeqCst) >= version
    }

    fn disagreement(&self, version: u64, standings: &Standings) -> Option<String> {
        if let Some(reason) = lock(&self.end).as_ref() {
            return Some(format!("has ended: {reason}"));
        }
        let held = self.version.load(Ordering::SeqCst);
        if held != version {
            return Some(format!("holds version {held}, not {version}"));
        }
        let watched = lock(&self.standings);
        let Some(watched) = watched.as_ref() else {
            return Some("holds no value".to_owned());
        };
        let same = watched.counts == standings.counts
            && watched.ballots == standings.ballots
            && watched.blank == standings.blank
            && watched.overvotes == standings.overvotes
            && watched.state == standings.state;
        (!same).then(|| format!("holds {watched:?} at version {version}, the server {standings:?}"))
    }
}

async fn open(client: &Client, count: usize, tally: &Name) -> Result<Vec<Watch>, Error> {
    let mut watches = Vec::with_capacity(count);
    for _ in 0..count {
        let options = WatchOptions { interval_ms: Some(0), ..WatchOptions::default() };
        watches.push(client.watch(CellKind::Tally, tally, options).await?);
    }
    Ok(watches)
}

async fn follow(mut watch: Watch, watcher: Arc<Watcher>, goal: Arc<Goal>, clock: Clock) {
    while let Some(WatchEvent { version, value, .. }) = watch.next().await {
        watcher.log.received(version, clock.now_ns());
        *lock(&watcher.standings) = match value {
            WatchValue::Standings(standings) => Some(standings),
            WatchValue::Absent | WatchValue::Counter(_) | WatchValue::Entries { .. } => None,
        };
        watcher.version.store(version, Ordering::SeqCst);
        if version >= goal.version.load(Ordering::SeqCst) {
            goal.reached.notify_one();
        }
    }
    let reason = watch.end_reason().map_or_else(|| "no reason".to_owned(), |why| why.to_string());
    *lock(&watcher.end) = Some(reason);
    goal.reached.notify_one();
}
