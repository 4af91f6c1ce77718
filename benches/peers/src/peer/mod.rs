//! Who is measured: how each is started, and how one speaks to it.

mod centrifugo;
mod cluster;
mod floor;
mod http;
mod mosquitto;
mod nats;
mod redis;
mod tidewire;

pub(crate) use cluster::Cluster;
pub(crate) use floor::write_loop;

use std::process::Command;

use crate::connection::Target;
use crate::server::{Host, Server};
use crate::session::tidewire::Envelope;
use crate::session::{self, AnySession, Cell, Role};

/// Tidewire over each of its transports, its peers, and the physical floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Tidewire over WebSocket.
    TidewireWs,
    /// Tidewire over WebSocket and TLS.
    TidewireWss,
    /// Tidewire over QUIC.
    TidewireQuic,
    /// The NATS server.
    Nats,
    /// Redis.
    Redis,
    /// Mosquitto, an MQTT broker.
    Mosquitto,
    /// Centrifugo.
    Centrifugo,
    /// A loop that writes large pieces to all sockets.
    FloorLarge,
    /// A loop that writes one frame at a time to all sockets.
    FloorSingle,
}

/// The servers that are compared.
pub(crate) const PEERS: [Peer; 7] = [
    Peer::TidewireWs,
    Peer::TidewireWss,
    Peer::TidewireQuic,
    Peer::Nats,
    Peer::Redis,
    Peer::Mosquitto,
    Peer::Centrifugo,
];

/// Both forms of the floor.
pub(crate) const FLOORS: [Peer; 2] = [Peer::FloorLarge, Peer::FloorSingle];

/// A started server and how to reach it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) server: Server,
    pub(crate) target: Target,
}

impl Peer {
    /// For people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::TidewireWs => "Tidewire, WebSocket",
            Self::TidewireWss => "Tidewire, WebSocket + TLS",
            Self::TidewireQuic => "Tidewire, QUIC",
            Self::Nats => "NATS",
            Self::Redis => "Redis pub/sub",
            Self::Mosquitto => "Mosquitto, MQTT QoS 0",
            Self::Centrifugo => "Centrifugo, WebSocket",
            Self::FloorLarge => "bare write loop, 64 KiB per write",
            Self::FloorSingle => "bare write loop, 1 frame per write",
        }
    }

    /// For programs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TidewireWs => "tidewire-ws",
            Self::TidewireWss => "tidewire-wss",
            Self::TidewireQuic => "tidewire-quic",
            Self::Nats => "nats",
            Self::Redis => "redis",
            Self::Mosquitto => "mosquitto",
            Self::Centrifugo => "centrifugo",
            Self::FloorLarge => "floor-64k",
            Self::FloorSingle => "floor-1",
        }
    }

    /// Whether it is Tidewire, over whatever transport.
    pub(crate) fn is_tidewire(self) -> bool {
        matches!(self, Self::TidewireWs | Self::TidewireWss | Self::TidewireQuic)
    }

    /// The program, and the argument that makes it say its version. The floor is this program.
    fn program(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::TidewireWs | Self::TidewireWss | Self::TidewireQuic => {
                Some(("tidewire", "--version"))
            }
            Self::Nats => Some(("nats-server", "--version")),
            Self::Redis => Some(("redis-server", "--version")),
            Self::Mosquitto => Some(("mosquitto", "-h")),
            Self::Centrifugo => Some(("centrifugo", "version")),
            Self::FloorLarge | Self::FloorSingle => None,
        }
    }

    /// The version that the program says it has.
    ///
    /// # Errors
    /// When it is not installed or does not run.
    pub(crate) fn version(self, host: &Host) -> Result<String, String> {
        let Some((program, argument)) = self.program() else { return Ok(String::new()) };
        let path = host.find(program)?;
        let output = Command::new(&path).arg(argument).output();
        let output = output.map_err(|error| format!("{}: {error}", path.display()))?;
        version_in(&String::from_utf8_lossy(&output.stdout))
            .ok_or_else(|| format!("{} {argument} says nothing of its version", path.display()))
    }

    /// Starts the server with nothing in it. `sockets` is how many connections it will get.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub(crate) fn start(self, host: &Host, sockets: usize) -> Result<Running, String> {
        self.start_with(host, sockets, false)
    }

    /// The same, with everything on the disk before it is answered, for peers that have
    /// [`Cell::Log`].
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) fn start_durable(self, host: &Host, sockets: usize) -> Result<Running, String> {
        self.start_with(host, sockets, true)
    }

    /// Starts three servers that are one cluster, which answers when it is on the disks of a majority, for
    /// peers that have [`Cell::Copied`].
    ///
    /// # Errors
    /// When it is not installed, does not start, or does not become a cluster.
    pub(crate) fn start_cluster(self, host: &Host, sockets: usize) -> Result<Cluster, String> {
        let started = match self {
            Self::TidewireWs => tidewire::start_cluster(host, sockets),
            Self::Nats => nats::start_cluster(host),
            Self::TidewireWss
            | Self::TidewireQuic
            | Self::Redis
            | Self::Mosquitto
            | Self::Centrifugo
            | Self::FloorLarge
            | Self::FloorSingle => Err("has no log on the disks of a majority".to_owned()),
        };
        started.map_err(|error| format!("{}: {error}", self.title()))
    }

    fn start_with(self, host: &Host, sockets: usize, durable: bool) -> Result<Running, String> {
        let started = match self {
            Self::TidewireWs | Self::TidewireWss | Self::TidewireQuic => {
                tidewire::start(self, host, sockets, durable)
            }
            Self::Nats => nats::start(host, durable),
            Self::Redis => redis::start(host, sockets, durable),
            Self::Mosquitto => mosquitto::start(host),
            Self::Centrifugo => centrifugo::start(host),
            Self::FloorLarge => floor::start(host, sockets, floor::LARGE),
            Self::FloorSingle => floor::start(host, sockets, 1),
        };
        started.map_err(|error| format!("{}: {error}", self.title()))
    }

    /// A session of this peer's protocol.
    pub(crate) fn session(self, role: &Role) -> AnySession {
        let role = role.clone();
        match self {
            Self::TidewireWs | Self::TidewireWss | Self::TidewireQuic => {
                AnySession::Tidewire(session::tidewire::Tidewire::new(role, self.envelope()))
            }
            Self::Nats => AnySession::Nats(session::nats::Nats::new(role)),
            Self::Redis => AnySession::Redis(session::redis::Redis::new(role)),
            Self::Mosquitto => AnySession::Mqtt(session::mqtt::Mqtt::new(role)),
            Self::Centrifugo => AnySession::Centrifugo(session::centrifugo::Centrifugo::new(role)),
            Self::FloorLarge | Self::FloorSingle => {
                AnySession::Floor(session::floor::Floor::default())
            }
        }
    }

    fn envelope(self) -> Envelope {
        if self == Self::TidewireQuic { Envelope::Length } else { Envelope::WebSocket }
    }

    /// Appends what publishes these payloads. Tidewire takes `per_frame` of them in one request;
    /// the others have no such thing. The floor publishes by itself.
    pub(crate) fn put_publish(self, out: &mut Vec<u8>, payloads: &[&[u8]], per_frame: usize) {
        match self {
            Self::TidewireWs | Self::TidewireWss | Self::TidewireQuic => {
                session::tidewire::put_publish(out, self.envelope(), payloads, per_frame);
            }
            Self::Nats => session::nats::put_publish(out, payloads),
            Self::Redis => session::redis::put_publish(out, payloads),
            Self::Mosquitto => session::mqtt::put_publish(out, payloads),
            Self::Centrifugo => session::centrifugo::put_publish(out, payloads),
            Self::FloorLarge | Self::FloorSingle => {}
        }
    }

    /// Whether it has a cell of this kind.
    pub(crate) fn has(self, cell: Cell) -> bool {
        match self {
            Self::TidewireWs => true,
            Self::Nats => cell != Cell::Tally,
            Self::Redis => matches!(cell, Cell::Counter | Cell::Log),
            Self::TidewireWss
            | Self::TidewireQuic
            | Self::Mosquitto
            | Self::Centrifugo
            | Self::FloorLarge
            | Self::FloorSingle => false,
        }
    }

    /// Appends increments with these numbers, for peers that have the cell.
    pub(crate) fn put_increments(self, out: &mut Vec<u8>, cell: Cell, writer: usize, ids: &[u64]) {
        match self {
            Self::TidewireWs => session::tidewire::put_increments(out, cell, writer, ids),
            Self::Nats => session::nats::put_increments(out, cell, writer, ids),
            Self::Redis if cell == Cell::Log => {
                ids.iter().for_each(|_| session::redis::put_append(out));
            }
            Self::Redis => ids.iter().for_each(|_| session::redis::put_increment(out)),
            Self::TidewireWss
            | Self::TidewireQuic
            | Self::Mosquitto
            | Self::Centrifugo
            | Self::FloorLarge
            | Self::FloorSingle => {}
        }
    }
}

/// The first word that is digits with a dot between them, behind `v` or `v=`.
fn version_in(text: &str) -> Option<String> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',');
    let mut bare = words.map(|word| word.trim_start_matches(['v', '=']));
    let version =
        bare.find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()));
    version.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        for (said, version) in [
            ("tidewire 0.1.0\n", "0.1.0"),
            ("nats-server: v2.15.1\n", "2.15.1"),
            ("Redis server v=7.0.15 sha=00000000:0 bits=64\n", "7.0.15"),
            ("mosquitto version 2.0.11\n\nmosquitto is an MQTT broker.\n", "2.0.11"),
            ("Centrifugo v6.2.0 (Go version: go1.26.8)\n", "6.2.0"),
        ] {
            assert_eq!(version_in(said).as_deref(), Some(version));
        }
        assert_eq!(version_in("no version here."), None);
    }

    #[test]
    fn every_peer_has_a_name_of_its_own() {
        let mut names: Vec<_> = PEERS.iter().chain(&FLOORS).map(|peer| peer.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PEERS.len() + FLOORS.len());
    }

    #[test]
    fn publishing_writes_every_payload_for_every_peer() {
        for peer in PEERS {
            let len = |count: usize| {
                let mut out = Vec::new();
                peer.put_publish(&mut out, &vec![&[b'x'; 128][..]; count], 1);
                out.len()
            };
            assert!(len(64) >= 64 * 128 && len(1) < 400, "{}: {}", peer.name(), len(1));
        }
    }
}
