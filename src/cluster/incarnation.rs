//! Whose a data directory is, and how often its node has started.
//!
//! The file `cluster` in the data directory is three lines of text: the cluster, the node, the incarnation.

use std::path::{Path, PathBuf};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{ClusterError, ClusterId, NodeId};
use crate::whole_file;

/// The file in the data directory.
const FILE: &str = "cluster";
/// Longest file that is one.
const FILE_BYTES_MAX: u64 = 1024;

/// The file in a data directory that was made of what a cluster kept, with that cluster in it. Nodes of it may come
/// back, with other histories of the same groups, so the directory becomes part of another cluster only.
pub(crate) const FORMER_FILE: &str = "cluster-before";

/// Notes that a data directory was made of what this cluster kept.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn note_former(data_dir: &Path, cluster: ClusterId) -> std::io::Result<()> {
    let text = format!("cluster {cluster}\n");
    whole_file::replace(&data_dir.join(FORMER_FILE), text.as_bytes(), 0o644)
}

/// Refuses the cluster that a data directory was made of.
fn check_former(data_dir: &Path, cluster: ClusterId) -> Result<(), ClusterError> {
    let path = data_dir.join(FORMER_FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ClusterError::Lost { path, reason: error.to_string() }),
    };
    let former = text.strip_prefix("cluster ").map(str::trim_end).and_then(ClusterId::parse);
    match former {
        Some(former) if former == cluster => Err(ClusterError::Former { path, cluster }),
        Some(_) => Ok(()),
        None => Err(ClusterError::Lost { path, reason: "it names no cluster".to_owned() }),
    }
}

/// The file, and what stands in it.
#[derive(Clone, Debug)]
pub(super) struct Life {
    path: PathBuf,
    cluster: ClusterId,
    node: NodeId,
    pub(super) incarnation: u64,
}

impl Life {
    /// Begins another life of this node in its data directory, or the first one.
    ///
    /// # Errors
    /// When the directory is another node's, or the file cannot be read or written.
    pub(super) fn begin(
        data_dir: &Path,
        cluster: ClusterId,
        node: NodeId,
    ) -> Result<Self, ClusterError> {
        check_former(data_dir, cluster)?;
        let path = data_dir.join(FILE);
        let before = read(&path)?;
        if let Some((has, _, _)) = before.filter(|(has, _, _)| *has != cluster) {
            return Err(ClusterError::OtherCluster { path, has, wants: cluster });
        }
        if let Some((_, has, _)) = before.filter(|(_, has, _)| *has != node) {
            return Err(ClusterError::OtherNode { path, has, wants: node });
        }
        let before = before.map_or(0, |(_, _, incarnation)| incarnation);
        let life = Self { path, cluster, node, incarnation: before.saturating_add(1) };
        life.write()?;
        Ok(life)
    }

    /// The node goes on under another incarnation.
    fn renew(&mut self, incarnation: u64) -> Result<(), ClusterError> {
        self.incarnation = incarnation;
        self.write()
    }

    fn write(&self) -> Result<(), ClusterError> {
        let Self { path, cluster, node, incarnation } = self;
        let text = format!("cluster {cluster}\nnode {node}\nincarnation {incarnation}\n");
        let refuse = |source| ClusterError::Write { path: path.clone(), source };
        whole_file::replace(path, text.as_bytes(), 0o644).map_err(refuse)
    }
}

/// Writes incarnations down, one after the other, and holds up nobody.
pub(super) struct Keeper {
    newest: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Starts it, on the runtime that it is called in.
    pub(super) fn start(life: Life) -> Self {
        let (newest, mut news) = watch::channel(life.incarnation);
        let task = tokio::spawn(async move {
            let mut life = life;
            while news.changed().await.is_ok() {
                let incarnation = *news.borrow_and_update();
                let mut next = life.clone();
                // The disk may take its time, which gossip has not.
                let written = tokio::task::spawn_blocking(move || {
                    let outcome = next.renew(incarnation);
                    (next, outcome)
                });
                let Ok((next, outcome)) = written.await else { return };
                if let Err(error) = outcome {
                    tracing::error!(%error, "the node's incarnation is not kept");
                }
                life = next;
            }
        });
        Self { newest, task }
    }

    /// This is the newest one.
    pub(super) fn keep(&self, incarnation: u64) {
        self.newest.send_replace(incarnation);
    }

    /// Waits until all is written.
    pub(super) async fn finish(self) {
        let Self { newest, task } = self;
        drop(newest);
        drop(task.await);
    }
}

/// Which node of which cluster a data directory belongs to; nothing if it was never one's.
///
/// # Errors
/// When that cannot be read.
pub(crate) fn owner_of(data_dir: &Path) -> Result<Option<(ClusterId, NodeId)>, ClusterError> {
    Ok(read(&data_dir.join(FILE))?.map(|(cluster, node, _)| (cluster, node)))
}

fn read(path: &Path) -> Result<Option<(ClusterId, NodeId, u64)>, ClusterError> {
    let lost = |reason: String| ClusterError::Lost { path: path.to_owned(), reason };
    match path.metadata() {
        Ok(file) if file.len() > FILE_BYTES_MAX => return Err(lost("it is too long".to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(lost(error.to_string())),
    }
    let text = std::fs::read_to_string(path).map_err(|error| lost(error.to_string()))?;
    parse(&text).map(Some).ok_or_else(|| lost("it is no file of a node".to_owned()))
}

fn parse(text: &str) -> Option<(ClusterId, NodeId, u64)> {
    let mut lines = text.lines();
    let cluster = ClusterId::parse(lines.next()?.strip_prefix("cluster ")?)?;
    let node = NodeId::new(lines.next()?.strip_prefix("node ")?.parse().ok()?)?;
    let incarnation = lines.next()?.strip_prefix("incarnation ")?.parse().ok()?;
    lines.next().is_none().then_some((cluster, node, incarnation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_incarnation_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (cluster, node) = (ClusterId::new(7), NodeId::new(3).unwrap());
        let begin = || Life::begin(directory.path(), cluster, node).unwrap();
        let keeper = Keeper::start(begin());
        for incarnation in 2..100 {
            keeper.keep(incarnation);
        }
        keeper.finish().await;
        assert_eq!(begin().incarnation, 100);
    }

    #[test]
    fn each_start_is_another_life() {
        let directory = tempfile::tempdir().unwrap();
        let (cluster, node) = (ClusterId::new(7), NodeId::new(3).unwrap());
        let begin = || Life::begin(directory.path(), cluster, node).unwrap();
        assert_eq!(begin().incarnation, 1);
        let mut life = begin();
        assert_eq!(life.incarnation, 2);
        life.renew(9).unwrap();
        assert_eq!(begin().incarnation, 10);
    }

    #[test]
    fn a_directory_of_somebody_else_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (cluster, node) = (ClusterId::new(7), NodeId::new(3).unwrap());
        Life::begin(directory.path(), cluster, node).unwrap();
        let other = Life::begin(directory.path(), cluster, NodeId::new(4).unwrap());
        let said = other.unwrap_err().to_string();
        assert!(said.contains("belongs to node 3") && said.contains("of node 4"), "{said}");
        let other = Life::begin(directory.path(), ClusterId::new(8), node);
        assert!(matches!(other, Err(ClusterError::OtherCluster { .. })));
        let fresh = tempfile::tempdir().unwrap();
        note_former(fresh.path(), cluster).unwrap();
        let former = Life::begin(fresh.path(), cluster, node).unwrap_err().to_string();
        assert!(former.contains("ca init"), "{former}");
        assert!(Life::begin(fresh.path(), ClusterId::new(8), node).is_ok(), "another cluster");
        std::fs::write(directory.path().join(FILE), "nonsense").unwrap();
        let other = Life::begin(directory.path(), cluster, node).unwrap_err().to_string();
        assert!(other.contains("joins under a new id"), "{other}");
    }
}
