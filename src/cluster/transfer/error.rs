//! Why a state does not get from one node to another.

use std::io;

use crate::cluster::links::LinkError;

/// Why a state is not given or taken. Another attempt goes on with the blocks that have come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransferError {
    /// What comes is not what was sent, or is no state.
    #[error(
        "the state that comes is refused: {0}; the node that gives it is of another release, or \
             its journal is damaged (`tidewire admin verify`)"
    )]
    Malformed(String),
    /// This node's own journal.
    #[error(transparent)]
    Journal(#[from] io::Error),
    /// The other node cannot be reached.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The other node says why.
    #[error("node {node} refuses the state: {sentence}")]
    Refused {
        /// Which.
        node: u64,
        /// Why.
        sentence: String,
    },
    /// The stream has ended.
    #[error("the stream has ended in the middle of a state: {0}")]
    Broken(io::Error),
}

impl TransferError {
    /// For what is wrong with something that came.
    pub(super) fn malformed(what: impl ToString) -> Self {
        Self::Malformed(what.to_string())
    }
}
