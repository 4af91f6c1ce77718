//! Why there is no link to a node.

use super::reason::Reason;
use crate::cluster::{NodeAddress, NodeId};

/// Why something cannot be sent to another node.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// Nobody has told where it is.
    #[error("node {0} is not known: no node of the cluster has told its address")]
    Unknown(NodeId),
    /// There is no answer.
    #[error("{address} cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        address: NodeAddress,
        /// Why.
        reason: String,
    },
    /// The other side, or this one, refuses.
    #[error("{address}: {sentence}")]
    Refused {
        /// Where.
        address: NodeAddress,
        /// Why.
        reason: Option<Reason>,
        /// The same for people.
        sentence: String,
    },
    /// The address is this node's own.
    #[error("{0} is this node itself")]
    Itself(NodeAddress),
    /// The connection has ended.
    #[error("the link to node {node} is lost: {reason}")]
    Lost {
        /// Which.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// Too long for a datagram.
    #[error("{0} bytes are too many for a datagram")]
    TooLong(usize),
    /// There is no link at the moment, and what was to be sent is not kept.
    #[error("there is no link to node {0} at the moment")]
    NoLink(NodeId),
    /// This node has left.
    #[error("this node is leaving its cluster")]
    Leaving,
}
