//! What nodes ask each other about the cluster.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::links::Links;
use crate::cluster::{NodeId, frames, services};
use crate::server::tenants::ShardNames;

/// What a node wants.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Request {
    /// This command is to be decided. Who leads the meta group takes it.
    Decide(serde_bytes::ByteBuf),
    /// It wants to be taken in.
    Join(Joining),
    /// Whether there is a cluster.
    IsFounded,
    /// Which groups are led by the node that is asked.
    Led,
    /// The leader of a group in this term has stopped, so that the node that is asked may lead.
    Lead { group: u16, term: u64 },
    /// Leadership is to be spread over the nodes.
    Spread,
    /// What tenants have in the shards that the node leads which says so.
    Tenants(Vec<ShardNames>),
    /// How many entries of this group are committed. Who leads it asks a majority first.
    Entries { group: u16 },
}

/// What a node that comes says of itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Joining {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) version: String,
    pub(super) feature_level: u32,
    /// Tells its master key apart from others: voters are hashed with that on whichever node they vote.
    pub(super) master_key: String,
    /// As they stand in its configuration.
    pub(super) policies: String,
    pub(super) holds: Holds,
}

/// What lies in the data directory of a node that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) enum Holds {
    Nothing,
    /// Logs of this cluster.
    OfCluster,
    /// Logs that it wrote as a server of its own.
    OfItself,
}

/// What comes of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Answer {
    Done,
    IsFounded(bool),
    Led(Vec<Led>),
    Entries(u64),
    /// Another node leads the meta group, this one if it is known.
    Elsewhere(Option<u64>),
    /// It may be decided yet.
    Late,
    Refused(String),
}

/// A group, as its leader sees it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Led {
    pub(super) group: u16,
    pub(super) term: u64,
    pub(super) voters: BTreeSet<u64>,
    pub(super) learners: BTreeSet<u64>,
    /// Members that have (nearly) all that the leader has.
    pub(super) current: BTreeSet<u64>,
    /// What it waits for.
    pub(super) waits: Option<String>,
}

/// Asks another node.
///
/// # Errors
/// When it is not reached, or does not answer in time.
pub(super) async fn ask(
    links: &Links,
    node: NodeId,
    request: &Request,
    wait: Duration,
) -> io::Result<Answer> {
    let asked = async {
        let opened = links.open(node, services::CONTROL).await;
        let (mut send, mut recv) = opened.map_err(|error| io::Error::other(error.to_string()))?;
        frames::send(&mut send, request).await?;
        let answer = frames::receive(&mut recv).await?;
        answer.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    };
    tokio::time::timeout(wait, asked).await.map_err(|_late| io::ErrorKind::TimedOut)?
}
