//! Seeds: addresses at which other nodes may be. Each is dialed until its node is part of the cluster, and
//! again when it is not any more.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::gossip::{Member, NodeState};
use super::links::{LinkError, Links};
use super::roster::Roster;
use super::{NodeAddress, NodeId};

/// Pause after a seed that does not answer: doubled each time, and none exactly as long.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether a seed that was found is still there.
const LOOK: Duration = Duration::from_secs(1);

/// How it stands with a seed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SeedStatus {
    pub(crate) address: String,
    /// Which node it is; nothing before it has answered.
    pub(crate) node: Option<NodeId>,
    /// Times that it was dialed since it was found last.
    pub(crate) attempts: u64,
    /// Why it was not found the last time.
    pub(crate) error: Option<String>,
}

/// How it stands with all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seeds(Arc<Mutex<Vec<SeedStatus>>>);

impl Seeds {
    pub(super) fn new(addresses: &[NodeAddress]) -> Self {
        let status = |address: &NodeAddress| SeedStatus {
            address: address.to_string(),
            node: None,
            attempts: 0,
            error: None,
        };
        Self(Arc::new(Mutex::new(addresses.iter().map(status).collect())))
    }

    pub(crate) fn status(&self) -> Vec<SeedStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, index: usize, set: impl FnOnce(&mut SeedStatus)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = all.get_mut(index) {
            set(status);
        }
    }
}

/// What a seed is looked for with.
#[derive(Clone)]
pub(super) struct Search {
    pub(super) links: Links,
    pub(super) roster: Roster,
    pub(super) seeds: Seeds,
    /// Who has been found.
    pub(super) found: mpsc::Sender<Member>,
}

/// Looks for the seed of this index until the node stops.
pub(super) async fn search(with: Search, index: usize, address: NodeAddress, random_seed: u64) {
    let Search { links, roster, seeds, found } = with;
    let mut random = SmallRng::seed_from_u64(random_seed);
    let mut node = None;
    let mut backoff = BACKOFF_MIN;
    let mut last_error = String::new();
    loop {
        if node.is_some_and(|node| is_there(&roster, node)) {
            backoff = BACKOFF_MIN;
            sleep(LOOK).await;
            continue;
        }
        seeds.set(index, |status| status.attempts += 1);
        match links.dial_seed(&address).await {
            Ok(member) => {
                node = Some(member.node);
                last_error.clear();
                seeds.set(index, |status| {
                    (status.node, status.attempts, status.error) = (node, 0, None);
                });
                if found.send(member).await.is_err() {
                    return;
                }
                // Gossip has to come round to it.
                sleep(LOOK).await;
            }
            Err(LinkError::Itself(_)) => {
                let own = roster.nodes().iter().find(|node| node.is_self).map(|node| node.id);
                seeds.set(index, |status| {
                    (status.node, status.attempts, status.error) = (own, 0, None);
                });
                return;
            }
            Err(error) => {
                let error = error.to_string();
                if error == last_error {
                    tracing::debug!(seed = %address, "still no link with a seed: {error}");
                } else {
                    tracing::warn!(
                        seed = %address,
                        "no link with a seed: {error}; it is tried again and again"
                    );
                }
                seeds.set(index, |status| status.error = Some(error.clone()));
                last_error = error;
            }
        }
        let half = u64::try_from(backoff.as_millis()).unwrap_or(u64::MAX) / 2;
        sleep(Duration::from_millis(half + random.random_range(0..=half))).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

fn is_there(roster: &Roster, node: NodeId) -> bool {
    roster.node(node).is_some_and(|node| match node.state {
        NodeState::Alive | NodeState::Suspect => true,
        NodeState::Down | NodeState::Left => false,
    })
}
