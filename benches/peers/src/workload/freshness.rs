//! When the last watcher has seen an increment.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use hdrhistogram::Histogram;

use crate::window::Slowest;

/// Steps of the slowest watcher that are remembered for replies that come later than the news.
const STEPS_MAX: usize = 65_536;

/// Joins what writers were answered with what watchers have seen.
#[derive(Debug)]
pub(crate) struct Freshness {
    watchers: Slowest,
    /// What every watcher has seen.
    everywhere: u64,
    /// The newest steps of `everywhere`, and when they were made.
    steps: VecDeque<(u64, u64)>,
    /// Answered increments that not every watcher has seen: version and when it was sent.
    waiting: BinaryHeap<Reverse<(u64, u64)>>,
    /// Increments sent before this are not recorded.
    since_ns: u64,
    latency_ns: Histogram<u64>,
}

impl Freshness {
    pub(crate) fn new(watchers: usize, latency_ns: Histogram<u64>) -> Self {
        Self {
            watchers: Slowest::new(watchers),
            everywhere: 0,
            steps: VecDeque::new(),
            waiting: BinaryHeap::new(),
            since_ns: u64::MAX,
            latency_ns,
        }
    }

    /// Records increments that are sent from now on.
    pub(crate) fn record_since(&mut self, since_ns: u64) {
        self.since_ns = since_ns;
    }

    /// A writer was told that the state `version` contains what it sent at `sent_ns`.
    pub(crate) fn answered(&mut self, version: u64, sent_ns: u64) {
        if version > self.everywhere {
            self.waiting.push(Reverse((version, sent_ns)));
            return;
        }
        let step = self.steps.partition_point(|(step, _)| *step < version);
        if let Some((_, at_ns)) = self.steps.get(step) {
            self.record(sent_ns, *at_ns);
        }
    }

    /// A watcher holds the state `version`. `now_ns` is asked only if it matters.
    pub(crate) fn seen(&mut self, watcher: usize, version: u64, now_ns: impl FnOnce() -> u64) {
        match self.watchers.of(watcher) {
            // Versions only grow; an older one says nothing.
            Some(held) if version > *held => *held = version,
            _ => return,
        }
        let everywhere = self.watchers.minimum();
        if everywhere <= self.everywhere {
            return;
        }
        let now_ns = now_ns();
        self.everywhere = everywhere;
        if self.steps.len() == STEPS_MAX {
            self.steps.pop_front();
        }
        self.steps.push_back((everywhere, now_ns));
        while let Some(Reverse((version, sent_ns))) = self.waiting.peek().copied() {
            if version > everywhere {
                break;
            }
            self.waiting.pop();
            self.record(sent_ns, now_ns);
        }
    }

    fn record(&mut self, sent_ns: u64, seen_ns: u64) {
        if sent_ns >= self.since_ns {
            self.latency_ns.saturating_record(seen_ns.saturating_sub(sent_ns));
        }
    }

    /// Answered increments that some watcher has not seen.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Nanoseconds from sending an increment until the last watcher saw it.
    pub(crate) fn latency_ns(&self) -> &Histogram<u64> {
        &self.latency_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freshness() -> Freshness {
        let mut freshness = Freshness::new(2, Histogram::new(3).unwrap());
        freshness.record_since(0);
        freshness
    }

    fn recorded(freshness: &Freshness) -> Vec<u64> {
        let latency = freshness.latency_ns();
        let mut values = Vec::new();
        for step in latency.iter_recorded() {
            values.extend(vec![step.value_iterated_to(); step.count_at_value() as usize]);
        }
        values
    }

    #[test]
    fn an_increment_is_fresh_until_the_last_watcher_has_it() {
        let mut freshness = freshness();
        freshness.answered(5, 100);
        freshness.seen(0, 5, || 110);
        freshness.seen(1, 4, || 120);
        assert_eq!((recorded(&freshness), freshness.waiting()), (vec![], 1));
        freshness.seen(1, 9, || 150);
        assert_eq!((recorded(&freshness), freshness.waiting()), (vec![50], 0));
    }

    #[test]
    fn a_reply_behind_the_news_is_joined_with_the_first_step_that_holds_it() {
        let mut freshness = freshness();
        for (version, at) in [(3, 10), (6, 20), (9, 30)] {
            freshness.seen(0, version, || at);
            freshness.seen(1, version, || at + 1);
        }
        freshness.answered(4, 2);
        freshness.answered(6, 1);
        assert_eq!(recorded(&freshness), [19, 20]);
    }

    #[test]
    fn what_was_sent_before_the_measurement_is_left_out() {
        let mut freshness = freshness();
        freshness.record_since(100);
        freshness.answered(1, 99);
        freshness.answered(2, 100);
        freshness.seen(0, 2, || 130);
        freshness.seen(1, 2, || 130);
        assert_eq!(recorded(&freshness), [30]);
    }

    #[test]
    fn old_versions_and_unknown_watchers_change_nothing() {
        let mut freshness = freshness();
        freshness.seen(0, 5, || 1);
        freshness.seen(0, 3, || 2);
        freshness.seen(7, 9, || 3);
        freshness.seen(1, 4, || 4);
        assert_eq!(freshness.everywhere, 4);
    }
}
