//! The log on three nodes: writers that are spread over the nodes append in a closed loop, and an append
//! counts when it is answered, which is when it is on the disks of a majority.

use super::{Settings, durable};
use crate::peer::Peer;
use crate::server::Host;
use crate::session::Cell;
use crate::stats::Sample;

/// All writers append to one log, or each to one of its own.
pub(crate) const CELLS: [Cell; 2] =
    [Cell::Copied { logs: 1 }, Cell::Copied { logs: durable::WRITERS }];

/// Runs it once.
///
/// # Errors
/// When the peer does not become a cluster, refuses an append, or stops answering.
pub(crate) fn run(
    peer: Peer,
    cell: Cell,
    host: &Host,
    settings: &Settings,
) -> Result<Sample, String> {
    let cluster = peer.start_cluster(host, durable::WRITERS)?;
    durable::measure(peer, cell, cluster.nodes(), settings)
}
