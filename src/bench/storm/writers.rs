//! Who publishes and votes, before the cut, meanwhile and after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tidewire_client::protocol::record::payload_body;
use tidewire_client::{AckLevel, Choice, Client, Error, PublishOptions, TallyKind, TallyRules};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::Names;
use super::scene::Way;

/// Bytes of a record. Its number stands first.
const PAYLOAD_BYTES: usize = 128;
/// Records for each vote.
const RECORDS_PER_VOTE: u32 = 10;
/// Options of the tally.
const OPTIONS: u64 = 4;
/// A writer is to be there before the crowd, so it is not as patient as a client has to be.
const RECONNECT_MS: (u64, u64) = (20, 100);
/// How long one of its requests may take.
const REPEAT_MS: u64 = 60_000;

/// What has been acknowledged so far.
#[derive(Debug, Default)]
pub(super) struct Written {
    records: AtomicU64,
    votes: AtomicU64,
}

impl Written {
    pub(super) fn records(&self) -> u64 {
        self.records.load(Ordering::SeqCst)
    }

    pub(super) fn votes(&self) -> u64 {
        self.votes.load(Ordering::SeqCst)
    }

    #[cfg(test)]
    pub(super) fn of(records: u64, votes: u64) -> Self {
        Self { records: records.into(), votes: votes.into() }
    }
}

/// All of them. Dropping them ends them.
pub(super) struct Writers {
    written: Arc<Written>,
    stop: Arc<AtomicBool>,
    writing: JoinSet<Result<(), String>>,
}

impl Writers {
    /// Makes the tally and begins. The topic begins with the first record.
    pub(super) async fn start(way: &Way, names: &Names, rate: u32) -> Result<Self, String> {
        let client = connect(way).await.map_err(|error| format!("the writers: {error}"))?;
        let options = (0..OPTIONS).map(|option| format!("option-{option}")).collect();
        let made = client.create_tally(&names.tally, TallyRules::new(TallyKind::Single, options));
        made.await.map_err(|error| format!("the tally: {error}"))?;
        let (written, stop) = (Arc::<Written>::default(), Arc::<AtomicBool>::default());
        let mut writing = JoinSet::new();
        let pause = Duration::from_secs(1) / rate.max(1);
        let writer = |pause| Writer {
            client: client.clone(),
            names: names.clone(),
            written: Arc::clone(&written),
            stop: Arc::clone(&stop),
            pause,
        };
        writing.spawn(writer(pause).publish());
        writing.spawn(writer(pause * RECORDS_PER_VOTE).vote());
        Ok(Self { written, stop, writing })
    }

    /// What they have written.
    pub(super) fn written(&self) -> Arc<Written> {
        Arc::clone(&self.written)
    }

    /// Ends them. Returns what they have written, and what went wrong.
    pub(super) async fn end(mut self) -> (Arc<Written>, Vec<String>) {
        self.stop.store(true, Ordering::SeqCst);
        let mut faults = Vec::new();
        while let Some(ended) = self.writing.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => faults.push(fault),
                Err(fault) => faults.push(fault.to_string()),
            }
        }
        (self.written, faults)
    }
}

async fn connect(way: &Way) -> Result<Client, Error> {
    let (shortest, longest) = RECONNECT_MS;
    let builder = way.client()?.reconnect_delay_ms(shortest, longest);
    builder.offline_wait_ms(REPEAT_MS).repeat_for_ms(REPEAT_MS).connect().await
}

struct Writer {
    client: Client,
    names: Names,
    written: Arc<Written>,
    stop: Arc<AtomicBool>,
    pause: Duration,
}

impl Writer {
    /// One record after the other, each when the one before is acknowledged.
    async fn publish(self) -> Result<(), String> {
        let mut ticks = interval(self.pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0_u64;
        while !self.stop.load(Ordering::SeqCst) {
            ticks.tick().await;
            let mut payload = number.to_be_bytes().to_vec();
            payload.resize(PAYLOAD_BYTES, 0);
            let (body, options) = (payload_body(&payload), PublishOptions::default());
            let publish =
                self.client.publish_body(&self.names.topic, body, AckLevel::Disk, options);
            publish.await.map_err(|error| format!("record {number}: {error}"))?;
            number += 1;
            self.written.records.store(number, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Each vote is of another voter.
    async fn vote(self) -> Result<(), String> {
        let mut ticks = interval(self.pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0_u64;
        while !self.stop.load(Ordering::SeqCst) {
            ticks.tick().await;
            let (voter, choices) = (number.to_string(), vec![Choice::Index(number % OPTIONS)]);
            let vote = self.client.vote(&self.names.tally, &voter, choices, None);
            vote.await.map_err(|error| format!("vote {number}: {error}"))?;
            number += 1;
            self.written.votes.store(number, Ordering::SeqCst);
        }
        Ok(())
    }
}
