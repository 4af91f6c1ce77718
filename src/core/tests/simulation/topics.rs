//! Topics in the simulation: a publisher, and clients that follow one topic each.

use std::collections::HashMap;

use tidewire_core::fanout::FanoutLimits;
use tidewire_core::shard::{SessionId, ShardLimits};
use tidewire_core::topic::{Policy, PolicyTable};
use tidewire_protocol::frame::{AckLevel, Start};
use tidewire_protocol::options::{PublishOptions, SubscribeOptions};
use tidewire_protocol::record::{BodyBuilder, Records};
use tidewire_protocol::{ClientFrame, Name, Pattern, ServerFrame};

use crate::net::{DISPATCHERS, EPOCH, Net};

/// Topics that are busy, and stay.
pub(crate) const BUSY_TOPICS: usize = 12;
/// Topics that are published to now and then, and expire in between.
const BRIEF_TOPICS: usize = 5;
pub(crate) const TOPICS: usize = BUSY_TOPICS + BRIEF_TOPICS;
const IDLE_TIMEOUT_MS: u64 = 25;

/// The law of delivery, held by a publisher and by each client.
pub(crate) struct World {
    pub(crate) net: Net,
    ack: AckLevel,
    pub(crate) publisher: SessionId,
    published: u64,
    /// Payloads of acknowledged records, by topic and epoch, in order of their offsets.
    acknowledged: HashMap<(usize, u64), Vec<Vec<u8>>>,
    /// The epoch in which each topic was published to last.
    pub(crate) epochs: Vec<u64>,
    pub(crate) asked: HashMap<u64, (usize, Vec<Vec<u8>>)>,
    pub(crate) clients: Vec<Client>,
}

/// A client with one subscription on one topic.
pub(crate) struct Client {
    pub(crate) topic: usize,
    session: Option<SessionId>,
    dispatcher: usize,
    /// Epoch and offset that it must see next; `None` before its first SUBSCRIBED.
    pub(crate) next: Option<(u64, u64)>,
    pub(crate) seen: u64,
    pub(crate) missed: u64,
    /// Times at which it was told that the topic's history is another one.
    pub(crate) renewed: u64,
    credit: bool,
}

pub(crate) fn topic(index: usize) -> Name {
    let kind = if index < BUSY_TOPICS { "topic" } else { "brief" };
    Name::parse(&format!("sim.{kind}.{index}")).unwrap()
}

impl World {
    pub(crate) fn new(seed: u64, clients: usize) -> Self {
        Self::with(seed, clients, AckLevel::Memory, &FanoutLimits::default())
    }

    /// With topics on disk, which have room for a few records in memory.
    pub(crate) fn on_disk(seed: u64, clients: usize) -> Self {
        let fanout = FanoutLimits { recalled_bytes_max: 500, ..FanoutLimits::default() };
        Self::with(seed, clients, AckLevel::Disk, &fanout)
    }

    fn with(seed: u64, clients: usize, ack: AckLevel, fanout: &FanoutLimits) -> Self {
        let policy = Policy { retention_records: 40, ack_max: ack, ..Policy::default() };
        let brief = Policy { idle_timeout_ms: Some(IDLE_TIMEOUT_MS), ..policy.clone() };
        let rules = vec![(Pattern::parse("sim.brief.>").unwrap(), brief)];
        let bytes_max = if ack == AckLevel::Disk { 150 } else { u64::MAX };
        let limits = ShardLimits { batch_bytes_max: 2000, bytes_max, ..ShardLimits::default() };
        let mut net = Net::with_fanout(seed, PolicyTable::new(rules, policy), limits, fanout);
        let publisher = net.open(0);
        let clients = (0..clients)
            .map(|number| Client {
                // Few follow the brief topics, or somebody would always be there.
                topic: if number < 2 * BRIEF_TOPICS {
                    BUSY_TOPICS + number % BRIEF_TOPICS
                } else {
                    net.chance.index(BUSY_TOPICS)
                },
                session: None,
                dispatcher: net.chance.index(DISPATCHERS.into()),
                next: None,
                seen: 0,
                missed: 0,
                renewed: 0,
                credit: net.chance.one_in(3),
            })
            .collect();
        Self {
            net,
            ack,
            publisher,
            published: 0,
            acknowledged: HashMap::new(),
            epochs: vec![EPOCH; TOPICS],
            asked: HashMap::new(),
            clients,
        }
    }

    /// Acknowledged records of a topic, in the epoch in which it was published to last.
    pub(crate) fn len(&self, topic: usize) -> u64 {
        self.acknowledged.get(&(topic, self.epochs[topic])).map_or(0, |log| log.len() as u64)
    }

    pub(crate) fn publish(&mut self) {
        let is_brief = self.net.chance.one_in(25);
        let index = match is_brief {
            true => BUSY_TOPICS + self.net.chance.index(BRIEF_TOPICS),
            false => self.net.chance.index(BUSY_TOPICS),
        };
        self.publish_to(index);
    }

    pub(crate) fn publish_to(&mut self, index: usize) {
        let mut body = BodyBuilder::new();
        let payloads: Vec<Vec<u8>> = (0..=self.net.chance.index(5))
            .map(|_| {
                self.published += 1;
                format!("record {}", self.published).into_bytes()
            })
            .collect();
        for payload in &payloads {
            body.push(None, &[], Some(payload));
        }
        let req = self.published;
        self.asked.insert(req, (index, payloads));
        let (topic, ack, options) = (topic(index), self.ack, PublishOptions::default());
        let frame = ClientFrame::Publish { req, topic, ack, body: body.finish(), options };
        self.net.request(self.publisher, frame);
    }

    pub(crate) fn take_acks(&mut self) {
        for frame in self.net.pull(self.publisher, usize::MAX) {
            let ServerFrame::PubAck { req, epoch, offset, .. } = frame else {
                panic!("the publisher got {frame:?}")
            };
            let (topic, payloads) = self.asked.remove(&req).expect("one reply per request");
            assert!(epoch >= self.epochs[topic], "epochs only grow");
            self.epochs[topic] = epoch;
            let log = self.acknowledged.entry((topic, epoch)).or_default();
            // Acknowledgements of one topic come in the order of its offsets.
            assert_eq!(offset, Some(log.len() as u64));
            log.extend(payloads);
        }
    }

    pub(crate) fn connect(&mut self, index: usize) {
        let client = &self.clients[index];
        let session = self.net.open(client.dispatcher);
        let start = match client.next {
            None => Start::Earliest,
            Some((epoch, offset)) => Start::Offset { epoch, offset },
        };
        let credit = client.credit.then_some(400);
        let options = SubscribeOptions { credit, ..SubscribeOptions::default() };
        let pattern = Pattern::parse(topic(client.topic).as_str()).unwrap();
        self.clients[index].session = Some(session);
        let frame = ClientFrame::Subscribe { req: 1, sub: 9, pattern, start, options };
        self.net.request(session, frame);
    }

    pub(crate) fn vanish(&mut self, index: usize) {
        if let Some(session) = self.clients[index].session.take() {
            self.net.close(session);
            self.clients[index].dispatcher = self.net.chance.index(DISPATCHERS.into());
        }
    }

    fn read(&mut self, index: usize, budget: usize) {
        let Some(session) = self.clients[index].session else { return };
        let mut taken = 0;
        for frame in self.net.pull(session, budget) {
            taken += self.check(index, frame);
        }
        if self.clients[index].credit && taken > 0 {
            self.net.request(session, ClientFrame::Credit { sub: 9, bytes: taken });
        }
    }

    /// Holds a frame against what the client knows; returns the bytes of body it took.
    fn check(&mut self, index: usize, frame: ServerFrame) -> u64 {
        let client = &mut self.clients[index];
        match frame {
            ServerFrame::Subscribed { status, epoch, offset, missing, .. } => {
                let asked = client.next.unwrap_or((epoch, offset));
                match status {
                    0 | 1 => assert_eq!((epoch, offset), asked, "it is where it was asked"),
                    2 => {
                        assert_eq!(epoch, asked.0);
                        assert_eq!(missing, Some((asked.1, offset)));
                        client.missed += offset - asked.1;
                    }
                    3 => {
                        assert!(epoch > asked.0, "a later life of the topic");
                        client.renewed += 1;
                    }
                    other => panic!("status {other}"),
                }
                client.next = Some((epoch, offset));
                0
            }
            ServerFrame::Deliver { epoch, from, next, offsets, body, .. } => {
                let at = Some((epoch, from));
                assert_eq!(at, client.next, "ranges leave no hole and do not overlap");
                assert_eq!(offsets, None);
                let log = self.acknowledged.get(&(client.topic, epoch));
                let mut offset = from;
                for record in Records::of(&body) {
                    // Deliveries may outrun acknowledgements; what is acknowledged must be equal.
                    if let Some(expected) = log.and_then(|log| log.get(offset as usize)) {
                        assert_eq!(record.payload, Some(expected.as_slice()));
                    }
                    offset += 1;
                }
                assert_eq!(offset, next);
                client.seen += next - from;
                client.next = Some((epoch, next));
                body.len() as u64
            }
            ServerFrame::Gap { epoch, from, next, .. } => {
                assert_eq!(Some((epoch, from)), client.next);
                assert!(next > from);
                client.missed += next - from;
                client.next = Some((epoch, next));
                0
            }
            other => panic!("a subscriber got {other:?}"),
        }
    }

    pub(crate) fn step(&mut self) {
        self.net.now_ms += self.net.chance.next() % 5;
        for _ in 0..self.net.chance.index(6) {
            self.publish();
        }
        if self.net.chance.one_in(2) {
            self.net.seal();
        }
        self.net.arrive(false);
        self.take_acks();
        for _ in 0..self.clients.len() / 8 {
            let index = self.net.chance.index(self.clients.len());
            match self.net.chance.index(12) {
                0 => self.vanish(index),
                1 | 2 if self.clients[index].session.is_none() => self.connect(index),
                _ => {
                    let budget = 1 + self.net.chance.index(3000);
                    self.read(index, budget);
                }
            }
        }
    }

    /// Lets everything arrive and everyone read until nothing is left.
    pub(crate) fn settle(&mut self) {
        for index in 0..self.clients.len() {
            if self.clients[index].session.is_none() {
                self.connect(index);
            }
        }
        for _ in 0..400 {
            self.net.seal();
            self.net.arrive(true);
            self.take_acks();
            for index in 0..self.clients.len() {
                self.read(index, usize::MAX);
            }
        }
    }

    /// Whether a client has come to the end of its topic, which may be a new and empty one.
    pub(crate) fn is_at_end(&self, client: &Client) -> bool {
        let epoch = self.epochs[client.topic];
        match client.next {
            Some((known, offset)) if known == epoch => offset == self.len(client.topic),
            Some((known, offset)) => known > epoch && offset == 0,
            None => false,
        }
    }
}
