//! A node as gossip knows it: with its incarnation, so that a restart is told from what was before.

use crate::cluster::{NodeAddress, NodeId};

/// One life of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) node: NodeId,
    /// Raised with each start, and each time that others took the node for dead.
    pub(crate) incarnation: u64,
    pub(crate) address: NodeAddress,
}

impl foca::Identity for Member {
    type Addr = NodeId;

    /// Never by itself: [`super::Gossip`] does it, and not too often.
    fn renew(&self) -> Option<Self> {
        None
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    /// The newer life counts; of two at once, which must not be, all nodes choose the same.
    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        (self.incarnation, &self.address) > (adversary.incarnation, &adversary.address)
    }
}
