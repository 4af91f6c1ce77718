//! The demo's course: declare the tally, watch it, cast every ballot, close it, compare.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidewire_client::{Client, Error, Name};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::args::{DemoArgs, Rate};
use super::cast::{self, Ballot, BallotBox, Sender, Tallied};
use super::connections::Endpoint;
use super::election::Election;
use super::freshness::{Clock, Meter, SenderLog};
use super::report::Outcome;
use super::status::Observer;
use super::watchers::Watchers;
use crate::cli::CliError;

/// The tally and the topic that the page follows.
pub(super) const TALLY: &str = "demo.election";
const STATUS: &str = "demo.status";

const CLIENT_NAME: &str = concat!("tidewire-demo/", env!("CARGO_PKG_VERSION"));
/// Connections that the watchers share.
const WATCHING_CONNECTIONS: usize = 10;
/// Votes under way on one connection.
const WINDOW: usize = 64;
/// So that the race takes the same course in each run.
const SEED: u64 = 2013;
/// How long the slowest watcher may take to see the final count.
const SETTLE: Duration = Duration::from_secs(30);

/// Replays the election and compares what the server and every watcher hold with what was sent.
///
/// # Errors
/// What the server refused or which connection failed. A wrong count is no error here: it stands
/// in the outcome.
pub(crate) async fn play(
    args: &DemoArgs,
    election: Election,
    endpoint: Endpoint,
) -> Result<Outcome, CliError> {
    let explain = |doing: &'static str| {
        move |error: Error| {
            let CliError { exit_code, message } = error.into();
            CliError { exit_code, message: format!("{doing}: {message}") }
        }
    };
    let named = |name| Name::parse(name).map_err(Error::from).map_err(explain("naming"));
    let tally = named(TALLY)?;
    let control =
        endpoint.websocket(CLIENT_NAME).await.map_err(explain("the demo's own connection"))?;
    let rules = election.rules();
    control.create_tally(&tally, rules).await.map_err(explain("declaring the tally"))?;

    let clock = Clock::start();
    let watching = endpoint.both_ways(WATCHING_CONNECTIONS, CLIENT_NAME).await;
    let watching = watching.map_err(explain("the watchers' connections"))?;
    let watchers = Watchers::start(&watching, args.watchers.into(), &tally, clock).await;
    let watchers = watchers.map_err(explain("watching the tally"))?;

    let tallied = Arc::new(Tallied::default());
    let senders = senders(args, endpoint, &tally, clock).await;
    let senders = senders.map_err(explain("the voters' connections"))?;
    let voting: Vec<Client> = senders.iter().map(|sender| sender.client.clone()).collect();
    let logs = senders.iter().map(|sender| Arc::clone(&sender.log)).collect();
    let observer = Observer {
        client: control.clone(),
        topic: named(STATUS)?,
        title: election.title.clone(),
        ballots_total: election.ballots(),
        watchers: watchers.count(),
        tallied: Arc::clone(&tallied),
        clock,
        meter: Meter::new(logs, watchers.logs()),
    };
    let election = Arc::new(election);
    let (stop, stopped) = oneshot::channel();
    let observing = tokio::spawn(observer.run(stopped));
    let started = Instant::now();
    let replay = Arc::new(Replay::new(Arc::clone(&election), args.rate, started));
    cast::cast_all(senders, replay, tallied).await.map_err(explain("casting the votes"))?;
    let elapsed = started.elapsed();

    let sent_again = voting.iter().map(Client::repeated).sum();
    let watchers_pause = watchers.longest_pause();
    let count = Count { control, tally, watchers, election, elapsed, sent_again, watchers_pause };
    let closed = count.close().await.map_err(explain("closing the tally"))?;
    drop(stop);
    let observer = observing.await;
    let observer = observer.map_err(|fault| CliError::usage(format!("measuring: {fault}")))?;
    count.compare(closed, observer).await.map_err(explain("reading the result"))
}

async fn senders(
    args: &DemoArgs,
    endpoint: Endpoint,
    tally: &Name,
    clock: Clock,
) -> Result<Vec<Sender>, Error> {
    let clients = endpoint.both_ways(args.connections.into(), CLIENT_NAME).await?;
    let sender = |client: Client| Sender {
        client,
        tally: tally.clone(),
        window: WINDOW,
        log: Arc::new(SenderLog::default()),
        clock,
    };
    Ok(clients.into_iter().map(sender).collect())
}

/// What is left to do when all votes are cast.
struct Count {
    control: Client,
    tally: Name,
    watchers: Watchers,
    election: Arc<Election>,
    elapsed: Duration,
    sent_again: u64,
    watchers_pause: Duration,
}

impl Count {
    /// Lets every watcher see the last vote, closes the tally, and lets them see that too. Returns
    /// the version that closed it.
    async fn close(&self) -> Result<u64, Error> {
        let (last_vote, _) = self.control.standings(&self.tally).await?;
        // Who lags now is waited for once more below; what is wrong then stands in the outcome.
        self.watchers.hold(last_vote, SETTLE).await;
        let closed = self.control.close_tally(&self.tally).await?.version;
        self.watchers.hold(closed, SETTLE).await;
        Ok(closed)
    }

    async fn compare(self, closed: u64, mut observer: Observer) -> Result<Outcome, Error> {
        observer.conclude(self.elapsed).await?;
        let (version, standings) = self.control.standings(&self.tally).await?;
        let rounds = self.control.rounds(&self.tally).await?;
        let disagreement = if version == closed {
            self.watchers.disagreement(version, &standings)
        } else {
            Some(format!("the tally went on from version {closed} to {version} after its close"))
        };
        let Observer { meter, tallied, .. } = observer;
        Ok(Outcome {
            title: self.election.title.clone(),
            ballots: self.election.ballots(),
            accepted: tallied.accepted(),
            duplicates: tallied.duplicates(),
            expected: self.election.standings(),
            standings,
            rounds,
            watchers: self.watchers.count(),
            disagreement,
            latency: meter.each_watcher().summary_ms(),
            latency_pairs: meter.each_watcher().count(),
            latency_last: meter.last_watcher().summary_ms(),
            elapsed: self.elapsed,
            sent_again: self.sent_again,
            longest_pause: tallied.longest_pause(),
            watchers_pause: self.watchers_pause,
            nodes: None,
        })
    }
}

/// The ballots of an election on their schedule.
struct Replay {
    election: Arc<Election>,
    order: Vec<u32>,
    taken: AtomicUsize,
    started: Instant,
    rate: Rate,
}

impl Replay {
    fn new(election: Arc<Election>, rate: Rate, started: Instant) -> Self {
        let order = election.casting_order(SEED);
        Self { election, order, taken: AtomicUsize::new(0), started, rate }
    }

    fn due(&self, index: usize) -> Option<Instant> {
        match self.rate {
            Rate::Max => None,
            Rate::PerSecond(rate) => {
                let index = u64::try_from(index).ok()?;
                let after_ns = index.saturating_mul(1_000_000_000) / u64::from(rate.get());
                Some(self.started + Duration::from_nanos(after_ns))
            }
        }
    }
}

impl BallotBox for Replay {
    fn take(&self) -> Option<Ballot> {
        let index = self.taken.fetch_add(1, Ordering::Relaxed);
        let ranking = usize::try_from(*self.order.get(index)?).ok()?;
        let ranking = self.election.rankings.get(ranking)?;
        Some(Ballot {
            due: self.due(index),
            voter: format!("ballot-{:05}", index + 1),
            choices: ranking.choices(),
        })
    }
}

#[cfg(test)]
mod tests;
