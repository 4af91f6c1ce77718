//! Subscribers on lean connections: a few threads, each with its connections and its own counts.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tidewire_client::{ClientFrame, Pattern, Start, SubscribeOptions};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::task::{AbortOnDropHandle, LocalPoolHandle};

use super::{Audience, Faults, Read};
use crate::bench::lean::{Endpoint, Link};
use crate::bench::target::{CLIENT_NAME, not_connected};
use crate::bench::unfinished;
use crate::cli::CliError;

mod ear;

use ear::{Ear, Heard};

/// Connections that a thread makes at the same time.
const CONNECTING_MAX: usize = 16;

/// The threads that read.
pub(crate) struct Readers {
    threads: Vec<Thread>,
    stop: watch::Sender<bool>,
    /// Ends the threads with the readers.
    _pool: LocalPoolHandle,
}

struct Thread {
    deliveries: Arc<AtomicU64>,
    running: AbortOnDropHandle<Heard>,
}

impl Readers {
    pub(super) async fn start(endpoint: &Endpoint, audience: Audience) -> Result<Self, CliError> {
        let pool = LocalPoolHandle::new(audience.threads.clamp(1, audience.connections));
        let (stop, _) = watch::channel(false);
        let mut first = 0;
        let mut shares: Vec<Vec<Share>> = (0..pool.num_threads()).map(|_| Vec::new()).collect();
        for connection in 0..audience.connections {
            let share = Share { first, count: audience.share(connection) };
            first += share.count;
            if let Some(shares) = shares.get_mut(connection % pool.num_threads()) {
                shares.push(share);
            }
        }
        let mut threads = Vec::new();
        let mut starting = Vec::new();
        for (number, shares) in shares.into_iter().enumerate() {
            let (ready, starts) = oneshot::channel();
            let deliveries = Arc::new(AtomicU64::new(0));
            let reader = Reader {
                endpoint: endpoint.clone(),
                audience: audience.clone(),
                shares,
                deliveries: Arc::clone(&deliveries),
                stop: stop.subscribe(),
            };
            let running: JoinHandle<Heard> =
                pool.spawn_pinned_by_idx(move || reader.run(ready), number);
            threads.push(Thread { deliveries, running: AbortOnDropHandle::new(running) });
            starting.push(starts);
        }
        for starts in starting {
            let started = starts.await;
            started.map_err(|error| unfinished(&format!("a reader failed: {error}")))??;
        }
        Ok(Self { threads, stop, _pool: pool })
    }

    pub(super) fn deliveries(&self) -> u64 {
        self.threads.iter().map(|thread| thread.deliveries.load(Ordering::Relaxed)).sum()
    }

    pub(super) async fn finish(self) -> Read {
        let Self { threads, stop, _pool } = self;
        stop.send_replace(true);
        let mut all = Heard::default();
        let mut failed = Faults::default();
        for Thread { running, .. } in threads {
            match running.await {
                Ok(heard) => all.merge(heard),
                Err(fault) => failed.add(|| fault.to_string()),
            }
        }
        let Heard { deliveries, received, missing, latency, gaps, holes, ends, .. } = all;
        let faults = [
            failed.tell("reading threads failed"),
            gaps.tell("gaps were told"),
            holes.tell("deliveries do not fit to those before them"),
            ends.tell("connections or subscriptions ended"),
        ];
        let faults = faults.into_iter().flatten().collect();
        Read { deliveries, received, missing, latency, faults }
    }
}

/// The subscribers of one connection.
#[derive(Clone, Copy, Debug)]
struct Share {
    first: usize,
    count: usize,
}

/// What one thread does.
struct Reader {
    endpoint: Endpoint,
    audience: Audience,
    shares: Vec<Share>,
    deliveries: Arc<AtomicU64>,
    stop: watch::Receiver<bool>,
}

impl Reader {
    async fn run(mut self, ready: oneshot::Sender<Result<(), CliError>>) -> Heard {
        let heard = Rc::new(RefCell::new(Heard::default()));
        let connecting = stream::iter(&self.shares).map(|share| self.subscribe(*share, &heard));
        let subscribed: Result<Vec<(Link, Ear)>, CliError> =
            connecting.buffer_unordered(CONNECTING_MAX).try_collect().await;
        let mut reading = JoinSet::new();
        let outcome = subscribed.map(|subscribed| {
            for (mut link, mut ear) in subscribed {
                reading.spawn_local(async move {
                    if let Err(end) = link.listen(&mut ear, Ear::has_ended).await {
                        ear.ended(&end);
                    }
                });
            }
        });
        // Nobody waits for it any more when another thread has failed.
        drop(ready.send(outcome));
        // An error would mean that the readers are gone, which is a stop too.
        drop(self.stop.wait_for(|stop| *stop).await);
        reading.shutdown().await;
        heard.take()
    }

    async fn subscribe(
        &self,
        share: Share,
        heard: &Rc<RefCell<Heard>>,
    ) -> Result<(Link, Ear), CliError> {
        let connected = self.endpoint.connect(CLIENT_NAME).await;
        let mut link = connected.map_err(|reason| not_connected(&reason))?;
        let pattern = Pattern::parse(self.audience.topic.as_str());
        let pattern = pattern.map_err(|refusal| CliError::usage(refusal.message))?;
        for sub in 1..=u32::try_from(share.count).unwrap_or(u32::MAX) {
            link.queue(&ClientFrame::Subscribe {
                req: sub.into(),
                sub,
                pattern: pattern.clone(),
                start: Start::Earliest,
                options: SubscribeOptions::default(),
            });
        }
        let (heard, deliveries) = (Rc::clone(heard), Arc::clone(&self.deliveries));
        let mut ear = Ear::new(&self.audience, share.first, share.count, heard, deliveries);
        let listened = link.listen(&mut ear, |ear| ear.is_subscribed() || ear.has_ended()).await;
        listened.map_err(|reason| not_connected(&reason))?;
        match ear.refusal() {
            Some(message) => Err(CliError { exit_code: 1, message }),
            None => {
                self.audience.progress.step(1);
                Ok((link, ear))
            }
        }
    }
}
