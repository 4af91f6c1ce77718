//! Why something is not decided.

use super::joining::JOIN;

/// Why the cluster does not do what an operator wants.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SteeringError {
    #[error(
        "this server is not part of a cluster: [cluster] in its configuration makes it a node of one \
         (docs/clustering.md)"
    )]
    NoCluster,
    #[error("this node is a member already: `tidewire admin cluster status` shows the others")]
    Member,
    #[error(
        "node {0} belongs to a cluster that is founded already: `tidewire admin cluster join` has this node \
         taken in there"
    )]
    FoundedElsewhere(u64),
    #[error(
        "{0} holds names on disk that are no cluster's: a node joins with an empty data_dir, or `tidewire \
         admin cluster init` makes it the first node of a cluster, which keeps them"
    )]
    OldData(String),
    #[error("a group of this node has not started within 20 s: the server's log says why")]
    NotStarted,
    #[error("{0}")]
    Engine(String),
    /// A rule forbids it.
    #[error("{0}")]
    Refused(String),
    #[error(
        "the cluster has not decided this within {0} s, and may do so yet: does a majority of the nodes that \
         vote in its meta group run? `tidewire admin cluster status` shows them; try it again"
    )]
    Late(u64),
    #[error(
        "no node of the cluster has taken this one in within {} s: is one of them founded (`tidewire admin \
         cluster init`), and does a majority run?",
        JOIN.as_secs()
    )]
    NotTaken,
}
