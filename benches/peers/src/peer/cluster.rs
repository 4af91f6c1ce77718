//! Servers that are one cluster: how they end together, and waiting for what they do together.

use std::thread;
use std::time::{Duration, Instant};

use super::Running;
use crate::server::Preparation;

/// How long nodes may take to become a cluster.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(50);

/// The nodes of a cluster. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<Running>,
    /// What they have in common.
    _files: Preparation,
}

impl Cluster {
    pub(super) fn new(nodes: Vec<Running>, files: Preparation) -> Self {
        Self { nodes, _files: files }
    }

    /// All of them.
    pub(crate) fn nodes(&self) -> &[Running] {
        &self.nodes
    }
}

impl Drop for Cluster {
    /// All are asked first, so that none waits for the others.
    fn drop(&mut self) {
        for node in &self.nodes {
            // One that cannot be asked is ended when it is dropped.
            let _asked = node.server.ask_to_end();
        }
    }
}

/// Waits until they are `ready`.
///
/// # Errors
/// When they are not after a minute; with what was wrong last.
pub(super) fn wait(mut ready: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = ready() {
        if Instant::now() > deadline {
            return Err(format!("is no cluster after {PATIENCE:?}: {error}"));
        }
        thread::sleep(LOOK);
    }
    Ok(())
}
