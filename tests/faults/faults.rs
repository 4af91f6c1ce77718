//! What goes wrong, and comes right again.

use std::time::Duration;

use crate::nodes::Nodes;
use crate::relay::Way;
use crate::volume::Volume;

/// How long a fault lasts: longer than it takes to elect another leader.
const LASTS: Duration = Duration::from_secs(4);
/// How long it may take until the cluster is whole again.
const WHOLE: Duration = Duration::from_secs(45);
/// What is left free on a disk that is full, for what others write.
const FILLER_BYTES: usize = 1024 * 1024;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    KillLeader,
    KillFollower,
    PauseLeader,
    CutMinority,
    LeaderIsNotHeard,
    FollowerHearsNothing,
    SlowLink,
    LossyNetwork,
    FullDisk,
    StalledDisk,
    RollingRestart,
}

impl Fault {
    /// All that this cluster can suffer from.
    pub(crate) fn all(nodes: &Nodes) -> Vec<Self> {
        let mut all = vec![
            Self::KillLeader,
            Self::KillFollower,
            Self::PauseLeader,
            Self::CutMinority,
            Self::LeaderIsNotHeard,
            Self::FollowerHearsNothing,
            Self::SlowLink,
            Self::LossyNetwork,
            Self::RollingRestart,
        ];
        if nodes.volume().is_some() {
            all.extend([Self::FullDisk, Self::StalledDisk]);
        }
        all
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KillLeader => "kill -9 of the leader",
            Self::KillFollower => "kill -9 of a follower",
            Self::PauseLeader => "the leader stands still",
            Self::CutMinority => "two of five cut off, the leader among them",
            Self::LeaderIsNotHeard => "nothing from the leader arrives",
            Self::FollowerHearsNothing => "nothing arrives at a follower",
            Self::SlowLink => "64 kB/s between the leader and a follower",
            Self::LossyNetwork => "3 % lost, 2 % doubled, up to 10 ms late",
            Self::FullDisk => "a full disk",
            Self::StalledDisk => "a disk that does not answer",
            Self::RollingRestart => "each node is started again",
        }
    }

    /// Lets it happen, and undoes it.
    pub(crate) async fn happen(self, nodes: &mut Nodes) {
        let leader = nodes.leader();
        let count = nodes.count();
        let follower = (leader + 1) % count;
        match self {
            Self::KillLeader => kill(nodes, leader).await,
            Self::KillFollower => kill(nodes, follower).await,
            Self::PauseLeader => {
                nodes.signal(leader, "-STOP");
                last().await;
                nodes.signal(leader, "-CONT");
            }
            Self::CutMinority => {
                let others: Vec<usize> = (2..count).map(|node| (leader + node) % count).collect();
                nodes.relay.cut(&[leader, follower], &others);
                last().await;
            }
            Self::LeaderIsNotHeard => deafen(nodes, |from, _| from == leader).await,
            Self::FollowerHearsNothing => deafen(nodes, |_, to| to == follower).await,
            Self::SlowLink => {
                let slow = Way { bytes_per_s: Some(64_000), delay_ms: 20, ..Way::default() };
                nodes.relay.set(leader, follower, slow);
                nodes.relay.set(follower, leader, slow);
                last().await;
            }
            Self::LossyNetwork => {
                let lossy =
                    Way { lost_percent: 3, doubled_percent: 2, jitter_ms: 10, ..Way::default() };
                each(count, |from, to| nodes.relay.set(from, to, lossy));
                last().await;
            }
            Self::FullDisk => {
                let filler = fill(nodes.volume().unwrap());
                last().await;
                std::fs::remove_file(filler).unwrap();
            }
            Self::StalledDisk => {
                let frozen = nodes.volume().unwrap().freeze();
                last().await;
                drop(frozen);
            }
            Self::RollingRestart => {
                for node in 0..count {
                    nodes.terminate(node);
                    nodes.start_again(node);
                    nodes.settle(WHOLE);
                }
            }
        }
        nodes.relay.heal();
    }

    /// Waits until nothing is left of it.
    pub(crate) fn heal(nodes: &mut Nodes) {
        nodes.settle(WHOLE);
    }
}

/// Time passes: that is what a fault needs.
async fn last() {
    tokio::time::sleep(LASTS).await;
}

async fn kill(nodes: &mut Nodes, node: usize) {
    nodes.kill(node);
    last().await;
    nodes.start_again(node);
}

fn each(count: usize, mut way: impl FnMut(usize, usize)) {
    for from in 0..count {
        (0..count).filter(|to| *to != from).for_each(|to| way(from, to));
    }
}

/// Cuts what goes one way only.
async fn deafen(nodes: &Nodes, is_cut: impl Fn(usize, usize) -> bool) {
    each(nodes.count(), |from, to| {
        nodes.relay.set(from, to, Way { is_cut: is_cut(from, to), ..Way::default() });
    });
    last().await;
}

/// Fills a disk to the last byte, and returns what fills it.
fn fill(volume: &Volume) -> std::path::PathBuf {
    use std::io::Write as _;
    let path = volume.path().join("filler");
    let mut file = std::fs::File::create(&path).unwrap();
    let zeros = vec![0; FILLER_BYTES];
    while file.write_all(&zeros).is_ok() {}
    path
}
