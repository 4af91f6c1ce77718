//! What is to happen once: numbered publishes that are repeated after the crash, and the records of
//! a group that a worker has acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use tidewire_client::protocol::ClientFrame;
use tidewire_client::protocol::options::ProducerInfo;
use tidewire_client::protocol::record::payload_body;
use tidewire_client::protocol::wire;
use tidewire_client::{
    AckLevel, Client, ConsumeOptions, GroupOptions, Name, PublishOptions, Published, ServerFrame,
};
use tokio::time::timeout;

use crate::daemon::{Daemon, PATIENCE, Via};
use crate::load::Window;

/// What one round has done.
#[derive(Debug, Default)]
pub(crate) struct Once {
    producer: u64,
    /// Payloads by sequence, with the offset if it was acknowledged.
    published: BTreeMap<u64, (String, Option<u64>)>,
    /// Offsets of the group's topic that were acknowledged.
    done: BTreeSet<u64>,
}

impl Once {
    pub(crate) fn acknowledged(&self) -> usize {
        self.published.values().filter(|(_, offset)| offset.is_some()).count()
    }

    pub(crate) fn done(&self) -> usize {
        self.done.len()
    }
}

fn topic(round: u64) -> Name {
    Name::parse(&format!("once.{round}")).unwrap()
}

fn group() -> Name {
    Name::parse("workers").unwrap()
}

/// Publishes with numbers of its own, and works on what it has published, until the server is gone.
pub(crate) async fn work(daemon: &Daemon, round: u64) -> tokio::task::JoinHandle<Once> {
    let publisher = daemon.connect_once(Via::Ws).await;
    let worker = daemon.connect_once(Via::Quic).await;
    let options = GroupOptions { ack_timeout_ms: Some(60_000), ..GroupOptions::default() };
    publisher.create_group(&topic(round), &group(), options).await.unwrap();
    let reply = publisher.request(|req| ClientFrame::Producer { req }).await.unwrap();
    let ServerFrame::Ok { result: Some(result), .. } = reply.await.unwrap() else { panic!() };
    let ProducerInfo { producer, .. } = wire::from_slice(&result).unwrap();
    tokio::spawn(async move {
        let published = publish(&publisher, producer, round);
        let (published, done) = tokio::join!(published, consume(&worker, round));
        Once { producer, published, done }
    })
}

fn numbered(producer: u64, sequence: u64) -> PublishOptions {
    let (producer, sequence) = (Some(producer), Some(sequence));
    PublishOptions { producer, sequence, ..PublishOptions::default() }
}

async fn publish(
    client: &Client,
    producer: u64,
    round: u64,
) -> BTreeMap<u64, (String, Option<u64>)> {
    let (topic, mut published) = (topic(round), BTreeMap::new());
    let mut window: Window<Published, u64> = Window::new();
    for sequence in 1_u64.. {
        let payload = format!("{sequence}:{}", "y".repeat((sequence % 90) as usize));
        published.insert(sequence, (payload.clone(), None));
        let (body, options) = (payload_body(payload.as_bytes()), numbered(producer, sequence));
        let begun = client.start_publish(&topic, body, AckLevel::Disk, options).await;
        let Ok(pending) = begun else { break };
        window.under_way.push_back((pending, sequence));
        match window.oldest().await {
            Some((Some(reply), sequence)) => note(&mut published, &reply, sequence),
            Some((None, _)) => break,
            None => {}
        }
    }
    for (reply, sequence) in window.rest().await {
        note(&mut published, &reply, sequence);
    }
    published
}

fn note(published: &mut BTreeMap<u64, (String, Option<u64>)>, reply: &Published, sequence: u64) {
    assert!(!reply.duplicate, "sequence {sequence} was sent once");
    published.get_mut(&sequence).unwrap().1 = reply.offset;
}

async fn consume(client: &Client, round: u64) -> BTreeSet<u64> {
    let mut done = BTreeSet::new();
    let options = ConsumeOptions::default();
    let Ok(mut consumer) = client.consume(&topic(round), &group(), options).await else {
        return done;
    };
    while let Some(job) = consumer.next().await {
        let offset = job.offset();
        assert!(!done.contains(&offset), "offset {offset} is done, and comes again");
        match job.ack().await {
            Ok(counts) => assert!(counts && done.insert(offset)),
            Err(_gone) => break,
        }
    }
    done
}

/// Sends again what may have been lost, and everything else that the server still remembers: each
/// record is there once, at the place that was acknowledged; and the group goes on where it was.
pub(crate) async fn examine(daemon: &Daemon, once: &Once, round: u64) {
    let client = daemon.connect(Via::Ws).await;
    let topic = topic(round);
    let mut held = BTreeMap::new();
    let mut pending = Vec::new();
    // The newest so many are remembered.
    let skipped = once.published.len().saturating_sub(1_000);
    for (sequence, (payload, offset)) in once.published.iter().skip(skipped) {
        let (body, options) =
            (payload_body(payload.as_bytes()), numbered(once.producer, *sequence));
        let begun = client.start_publish(&topic, body, AckLevel::Disk, options).await.unwrap();
        pending.push((begun, sequence, payload, offset));
    }
    for (reply, sequence, payload, offset) in pending {
        let reply = timeout(PATIENCE, reply).await.unwrap().unwrap();
        if let Some(offset) = offset {
            assert_eq!((reply.offset, reply.duplicate), (Some(*offset), true), "{sequence}");
        }
        assert!(held.insert(reply.offset.unwrap(), payload).is_none(), "two at one offset");
    }
    let info = client.topic_info(&topic).await.unwrap();
    assert_eq!(info.next, once.published.len() as u64, "each of them stands there once");

    let status = client.group_status(&topic, &group()).await.unwrap();
    // An acknowledgement may have been carried out whose reply was lost.
    let left = info.next - once.done.len() as u64;
    assert!(status.lag <= left && status.lag + 64 >= left, "{status:?}, {} done", once.done.len());
    let mut consumer =
        client.consume(&topic, &group(), ConsumeOptions { in_flight: Some(256) }).await.unwrap();
    let mut acks = Vec::new();
    for _ in 0..status.lag {
        let job = timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
        let offset = job.offset();
        assert!(!once.done.contains(&offset), "offset {offset} was done before the crash");
        if let Some(payload) = held.get(&offset) {
            assert_eq!(job.record().unwrap().payload, Some(payload.as_bytes()));
        }
        acks.push(job.start_ack().await.unwrap());
    }
    for ack in acks {
        assert!(timeout(PATIENCE, ack).await.unwrap().unwrap());
    }
    assert_eq!(client.group_status(&topic, &group()).await.unwrap().lag, 0);
}
