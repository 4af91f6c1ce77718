//! What the groups of two nodes ask each other, over one stream for all groups.
//!
//! Requests are numbered and answered in any order. Entries of one group do not hold up the others: what
//! is large has a stream of its own.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use quinn::{RecvStream, SendStream};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::standing::Last;
use super::types::{Groups, NodeId};
use crate::cluster::links::{Incoming, Links};
use crate::cluster::{self, frames, services};

/// Requests to one node that wait to be sent.
const QUEUE: usize = 256;
/// Requests of one stream that are worked on at the same time.
const WORKED_ON_MAX: usize = 64;
/// How long a stream may take to be opened.
const OPEN: Duration = Duration::from_secs(2);

/// A question of a group.
#[derive(Serialize, Deserialize)]
pub(crate) enum Ask {
    Append(AppendEntriesRequest<Groups>),
    Vote(VoteRequest<NodeId>),
    /// Whether the other one would vote for a node whose log ends so.
    WouldVote {
        candidate: NodeId,
        last: Last,
    },
}

/// Its answer.
#[derive(Serialize, Deserialize)]
pub(crate) enum Answer {
    Append(AppendEntriesResponse<NodeId>),
    Vote(VoteResponse<NodeId>),
    WouldVote(bool),
    /// The group is not there, or has ended.
    Refused(String),
}

#[derive(Serialize, Deserialize)]
struct Question {
    number: u64,
    group: u16,
    ask: Ask,
}

#[derive(Serialize, Deserialize)]
struct Reply {
    number: u64,
    answer: Answer,
}

/// A way to ask another node. Clones are the same way.
#[derive(Clone)]
pub(crate) struct Caller {
    queue: mpsc::Sender<Call>,
}

struct Call {
    group: u16,
    ask: Ask,
    answer: oneshot::Sender<io::Result<Answer>>,
}

impl Caller {
    /// Opens a stream when it is needed, and again when it has broken. To be called within a runtime.
    pub(crate) fn start(links: Links, node: cluster::NodeId) -> Self {
        let (queue, calls) = mpsc::channel(QUEUE);
        drop(tokio::spawn(carry(links, node, calls)));
        Self { queue }
    }

    /// # Errors
    /// When the other node cannot be reached, or has not answered.
    pub(crate) async fn ask(&self, group: u16, ask: Ask) -> io::Result<Answer> {
        let (answer, outcome) = oneshot::channel();
        let ended = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.queue.send(Call { group, ask, answer }).await.map_err(|_ended| ended())?;
        outcome.await.map_err(|_gone| ended())?
    }
}

/// Who waits for which answer.
type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<io::Result<Answer>>>>>;

fn lock(waiting: &Waiting) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<io::Result<Answer>>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn carry(links: Links, node: cluster::NodeId, mut calls: mpsc::Receiver<Call>) {
    let mut number = 0;
    let mut stream: Option<(SendStream, Waiting, tokio::task::JoinHandle<()>)> = None;
    while let Some(Call { group, ask, answer }) = calls.recv().await {
        // Who has given up does not need it any more.
        if answer.is_closed() {
            continue;
        }
        if stream.as_ref().is_some_and(|(_, _, reader)| reader.is_finished()) {
            stream = None;
        }
        if stream.is_none() {
            match open(&links, node).await {
                Ok((send, recv)) => {
                    let waiting = Waiting::default();
                    let reader = tokio::spawn(hear(recv, Arc::clone(&waiting)));
                    stream = Some((send, waiting, reader));
                }
                Err(error) => {
                    drop(answer.send(Err(error)));
                    continue;
                }
            }
        }
        let Some((send, waiting, _)) = &mut stream else { continue };
        number += 1;
        wait_for(waiting, number, answer);
        if frames::send(send, &Question { number, group, ask }).await.is_err() {
            stream = None;
        }
    }
}

fn wait_for(waiting: &Waiting, number: u64, answer: oneshot::Sender<io::Result<Answer>>) {
    let mut waiting = lock(waiting);
    // Those who have given up are not waited for.
    waiting.retain(|_, waits| !waits.is_closed());
    waiting.insert(number, answer);
}

async fn open(links: &Links, node: cluster::NodeId) -> io::Result<(SendStream, RecvStream)> {
    match tokio::time::timeout(OPEN, links.open(node, services::RAFT)).await {
        Ok(opened) => opened.map_err(|error| io::Error::other(error.to_string())),
        Err(_late) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Takes answers until the stream ends; whoever waits then gets none.
async fn hear(mut recv: RecvStream, waiting: Waiting) {
    while let Ok(Some(Reply { number, answer })) = frames::receive(&mut recv).await {
        if let Some(waits) = lock(&waiting).remove(&number) {
            drop(waits.send(Ok(answer)));
        }
    }
    for (_, waits) in lock(&waiting).drain() {
        drop(waits.send(Err(io::ErrorKind::ConnectionReset.into())));
    }
}

/// The groups of this node, as other nodes ask them.
pub(crate) trait Asked: Clone + Send + Sync + 'static {
    fn answer(&self, group: u16, ask: Ask) -> impl Future<Output = Answer> + Send;
}

/// Answers what other nodes ask, until the links end.
pub(crate) async fn serve(mut streams: mpsc::Receiver<Incoming>, groups: impl Asked) {
    while let Some(Incoming { send, recv, .. }) = streams.recv().await {
        drop(tokio::spawn(answer_all(send, recv, groups.clone())));
    }
}

async fn answer_all(mut send: SendStream, mut recv: RecvStream, groups: impl Asked) {
    let (replies, mut answered) = mpsc::channel::<Reply>(WORKED_ON_MAX);
    let writer = tokio::spawn(async move {
        while let Some(reply) = answered.recv().await {
            if frames::send(&mut send, &reply).await.is_err() {
                return;
            }
        }
    });
    let places = Arc::new(Semaphore::new(WORKED_ON_MAX));
    while let Ok(Some(Question { number, group, ask })) = frames::receive(&mut recv).await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        let (groups, replies) = (groups.clone(), replies.clone());
        drop(tokio::spawn(async move {
            let answer = groups.answer(group, ask).await;
            drop(place);
            // Fails when the stream has ended: nobody waits then.
            drop(replies.send(Reply { number, answer }).await);
        }));
    }
    drop(replies);
    drop(writer.await);
}
