//! One group on this node: openraft with its log, its network and its shard's task.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use openraft::raft::AppendEntriesResponse;
use openraft::storage::RaftStateMachine;
use openraft::{Config, Raft, ServerState, SnapshotPolicy};
use tidewire_core::SHARDS;
use tokio::sync::watch;

use super::electing::last_of;
use super::log_storage::LogStorage;
use super::network::Network;
use super::rpc::{Answer, Ask, Asked};
use super::standing::{Last, Standing, VOTERS_LEASE_MS};
use super::types::{Groups, NodeId};
use crate::journal::META;

/// How often a leader is heard of.
const HEARTBEAT_MS: u64 = 200;
/// How long a question to another node may take.
const ANSWER_MS: u64 = 500;
/// Entries of the meta group after which its state is saved, and older ones are purged.
const META_ENTRIES: u64 = 512;
/// How long a leader acts on what a majority has told it last: less than anybody waits before another
/// one may be elected.
pub(crate) const LEASE_MS: u64 = 600;

/// A group. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Group {
    pub(crate) number: u16,
    pub(crate) node: NodeId,
    pub(crate) raft: Raft<Groups>,
    pub(crate) log: LogStorage,
    standing: Arc<Mutex<Standing>>,
    /// As the leader it is not heard of, so that another one is elected.
    is_silent: Arc<AtomicBool>,
    since: Instant,
}

impl Group {
    /// Starts it, on the runtime that this is called in.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub(crate) async fn start(
        number: u16,
        node: NodeId,
        log: LogStorage,
        machine: impl RaftStateMachine<Groups>,
        network: &Network,
    ) -> io::Result<Self> {
        let saving = match number {
            META => (SnapshotPolicy::LogsSinceLast(META_ENTRIES), META_ENTRIES / 2),
            // States are saved when the shard says so, which also says what is purged.
            _ => (SnapshotPolicy::Never, u64::MAX),
        };
        let config = Config {
            cluster_name: format!("tidewire group {number}"),
            heartbeat_interval: HEARTBEAT_MS,
            election_timeout_min: ANSWER_MS,
            // So long a voter votes for nobody else.
            election_timeout_max: VOTERS_LEASE_MS,
            enable_elect: false,
            max_payload_entries: 4_096,
            snapshot_policy: saving.0,
            max_in_snapshot_log_to_keep: saving.1,
            ..Config::default()
        };
        let config = Arc::new(config.validate().map_err(io::Error::other)?);
        let of_group = network.of_group(number, log.log().clone());
        let log = log.started_by(node);
        let raft = Raft::new(node, config, of_group, log.clone(), machine).await;
        let since = Instant::now();
        Ok(Self {
            number,
            node,
            raft: raft.map_err(io::Error::other)?,
            log,
            standing: Arc::new(Mutex::new(Standing::start(node, 0))),
            is_silent: Arc::default(),
            since,
        })
    }

    /// Milliseconds since it has started.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A leader of this group is there.
    pub(super) fn hear(&self) {
        self.standing().hear(self.now_ms(), rand::random());
    }

    /// Whether this node leads it, or hears from who does. openraft goes on naming a leader that is gone until
    /// another one is elected.
    pub(crate) fn is_led(&self) -> bool {
        let leads = self.raft.server_metrics().borrow().state == ServerState::Leader;
        leads || self.standing().is_led(self.now_ms())
    }

    /// Who leads it, as far as this node hears.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let leader = self.raft.server_metrics().borrow().current_leader;
        leader.filter(|_| self.is_led())
    }

    /// Whether others hear of this node as the leader. Those who do not elect another one; if nobody is, this
    /// one stands again.
    pub(crate) fn silence(&self, is_silent: bool) {
        if is_silent {
            self.hear();
        }
        self.is_silent.store(is_silent, Relaxed);
        self.raft.runtime_config().heartbeat(!is_silent);
    }

    /// Whether this node leads, and others hear of it; or has no part in the group any more, because its engine
    /// has ended with the disk.
    pub(super) fn stays(&self) -> bool {
        let leads = self.raft.server_metrics().borrow().state == ServerState::Leader;
        let has_ended = self.raft.metrics().borrow().running_state.is_err();
        has_ended || leads && !self.is_silent.load(Relaxed)
    }

    fn would_vote(&self, candidate: NodeId, last: Last) -> bool {
        if self.stays() {
            return false;
        }
        let own_last = last_of(self);
        self.standing().would_vote((candidate, last), own_last, self.now_ms(), rand::random())
    }
}

/// The groups of this node, by their numbers.
#[derive(Clone, Default)]
pub(crate) struct GroupTable(Arc<Mutex<HashMap<u16, Group>>>, Arc<watch::Sender<usize>>);

impl GroupTable {
    pub(crate) fn insert(&self, group: Group) {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        groups.insert(group.number, group);
        self.1.send_replace(groups.len());
    }

    /// Waits until the groups of all shards have started, and the one without a shard.
    pub(crate) async fn all_started(&self) {
        let mut count = self.1.subscribe();
        // The sender is in this table.
        drop(count.wait_for(|count| *count > usize::from(SHARDS)).await);
    }

    pub(crate) fn find(&self, number: u16) -> Option<Group> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    /// The group of a shard, or of what has none ([`crate::journal::META`]).
    pub(crate) fn of_shard(&self, shard: u16) -> Option<Group> {
        let groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        groups.values().find(|group| group.log.log().shard() == shard).cloned()
    }

    /// Those of shards, in the order of their numbers.
    pub(crate) fn all(&self) -> Vec<Group> {
        let groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Group> = groups.values().cloned().collect();
        all.retain(|group| group.number != META);
        all.sort_by_key(|group| group.number);
        all
    }

    /// All of them.
    pub(super) fn all_with_meta(&self) -> Vec<Group> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// What changes when a group starts, or starts again.
    pub(super) fn changes(&self) -> watch::Receiver<usize> {
        self.1.subscribe()
    }

    /// The group without a shard, once it has started.
    pub(crate) fn meta(&self) -> Option<Group> {
        self.find(META)
    }
}

impl Asked for GroupTable {
    async fn answer(&self, group: u16, ask: Ask) -> Answer {
        let Some(group) = self.find(group) else {
            return Answer::Refused(format!("group {group} has not started here"));
        };
        match ask {
            Ask::Append(append) => match group.raft.append_entries(append).await {
                Ok(answer) => {
                    // Whoever has a lower term does not lead any more.
                    if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                        group.hear();
                    }
                    match group.log.log().all_stored().await {
                        Ok(()) => Answer::Append(answer),
                        Err(error) => Answer::Refused(error.to_string()),
                    }
                }
                Err(error) => Answer::Refused(error.to_string()),
            },
            Ask::Vote(vote) => match group.raft.vote(vote).await {
                Ok(answer) => Answer::Vote(answer),
                Err(error) => Answer::Refused(error.to_string()),
            },
            Ask::WouldVote { candidate, last } => {
                Answer::WouldVote(group.would_vote(candidate, last))
            }
        }
    }
}
