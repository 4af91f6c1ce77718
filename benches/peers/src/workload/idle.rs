//! Idle connections: what each costs the server in resident memory.

use std::time::{Duration, Instant};

use super::STALL;
use crate::clock::float;
use crate::generator::{Generator, Sink};
use crate::peer::Peer;
use crate::process::resident_kib;
use crate::server::Host;
use crate::session::{Item, Role};
use crate::stats::{Metric, Sample};

/// Connections over QUIC: fewer, because the load has a socket and a state machine for each.
pub(crate) const QUIC_CONNECTIONS_MAX: usize = 1000;
/// One connection in so many is opened before memory is read for the first time, so that what a
/// server allocates once is not counted.
const FIRST_PART: usize = 10;
/// Memory has settled when it changes by less than this part over this time.
const SETTLED_PART: f64 = 0.005;
const SETTLED_AFTER: Duration = Duration::from_millis(1000);

/// How many connections this peer is given when `connections` are asked for.
pub(crate) fn connections_of(peer: Peer, connections: usize) -> usize {
    if peer == Peer::TidewireQuic { connections.min(QUIC_CONNECTIONS_MAX) } else { connections }
}

/// Runs it once.
///
/// # Errors
/// When the peer does not start or refuses a connection.
pub(crate) fn run(peer: Peer, host: &Host, connections: usize) -> Result<Sample, String> {
    let first = connections.div_ceil(FIRST_PART);
    let running = peer.start(host, first + connections)?;
    let pid = running.server.pid();
    let mut generator = Generator::new()?;
    let mut open = |count: usize| -> Result<f64, String> {
        for _ in 0..count {
            generator.open(&running.target, || peer.session(&Role::Subscriber))?;
        }
        settled_kib(pid, &mut generator)
    };
    let before_kib = open(first)?;
    let after_kib = open(connections)?;
    let each = (after_kib - before_kib) / float(connections as u64);
    Ok(vec![(Metric::KibPerConnection, each)])
}

/// Resident KiB once they change no more. Meanwhile pings are answered.
fn settled_kib(pid: u32, generator: &mut Generator) -> Result<f64, String> {
    let deadline = Instant::now() + STALL;
    let mut before = float(resident_kib(pid)?);
    loop {
        let until = Instant::now() + SETTLED_AFTER;
        while Instant::now() < until {
            generator.turn(Duration::from_millis(50), &mut Deaf)?;
        }
        let now = float(resident_kib(pid)?);
        if (now - before).abs() <= before * SETTLED_PART || Instant::now() > deadline {
            return Ok(now);
        }
        before = now;
    }
}

struct Deaf;

impl Sink for Deaf {
    fn item(&mut self, _connection: usize, _item: Item<'_>) {}
}
