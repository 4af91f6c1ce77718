//! A publisher, and clients that follow a topic with partitions by its name or by a pattern.

use std::collections::{BTreeMap, HashMap};

use tidewire_core::partition_in;
use tidewire_core::shard::SessionId;
use tidewire_protocol::frame::{Position, Start};
use tidewire_protocol::record::Records;
use tidewire_protocol::{ServerFrame, partition_of};

use super::{IDLE_TIMEOUT_MS, PARTITIONS, anchor, net, publish, subscribe, topic};
use crate::net::{DISPATCHERS, Net};

/// Key and payload.
type Keyed = (Option<String>, Vec<u8>);
/// Partition and epoch.
type Place = (u64, u64);

struct World {
    net: Net,
    publisher: SessionId,
    published: u64,
    asked: HashMap<u64, Vec<Keyed>>,
    /// Payloads of acknowledged records by offset.
    acknowledged: HashMap<Place, BTreeMap<u64, Vec<u8>>>,
    followers: Vec<Follower>,
}

/// A client that follows the topic, by its name or by a pattern.
#[derive(Default)]
struct Follower {
    by_pattern: bool,
    session: Option<SessionId>,
    /// What it resumes from, by partition (or shard, for a pattern).
    positions: BTreeMap<u64, Position>,
    /// Where each partition goes on.
    next: HashMap<Place, u64>,
    /// Number of the newest record of each key.
    newest: HashMap<String, u64>,
    seen: u64,
    missed: u64,
    renewed: u64,
}

impl World {
    fn new(seed: u64, followers: usize) -> Self {
        let mut net = net(seed);
        let publisher = net.open(0);
        if seed.is_multiple_of(2) {
            anchor(&mut net, publisher);
        }
        let follower = |number| Follower { by_pattern: number % 4 == 0, ..Follower::default() };
        Self {
            net,
            publisher,
            published: 0,
            asked: HashMap::new(),
            acknowledged: HashMap::new(),
            followers: (0..followers).map(follower).collect(),
        }
    }

    fn publish(&mut self) {
        let keyless = self.net.chance.one_in(4);
        let records: Vec<_> = (0..=self.net.chance.index(5))
            .map(|_| {
                self.published += 1;
                let key = format!("key {}", self.net.chance.index(12));
                ((!keyless).then_some(key), self.published.to_string().into_bytes())
            })
            .collect();
        let req = self.published;
        self.net.request(self.publisher, publish(req, &records));
        self.asked.insert(req, records);
    }

    fn take_acks(&mut self) {
        for frame in self.net.pull(self.publisher, usize::MAX) {
            let ServerFrame::PubAck { req, epoch: 0, offset: None, positions, .. } = frame else {
                panic!("the publisher got {frame:?}")
            };
            let positions = positions.unwrap();
            let records = self.asked.remove(&req).expect("one reply per request");
            let mut left = records.len();
            for Position(partition, epoch, offset) in positions {
                let log = self.acknowledged.entry((partition, epoch)).or_default();
                let of_partition = records.iter().filter(|(key, _)| {
                    key.as_ref()
                        .is_none_or(|key| u64::from(partition_of(key, PARTITIONS)) == partition)
                });
                for (offset, (_, payload)) in (offset..).zip(of_partition) {
                    let earlier = log.insert(offset, payload.clone());
                    assert_eq!(earlier, None, "an offset is given once");
                    left -= 1;
                }
            }
            assert_eq!(left, 0, "every record has its place");
        }
    }

    fn connect(&mut self, index: usize) {
        let dispatcher = self.net.chance.index(DISPATCHERS.into());
        let session = self.net.open(dispatcher);
        let follower = &mut self.followers[index];
        follower.session = Some(session);
        let start = match follower.positions.is_empty() {
            true => Start::Earliest,
            false => Start::Positions(follower.positions.values().copied().collect()),
        };
        let name = if follower.by_pattern { "parted.*" } else { "parted.topic" };
        self.net.request(session, subscribe(name, start));
    }

    fn vanish(&mut self, index: usize) {
        if let Some(session) = self.followers[index].session.take() {
            self.net.close(session);
        }
    }

    fn read(&mut self, index: usize, budget: usize) {
        let Some(session) = self.followers[index].session else { return };
        for frame in self.net.pull(session, budget) {
            self.followers[index].take(frame, &self.acknowledged);
        }
    }

    fn step(&mut self) {
        self.net.now_ms += 1 + self.net.chance.next() % 4;
        if self.net.chance.one_in(100) {
            // Long enough for every partition that nobody follows.
            self.net.now_ms += IDLE_TIMEOUT_MS;
            self.net.settle();
        }
        for _ in 0..self.net.chance.index(4) {
            self.publish();
        }
        if self.net.chance.one_in(2) {
            self.net.seal();
        }
        self.net.arrive(false);
        self.take_acks();
        let all_vanish = self.net.chance.one_in(60);
        for index in 0..self.followers.len() {
            match self.net.chance.index(16) {
                _ if all_vanish => self.vanish(index),
                0 => self.vanish(index),
                1..=3 if self.followers[index].session.is_none() => self.connect(index),
                _ => {
                    let budget = 1 + self.net.chance.index(900);
                    self.read(index, budget);
                }
            }
        }
    }

    fn settle(&mut self) {
        for index in 0..self.followers.len() {
            if self.followers[index].session.is_none() {
                self.connect(index);
            }
        }
        for _ in 0..20 {
            self.net.settle();
            self.take_acks();
            (0..self.followers.len()).for_each(|index| self.read(index, usize::MAX));
        }
    }
}

impl Follower {
    /// The partition that a position belongs to.
    fn partition(&self, position: Position) -> u64 {
        match self.by_pattern {
            true => u64::from(partition_in(&topic(), position.0 as u16)),
            false => position.0,
        }
    }

    fn take(&mut self, frame: ServerFrame, log: &HashMap<Place, BTreeMap<u64, Vec<u8>>>) {
        match frame {
            ServerFrame::Subscribed { epoch: 0, offset: 0, positions, status, .. } => {
                let positions = positions.unwrap();
                if !self.by_pattern {
                    assert_eq!(positions.len(), usize::from(PARTITIONS));
                    self.start(&positions, status);
                } else if status >= 2 {
                    // Which records are missing is not known.
                    self.next.clear();
                }
                self.positions.extend(positions.into_iter().map(|at| (at.0, at)));
            }
            ServerFrame::Deliver { epoch, from, next, position, offsets: None, body, .. } => {
                let position = position.unwrap();
                let partition = self.partition(position);
                self.goes_on(partition, epoch, from, next);
                if !self.by_pattern {
                    assert_eq!(position, Position(partition, epoch, next));
                }
                for (offset, record) in (from..).zip(Records::of(&body)) {
                    let payload = record.payload.unwrap();
                    if let Some(expected) =
                        log.get(&(partition, epoch)).and_then(|l| l.get(&offset))
                    {
                        assert_eq!(payload, expected);
                    }
                    let number: u64 = std::str::from_utf8(payload).unwrap().parse().unwrap();
                    if let Some(key) = record.key {
                        assert_eq!(u64::from(partition_of(key, PARTITIONS)), partition);
                        let before = self.newest.insert(key.to_owned(), number).unwrap_or(0);
                        assert!(number > before, "records of one key keep their order");
                    }
                }
                self.seen += next - from;
                self.positions.insert(position.0, position);
            }
            ServerFrame::Gap { topic: Some(_), epoch, from, next, position, .. } => {
                let position = position.unwrap();
                self.goes_on(self.partition(position), epoch, from, next);
                self.missed += next - from;
                self.positions.insert(position.0, position);
            }
            ServerFrame::Gap { topic: None, from, next, position, .. } => {
                // Of a shard: which records of the topic it concerns is not known.
                let position = position.unwrap();
                let partition = self.partition(position);
                self.next.retain(|(of, _), _| *of != partition);
                self.missed += next - from;
                self.positions.insert(position.0, position);
            }
            ServerFrame::Progress { position, .. } => {
                let position = position.unwrap();
                self.positions.insert(position.0, position);
            }
            other => panic!("a follower got {other:?}"),
        }
    }

    /// Holds where each partition starts against where it was asked to start.
    fn start(&mut self, positions: &[Position], status: u64) {
        let mut worst = u64::from(!self.positions.is_empty());
        for Position(partition, epoch, offset) in positions {
            let Some(Position(_, asked_epoch, asked)) = self.positions.get(partition) else {
                continue;
            };
            if epoch != asked_epoch {
                assert!(epoch > asked_epoch, "a later life of the partition");
                self.renewed += 1;
                worst = 3;
            } else if offset > asked {
                self.missed += offset - asked;
                worst = worst.max(2);
            } else {
                assert_eq!(offset, asked);
            }
        }
        assert_eq!(status, worst);
        self.next = positions.iter().map(|at| ((at.0, at.1), at.2)).collect();
    }

    /// Ranges of one partition and epoch leave no hole and do not overlap.
    fn goes_on(&mut self, partition: u64, epoch: u64, from: u64, next: u64) {
        let known = self.next.insert((partition, epoch), next);
        if let Some(known) = known {
            assert_eq!(from, known, "partition {partition}");
        } else if !self.by_pattern {
            panic!("partition {partition} of epoch {epoch} has not been started");
        }
    }
}

#[test]
fn every_record_of_every_partition_is_seen_once_in_order_or_named_in_a_gap() {
    let (mut seen, mut missed, mut renewed) = (0, 0, 0);
    for seed in 1..=10 {
        let mut world = World::new(seed, 12);
        (0..600).for_each(|_| world.step());
        world.settle();
        assert!(world.asked.is_empty(), "seed {seed}: every request is answered");
        for (place, log) in &world.acknowledged {
            let offsets: Vec<u64> = log.keys().copied().collect();
            assert_eq!(offsets, (0..log.len() as u64).collect::<Vec<_>>(), "{place:?}");
        }
        for follower in world.followers.iter().filter(|follower| !follower.by_pattern) {
            for Position(partition, epoch, offset) in follower.positions.values() {
                let end = world.acknowledged.get(&(*partition, *epoch)).map_or(0, BTreeMap::len);
                assert_eq!(*offset, end as u64, "seed {seed}: the end of each partition");
            }
            (seen, missed) = (seen + follower.seen, missed + follower.missed);
            renewed += follower.renewed;
        }
        let by_pattern = world.followers.iter().filter(|follower| follower.by_pattern);
        assert!(by_pattern.map(|follower| follower.seen).sum::<u64>() > 1_000);
    }
    assert!(seen > 20_000 && missed > 100 && renewed > 20, "{seen}, {missed}, {renewed}");
}
