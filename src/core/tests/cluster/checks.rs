//! What clients were told, held against what there is in the end.

use std::collections::BTreeMap;

use tidewire_core::shard::{Command, Event, Interest, Origin, Reply, Request, SessionId};
use tidewire_protocol::frame::CellKind;
use tidewire_protocol::options::GetOptions;
use tidewire_protocol::record::Records;

use super::node::{DURABLE, DURABLE_TOPICS, Node, copy_of, name};
use super::world::World;

impl World {
    /// What the follower of a node was delivered agrees with what others were.
    pub(super) fn collect(&mut self, node: &Node) {
        for (place, payload) in &node.follower.records {
            let known = self.delivered.entry(place.clone()).or_insert_with(|| payload.clone());
            assert_eq!(known, payload, "two records at {place:?}");
        }
    }

    pub(crate) fn check(&mut self) {
        let nodes = std::mem::take(&mut self.nodes);
        nodes.iter().flatten().for_each(|node| self.collect(node));
        self.nodes = nodes;
        let leader = self.leader().unwrap();
        self.check_topics(leader);
        self.check_cells(leader);
        self.check_followers(leader);
        self.apart.check();
    }

    /// Every acknowledged publish stands once, at its place, and nothing else does.
    fn check_topics(&mut self, leader: usize) {
        let log = self.logs[leader].clone();
        let mut shard = copy_of(&log, log.committed, 1);
        let mut stored = BTreeMap::new();
        for topic in DURABLE_TOPICS {
            shard.handle(Command::Follow(5, Interest::Topic(name(topic))), self.now_ms);
            for (_, event) in shard.seal().unwrap().events {
                let Event::TopicSnapshot { batches, epoch, .. } = event else { continue };
                for batch in batches {
                    let body = batch.body.warm().unwrap();
                    for (offset, record) in (batch.base..).zip(Records::of(body)) {
                        let payload = String::from_utf8(record.payload.unwrap().to_vec()).unwrap();
                        let place = (name(topic), epoch, offset);
                        let earlier = stored.insert(payload, place);
                        assert_eq!(earlier, None, "a publish stands there twice");
                    }
                }
            }
        }
        for (payload, place) in &self.clients.published {
            assert_eq!(stored.get(payload), Some(place), "{payload} was acknowledged");
        }
        assert!(stored.keys().all(|payload| self.clients.begun.contains(payload)));
        assert_eq!(stored.len(), self.clients.published.len(), "all were repeated until known");
        for (payload, place) in &stored {
            let delivered = self.delivered.get(place);
            assert!(delivered.is_none_or(|delivered| delivered == payload.as_bytes()), "{place:?}");
        }
        for (place, payload) in &self.clients.mentioned {
            let delivered = self.delivered.get(place);
            assert!(delivered.is_none_or(|delivered| delivered == payload.as_bytes()), "{place:?}");
        }
    }

    /// What was counted and voted is what there is.
    fn check_cells(&mut self, leader: usize) {
        let node = self.nodes[leader].as_mut().unwrap();
        let session = SessionId { dispatcher: 9, slot: 1, generation: 1 };
        let origin = Origin { session, stream: 0, req: 1 };
        let get = |kind, text| Request::Get {
            kind,
            name: name(text),
            key: None,
            options: GetOptions::default(),
        };
        let requests = [get(CellKind::Counter, "count"), get(CellKind::Tally, "poll")];
        for request in requests {
            let command = Command::Request(origin, request);
            node.members[DURABLE].handle(command, self.now_ms);
        }
        let mut found = Vec::new();
        for (_, event) in node.members[DURABLE].seal().told {
            if let Event::Reply { reply: Reply::Value { value, .. }, .. } = event {
                found.push(format!("{value:?}"));
            }
        }
        assert_eq!(self.clients.counted, self.clients.counts_begun);
        let counter = match self.clients.counted {
            0 => "Absent".to_owned(),
            counted => format!("Counter({counted})"),
        };
        assert_eq!(found[0], counter);
        let of = |choice: u64| self.clients.voted.values().filter(|c| **c == choice).count();
        // Of a voter who was repeating one ballot while another was under way the last one counts,
        // whichever that was; there is one ballot for each in any case.
        let ballots = of(0) + of(1);
        assert!(found[1].contains(&format!("ballots: {ballots},")), "{ballots}: {}", found[1]);
    }

    /// All nodes have come to the same, and their followers have been told so.
    fn check_followers(&mut self, leader: usize) {
        let of_leader = &self.nodes[leader].as_ref().unwrap().follower;
        let (topics, values) = (of_leader.topics.clone(), of_leader.values.clone());
        for (at, node) in self.nodes.iter().enumerate() {
            let node = node.as_ref().unwrap();
            assert_eq!(node.follower.topics, topics, "node {at}");
            for (cell, value) in &values {
                assert_eq!(node.follower.values.get(cell), Some(value), "node {at}, {cell:?}");
            }
            if at < self.logs.len() {
                assert_eq!(node.applied, self.logs[leader].committed, "node {at}");
            }
        }
        assert!(self.failovers > 0);
    }
}
