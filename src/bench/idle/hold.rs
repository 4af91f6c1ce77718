//! One of the processes that hold idle connections. It is told to begin by a line on its standard
//! input and to end by the end of it, and says on its standard output how it stands.

use std::io::{BufRead as _, stdin};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::stream::{self, StreamExt};
use tidewire_client::protocol::frame::DeliverView;
use tidewire_client::{
    ClientFrame, Pattern, ServerFrame, Start, SubscribeOptions, SubscriptionEvent,
};
use tokio::sync::mpsc;
use tokio_util::task::LocalPoolHandle;

use super::status::Status;
use crate::bench::args::HoldArgs;
use crate::bench::lean::{Endpoint, Hear, Link};
use crate::bench::target::{CLIENT_NAME, Target, trust};
use crate::bench::{open_files, unfinished};
use crate::cli::CliError;
use crate::demo::freshness::lock;
use crate::demo::screen::print;

/// Connections that are made at the same time.
const CONNECTING_MAX: usize = 32;
/// How often it is said how things stand, if anything has changed.
const TELL: Duration = Duration::from_millis(100);

type Shared = Arc<Mutex<Status>>;

/// Holds connections until standard input ends.
///
/// # Errors
/// When the URL or the trust cannot be used.
pub(crate) async fn run(args: HoldArgs) -> Result<(), CliError> {
    open_files::raise_limit();
    let target = Target::elsewhere(&args.url, trust(args.ca.as_ref(), args.fingerprint))?;
    let topic = Pattern::parse(args.topic.as_str());
    let topic = topic.map_err(|refusal| CliError::usage(refusal.message))?;
    let mut lines = lines();
    if lines.recv().await.is_none() {
        return Ok(());
    }
    let shared = Shared::default();
    let plan = Plan { count: args.connections, topic, began: Instant::now(), shared };
    let shared = Arc::clone(&plan.shared);
    let holding = async {
        match target.endpoint().cloned() {
            Some(endpoint) => {
                let pool = LocalPoolHandle::new(1);
                let held = pool.spawn_pinned(move || plan.lean(endpoint));
                held.await.map_err(|fault| unfinished(&fault.to_string()))
            }
            None => {
                plan.through_client(&target).await;
                Ok(())
            }
        }
    };
    let outcome = tokio::select! {
        outcome = holding => outcome,
        // A line more would mean nothing; the end is what is waited for.
        _ = lines.recv() => Ok(()),
        never = tell(&shared) => match never {},
    };
    print(&line(&lock(&shared).clone()));
    outcome
}

/// The lines of standard input. Reading it holds a thread up, which ends with the process.
fn lines() -> mpsc::Receiver<()> {
    let (sender, lines) = mpsc::channel(1);
    let reading = std::thread::Builder::new().name("bench-stdin".to_owned()).spawn(move || {
        let mut stdin = stdin().lock();
        let mut line = String::new();
        while stdin.read_line(&mut line).is_ok_and(|read| read > 0) {
            if sender.blocking_send(()).is_err() {
                return;
            }
            line.clear();
        }
    });
    // Without a thread the channel is closed, and the process ends at once.
    drop(reading);
    lines
}

enum Never {}

async fn tell(shared: &Shared) -> Never {
    let mut told = None;
    let mut ticks = tokio::time::interval(TELL);
    loop {
        ticks.tick().await;
        let status = lock(shared).clone();
        if told.as_ref() != Some(&status) {
            print(&line(&status));
            told = Some(status);
        }
    }
}

fn line(status: &Status) -> String {
    // Numbers and strings always have a JSON form.
    serde_json::to_string(status).unwrap_or_default()
}

/// What is to be held.
struct Plan {
    count: u32,
    topic: Pattern,
    began: Instant,
    shared: Shared,
}

impl Plan {
    /// Over lean connections, all on one thread.
    async fn lean(self, endpoint: Endpoint) {
        let mut held = tokio::task::JoinSet::new();
        let connecting = stream::iter(0..self.count).map(|_| self.open_lean(&endpoint));
        let mut connecting = std::pin::pin!(connecting.buffer_unordered(CONNECTING_MAX));
        while let Some(opened) = connecting.next().await {
            match opened {
                Ok(link) => {
                    self.opened();
                    held.spawn_local(hold(link, Arc::clone(&self.shared)));
                }
                Err(reason) => lock(&self.shared).failed.add(&reason),
            }
        }
        // Connections that are lost say so by themselves; the others are held.
        std::future::pending::<()>().await;
    }

    async fn open_lean(&self, endpoint: &Endpoint) -> Result<Link, String> {
        let mut link = endpoint.connect(CLIENT_NAME).await?;
        link.queue(&ClientFrame::Subscribe {
            req: 1,
            sub: 1,
            pattern: self.topic.clone(),
            start: Start::Latest,
            options: SubscribeOptions::default(),
        });
        let mut answer = Answer(None);
        link.listen(&mut answer, |answer| answer.0.is_some()).await?;
        answer.0.unwrap_or(Ok(())).map(|()| link)
    }

    /// Through the client, for transports without lean connections.
    async fn through_client(self, target: &Target) {
        let mut held = tokio::task::JoinSet::new();
        let connecting = stream::iter(0..self.count).map(|_| async {
            let client = target.connect().await?;
            let options = SubscribeOptions::default();
            client.subscribe(&self.topic, Start::Latest, options).await
        });
        let mut connecting = std::pin::pin!(connecting.buffer_unordered(CONNECTING_MAX));
        while let Some(opened) = connecting.next().await {
            match opened {
                Ok(mut subscription) => {
                    self.opened();
                    let shared = Arc::clone(&self.shared);
                    held.spawn(async move {
                        let mut end = "the subscription ended".to_owned();
                        while let Some(event) = subscription.next().await {
                            match event {
                                SubscriptionEvent::Delivery(delivery) => {
                                    received(&shared, delivery.count());
                                }
                                SubscriptionEvent::Ended(refusal) => end = refusal.to_string(),
                                SubscriptionEvent::Started(_)
                                | SubscriptionEvent::Gap(_)
                                | SubscriptionEvent::Progress(_) => {}
                            }
                        }
                        lock(&shared).lost.add(&end);
                    });
                }
                Err(error) => lock(&self.shared).failed.add(&error.to_string()),
            }
        }
        std::future::pending::<()>().await;
    }

    fn opened(&self) {
        let mut status = lock(&self.shared);
        status.opened += 1;
        status.connect_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
    }
}

/// Answers the server until the connection is lost.
async fn hold(mut link: Link, shared: Shared) {
    let mut holding = Holding { shared: Arc::clone(&shared), end: None };
    let listened = link.listen(&mut holding, |holding| holding.end.is_some()).await;
    let end = holding.end.or(listened.err());
    lock(&shared).lost.add(&end.unwrap_or_default());
}

fn received(shared: &Shared, records: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut status = lock(shared);
    status.received += records;
    status.received_at_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
}

/// Waits for SUBSCRIBED.
struct Answer(Option<Result<(), String>>);

impl Hear for Answer {
    fn frame(&mut self, frame: ServerFrame) {
        if let ServerFrame::Subscribed { .. } = frame {
            self.0 = Some(Ok(()));
        } else if let ServerFrame::Error { message, .. } = frame {
            self.0 = Some(Err(message));
        }
    }
}

/// Counts what comes over an idle connection.
struct Holding {
    shared: Shared,
    end: Option<String>,
}

impl Hear for Holding {
    fn deliver(&mut self, deliver: &DeliverView<'_>) {
        received(&self.shared, deliver.next.saturating_sub(deliver.from));
    }

    fn frame(&mut self, frame: ServerFrame) {
        if let ServerFrame::GoAway { message, .. } | ServerFrame::Error { message, .. } = frame {
            self.end = Some(message);
        }
    }

    fn pinged(&mut self) {
        lock(&self.shared).pings += 1;
    }
}
