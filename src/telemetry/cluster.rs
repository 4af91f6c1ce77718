//! Figures of the cluster, if this server is a node of one.

use std::sync::atomic::Ordering::Relaxed;

use metrics::{counter, describe_counter, describe_gauge, gauge};

use tidewire_core::member::Waiting;

use super::as_gauge;
use crate::cluster::{Cluster, NodeState};
use crate::server::Moves;
use crate::server::replicated::Replication;

const STATES: [(NodeState, &str); 4] = [
    (NodeState::Alive, "alive"),
    (NodeState::Suspect, "suspect"),
    (NodeState::Down, "down"),
    (NodeState::Left, "left"),
];

pub(super) fn cluster(cluster: &Cluster, replication: Option<&Replication>) {
    nodes(cluster);
    if let Some(replication) = replication {
        decided(replication.steering.figures());
    }
    links(cluster);
    states(cluster);
    let (refused, suspicions) = cluster.gossip_counts();
    let counters = [
        (
            "tidewire_cluster_suspicions_total",
            "Times that a node did not answer and was suspected of being down",
            suspicions,
        ),
        (
            "tidewire_cluster_gossip_refused_total",
            "Packets of gossip that could not be read or used",
            refused,
        ),
    ];
    for (name, help, value) in counters {
        describe_counter!(name, help);
        counter!(name).absolute(value);
    }
}

/// What the cluster has decided, as far as this node knows it, and what its groups wait for.
fn decided((revision, waiting): (u64, usize)) {
    let name = "tidewire_cluster_revision";
    describe_gauge!(name, "Decisions of the cluster that this node knows");
    gauge!(name).set(as_gauge(revision));
    let name = "tidewire_cluster_groups_waiting";
    describe_gauge!(name, "Groups led here whose copies or leader are not yet what was decided");
    gauge!(name).set(as_gauge(waiting as u64));
}

/// What waits for leaders of shards.
pub(super) fn waiting(waiting: Waiting) {
    let Waiting { held, pending, followed } = waiting;
    let gauges = [
        ("tidewire_cluster_requests_held", "Requests that wait for a leader", held),
        (
            "tidewire_cluster_requests_pending",
            "Requests that wait for the answer of a leader on another node",
            pending,
        ),
        (
            "tidewire_cluster_relayed",
            "Things that are followed here by way of a leader on another node",
            followed,
        ),
    ];
    for (name, help, value) in gauges {
        describe_gauge!(name, help);
        gauge!(name).set(as_gauge(value as u64));
    }
}

/// Connections that were asked to go to other nodes.
pub(super) fn moves(moves: &Moves) {
    let name = "tidewire_cluster_moves_total";
    describe_counter!(name, "Connections that were asked to go to another node, by reason");
    for (reason, count) in moves.counts() {
        counter!(name, "reason" => reason).absolute(count);
    }
}

fn nodes(cluster: &Cluster) {
    let nodes = cluster.roster.nodes();
    let name = "tidewire_cluster_nodes";
    describe_gauge!(name, "Nodes of the cluster as this one sees them, itself among them");
    for (state, label) in STATES {
        let count = nodes.iter().filter(|node| node.state == state).count();
        gauge!(name, "state" => label).set(as_gauge(count as u64));
    }
    let name = "tidewire_cluster_round_trip_microseconds";
    describe_gauge!(name, "How long a packet takes to another node and back");
    for node in nodes.iter() {
        if let Some(time_us) = node.round_trip_us {
            gauge!(name, "node" => node.id.to_string()).set(as_gauge(time_us));
        }
    }
}

fn states(cluster: &Cluster) {
    let figures = cluster.states.figures();
    let gauges = [
        (
            "tidewire_cluster_states_giving",
            "States of shards that another node is given",
            &figures.giving,
        ),
        (
            "tidewire_cluster_states_taking",
            "States of shards that are taken from another node",
            &figures.taking,
        ),
        (
            "tidewire_cluster_states_waiting",
            "States of shards that wait for their turn",
            &figures.waiting,
        ),
    ];
    for (name, help, value) in gauges {
        describe_gauge!(name, help);
        gauge!(name).set(as_gauge(value.load(Relaxed)));
    }
    let counters = [
        (
            "tidewire_cluster_states_given_total",
            "States of shards that other nodes were given",
            &figures.given,
        ),
        ("tidewire_cluster_states_taken_total", "States of shards that were taken", &figures.taken),
        (
            "tidewire_cluster_states_failed_total",
            "Attempts to give or take a state that failed",
            &figures.failed,
        ),
        (
            "tidewire_cluster_states_bytes_out_total",
            "Bytes of states that were given",
            &figures.bytes_out,
        ),
        (
            "tidewire_cluster_states_bytes_in_total",
            "Bytes of states that were taken",
            &figures.bytes_in,
        ),
    ];
    for (name, help, value) in counters {
        describe_counter!(name, help);
        counter!(name).absolute(value.load(Relaxed));
    }
}

fn links(cluster: &Cluster) {
    let figures = cluster.links.figures();
    let (links, bytes_in, bytes_out) = cluster.links.traffic();
    let name = "tidewire_cluster_links";
    describe_gauge!(name, "Connections with other nodes");
    gauge!(name).set(as_gauge(links as u64));
    let counters = [
        ("tidewire_cluster_bytes_in_total", "Bytes from other nodes, of UDP", bytes_in),
        ("tidewire_cluster_bytes_out_total", "Bytes to other nodes, of UDP", bytes_out),
        (
            "tidewire_cluster_gossip_packets_in_total",
            "Packets of gossip from other nodes",
            figures.datagrams_in.load(Relaxed),
        ),
        (
            "tidewire_cluster_gossip_packets_out_total",
            "Packets of gossip to other nodes",
            figures.datagrams_out.load(Relaxed),
        ),
        (
            "tidewire_cluster_gossip_packets_dropped_total",
            "Packets of gossip that found no link or no room",
            figures.datagrams_dropped.load(Relaxed),
        ),
        (
            "tidewire_cluster_gossip_bytes_in_total",
            "Bytes of gossip from other nodes",
            figures.datagram_bytes_in.load(Relaxed),
        ),
        (
            "tidewire_cluster_gossip_bytes_out_total",
            "Bytes of gossip to other nodes",
            figures.datagram_bytes_out.load(Relaxed),
        ),
        (
            "tidewire_cluster_streams_opened_total",
            "Streams opened to services of other nodes",
            figures.streams_opened.load(Relaxed),
        ),
        (
            "tidewire_cluster_streams_taken_total",
            "Streams of other nodes that a service has taken",
            figures.streams_taken.load(Relaxed),
        ),
        (
            "tidewire_cluster_streams_refused_total",
            "Streams of other nodes that no service has taken",
            figures.streams_refused.load(Relaxed),
        ),
    ];
    for (name, help, value) in counters {
        describe_counter!(name, help);
        counter!(name).absolute(value);
    }
    let name = "tidewire_cluster_refused_total";
    describe_counter!(name, "Connections of nodes that were refused here, by the reason");
    for (reason, count) in figures.refusals() {
        counter!(name, "reason" => reason.name()).absolute(count);
    }
}
