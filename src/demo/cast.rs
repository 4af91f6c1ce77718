//! Casting ballots: senders that keep several votes under way on each connection, and what came
//! back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidewire_client::{Choice, Client, Error, Name, Pending, VoteStatus, Voted};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::freshness::{Clock, SenderLog};
use super::pause::Pauses;

/// How often a vote is sent at most when the server is away or busy.
const ATTEMPTS_MAX: u32 = 8;
const RETRY_MS: u64 = 250;

/// One vote to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Ballot {
    /// When; `None`: as soon as there is room.
    pub(crate) due: Option<Instant>,
    /// Who votes.
    pub(crate) voter: String,
    /// What for.
    pub(crate) choices: Vec<Choice>,
}

/// Where senders take their ballots from, each ballot once.
pub(crate) trait BallotBox: Send + Sync + 'static {
    /// The next ballot; `None` when there are no more.
    fn take(&self) -> Option<Ballot>;
}

/// What has become of the votes so far.
#[derive(Debug, Default)]
pub(crate) struct Tallied {
    sent: AtomicU64,
    accepted: AtomicU64,
    duplicates: AtomicU64,
    answers: Pauses,
}

impl Tallied {
    /// Votes sent, each counted once however often it was sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Votes that the server counted when they came.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// The longest time in which no vote was answered.
    pub(crate) fn longest_pause(&self) -> Duration {
        self.answers.longest()
    }

    /// Votes that the server had counted already: their first answer was lost.
    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates.load(Ordering::Relaxed)
    }
}

/// A connection that casts ballots.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) client: Client,
    pub(crate) tally: Name,
    /// Votes under way at most.
    pub(crate) window: usize,
    pub(crate) log: Arc<SenderLog>,
    pub(crate) clock: Clock,
}

/// Casts every ballot of the box. The first vote that cannot be cast ends it.
///
/// # Errors
/// The refusal of that vote, or the loss of the server.
pub(crate) async fn cast_all(
    senders: Vec<Sender>,
    ballots: Arc<impl BallotBox>,
    tallied: Arc<Tallied>,
) -> Result<(), Error> {
    let mut running = JoinSet::new();
    for sender in senders {
        let (ballots, tallied) = (Arc::clone(&ballots), Arc::clone(&tallied));
        running.spawn(async move { sender.cast(&*ballots, &tallied).await });
    }
    while let Some(ended) = running.join_next().await {
        ended.map_err(|fault| Error::Failed { reason: fault.to_string() })??;
    }
    Ok(())
}

struct UnderWay {
    ballot: Ballot,
    answer: Result<Pending<Voted>, Error>,
}

impl Sender {
    async fn cast(&self, ballots: &impl BallotBox, tallied: &Tallied) -> Result<(), Error> {
        // The queue is the window: a vote stays in it until it is answered.
        let (sending, answering) = mpsc::channel(self.window.max(1));
        let ((), ()) = tokio::try_join!(
            self.send(ballots, sending, tallied),
            self.settle(answering, tallied)
        )?;
        Ok(())
    }

    async fn send(
        &self,
        ballots: &impl BallotBox,
        under_way: mpsc::Sender<UnderWay>,
        tallied: &Tallied,
    ) -> Result<(), Error> {
        // Room first: a vote's time begins when it is sent, not when it waits for its turn.
        while let Ok(room) = under_way.reserve().await {
            let Some(ballot) = ballots.take() else { break };
            if let Some(due) = ballot.due {
                sleep_until(due).await;
            }
            self.log.sent(self.clock.now_ns());
            tallied.sent.fetch_add(1, Ordering::Relaxed);
            let answer = self.start(&ballot).await;
            room.send(UnderWay { ballot, answer });
        }
        Ok(())
    }

    async fn start(&self, ballot: &Ballot) -> Result<Pending<Voted>, Error> {
        self.client.start_vote(&self.tally, &ballot.voter, ballot.choices.clone(), None).await
    }

    async fn settle(
        &self,
        mut under_way: mpsc::Receiver<UnderWay>,
        tallied: &Tallied,
    ) -> Result<(), Error> {
        while let Some(UnderWay { ballot, answer }) = under_way.recv().await {
            let voted = self.answer(&ballot, answer).await?;
            tallied.answers.event(self.clock.now_ns());
            let version = match voted.status {
                VoteStatus::Accepted | VoteStatus::Changed => {
                    tallied.accepted.fetch_add(1, Ordering::Relaxed);
                    Some(voted.version)
                }
                VoteStatus::Duplicate => {
                    tallied.duplicates.fetch_add(1, Ordering::Relaxed);
                    None
                }
            };
            self.log.answered(version);
        }
        Ok(())
    }

    /// The answer to a vote, which is sent again while that can help: the same ballot of the same
    /// voter counts once.
    async fn answer(
        &self,
        ballot: &Ballot,
        first: Result<Pending<Voted>, Error>,
    ) -> Result<Voted, Error> {
        let mut started = first;
        let mut attempt = 1;
        loop {
            let answer = match started {
                Ok(pending) => pending.await,
                Err(error) => Err(error),
            };
            match answer {
                Err(error) if error.is_retryable() && attempt < ATTEMPTS_MAX => {
                    let asked = error.refusal().and_then(|refusal| refusal.retry_after_ms);
                    let pause_ms = asked.unwrap_or(RETRY_MS * u64::from(attempt)).min(5000);
                    sleep(Duration::from_millis(pause_ms)).await;
                    attempt += 1;
                    started = self.start(ballot).await;
                }
                settled => return settled,
            }
        }
    }
}

#[cfg(test)]
mod tests;
