//! A client's place: it sits at one node, and goes to another one when that does not answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewire_client::{Client, Error};
use tokio::time::timeout;

use crate::nodes::Urls;
use crate::timeline::Timeline;

/// How long an answer is waited for before another node is asked.
const ATTEMPT: Duration = Duration::from_secs(3);
const CONNECT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);
/// How long anything may take, faults included.
const GIVE_UP: Duration = Duration::from_secs(60);

/// What all clients share.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) urls: Urls,
    pub(crate) timeline: Arc<Timeline>,
    pub(crate) has_ended: Arc<std::sync::atomic::AtomicBool>,
}

impl Stage {
    pub(crate) fn count(&self) -> usize {
        self.urls.lock().unwrap().len()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(std::sync::atomic::Ordering::Relaxed)
    }
}

pub(crate) struct Seat {
    pub(crate) stage: Stage,
    node: usize,
    client: Option<Client>,
}

/// A request that was answered.
pub(crate) struct Answered<T> {
    pub(crate) answer: T,
    /// How often it was sent before, without an answer.
    pub(crate) lost: u32,
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
}

impl Seat {
    pub(crate) fn at(stage: &Stage, node: usize) -> Self {
        Self { stage: stage.clone(), node, client: None }
    }

    /// Goes to the next node.
    pub(crate) fn leave(&mut self) {
        self.client = None;
        self.node = (self.node + 1) % self.stage.count();
    }

    async fn sit(&mut self) -> Option<Client> {
        if let Some(client) = &self.client {
            return Some(client.clone());
        }
        let url = self.stage.urls.lock().unwrap()[self.node].clone()?;
        // What is sent again is seen here, and not done by the client itself.
        let builder = Client::builder(&url).unwrap().reconnect(false).repeat_for_ms(0);
        self.client = timeout(CONNECT, builder.connect()).await.ok().and_then(Result::ok);
        self.client.clone()
    }

    /// Asks the node that it sits at, once.
    pub(crate) async fn try_once<T>(
        &mut self,
        ask: impl AsyncFn(&Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let late = || Error::NotConnected { reason: "the node does not answer".to_owned() };
        let client = self.sit().await.ok_or_else(late)?;
        timeout(ATTEMPT, ask(&client)).await.map_err(|_late| late())?
    }

    /// Asks until there is an answer, at one node after the other. The request is one that counts once.
    pub(crate) async fn ask<T>(
        &mut self,
        ask: impl AsyncFn(&Client) -> Result<T, Error>,
    ) -> Answered<T> {
        let (begun, mut lost) = (Instant::now(), 0);
        loop {
            match self.try_once(&ask).await {
                Ok(answer) => return Answered { answer, lost, begun, ended: Instant::now() },
                Err(error) => {
                    // A client that does not connect again has failed for good.
                    let is_lost = matches!(error, Error::Failed { .. });
                    assert!(error.is_retryable() || is_lost, "refused for good: {error}");
                    lost += 1;
                    if error.refusal().is_none() {
                        self.leave();
                    }
                }
            }
            assert!(begun.elapsed() < GIVE_UP, "no node has answered for {GIVE_UP:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The same for a write, which shows in the time line.
    pub(crate) async fn write<T>(
        &mut self,
        ask: impl AsyncFn(&Client) -> Result<T, Error>,
    ) -> Answered<T> {
        let answered = self.ask(ask).await;
        self.stage.timeline.answered(answered.ended - answered.begun);
        answered
    }
}
