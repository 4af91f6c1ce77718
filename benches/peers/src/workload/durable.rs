//! The durable log: writers append in a closed loop, and an append counts when it is answered, which is
//! when it is on the disk.

use std::collections::VecDeque;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::latency::{histogram, quantile};
use super::{Costs, STALL, Settings};
use crate::clock::{float, now_ns, ns};
use crate::generator::{Generator, Sink};
use crate::peer::{Peer, Running};
use crate::server::Host;
use crate::session::{Cell, Item, Role};
use crate::stats::{Metric, Sample};

/// Connections that append, and unanswered appends of each.
pub(crate) const WRITERS: usize = 16;
const IN_FLIGHT: usize = 256;
/// Longest wait for something to arrive before the clock is looked at.
const TURN: Duration = Duration::from_millis(20);

/// Runs it once.
///
/// # Errors
/// When the peer does not start, refuses an append, or stops answering.
pub(crate) fn run(peer: Peer, host: &Host, settings: &Settings) -> Result<Sample, String> {
    let running = peer.start_durable(host, WRITERS)?;
    measure(peer, Cell::Log, std::slice::from_ref(&running), settings)
}

/// Measures appends to `cell`, over connections to these servers in turn.
pub(super) fn measure(
    peer: Peer,
    cell: Cell,
    servers: &[Running],
    settings: &Settings,
) -> Result<Sample, String> {
    let mut generator = Generator::new()?;
    for (number, running) in servers.iter().cycle().take(WRITERS).enumerate() {
        generator.open(&running.target, || peer.session(&Role::Writer(cell, number)))?;
    }
    let writers = (0..WRITERS).map(|_| Writer::default()).collect();
    let latency_ns = histogram()?;
    let ear = Ear { writers, latency_ns, since_ns: u64::MAX, answered: 0, fault: None };
    let mut load = Load { peer, cell, generator, ear, progressed_ns: now_ns() };

    load.drive(settings.warmup_s)?;
    let before = load.ear.answered;
    let costs = Costs::start(servers.iter().map(|running| running.server.pid()))?;
    load.ear.since_ns = now_ns();
    load.drive(settings.seconds)?;
    let used = costs.used()?;
    let answered = load.ear.answered - before;
    let mut sample = vec![
        (Metric::AppendsPerS, float(answered) / used.elapsed_s),
        quantile(Metric::P50Us, &load.ear.latency_ns, 0.5),
        quantile(Metric::P99Us, &load.ear.latency_ns, 0.99),
        used.per_million(answered),
    ];
    sample.extend(used.shares());
    Ok(sample)
}

/// What a writer has under way: numbers of appends and when they were sent.
#[derive(Debug, Default)]
struct Writer {
    next_id: u64,
    in_flight: VecDeque<(u64, u64)>,
}

struct Ear {
    writers: Vec<Writer>,
    latency_ns: Histogram<u64>,
    /// Appends sent from here on are measured.
    since_ns: u64,
    answered: u64,
    fault: Option<String>,
}

impl Sink for Ear {
    fn item(&mut self, connection: usize, item: Item<'_>) {
        let Item::Reply { id, .. } = item else { return };
        let sent = self.writers.get_mut(connection).and_then(|writer| {
            let place = writer.in_flight.iter().position(|(sent, _)| *sent == id)?;
            writer.in_flight.remove(place)
        });
        match sent {
            Some((_, sent_ns)) => {
                self.answered += 1;
                if sent_ns >= self.since_ns {
                    self.latency_ns.saturating_record(now_ns() - sent_ns);
                }
            }
            None => self.fault = Some(format!("append {id} was answered but not sent")),
        }
    }
}

struct Load {
    peer: Peer,
    cell: Cell,
    generator: Generator,
    ear: Ear,
    progressed_ns: u64,
}

impl Load {
    fn drive(&mut self, seconds: f64) -> Result<(), String> {
        let end_ns = now_ns() + ns(seconds);
        while now_ns() < end_ns {
            self.append()?;
            let before = self.ear.answered;
            self.generator.turn(TURN, &mut self.ear)?;
            if let Some(fault) = self.ear.fault.take() {
                return Err(fault);
            }
            let now_ns = now_ns();
            if self.ear.answered > before {
                self.progressed_ns = now_ns;
            } else if Duration::from_nanos(now_ns - self.progressed_ns) > STALL {
                return Err(format!("nothing was answered for {STALL:?}"));
            }
        }
        Ok(())
    }

    /// Fills up what every writer may have in flight.
    fn append(&mut self) -> Result<(), String> {
        let Self { peer, cell, .. } = *self;
        let now_ns = now_ns();
        for (number, writer) in self.ear.writers.iter_mut().enumerate() {
            let free = IN_FLIGHT.saturating_sub(writer.in_flight.len());
            if free == 0 {
                continue;
            }
            let ids: Vec<u64> = (writer.next_id..).take(free).collect();
            writer.next_id += free as u64;
            writer.in_flight.extend(ids.iter().map(|id| (*id, now_ns)));
            self.generator.send(number, |outbox| {
                peer.put_increments(outbox, cell, number, &ids);
            })?;
        }
        Ok(())
    }
}
