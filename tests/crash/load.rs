//! The load: publishers, voters, a counter and a map, each over a connection of its own, until the
//! server is gone.

use std::collections::VecDeque;

use tidewire_client::protocol::frame::CounterOp;
use tidewire_client::protocol::options::CounterOptions;
use tidewire_client::protocol::tally::{Choice, TallyKind, TallyRules};
use tidewire_client::{AckLevel, BodyBuilder, Client, Name, Pending, PublishOptions};
use tokio::task::JoinSet;

use crate::daemon::{Daemon, Via};
use crate::ledger::Ledger;

/// Requests of a client under way.
const WINDOW: usize = 64;
const PUBLISHERS: u64 = 4;
const TOPICS: u64 = 3;
const OPTIONS: u64 = 5;
const KEYS: u64 = 20;

pub(crate) fn tally() -> Name {
    Name::parse("election").unwrap()
}

pub(crate) fn counter() -> Name {
    Name::parse("hits").unwrap()
}

pub(crate) fn map() -> Name {
    Name::parse("map.board").unwrap()
}

pub(crate) async fn prepare(client: &Client) {
    let options = (0..OPTIONS).map(|option| format!("option {option}")).collect();
    client.create_tally(&tally(), TallyRules::new(TallyKind::Single, options)).await.unwrap();
}

/// Clients at work.
pub(crate) struct Load(JoinSet<Ledger>);

impl Load {
    /// Waits until all clients have noticed that the server is gone; returns what they had noted.
    pub(crate) async fn end(mut self, ledger: &mut Ledger) -> Ledger {
        let mut all = Ledger::default();
        let mut noted = Vec::new();
        while let Some(client) = self.0.join_next().await {
            noted.push(client.unwrap());
        }
        for one in noted {
            all.add(one.copy());
            ledger.add(one);
        }
        all
    }
}

impl Ledger {
    fn copy(&self) -> Self {
        Self {
            records: self.records.clone(),
            epochs: self.epochs.clone(),
            sent: self.sent.clone(),
            ballots: self.ballots.clone(),
            ballots_sent: self.ballots_sent,
            increments: self.increments.clone(),
            increments_sent: self.increments_sent,
            keys: self.keys.clone(),
        }
    }
}

/// Sets clients to work.
pub(crate) async fn begin(daemon: &Daemon, round: u64) -> Load {
    let mut clients = JoinSet::new();
    for number in 0..PUBLISHERS {
        let via = if number % 2 == 0 { Via::Ws } else { Via::Quic };
        clients.spawn(publish(daemon.connect_once(via).await, round, number));
    }
    clients.spawn(vote(daemon.connect_once(Via::Ws).await, round));
    clients.spawn(count(daemon.connect_once(Via::Quic).await, round));
    clients.spawn(write_map(daemon.connect_once(Via::Ws).await, round));
    Load(clients)
}

/// A window of requests: when it is full the oldest is waited for.
pub(crate) struct Window<T, N> {
    pub(crate) under_way: VecDeque<(Pending<T>, N)>,
}

impl<T, N> Window<T, N> {
    pub(crate) fn new() -> Self {
        Self { under_way: VecDeque::new() }
    }

    /// The oldest request, if the window is full. `None` as its reply: the server is gone.
    pub(crate) async fn oldest(&mut self) -> Option<(Option<T>, N)> {
        if self.under_way.len() < WINDOW {
            return None;
        }
        let (pending, note) = self.under_way.pop_front()?;
        Some((pending.await.ok(), note))
    }

    /// What was acknowledged among the rest.
    pub(crate) async fn rest(self) -> Vec<(T, N)> {
        let mut acknowledged = Vec::new();
        for (pending, note) in self.under_way {
            if let Ok(reply) = pending.await {
                acknowledged.push((reply, note));
            }
        }
        acknowledged
    }
}

async fn publish(client: Client, round: u64, number: u64) -> Ledger {
    let mut ledger = Ledger::default();
    let topic = format!("orders.{round}.{}", number % TOPICS);
    let name = Name::parse(&topic).unwrap();
    let mut window = Window::new();
    let note = |ledger: &mut Ledger, published: tidewire_client::Published, payload: String| {
        assert_eq!(published.level, AckLevel::Disk);
        ledger.epochs.insert(topic.clone(), published.epoch);
        let records = ledger.records.entry(topic.clone()).or_default();
        assert!(records.insert(published.offset.unwrap(), payload).is_none());
    };
    let mut sent = 0;
    loop {
        let payload = format!("{number}:{sent}:{}", "x".repeat((sent % 200) as usize));
        let mut body = BodyBuilder::new();
        body.push(None, &[], Some(payload.as_bytes()));
        let body = body.finish();
        let options = PublishOptions::default();
        let Ok(pending) = client.start_publish(&name, body, AckLevel::Disk, options).await else {
            break;
        };
        sent += 1;
        window.under_way.push_back((pending, payload));
        match window.oldest().await {
            Some((Some(published), payload)) => note(&mut ledger, published, payload),
            Some((None, _)) => break,
            None => {}
        }
    }
    for (published, payload) in window.rest().await {
        note(&mut ledger, published, payload);
    }
    ledger.sent.insert(topic.clone(), sent);
    ledger
}

async fn vote(client: Client, round: u64) -> Ledger {
    let mut ledger = Ledger::default();
    let mut window = Window::new();
    for number in 0_u64.. {
        let (voter, option) = (format!("voter {round} {number}"), number % OPTIONS);
        let choices = vec![Choice::Index(option)];
        let Ok(pending) = client.start_vote(&tally(), &voter, choices, None).await else { break };
        ledger.ballots_sent += 1;
        window.under_way.push_back((pending, (voter, option)));
        match window.oldest().await {
            Some((Some(_), (voter, option))) => drop(ledger.ballots.insert(voter, option)),
            Some((None, _)) => break,
            None => {}
        }
    }
    let rest = window.rest().await;
    ledger.ballots.extend(rest.into_iter().map(|(_, ballot)| ballot));
    ledger
}

async fn count(client: Client, round: u64) -> Ledger {
    let mut ledger = Ledger::default();
    let mut window = Window::new();
    for number in 0_u64.. {
        let id = format!("{round} {number}");
        let options = CounterOptions { id: Some(id.clone()), ..CounterOptions::default() };
        let Ok(pending) = client.start_counter(&counter(), CounterOp::Add, 1, options).await else {
            break;
        };
        ledger.increments_sent += 1;
        window.under_way.push_back((pending, id));
        match window.oldest().await {
            Some((Some(_), id)) => ledger.increments.push(id),
            Some((None, _)) => break,
            None => {}
        }
    }
    ledger.increments.extend(window.rest().await.into_iter().map(|(_, id)| id));
    ledger
}

/// Writes keys, one after the other, so that the last acknowledged value of each is known.
async fn write_map(client: Client, round: u64) -> Ledger {
    let mut ledger = Ledger::default();
    for number in 0_u64.. {
        // Each round has keys of its own: of one that was being written last the value is not known.
        let key = format!("{round} {}", number % KEYS);
        let value = format!("value {number}");
        let mut body = BodyBuilder::new();
        body.push(Some(&key), &[], Some(value.as_bytes()));
        let options = PublishOptions::default();
        ledger.keys.remove(&key);
        let published = client.publish_body(&map(), body.finish(), AckLevel::Disk, options).await;
        if published.is_err() {
            break;
        }
        ledger.keys.insert(key, value);
    }
    ledger
}
