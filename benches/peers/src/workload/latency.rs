//! Latency of fan-out: an open loop on an exact schedule, counted from when a message was due, so
//! that a server that stalls is charged for all that waits behind.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::schedule::{Schedule, stamp, stamped_ns};
use super::{Costs, STALL, Settings};
use crate::clock::{float, now_ns, ns};
use crate::generator::{Generator, Sink};
use crate::peer::Peer;
use crate::server::Host;
use crate::session::{Item, Role};
use crate::stats::{Metric, Sample};

/// Deliveries per second, whatever the number of subscribers.
const DELIVERIES_PER_S: f64 = 20_000.0;

/// Runs it once.
///
/// # Errors
/// When the peer does not start, refuses something, or does not deliver everything.
pub(crate) fn run(
    peer: Peer,
    host: &Host,
    subscribers: usize,
    settings: &Settings,
) -> Result<Sample, String> {
    let running = peer.start(host, subscribers + 1)?;
    let mut generator = Generator::new()?;
    for _ in 0..subscribers {
        generator.open(&running.target, || peer.session(&Role::Subscriber))?;
    }
    let publisher = generator.open(&running.target, || peer.session(&Role::Publisher))?;
    let rate_per_s = DELIVERIES_PER_S / float(subscribers as u64);
    let mut load = Load { peer, generator, publisher, readers: Readers::new()? };

    load.run(Schedule::new(now_ns(), rate_per_s, settings.warmup_s), subscribers as u64)?;
    load.readers = Readers::new()?;
    let costs = Costs::start([running.server.pid()])?;
    load.run(Schedule::new(now_ns(), rate_per_s, settings.seconds), subscribers as u64)?;
    let used = costs.used()?;
    let readers = &load.readers;
    let mut sample = vec![
        quantile(Metric::P50Us, &readers.latency_ns, 0.5),
        quantile(Metric::P99Us, &readers.latency_ns, 0.99),
        quantile(Metric::P999Us, &readers.latency_ns, 0.999),
        used.per_million(readers.received),
        quantile(Metric::LateP99Us, &readers.late_ns, 0.99),
    ];
    sample.extend(used.shares());
    Ok(sample)
}

/// A quantile of nanoseconds, in microseconds.
pub(super) fn quantile(metric: Metric, ns: &Histogram<u64>, quantile: f64) -> (Metric, f64) {
    (metric, float(ns.value_at_quantile(quantile)) / 1e3)
}

/// Longest time that is told from longer ones.
const LONGEST_NS: u64 = 60_000_000_000;

/// An empty histogram of nanoseconds up to a minute, with three digits.
///
/// # Errors
/// Never with these arguments.
pub(super) fn histogram() -> Result<Histogram<u64>, String> {
    Histogram::new_with_max(LONGEST_NS, 3).map_err(|error| error.to_string())
}

struct Readers {
    received: u64,
    latency_ns: Histogram<u64>,
    /// How late the load itself was.
    late_ns: Histogram<u64>,
    fault: Option<&'static str>,
}

impl Readers {
    fn new() -> Result<Self, String> {
        Ok(Self { received: 0, latency_ns: histogram()?, late_ns: histogram()?, fault: None })
    }
}

impl Sink for Readers {
    fn item(&mut self, _connection: usize, item: Item<'_>) {
        let Item::Message(payload) = item else { return };
        let Some(due_ns) = stamped_ns(payload) else {
            self.fault = Some("a message arrived that was not published like this");
            return;
        };
        self.received += 1;
        self.latency_ns.saturating_record(now_ns().saturating_sub(due_ns));
    }
}

struct Load {
    peer: Peer,
    generator: Generator,
    publisher: usize,
    readers: Readers,
}

impl Load {
    /// Publishes by the schedule and waits until everything has arrived. It never sleeps: the load
    /// has its own processor, and waking up would be part of what is measured.
    fn run(&mut self, mut schedule: Schedule, subscribers: u64) -> Result<(), String> {
        let expected = schedule.count() * subscribers;
        let mut progressed_ns = now_ns();
        let mut received = 0;
        while self.readers.received < expected {
            let mut now = now_ns();
            while let Some(due_ns) = schedule.take(now) {
                self.readers.late_ns.saturating_record(now - due_ns);
                let payload = stamp(due_ns);
                let peer = self.peer;
                self.generator
                    .send(self.publisher, |outbox| peer.put_publish(outbox, &[&payload], 1))?;
                now = now_ns();
                progressed_ns = now;
            }
            self.generator.turn(Duration::ZERO, &mut self.readers)?;
            if let Some(fault) = self.readers.fault {
                return Err(fault.to_owned());
            }
            if self.readers.received > received {
                received = self.readers.received;
                progressed_ns = now;
            } else if now.saturating_sub(progressed_ns) > ns(STALL.as_secs_f64()) {
                return Err(format!("{received} of {expected} deliveries arrived"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_told_in_microseconds() {
        let mut ns = histogram().unwrap();
        (1..=1000).for_each(|number| ns.saturating_record(number * 1_000_000));
        let (metric, p99) = quantile(Metric::P99Us, &ns, 0.99);
        assert_eq!(metric, Metric::P99Us);
        assert!((989_000.0..=991_000.0).contains(&p99), "{p99}");
        ns.saturating_record(u64::MAX);
        assert!(quantile(Metric::P999Us, &ns, 1.0).1 >= 60e6);
    }
}
