//! How often gossip does what, and how long it waits.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{Config, PeriodicParams};

/// Longest packet: a datagram of QUIC over any path carries it.
pub(super) const PACKET_BYTES_MAX: usize = 1_100;

/// Each node probes another one so often,
const PROBE_PERIOD: Duration = Duration::from_millis(400);
/// and asks others to try after so long.
const PROBE_RTT: Duration = Duration::from_millis(150);
/// Who has nothing to say says nothing; who has, this often.
const GOSSIP_PERIOD: Duration = Duration::from_millis(200);
/// Who has missed somebody hears of them from another one, this often.
const ANNOUNCE_PERIOD: Duration = Duration::from_secs(2);
/// Partitions heal within some of these.
const DOWN_PERIOD: Duration = Duration::from_secs(5);
/// The dead are forgotten then.
const FORGET_AFTER: Duration = Duration::from_secs(3_600);

/// For a cluster of so many nodes.
pub(super) fn for_nodes(nodes: usize) -> Config {
    Config {
        probe_period: PROBE_PERIOD,
        probe_rtt: PROBE_RTT,
        num_indirect_probes: at_least_one(3),
        max_transmissions: transmissions(nodes),
        suspect_to_down_after: suspicion(nodes),
        remove_down_after: Some(FORGET_AFTER),
        max_packet_size: at_least_one(PACKET_BYTES_MAX),
        notify_down_members: true,
        periodic_announce: periodic(ANNOUNCE_PERIOD, 1),
        periodic_announce_to_down_members: periodic(DOWN_PERIOD, 2),
        periodic_gossip: periodic(GOSSIP_PERIOD, 3),
    }
}

/// How long a suspect may deny it. Among few, somebody probes a dead node at once, so there is more time
/// until all have to know; among many it may take seconds until one of them does.
fn suspicion(nodes: usize) -> Duration {
    Duration::from_millis(if nodes < 16 { 3_000 } else { 1_500 })
}

/// How often something is passed on by each node: four times the digits of the number of nodes, so that all
/// of them hear of it.
fn transmissions(nodes: usize) -> NonZeroU8 {
    let digits = nodes.max(1).ilog10() + 1;
    u8::try_from(4 * digits).ok().and_then(NonZeroU8::new).unwrap_or(NonZeroU8::MIN)
}

fn periodic(frequency: Duration, nodes: usize) -> Option<PeriodicParams> {
    Some(PeriodicParams { frequency, num_members: at_least_one(nodes) })
}

fn at_least_one(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN)
}
