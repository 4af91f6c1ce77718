//! Fan-out at saturation: one publisher, as fast as the slowest subscriber takes it.

use std::time::Duration;

use super::{Costs, PAYLOAD_BYTES, STALL, Settings};
use crate::clock::{float, now_ns, ns};
use crate::generator::{Generator, Sink};
use crate::peer::{FLOORS, Peer};
use crate::server::Host;
use crate::session::{Item, Role};
use crate::stats::{Metric, Sample};
use crate::window::Window;

/// Longest wait for something to arrive before the clock is looked at.
const TURN: Duration = Duration::from_millis(20);

/// Runs it once. The floor publishes by itself.
///
/// # Errors
/// When the peer does not start, refuses something, or stops delivering.
pub(crate) fn run(
    peer: Peer,
    host: &Host,
    subscribers: usize,
    settings: &Settings,
) -> Result<Sample, String> {
    let publishes = !FLOORS.contains(&peer);
    let running = peer.start(host, subscribers + usize::from(publishes))?;
    let mut generator = Generator::new()?;
    for _ in 0..subscribers {
        generator.open(&running.target, || peer.session(&Role::Subscriber))?;
    }
    let publisher = if publishes {
        Some(generator.open(&running.target, || peer.session(&Role::Publisher))?)
    } else {
        None
    };
    let mut write = Vec::new();
    let payloads = vec![&[b'x'; PAYLOAD_BYTES][..]; settings.records_per_write];
    peer.put_publish(&mut write, &payloads, settings.records_per_frame);
    let mut load = Load {
        generator,
        publisher,
        write,
        records_per_write: settings.records_per_write as u64,
        readers: Readers(Window::new(subscribers, settings.window)),
        progressed_ns: now_ns(),
    };
    load.drive(settings.warmup_s)?;
    let before = load.readers.0.total();
    let costs = Costs::start([running.server.pid()])?;
    load.drive(settings.seconds)?;
    let used = costs.used()?;
    let deliveries = load.readers.0.total() - before;
    let mut sample = vec![
        (Metric::DeliveriesPerS, float(deliveries) / used.elapsed_s),
        used.per_million(deliveries),
    ];
    sample.extend(used.shares());
    Ok(sample)
}

struct Readers(Window);

impl Sink for Readers {
    fn item(&mut self, connection: usize, item: Item<'_>) {
        if let Item::Message(_) = item {
            self.0.receive(connection);
        }
    }
}

struct Load {
    generator: Generator,
    publisher: Option<usize>,
    /// What is written at once, and how many messages that is.
    write: Vec<u8>,
    records_per_write: u64,
    readers: Readers,
    progressed_ns: u64,
}

impl Load {
    fn drive(&mut self, seconds: f64) -> Result<(), String> {
        let end_ns = now_ns() + ns(seconds);
        loop {
            let before = self.readers.0.total();
            self.publish()?;
            self.generator.turn(TURN, &mut self.readers)?;
            let now_ns = now_ns();
            if self.readers.0.total() > before {
                self.progressed_ns = now_ns;
            } else if Duration::from_nanos(now_ns - self.progressed_ns) > STALL {
                let outstanding = self.readers.0.outstanding();
                return Err(format!("nothing arrived for {STALL:?}: {outstanding}"));
            }
            if now_ns >= end_ns {
                return Ok(());
            }
        }
    }

    fn publish(&mut self) -> Result<(), String> {
        let Some(publisher) = self.publisher else { return Ok(()) };
        while self.generator.is_sent(publisher) && self.readers.0.admit(self.records_per_write) {
            self.generator.send(publisher, |outbox| outbox.extend_from_slice(&self.write))?;
        }
        Ok(())
    }
}
