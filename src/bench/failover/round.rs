//! One kill: topics that are published to and subscribed to all the time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use tidewire_client::protocol::record::payload_body;
use tidewire_client::{
    AckLevel, Client, Error, Pattern, PublishOptions, Start, SubscribeOptions, Subscription,
    SubscriptionEvent,
};
use tidewire_protocol::Name;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::super::target::CLIENT_NAME;
use crate::demo::freshness::Clock;
use crate::demo::pause::Pauses;

/// Pause of a publisher behind each acknowledgement.
const PACE: Duration = Duration::from_millis(25);
/// How long topics are published to before the kill.
const BEFORE: Duration = Duration::from_secs(1);
/// Events that each topic is to have had before, and behind the kill before it counts as going on.
const EVENTS: u64 = 3;
/// How long it may take until all of them go on.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What is seen of a topic around a kill.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// The nodes that its clients were connected to.
    pub(super) publisher_at: usize,
    pub(super) subscriber_at: usize,
    /// The longest times between two of them.
    pub(super) acknowledgements: Duration,
    pub(super) deliveries: Duration,
}

/// The clients of one round. Dropping it ends them.
pub(super) struct Round {
    topics: Vec<Arc<Topic>>,
    /// Publishers end; subscribers, which have got everything.
    stop: Arc<AtomicBool>,
    rest: Arc<AtomicBool>,
    publishing: JoinSet<Result<(), String>>,
    following: JoinSet<Result<(), String>>,
}

struct Topic {
    name: Name,
    publisher_at: usize,
    subscriber_at: usize,
    clock: Clock,
    acknowledgements: Pauses,
    acknowledged: AtomicU64,
    deliveries: Pauses,
    delivered: AtomicU64,
    /// Counted when the node was killed.
    marked: (AtomicU64, AtomicU64),
    /// Offset behind the last record that was acknowledged.
    end: AtomicU64,
}

impl Round {
    /// Connects to all nodes, and begins; returns when every topic is delivered.
    pub(super) async fn start(nodes: &[SocketAddr], topics: &[Name]) -> Result<Self, String> {
        let explain = |error: Error| format!("the clients of the nodes: {error}");
        let clients = (0..nodes.len()).map(|at| connect(nodes, at));
        let clients = try_join_all(clients).await.map_err(explain)?;
        let clock = Clock::start();
        let mut round = Self {
            topics: Vec::new(),
            stop: Arc::default(),
            rest: Arc::default(),
            publishing: JoinSet::new(),
            following: JoinSet::new(),
        };
        for (index, name) in topics.iter().enumerate() {
            let (publisher_at, subscriber_at) = (index % nodes.len(), (index + 1) % nodes.len());
            let (Some(publisher), Some(subscriber)) =
                (clients.get(publisher_at), clients.get(subscriber_at))
            else {
                return Err("there are no nodes".to_owned());
            };
            let topic = Arc::new(Topic::new(name.clone(), (publisher_at, subscriber_at), clock));
            let pattern = Pattern::parse(name.as_str()).map_err(|refusal| refusal.message)?;
            let options = SubscribeOptions::default();
            let following = subscriber.subscribe(&pattern, Start::Latest, options).await;
            let following = following.map_err(explain)?;
            let rest = Arc::clone(&round.rest);
            round.following.spawn(follow(following, Arc::clone(&topic), rest));
            let stop = Arc::clone(&round.stop);
            round.publishing.spawn(publish(publisher.clone(), Arc::clone(&topic), stop));
            round.topics.push(topic);
        }
        round.all_have(EVENTS).await?;
        sleep(BEFORE).await;
        Ok(round)
    }

    /// A node is about to be killed: pauses count from now on.
    pub(super) fn mark(&self) {
        for topic in &self.topics {
            topic.mark();
        }
    }

    /// Waits until every topic goes on.
    pub(super) async fn until_all_go_on(&mut self) -> Result<Vec<Seen>, String> {
        self.all_have(EVENTS).await?;
        Ok(self.topics.iter().map(|topic| topic.seen()).collect())
    }

    async fn all_have(&mut self, events: u64) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            // None of them ends by itself.
            let ended = self.publishing.try_join_next().or_else(|| self.following.try_join_next());
            match ended {
                Some(Ok(ended)) => ended?,
                Some(Err(fault)) => return Err(fault.to_string()),
                None => {}
            }
            if self.topics.iter().all(|topic| topic.has_gone_on(events)) {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        let silent = self.topics.iter().filter(|topic| !topic.has_gone_on(events)).count();
        Err(format!("{silent} topics do not go on within {PATIENCE:?}"))
    }

    /// Ends the publishers, and lets the subscribers take the rest. Returns what went wrong.
    pub(super) async fn end(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        let mut faults = faults_of(&mut self.publishing).await;
        self.rest.store(true, Ordering::SeqCst);
        faults.extend(faults_of(&mut self.following).await);
        faults
    }
}

async fn faults_of(tasks: &mut JoinSet<Result<(), String>>) -> Vec<String> {
    let mut faults = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => faults.push(fault),
            Err(fault) => faults.push(fault.to_string()),
        }
    }
    faults
}

async fn connect(nodes: &[SocketAddr], at: usize) -> Result<Client, Error> {
    let mut urls = nodes.iter().cycle().skip(at).take(nodes.len()).map(|at| format!("ws://{at}"));
    let mut builder = Client::builder(&urls.next().unwrap_or_default())?.client_name(CLIENT_NAME);
    for url in urls {
        builder = builder.also(&url)?;
    }
    builder.connect().await
}

impl Topic {
    fn new(name: Name, (publisher_at, subscriber_at): (usize, usize), clock: Clock) -> Self {
        Self {
            name,
            publisher_at,
            subscriber_at,
            clock,
            acknowledgements: Pauses::default(),
            acknowledged: AtomicU64::new(0),
            deliveries: Pauses::default(),
            delivered: AtomicU64::new(0),
            marked: <(AtomicU64, AtomicU64)>::default(),
            end: AtomicU64::new(0),
        }
    }

    fn mark(&self) {
        self.acknowledgements.clear();
        self.deliveries.clear();
        self.marked.0.store(self.acknowledged.load(Ordering::SeqCst), Ordering::SeqCst);
        self.marked.1.store(self.delivered.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    fn has_gone_on(&self, events: u64) -> bool {
        let since = |now: &AtomicU64, then: &AtomicU64| {
            now.load(Ordering::SeqCst).saturating_sub(then.load(Ordering::SeqCst))
        };
        since(&self.acknowledged, &self.marked.0) >= events
            && since(&self.delivered, &self.marked.1) >= events
    }

    fn seen(&self) -> Seen {
        Seen {
            publisher_at: self.publisher_at,
            subscriber_at: self.subscriber_at,
            acknowledgements: self.acknowledgements.longest(),
            deliveries: self.deliveries.longest(),
        }
    }
}

/// One record after the other, each when the one before is acknowledged.
async fn publish(client: Client, topic: Arc<Topic>, stop: Arc<AtomicBool>) -> Result<(), String> {
    while !stop.load(Ordering::SeqCst) {
        let (body, options) = (payload_body(b"bench"), PublishOptions::default());
        let published = client.publish_body(&topic.name, body, AckLevel::Quorum, options).await;
        let published = published.map_err(|error| format!("a publish failed: {error}"))?;
        topic.acknowledgements.event(topic.clock.now_ns());
        topic.end.store(published.offset.map_or(0, |offset| offset + 1), Ordering::SeqCst);
        topic.acknowledged.fetch_add(1, Ordering::SeqCst);
        sleep(PACE).await;
    }
    Ok(())
}

/// Takes every record; once nothing more is published, up to the last that was acknowledged.
async fn follow(
    mut following: Subscription,
    topic: Arc<Topic>,
    rest: Arc<AtomicBool>,
) -> Result<(), String> {
    let mut next = 0;
    loop {
        let is_rest = rest.load(Ordering::SeqCst);
        if is_rest && next >= topic.end.load(Ordering::SeqCst) {
            return Ok(());
        }
        let event = match timeout(if is_rest { PATIENCE } else { PACE }, following.next()).await {
            Ok(event) => event,
            Err(_late) if is_rest => {
                return Err(format!("'{}' was not delivered up to its end", topic.name));
            }
            Err(_late) => continue,
        };
        match event {
            Some(SubscriptionEvent::Delivery(delivery)) => {
                topic.deliveries.event(topic.clock.now_ns());
                topic.delivered.fetch_add(delivery.count(), Ordering::SeqCst);
                next = delivery.next;
            }
            Some(SubscriptionEvent::Started(_) | SubscriptionEvent::Progress(_)) => {}
            Some(SubscriptionEvent::Gap(gap)) => {
                return Err(format!("records of '{}' are missing: {gap:?}", topic.name));
            }
            Some(SubscriptionEvent::Ended(refusal)) => {
                return Err(format!("the subscription of '{}' has ended: {refusal}", topic.name));
            }
            None => return Err(format!("the subscription of '{}' has ended", topic.name)),
        }
    }
}
