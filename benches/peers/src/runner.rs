//! Who runs what, and in which order: peers take turns within a round, so that whatever else the
//! machine does meets all of them.

use crate::args::Args;
use crate::peer::{FLOORS, Peer};
use crate::process::{allow_sockets, pin};
use crate::server::Host;
use crate::session::Cell;
use crate::stats::Sample;
use crate::workload::{Settings, Workload, durable, fanout, idle, latency, quorum, tally};

/// Descriptors beyond those of connections.
const DESCRIPTORS_RESERVED: usize = 256;

/// One line of a table: the same thing, measured some times.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) workload: Workload,
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) size: usize,
    pub(crate) samples: Vec<Sample>,
    pub(crate) failures: Vec<String>,
}

/// What one run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    workload: Workload,
    peer: Peer,
    cell: Cell,
    size: usize,
}

/// Runs everything that was asked for, and tells how it goes.
///
/// # Errors
/// When the machine does not allow it at all. That one run fails stands in its row.
pub(crate) fn run(
    args: &Args,
    host: &Host,
    mut tell: impl FnMut(&str),
) -> Result<Vec<Row>, String> {
    let settings = args.settings()?;
    allow_sockets(sockets_max(args) + DESCRIPTORS_RESERVED)?;
    if let Some((_, load)) = host.processors {
        pin(load)?;
    }
    let mut rows = Vec::new();
    for entries in plan(args) {
        let mut group: Vec<Row> = entries.iter().map(|entry| entry.row()).collect();
        for round in 1..=args.rounds.get() {
            for (entry, row) in entries.iter().zip(&mut group) {
                let what = format!(
                    "{}, {} {}, round {round} of {}: {}",
                    entry.workload.name(),
                    entry.size,
                    entry.workload.size_title(),
                    args.rounds,
                    row.title
                );
                match entry.run(host, &settings) {
                    Ok(sample) => {
                        tell(&format!("{what}: {}", brief(&sample)));
                        row.samples.push(sample);
                    }
                    Err(error) => {
                        tell(&format!("{what}: FAILED: {error}"));
                        row.failures.push(format!("round {round}: {error}"));
                    }
                }
            }
        }
        rows.extend(group);
    }
    Ok(rows)
}

fn brief(sample: &Sample) -> String {
    let values =
        sample.iter().map(|(metric, value)| format!("{} {}", metric.title(), metric.show(*value)));
    values.collect::<Vec<_>>().join(", ")
}

/// Groups of what takes turns.
fn plan(args: &Args) -> Vec<Vec<Entry>> {
    let peers = args.peers();
    let sizes = args.subscribers.iter().map(|size| size.get());
    let mut groups = Vec::new();
    for workload in args.workloads() {
        let entry = |peer, size| Entry { workload, peer, cell: Cell::Counter, size };
        match workload {
            Workload::Fanout | Workload::Latency => groups.extend(
                sizes.clone().map(|size| peers.iter().map(|peer| entry(*peer, size)).collect()),
            ),
            Workload::Floor => groups
                .extend(sizes.clone().map(|size| FLOORS.map(|peer| entry(peer, size)).to_vec())),
            Workload::Tally => {
                let cells = [Cell::Counter, Cell::Tally];
                let each = peers.iter().flat_map(|peer| {
                    let has = cells.into_iter().filter(|cell| peer.has(*cell));
                    has.map(|cell| Entry { cell, ..entry(*peer, tally::WATCHERS) })
                });
                groups.push(each.collect());
            }
            Workload::Durable => {
                let each = peers.iter().filter(|peer| peer.has(Cell::Log));
                let size = durable::WRITERS;
                groups.push(
                    each.map(|peer| Entry { cell: Cell::Log, ..entry(*peer, size) }).collect(),
                );
            }
            Workload::Quorum => {
                let size = durable::WRITERS;
                let cells = quorum::CELLS;
                let each = peers.iter().flat_map(|peer| {
                    let has = cells.into_iter().filter(|cell| peer.has(*cell));
                    has.map(|cell| Entry { cell, ..entry(*peer, size) })
                });
                groups.push(each.collect());
            }
            Workload::Idle => {
                let connections = args.connections.get();
                let each = peers.iter();
                groups.push(
                    each.map(|peer| entry(*peer, idle::connections_of(*peer, connections)))
                        .collect(),
                );
            }
        }
    }
    groups
}

fn sockets_max(args: &Args) -> usize {
    let sizes = plan(args).into_iter().flatten().map(|entry| match entry.workload {
        Workload::Idle => 2 * entry.size,
        Workload::Fanout
        | Workload::Latency
        | Workload::Tally
        | Workload::Floor
        | Workload::Durable
        | Workload::Quorum => entry.size,
    });
    sizes.max().unwrap_or_default()
}

impl Entry {
    fn row(&self) -> Row {
        let (name, title) = match (self.workload, self.cell) {
            (Workload::Tally, Cell::Tally) => ("-tally", ", tally with voters"),
            (Workload::Tally, Cell::Counter) => ("-counter", ", counter"),
            (Workload::Durable, _) if self.peer == Peer::Nats => {
                ("", ", JetStream, sync_interval always")
            }
            (Workload::Durable, _) if self.peer == Peer::Redis => {
                ("", ", stream, appendfsync always")
            }
            (Workload::Quorum, Cell::Copied { logs: 1 }) => ("-one", self.one_log()),
            (Workload::Quorum, _) => ("-several", self.several_logs()),
            _ => ("", ""),
        };
        Row {
            workload: self.workload,
            name: format!("{}{name}", self.peer.name()),
            title: format!("{}{title}", self.peer.title()),
            size: self.size,
            samples: Vec::new(),
            failures: Vec::new(),
        }
    }

    fn one_log(&self) -> &'static str {
        if self.peer == Peer::Nats {
            ", JetStream, one stream of 3 replicas"
        } else {
            ", one topic"
        }
    }

    fn several_logs(&self) -> &'static str {
        if self.peer == Peer::Nats {
            ", JetStream, 16 streams of 3 replicas"
        } else {
            ", 16 topics"
        }
    }

    fn run(&self, host: &Host, settings: &Settings) -> Result<Sample, String> {
        let Self { workload, peer, cell, size } = *self;
        match workload {
            Workload::Fanout | Workload::Floor => fanout::run(peer, host, size, settings),
            Workload::Latency => latency::run(peer, host, size, settings),
            Workload::Durable => durable::run(peer, host, settings),
            Workload::Quorum => quorum::run(peer, cell, host, settings),
            Workload::Tally => tally::run(peer, cell, host, settings),
            Workload::Idle => idle::run(peer, host, size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn plan_of(words: &str) -> Vec<Vec<Entry>> {
        let words = std::iter::once("peers").chain(words.split_whitespace());
        plan(&Args::try_parse_from(words).unwrap())
    }

    #[test]
    fn peers_of_one_size_take_turns() {
        let groups = plan_of("--workload fanout --only redis,nats --subscribers 1,100");
        let sizes: Vec<_> = groups.iter().map(|group| group[0].size).collect();
        assert_eq!(sizes, [1, 100]);
        assert!(groups.iter().all(|group| group.len() == 2 && group[0].peer == Peer::Nats));
    }

    #[test]
    fn only_who_has_a_counter_counts() {
        let titles: Vec<_> =
            plan_of("--workload tally").iter().flatten().map(|entry| entry.row().name).collect();
        let expected =
            ["tidewire-ws-counter", "tidewire-ws-tally", "nats-counter", "redis-counter"];
        assert_eq!(titles, expected);
    }

    #[test]
    fn who_keeps_logs_on_three_nodes_does_with_one_and_with_several() {
        let names: Vec<_> =
            plan_of("--workload quorum").iter().flatten().map(|entry| entry.row().name).collect();
        let expected = ["tidewire-ws-one", "tidewire-ws-several", "nats-one", "nats-several"];
        assert_eq!(names, expected);
    }

    #[test]
    fn the_floor_does_not_depend_on_peers_and_quic_has_fewer_idle_connections() {
        assert_eq!(plan_of("--workload floor --only redis --subscribers 5")[0].len(), 2);
        let idle = plan_of("--workload idle --only tidewire");
        let sizes: Vec<_> = idle[0].iter().map(|entry| entry.size).collect();
        assert_eq!(sizes, [5000, 5000, 1000]);
    }
}
