//! The status that the demo page shows beside the count, published while the votes come in.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tidewire_client::protocol::record::payload_body;
use tidewire_client::{AckLevel, Client, Error, Name, PublishOptions};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use super::cast::Tallied;
use super::freshness::{Clock, Meter, TICK};
use super::latency::SummaryMs;

/// Ticks of the meter per status: four a second.
const TICKS_PER_STATUS: u32 = 5;
/// Statuses over which the rate is taken: a second.
const RATE_STATUSES: usize = 4;

/// Whether votes come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    Voting,
    Done,
}

/// One record of the status topic.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Status {
    pub(crate) phase: Phase,
    pub(crate) title: String,
    pub(crate) ballots_total: u64,
    pub(crate) sent: u64,
    pub(crate) accepted: u64,
    pub(crate) watchers: usize,
    /// While voting over the last second, then over the whole run.
    pub(crate) votes_per_s: f64,
    pub(crate) elapsed_s: f64,
    /// From sending a vote to each watcher's holding it, over the whole run so far.
    pub(crate) latency_ms: Option<SummaryMs>,
}

/// Measures and publishes while votes are cast.
pub(crate) struct Observer {
    pub(crate) client: Client,
    pub(crate) topic: Name,
    pub(crate) title: String,
    pub(crate) ballots_total: u64,
    pub(crate) watchers: usize,
    pub(crate) tallied: Arc<Tallied>,
    pub(crate) clock: Clock,
    pub(crate) meter: Meter,
}

impl Observer {
    /// Runs until told to stop (or until nobody can tell any more), and comes back with all that
    /// was measured.
    pub(crate) async fn run(mut self, mut stop: oneshot::Receiver<()>) -> Self {
        let started = Instant::now();
        let mut recent = VecDeque::from([(started, 0)]);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tick_count = 0_u32;
        loop {
            tokio::select! {
                biased;
                _ = &mut stop => return self,
                _ = ticks.tick() => {}
            }
            self.meter.tick(self.clock.now_ns());
            if tick_count.is_multiple_of(TICKS_PER_STATUS) {
                let (now, accepted) = (Instant::now(), self.tallied.accepted());
                let rate = recent.front().map_or(0.0, |(then, before)| {
                    per_second(accepted.saturating_sub(*before), now.duration_since(*then))
                });
                self.announce(Phase::Voting, rate, now.duration_since(started)).await;
                recent.push_back((now, accepted));
                if recent.len() > RATE_STATUSES {
                    recent.pop_front();
                }
            }
            tick_count = tick_count.wrapping_add(1);
        }
    }

    /// Publishes the last status of the run, acknowledged.
    ///
    /// # Errors
    /// When the server refuses it.
    pub(crate) async fn conclude(&mut self, elapsed: Duration) -> Result<(), Error> {
        self.meter.tick(self.clock.now_ns());
        let rate = per_second(self.tallied.accepted(), elapsed);
        let body = self.status(Phase::Done, rate, elapsed).body();
        let options = PublishOptions::default();
        self.client.publish_body(&self.topic, body, AckLevel::Policy, options).await.map(drop)
    }

    /// Publishes without waiting for an answer: the next status replaces a lost one.
    async fn announce(&self, phase: Phase, votes_per_s: f64, elapsed: Duration) {
        let body = self.status(phase, votes_per_s, elapsed).body();
        let options = PublishOptions::default();
        let sent = self.client.start_publish(&self.topic, body, AckLevel::None, options).await;
        if let Err(error) = sent {
            tracing::debug!(%error, "the demo's status was not published");
        }
    }

    fn status(&self, phase: Phase, votes_per_s: f64, elapsed: Duration) -> Status {
        Status {
            phase,
            title: self.title.clone(),
            ballots_total: self.ballots_total,
            sent: self.tallied.sent(),
            accepted: self.tallied.accepted(),
            watchers: self.watchers,
            votes_per_s: tenths(votes_per_s),
            elapsed_s: tenths(elapsed.as_secs_f64()),
            latency_ms: self.meter.each_watcher().summary_ms(),
        }
    }
}

impl Status {
    fn body(&self) -> bytes::Bytes {
        // A struct of numbers and strings always has a JSON form.
        payload_body(&serde_json::to_vec(self).unwrap_or_default())
    }
}

/// Events per second; 0 when no time has passed.
pub(crate) fn per_second(count: u64, elapsed: Duration) -> f64 {
    let seconds = elapsed.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    let count = count as f64;
    if seconds > 0.0 { count / seconds } else { 0.0 }
}

/// Rounded to a tenth, which is as much as a reader wants.
pub(crate) fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_the_fields_that_the_page_reads() {
        let latency_ms = Some(SummaryMs { p50: 0.5, p95: 1.0, p99: 2.25, max: 9.0 });
        let status = Status {
            phase: Phase::Voting,
            title: "T".to_owned(),
            ballots_total: 9,
            sent: 5,
            accepted: 4,
            watchers: 3,
            votes_per_s: 2000.0,
            elapsed_s: 1.5,
            latency_ms,
        };
        let expected = serde_json::json!({
            "phase": "voting", "title": "T", "ballots_total": 9, "sent": 5, "accepted": 4,
            "watchers": 3, "votes_per_s": 2000.0, "elapsed_s": 1.5,
            "latency_ms": {"p50": 0.5, "p95": 1.0, "p99": 2.25, "max": 9.0},
        });
        assert_eq!(serde_json::to_value(&status).unwrap(), expected);
    }

    #[test]
    fn no_time_is_no_rate() {
        assert!(per_second(5, Duration::ZERO).abs() < f64::EPSILON);
        assert!((per_second(5, Duration::from_millis(500)) - 10.0).abs() < 1e-9);
    }
}
