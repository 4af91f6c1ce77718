//! Figures of eventual counters, and of presence in a cluster.

use metrics::{counter, describe_counter, describe_gauge, gauge};
use tidewire_core::commons::CommonsStats;

use super::as_gauge;

pub(super) fn commons(stats: CommonsStats) {
    let CommonsStats {
        counters,
        links,
        told,
        heard,
        resent,
        left_out,
        beyond,
        taken_over,
        removed_apart,
        is_stale,
    } = stats;
    let gauges = [
        ("tidewire_eventual_counters", "Eventual counters that are known here", counters),
        (
            "tidewire_commons_links",
            "Nodes that eventual counters and presence are exchanged with",
            links,
        ),
        (
            "tidewire_commons_stale",
            "1 while a node was not heard for too long, so that values may lack something",
            u64::from(is_stale),
        ),
        (
            "tidewire_commons_removed_apart",
            "Removed nodes of whom it is not decided here yet what there is",
            removed_apart,
        ),
    ];
    for (name, help, value) in gauges {
        describe_gauge!(name, help);
        gauge!(name).set(as_gauge(value));
    }
    let counters = [
        ("tidewire_commons_told_total", "Changes and pieces that other nodes were told", told),
        ("tidewire_commons_heard_total", "Changes and pieces that other nodes have told", heard),
        (
            "tidewire_commons_resent_total",
            "Times that something before it was missing, and was asked for again",
            resent,
        ),
        (
            "tidewire_commons_left_out_total",
            "Changes that were not taken over, because there are as many lives of nodes as allowed",
            left_out,
        ),
        (
            "tidewire_commons_beyond_total",
            "Lives of nodes that somebody knew further than they count, which is lost",
            beyond,
        ),
        (
            "tidewire_commons_taken_over_total",
            "Times that the node has made its earlier lives a part of this one",
            taken_over,
        ),
    ];
    for (name, help, value) in counters {
        describe_counter!(name, help);
        counter!(name).absolute(value);
    }
}
