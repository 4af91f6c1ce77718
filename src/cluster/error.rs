//! Why a node cannot be part of its cluster.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{ClusterId, NodeId};

/// Why a server does not start as a node of a cluster, or a certificate cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}; check cluster.ca, cluster.certificate and cluster.key")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A certificate says nothing of a node.
    #[error(
        "{path} is no certificate of a node: {reason}; `tidewire admin cluster ca issue` makes one"
    )]
    NoNode {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// Certificate, key and certificate authority do not go together.
    #[error(
        "{path} cannot be used: {reason}; certificate, key and cluster.ca are those of one cluster"
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file of a certificate authority is no such.
    #[error(
        "{path} is no certificate authority of a cluster: {reason}; `tidewire admin cluster ca init` makes one"
    )]
    NoCa {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file is there already.
    #[error(
        "{path} is there already, and is not overwritten: choose another directory, or move it away"
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Make(String),
    /// The data directory belongs to another node.
    #[error(
        "the data directory belongs to node {has} of this cluster, and the certificate is that of node \
         {wants}: use the certificate of node {has}, or another data directory ({path} says whose it is)"
    )]
    OtherNode {
        /// The file that says so.
        path: PathBuf,
        /// Whose it is.
        has: NodeId,
        /// Who wants it.
        wants: NodeId,
    },
    /// The data directory belongs to another cluster.
    #[error(
        "the data directory belongs to cluster {has}, and the certificate to cluster {wants}: use a \
         certificate of that cluster, or another data directory ({path} says whose it is)"
    )]
    OtherCluster {
        /// The file that says so.
        path: PathBuf,
        /// Whose it is.
        has: ClusterId,
        /// Who wants it.
        wants: ClusterId,
    },
    /// The data directory was made of what this cluster kept.
    #[error(
        "{path} says that what is kept here was taken from cluster {cluster}, whose other nodes may come back with \
         another history: make a new authority (`tidewire admin cluster ca init`) and certificates of it for all \
         nodes, and keep storage.master_key_file as it is"
    )]
    Former {
        /// The file.
        path: PathBuf,
        /// Which.
        cluster: ClusterId,
    },
    /// What is known of the node cannot be read.
    #[error("{path} cannot be read: {reason}; a node that has lost it joins under a new id")]
    Lost {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The address is not to be had.
    #[error(
        "cannot listen on {address} (the cluster's links): {source}; use another cluster.listen or stop \
         what uses it"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A thread could not be made.
    #[error("cannot start the cluster's thread: {0}")]
    Thread(std::io::Error),
}
