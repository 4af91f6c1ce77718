//! Whether a node that comes may belong to the cluster, before anything is decided about it.

use super::command::MetaCommand;
use super::state::{MemberState, Meta, NODES_MAX};
use crate::cluster::{ClusterId, NodeAddress, NodeId};

/// What a node has in its data directory when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataDirectory {
    /// Nothing, or nothing but the file that says whose it is.
    Empty,
    /// Logs of this cluster, which the node has held.
    OfCluster(ClusterId),
    /// Logs that it wrote as a server of its own.
    OfItself,
}

/// What a node that comes says of itself. Its certificate says who it is.
#[derive(Clone, Debug)]
pub(crate) struct Comer {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) version: String,
    pub(crate) feature_level: u32,
}

/// What becomes of a node that comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is a new one: it belongs to the cluster when this is committed.
    New(MetaCommand),
    /// It belongs to it. What it says of itself is proposed if it has changed.
    Returns(Option<MetaCommand>),
}

/// Why a node does not get in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AdmissionRefusal {
    /// Nobody can join what is not there.
    #[error(
        "the cluster has not been founded: `tidewire admin cluster init` on its first node does that, and then others join"
    )]
    NotFounded,
    /// Another cluster's.
    #[error(
        "node {node} holds data of cluster {says}, and this is cluster {has}: start it with an empty data_dir, or \
         with a certificate of that cluster"
    )]
    OtherCluster {
        /// Who.
        node: NodeId,
        /// This one.
        has: ClusterId,
        /// The one whose data it has.
        says: ClusterId,
    },
    /// It was removed.
    #[error(
        "node {node} was removed and never comes back under its id: give it a new id: `tidewire admin cluster \
         ca issue --node N`, and an empty data_dir"
    )]
    Removed {
        /// Who.
        node: NodeId,
    },
    /// It has data that the cluster does not have.
    #[error(
        "node {node} has data of its own, and only the node that a cluster is founded on keeps its logs: start it \
         with an empty data_dir, or restore what it has from a backup"
    )]
    OwnData {
        /// Who.
        node: NodeId,
    },
    /// What it held is gone, and with it what it has promised.
    #[error(
        "node {node} belongs to the cluster and has lost its data directory: let it join under a new id \
         (`tidewire admin cluster ca issue --node N`), and remove this one"
    )]
    Lost {
        /// Who.
        node: NodeId,
    },
    /// It holds data, and the cluster knows nothing of it.
    #[error(
        "node {node} holds data of this cluster, which does not know it: start it with an empty data_dir and a new \
         id (`tidewire admin cluster ca issue --node N`)"
    )]
    Stranger {
        /// Who.
        node: NodeId,
    },
    /// Its release is too old.
    #[error(
        "node {node} runs version {version}, which knows feature level {level}, and the cluster has decided on \
         {needed}: update it first"
    )]
    Version {
        /// Who.
        node: NodeId,
        /// Its release.
        version: String,
        /// What that knows.
        level: u32,
        /// What it has to know.
        needed: u32,
    },
    /// Nobody would reach it.
    #[error("node {node} cannot be reached: its address {rule}; change cluster.advertise")]
    Address {
        /// Who.
        node: NodeId,
        /// What is wrong.
        rule: String,
    },
    /// Too many.
    #[error(
        "the cluster has {NODES_MAX} nodes, which is the limit: remove one that is not needed first"
    )]
    NodesMax,
}

/// Looks at a node that comes: what it says, and what is in its data directory. Its certificate, the protocol's
/// version and that nobody else lives under its id were looked at before. What is decided in the end the log decides:
/// a node that gets in here may be refused there, if something was decided in between.
///
/// # Errors
/// When it may not, with what to do.
pub(crate) fn admit(
    meta: &Meta,
    comer: &Comer,
    data: DataDirectory,
) -> Result<Admission, AdmissionRefusal> {
    if !meta.is_founded() {
        return Err(AdmissionRefusal::NotFounded);
    }
    let (node, known) = (comer.node, meta.nodes.get(&comer.node));
    if let Some(MemberState::Removed) = known.map(|known| known.state) {
        return Err(AdmissionRefusal::Removed { node });
    }
    if comer.feature_level < meta.feature_level {
        let (version, level, needed) =
            (comer.version.clone(), comer.feature_level, meta.feature_level);
        return Err(AdmissionRefusal::Version { node, version, level, needed });
    }
    check_data(meta, node, data)?;
    let address = NodeAddress::parse(&comer.address)
        .map_err(|rule| AdmissionRefusal::Address { node, rule })?;
    let (name, feature_level) = (comer.name.clone(), comer.feature_level);
    let Some(known) = known else {
        if meta.members().count() >= NODES_MAX {
            return Err(AdmissionRefusal::NodesMax);
        }
        return Ok(Admission::New(MetaCommand::Join { node, name, address, feature_level }));
    };
    let is_news =
        known.name != name || known.address != address || known.feature_level != feature_level;
    let news = is_news.then_some(MetaCommand::Join { node, name, address, feature_level });
    Ok(Admission::Returns(news))
}

fn check_data(meta: &Meta, node: NodeId, data: DataDirectory) -> Result<(), AdmissionRefusal> {
    let is_known = meta.nodes.contains_key(&node);
    match data {
        DataDirectory::OfItself => Err(AdmissionRefusal::OwnData { node }),
        DataDirectory::OfCluster(says) if says != meta.cluster => {
            Err(AdmissionRefusal::OtherCluster { node, has: meta.cluster, says })
        }
        DataDirectory::OfCluster(_) if is_known => Ok(()),
        DataDirectory::OfCluster(_) => Err(AdmissionRefusal::Stranger { node }),
        DataDirectory::Empty if is_known => Err(AdmissionRefusal::Lost { node }),
        DataDirectory::Empty => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cluster::meta::apply::tests::{founded, id, join, joined};

    fn comer(node: u64) -> Comer {
        Comer {
            node: id(node),
            address: format!("node-{node}.example:7172"),
            version: "0.1.0".to_owned(),
            feature_level: 1,
            name: format!("node-{node}"),
        }
    }

    fn said(meta: &Meta, comer: &Comer, data: DataDirectory) -> String {
        admit(meta, comer, data).unwrap_err().to_string()
    }

    #[test]
    fn a_new_node_gets_in_with_an_empty_directory_only() {
        let meta = founded();
        let admitted = admit(&meta, &comer(2), DataDirectory::Empty).unwrap();
        assert_eq!(admitted, Admission::New(join(2)));
        let refused = said(&meta, &comer(2), DataDirectory::OfItself);
        assert!(refused.contains("start it with an empty data_dir"), "{refused}");
        assert!(refused.contains("restore what it has from a backup"), "{refused}");
        let other = DataDirectory::OfCluster(ClusterId::new(8));
        assert!(said(&meta, &comer(2), other).contains("holds data of cluster"));
        let stranger = DataDirectory::OfCluster(meta.cluster);
        assert!(said(&meta, &comer(2), stranger).contains("does not know it"));
    }

    #[test]
    fn a_node_that_returns_still_has_what_it_held() {
        let meta = joined(3);
        let data = DataDirectory::OfCluster(meta.cluster);
        assert_eq!(admit(&meta, &comer(2), data), Ok(Admission::Returns(None)));
        assert!(said(&meta, &comer(2), DataDirectory::Empty).contains("under a new id"));
        assert!(said(&meta, &comer(2), DataDirectory::OfItself).contains("of its own"));
        let moved = Comer { address: "elsewhere:7172".to_owned(), ..comer(2) };
        let admitted = admit(&meta, &moved, data).unwrap();
        assert!(matches!(admitted, Admission::Returns(Some(MetaCommand::Join { .. }))));
    }

    #[test]
    fn a_node_that_was_removed_never_returns() {
        let mut meta = joined(4);
        meta.apply(&meta.placement_due().unwrap()).unwrap();
        meta.apply(&MetaCommand::Remove { node: id(4) }).unwrap();
        assert_eq!(meta.removed(), BTreeSet::from([id(4)]));
        for data in [DataDirectory::Empty, DataDirectory::OfCluster(meta.cluster)] {
            let refused = said(&meta, &comer(4), data);
            assert!(refused.contains("never comes back under its id"), "{refused}");
            assert!(refused.contains("tidewire admin cluster ca issue --node N"), "{refused}");
        }
    }

    #[test]
    fn a_release_that_is_too_old_is_refused() {
        let mut meta = founded();
        let newer = MetaCommand::Join {
            node: id(1),
            name: "node-1".to_owned(),
            address: NodeAddress::parse("node-1.example:7172").unwrap(),
            feature_level: 2,
        };
        meta.apply(&newer).unwrap();
        meta.apply(&MetaCommand::SetFeatureLevel { level: 2 }).unwrap();
        let refused = said(&meta, &comer(2), DataDirectory::Empty);
        assert!(refused.contains("version 0.1.0") && refused.contains("update it"), "{refused}");
    }

    #[test]
    fn there_is_a_cluster_to_join_and_room_in_it_and_a_way_to_the_node() {
        let nothing = Meta::new(ClusterId::new(7));
        assert!(said(&nothing, &comer(2), DataDirectory::Empty).contains("founded"));
        let full = joined(NODES_MAX as u64);
        assert!(said(&full, &comer(99), DataDirectory::Empty).contains("the limit"));
        let nowhere = Comer { address: "nowhere".to_owned(), ..comer(2) };
        let refused = said(&founded(), &nowhere, DataDirectory::Empty);
        assert!(refused.contains("cluster.advertise"), "{refused}");
    }
}
