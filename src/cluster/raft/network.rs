//! How openraft reaches the group on another node.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::error::{
    Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, LogId, OptionalSend, Snapshot, Vote};

use super::entries::from_id;
use super::rpc::{Answer, Ask, Caller};
use super::standing::Last;
use super::types::{Groups, Node, NodeId};
use crate::cluster::links::Links;
use crate::cluster::transfer::States;
use crate::journal::{EntryId, GroupLog};

/// A pause before a node that could not be reached is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// How long an answer may wait for this node's own disk before it says less.
const STORED: Duration = Duration::from_millis(50);

/// A leader whose disk has not answered for so long says nothing, so that another node is elected: it can
/// apply nothing.
const STALLED: Duration = Duration::from_secs(1);

/// The ways to all other nodes.
#[derive(Clone)]
pub(crate) struct Network {
    links: Links,
    states: States,
    runtime: tokio::runtime::Handle,
    /// Two for each node: for what is short, and for entries.
    callers: Arc<Mutex<HashMap<NodeId, [Caller; 2]>>>,
}

impl Network {
    /// To be called within the runtime that carries the streams.
    pub(crate) fn new(links: Links, states: States) -> Self {
        let runtime = tokio::runtime::Handle::current();
        Self { links, states, runtime, callers: Arc::default() }
    }

    fn callers(&self, node: NodeId) -> io::Result<[Caller; 2]> {
        let id = peer(node)?;
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let _entered = self.runtime.enter();
        let start = || Caller::start(self.links.clone(), id);
        Ok(callers.entry(node).or_insert_with(|| [start(), start()]).clone())
    }

    /// Whether another node would vote for this one in a group.
    pub(super) async fn would_vote(
        &self,
        node: NodeId,
        group: u16,
        candidate: NodeId,
        last: Last,
    ) -> bool {
        let Ok([short, _long]) = self.callers(node) else { return false };
        let answer = short.ask(group, Ask::WouldVote { candidate, last }).await;
        matches!(answer, Ok(Answer::WouldVote(true)))
    }

    /// The network of one group, which has this log here.
    pub(crate) fn of_group(&self, group: u16, log: GroupLog) -> GroupNetwork {
        GroupNetwork { network: self.clone(), group, log }
    }
}

/// The ways of one group to its other nodes.
pub(crate) struct GroupNetwork {
    network: Network,
    group: u16,
    log: GroupLog,
}

impl RaftNetworkFactory<Groups> for GroupNetwork {
    type Network = Way;

    async fn new_client(&mut self, target: NodeId, _node: &Node) -> Way {
        Way {
            callers: self.network.callers(target).map_err(|error| error.to_string()),
            group: self.group,
            log: self.log.clone(),
            network: self.network.clone(),
            target,
        }
    }
}

/// The way of one group to one other node.
pub(crate) struct Way {
    callers: Result<[Caller; 2], String>,
    group: u16,
    log: GroupLog,
    network: Network,
    target: NodeId,
}

type Failure<E> = RPCError<NodeId, Node, E>;

impl Way {
    async fn ask<E: std::error::Error>(&self, ask: Ask) -> Result<Answer, Failure<E>> {
        let unreachable = |error: &io::Error| Unreachable::new(&AnyError::new(error)).into();
        let [short, long] = match &self.callers {
            Ok(callers) => callers,
            Err(error) => return Err(unreachable(&io::Error::other(error.clone()))),
        };
        let is_long = matches!(&ask, Ask::Append(append) if !append.entries.is_empty());
        let caller = if is_long { long } else { short };
        match caller.ask(self.group, ask).await {
            Ok(Answer::Refused(why)) => Err(NetworkError::new(&AnyError::error(why)).into()),
            Ok(answer) => Ok(answer),
            Err(error) => Err(unreachable(&error)),
        }
    }
}

impl Way {
    /// What the other node may take for committed. This node's engine counts it among those that have an entry
    /// before it is on the disk here, so that it may have too few.
    async fn committed(&self, known: LogId<NodeId>, is_short: bool) -> Option<LogId<NodeId>> {
        // Nothing else says so before the next heartbeat, so it is worth a moment.
        if is_short {
            drop(tokio::time::timeout(STORED, self.log.stored_upto(known.index)).await);
        }
        stored_of(known, self.log.stored())
    }
}

/// As much of what is known to be committed as is on the disk.
pub(super) fn stored_of(known: LogId<NodeId>, stored: Option<EntryId>) -> Option<LogId<NodeId>> {
    match stored {
        Some(stored) if stored.index >= known.index => Some(known),
        stored => stored.map(from_id),
    }
}

/// # Errors
/// When there can be no such node.
fn peer(node: NodeId) -> io::Result<crate::cluster::NodeId> {
    let id = crate::cluster::NodeId::new(node);
    id.ok_or_else(|| io::Error::other(format!("{node} is no id of a node")))
}

fn unexpected<E: std::error::Error>() -> Failure<E> {
    NetworkError::new(&AnyError::error("the answer is one to another question")).into()
}

impl RaftNetwork<Groups> for Way {
    async fn append_entries(
        &mut self,
        mut rpc: AppendEntriesRequest<Groups>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, Failure<RaftError<NodeId>>> {
        if self.log.waits_for() > STALLED {
            let what = "the disk of this node does not answer, so it leads nobody";
            return Err(Unreachable::new(&AnyError::error(what)).into());
        }
        if let Some(known) = rpc.leader_commit {
            rpc.leader_commit = self.committed(known, rpc.entries.is_empty()).await;
        }
        match self.ask(Ask::Append(rpc)).await? {
            Answer::Append(answer) => Ok(answer),
            Answer::Vote(_) | Answer::WouldVote(_) | Answer::Refused(_) => Err(unexpected()),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<NodeId>,
        _option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, Failure<RaftError<NodeId>>> {
        match self.ask(Ask::Vote(rpc)).await? {
            Answer::Vote(answer) => Ok(answer),
            Answer::Append(_) | Answer::WouldVote(_) | Answer::Refused(_) => Err(unexpected()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<NodeId>,
        snapshot: Snapshot<Groups>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<NodeId>, StreamingError<Groups, Fatal<NodeId>>> {
        let unreachable = |error| StreamingError::Unreachable(Unreachable::new(&error));
        let to = peer(self.target).map_err(|error| unreachable(AnyError::new(&error)))?;
        let Network { links, states, .. } = &self.network;
        tokio::select! {
            given = states.give(links, to, vote, snapshot) => Ok(given?),
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(RETRY))
    }
}
