//! How long a vote takes to reach the watchers: from the moment it is handed to the sender's
//! connection to the moment a watcher holds a value that contains it.
//!
//! A vote is acknowledged with the version of the tally that contains it, and a watcher that holds
//! this version or a later one holds the vote. So senders note (sent, version), watchers note
//! (version, received), and the [`Meter`] joins the two some twenty times a second. A watcher may
//! well see a vote before its sender is told the version; therefore an update is joined only once
//! every vote that was sent before it came in has been answered.
//!
//! Each pair of a vote and a watcher is one latency. Where there are more pairs than measuring may
//! cost ([`PAIRS_PER_TICK_MAX`]), every n-th vote is measured, with all its watchers, and counts n
//! times: a stall, after which many votes are answered at once, keeps its full weight. When a
//! watcher's notes are full, an update is not noted and its votes count from the next noted one:
//! latencies are then overstated, never understated.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::latency::Latencies;
use super::pause::Pauses;

/// Pairs of vote and watcher joined per tick at most: about a millisecond of one core.
const PAIRS_PER_TICK_MAX: usize = 100_000;
/// Updates that one watcher notes between two ticks.
const UPDATES_MAX: usize = 4096;
/// Votes that wait for the slowest watcher; of more, the oldest are given up.
const VOTES_MAX: usize = 1 << 20;
/// How often the meter is to be called.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// Nanoseconds since the start of the run, for senders and watchers alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// A clock that begins now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the beginning.
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What one sender notes. Its votes are to be answered in the order in which they were sent.
#[derive(Debug, Default)]
pub(crate) struct SenderLog(Mutex<Sent>);

#[derive(Debug, Default)]
struct Sent {
    in_flight: VecDeque<u64>,
    answered: Vec<Vote>,
}

impl SenderLog {
    /// A vote is about to be sent.
    pub(crate) fn sent(&self, at_ns: u64) {
        lock(&self.0).in_flight.push_back(at_ns);
    }

    /// The oldest unanswered vote was answered: with the version that contains it, or `None` if it
    /// has none that is its own (refused, or a duplicate).
    pub(crate) fn answered(&self, version: Option<u64>) {
        let mut sent = lock(&self.0);
        if let (Some(sent_ns), Some(version)) = (sent.in_flight.pop_front(), version) {
            sent.answered.push(Vote { version, sent_ns, weight: 1, seen: 0, last_ns: 0 });
        }
    }
}

/// What one watcher notes.
#[derive(Debug, Default)]
pub(crate) struct WatcherLog {
    updates: Mutex<VecDeque<Update>>,
    pauses: Pauses,
}

#[derive(Clone, Copy, Debug)]
struct Update {
    version: u64,
    at_ns: u64,
}

impl WatcherLog {
    /// The watcher holds this version.
    pub(crate) fn received(&self, version: u64, at_ns: u64) {
        self.pauses.event(at_ns);
        let mut updates = lock(&self.updates);
        if updates.len() < UPDATES_MAX {
            updates.push_back(Update { version, at_ns });
        }
    }

    /// The longest time between two updates.
    pub(crate) fn longest_pause(&self) -> Duration {
        self.pauses.longest()
    }
}

#[derive(Clone, Copy, Debug)]
struct Vote {
    version: u64,
    sent_ns: u64,
    /// Votes that it stands for: itself, and those beside it that are not measured.
    weight: u64,
    /// Watchers that hold it, and when the last of them did.
    seen: usize,
    last_ns: u64,
}

/// Joins the notes of senders and watchers into latencies.
#[derive(Debug)]
pub(crate) struct Meter {
    senders: Vec<Arc<SenderLog>>,
    watchers: Vec<Follower>,
    /// Votes that some watcher does not hold yet, by version.
    votes: VecDeque<Vote>,
    /// Votes that have left `votes`: the number of its first one.
    gone: u64,
    each: Latencies,
    last: Latencies,
}

#[derive(Debug)]
struct Follower {
    log: Arc<WatcherLog>,
    /// Number of the first vote that it does not hold.
    next: u64,
}

impl Meter {
    /// A meter of these senders and watchers.
    pub(crate) fn new(senders: Vec<Arc<SenderLog>>, watchers: Vec<Arc<WatcherLog>>) -> Self {
        let watchers = watchers.into_iter().map(|log| Follower { log, next: 0 }).collect();
        Self {
            senders,
            watchers,
            votes: VecDeque::new(),
            gone: 0,
            each: Latencies::default(),
            last: Latencies::default(),
        }
    }

    /// Until each watcher held a vote.
    pub(crate) fn each_watcher(&self) -> &Latencies {
        &self.each
    }

    /// Until the last of all watchers held a vote.
    pub(crate) fn last_watcher(&self) -> &Latencies {
        &self.last
    }

    /// Forgets the latencies so far, but not the votes under way: the end of a warm-up.
    pub(crate) fn clear(&mut self) {
        self.each = Latencies::default();
        self.last = Latencies::default();
    }

    /// Joins what was noted since the last call. `now_ns` is the clock before the call.
    pub(crate) fn tick(&mut self, now_ns: u64) {
        let settled_ns = self.take_votes(now_ns);
        let Self { watchers, votes, gone, each, last, .. } = self;
        let watching = watchers.len();
        for Follower { log, next } in watchers {
            let updates = settled(log, settled_ns);
            for Update { version, at_ns } in updates {
                let from = usize::try_from(next.saturating_sub(*gone)).unwrap_or(usize::MAX);
                for vote in votes.range_mut(from.min(votes.len())..) {
                    if vote.version > version {
                        break;
                    }
                    *next += 1;
                    each.record(at_ns.saturating_sub(vote.sent_ns), vote.weight);
                    vote.seen += 1;
                    vote.last_ns = vote.last_ns.max(at_ns);
                    if vote.seen == watching {
                        last.record(vote.last_ns.saturating_sub(vote.sent_ns), vote.weight);
                    }
                }
            }
        }
        self.drop_votes_that_all_hold();
    }

    /// Takes over the answered votes. Returns the time before which no unanswered vote was sent.
    fn take_votes(&mut self, now_ns: u64) -> u64 {
        let mut settled_ns = now_ns;
        let mut answered = Vec::new();
        for sender in &self.senders {
            let mut sent = lock(&sender.0);
            settled_ns = settled_ns.min(sent.in_flight.front().copied().unwrap_or(now_ns));
            answered.append(&mut sent.answered);
        }
        let step = (answered.len() * self.watchers.len()).div_ceil(PAIRS_PER_TICK_MAX).max(1);
        self.votes.extend(answered.chunks(step).filter_map(|votes| {
            let weight = u64::try_from(votes.len()).unwrap_or(1);
            votes.first().map(|vote| Vote { weight, ..*vote })
        }));
        // Every joined update had all its votes here, so no new vote belongs before one that a
        // watcher holds.
        let held = self.watchers.iter().map(|watcher| watcher.next).max().unwrap_or(0);
        let sorted = usize::try_from(held.saturating_sub(self.gone)).unwrap_or(usize::MAX);
        if let Some(unsorted) = self.votes.make_contiguous().get_mut(sorted..) {
            unsorted.sort_unstable_by_key(|vote| vote.version);
        }
        settled_ns
    }

    fn drop_votes_that_all_hold(&mut self) {
        let arrived = self.gone + u64::try_from(self.votes.len()).unwrap_or(u64::MAX);
        let held = self.watchers.iter().map(|watcher| watcher.next).min().unwrap_or(arrived);
        let kept_max = u64::try_from(VOTES_MAX).unwrap_or(u64::MAX);
        let end = held.max(arrived.saturating_sub(kept_max));
        let leaving = usize::try_from(end.saturating_sub(self.gone)).unwrap_or(usize::MAX);
        drop(self.votes.drain(..leaving.min(self.votes.len())));
        self.gone = end;
        for watcher in &mut self.watchers {
            watcher.next = watcher.next.max(end);
        }
    }
}

/// The updates that came in before every unanswered vote was sent.
fn settled(log: &WatcherLog, settled_ns: u64) -> Vec<Update> {
    let mut updates = lock(&log.updates);
    let count = updates.iter().take_while(|update| update.at_ns <= settled_ns).count();
    updates.drain(..count).collect()
}

/// Notes stay usable when another task panicked while it held them: they are plain numbers.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
