//! The live counter: writers increment in a closed loop, watchers follow the value, and what counts
//! is when the last watcher has seen an increment.

use std::collections::VecDeque;
use std::time::Duration;

use super::freshness::Freshness;
use super::latency::{histogram, quantile};
use super::{Costs, STALL, Settings};
use crate::clock::{float, now_ns, ns};
use crate::generator::{Generator, Sink};
use crate::peer::Peer;
use crate::server::Host;
use crate::session::{Cell, Item, Role};
use crate::stats::{Metric, Sample};

/// Connections that increment, and unanswered increments of each.
const WRITERS: usize = 10;
const IN_FLIGHT: usize = 16;
/// Connections that follow the value.
pub(crate) const WATCHERS: usize = 100;
/// Longest wait for something to arrive before the clock is looked at.
const TURN: Duration = Duration::from_millis(20);

/// Runs it once.
///
/// # Errors
/// When the peer does not start, has no such cell, loses an increment, or stops answering.
pub(crate) fn run(
    peer: Peer,
    cell: Cell,
    host: &Host,
    settings: &Settings,
) -> Result<Sample, String> {
    let running = peer.start(host, WRITERS + WATCHERS)?;
    let mut generator = Generator::new()?;
    // Writers first: they create the cell.
    for number in 0..WRITERS {
        generator.open(&running.target, || peer.session(&Role::Writer(cell, number)))?;
    }
    for _ in 0..WATCHERS {
        generator.open(&running.target, || peer.session(&Role::Watcher(cell)))?;
    }
    let writers = (0..WRITERS).map(|_| Writer::default()).collect();
    let freshness = Freshness::new(WATCHERS, histogram()?);
    let ear = Ear { writers, freshness, answered: 0, fault: None };
    let mut load = Load { peer, cell, generator, ear, progressed_ns: now_ns() };

    load.drive(settings.warmup_s)?;
    let before = load.ear.answered;
    let costs = Costs::start([running.server.pid()])?;
    load.ear.freshness.record_since(now_ns());
    load.drive(settings.seconds)?;
    let used = costs.used()?;
    let answered = load.ear.answered - before;
    load.finish()?;
    let latency_ns = load.ear.freshness.latency_ns();
    let mut sample = vec![
        (Metric::IncrementsPerS, float(answered) / used.elapsed_s),
        quantile(Metric::P50Us, latency_ns, 0.5),
        quantile(Metric::P99Us, latency_ns, 0.99),
        used.per_million(answered),
    ];
    sample.extend(used.shares());
    Ok(sample)
}

/// What a writer has under way: numbers of increments and when they were sent.
#[derive(Debug, Default)]
struct Writer {
    next_id: u64,
    in_flight: VecDeque<(u64, u64)>,
}

struct Ear {
    writers: Vec<Writer>,
    freshness: Freshness,
    answered: u64,
    fault: Option<String>,
}

impl Sink for Ear {
    fn item(&mut self, connection: usize, item: Item<'_>) {
        match item {
            Item::Update(version) => {
                let watcher = connection.saturating_sub(WRITERS);
                self.freshness.seen(watcher, version, now_ns);
            }
            Item::Reply { id, version } => self.reply(connection, id, version),
            Item::Message(_) | Item::Answer(_) | Item::Ready | Item::Nothing => {}
        }
    }
}

impl Ear {
    fn reply(&mut self, connection: usize, id: u64, version: u64) {
        let sent = self.writers.get_mut(connection).and_then(|writer| {
            let place = writer.in_flight.iter().position(|(sent, _)| *sent == id)?;
            writer.in_flight.remove(place)
        });
        match sent {
            Some((_, sent_ns)) => {
                self.answered += 1;
                self.freshness.answered(version, sent_ns);
            }
            None => self.fault = Some(format!("increment {id} was answered but not sent")),
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
            self.increment()?;
            self.turn()?;
        }
        Ok(())
    }

    /// Fills up what every writer may have in flight.
    fn increment(&mut self) -> Result<(), String> {
        let (peer, cell) = (self.peer, self.cell);
        let now_ns = now_ns();
        for (number, writer) in self.ear.writers.iter_mut().enumerate() {
            let free = IN_FLIGHT.saturating_sub(writer.in_flight.len());
            if free == 0 {
                continue;
            }
            let ids: Vec<u64> = (writer.next_id..).take(free).collect();
            writer.next_id += free as u64;
            writer.in_flight.extend(ids.iter().map(|id| (*id, now_ns)));
            self.generator
                .send(number, |outbox| peer.put_increments(outbox, cell, number, &ids))?;
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), String> {
        let before = self.ear.answered;
        let waiting = self.ear.freshness.waiting();
        self.generator.turn(TURN, &mut self.ear)?;
        if let Some(fault) = self.ear.fault.take() {
            return Err(fault);
        }
        let now_ns = now_ns();
        if self.ear.answered > before || self.ear.freshness.waiting() < waiting {
            self.progressed_ns = now_ns;
        } else if Duration::from_nanos(now_ns - self.progressed_ns) > STALL {
            return Err(format!(
                "nothing moved for {STALL:?}: {} increments were answered, {} of them not every \
                 watcher has seen",
                self.ear.answered,
                self.ear.freshness.waiting()
            ));
        }
        Ok(())
    }

    /// Waits until everything is answered and seen everywhere.
    fn finish(&mut self) -> Result<(), String> {
        let unanswered = |ear: &Ear| ear.writers.iter().any(|writer| !writer.in_flight.is_empty());
        while unanswered(&self.ear) || self.ear.freshness.waiting() > 0 {
            self.turn()?;
        }
        Ok(())
    }
}
