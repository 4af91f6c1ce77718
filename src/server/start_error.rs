//! Why a server does not start.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::audit::AuditError;
use crate::auth::{AuthError, RevocationError};
use crate::cluster::ClusterError;
use crate::config::ConfigError;
use crate::journal::StorageError;
use crate::transport::TlsError;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is not to be had.
    #[error(
        "cannot listen on {address} ({what}): {source}; use another address or stop what uses it"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The protocol.
        what: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The certificate is not to be had.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Accounts cannot be used.
    #[error("configuration: {0}")]
    Auth(#[from] AuthError),
    /// What is put on record cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// What was revoked cannot be read.
    #[error(transparent)]
    Revocations(#[from] RevocationError),
    /// A file that is being written looks like one without accounts.
    #[error(
        "the accounts are gone from the configuration: to do without any, start the server again"
    )]
    AccountsGone,
    /// The configuration would open the server to everybody.
    #[error(transparent)]
    Exposure(#[from] ConfigError),
    /// The data directory is not to be had.
    #[error("cannot use data directory {path}: {source}; choose another with --data-dir")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// What is kept on disk is not to be had.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It cannot be a node of its cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A thread could not be made.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

impl StartError {
    /// What is wrong with a key of the configuration, or the rest as it is.
    ///
    /// # Errors
    /// When it is not about a key.
    pub fn of_configuration(self) -> Result<ConfigError, Self> {
        match self {
            Self::Auth(error) => Ok(error.into()),
            Self::Exposure(error) => Ok(error),
            other @ (Self::Listen { .. }
            | Self::Tls(_)
            | Self::Audit(_)
            | Self::Revocations(_)
            | Self::AccountsGone
            | Self::DataDir { .. }
            | Self::Storage(_)
            | Self::Cluster(_)
            | Self::Thread(_)) => Err(other),
        }
    }
}
