//! The streams between nodes and the leaders of the shards.

use std::collections::VecDeque;

use tidewire_core::member::Output;
use tidewire_core::shard::{Command, is_peer};

use super::node::{DURABLE, MEMORY, Stream};
use super::world::World;

impl World {
    /// Streams to the leaders of the shards begin, end, and carry some of what is on its way.
    pub(super) fn stream(&mut self, at: usize) {
        for shard in [MEMORY, DURABLE] {
            let leader = self.leader().filter(|leader| {
                let there = self.nodes[*leader].as_ref().unwrap().members[shard].term();
                there == Some(self.logs[*leader].term)
            });
            let both_ways = |other: usize| self.reaches(at, other) && self.reaches(other, at);
            let leads = |other: usize, term: u64| {
                let there = self.nodes[other].as_ref();
                there.is_some_and(|node| node.members[shard].term() == Some(term))
            };
            let Some(node) = &self.nodes[at] else { continue };
            let ends = node.streams[shard]
                .as_ref()
                .is_some_and(|stream| !both_ways(stream.to) || !leads(stream.to, stream.term));
            let begins = node.streams[shard].is_none()
                && node.members[shard].term().is_none()
                && leader.is_some_and(|leader| leader != at && both_ways(leader));
            if ends {
                self.end_stream(at, shard);
            } else if begins && self.chance.one_in(3) {
                let to = leader.unwrap();
                let (up, down, term) = (VecDeque::new(), VecDeque::new(), self.logs[to].term);
                let node = self.nodes[at].as_mut().unwrap();
                node.streams[shard] = Some(Stream { to, term, up, down });
                node.members[shard].connect();
            }
            self.carry(at, shard);
        }
    }

    fn end_stream(&mut self, at: usize, shard: usize) {
        let node = self.nodes[at].as_mut().unwrap();
        let stream = node.streams[shard].take().unwrap();
        node.members[shard].disconnect();
        if let Some(leader) = &mut self.nodes[stream.to] {
            leader.members[shard].peer_ended(peer(at));
        }
    }

    fn carry(&mut self, at: usize, shard: usize) {
        let (up, down) = (self.chance.below(5), self.chance.below(5));
        let (up, down) = if self.is_healed { (50, 50) } else { (up, down) };
        let Some(stream) = self.nodes[at].as_mut().and_then(|node| node.streams[shard].as_mut())
        else {
            return;
        };
        let to = stream.to;
        let sent: Vec<Vec<u8>> = (0..up).map_while(|_| stream.up.pop_front()).collect();
        let heard: Vec<Vec<u8>> = (0..down).map_while(|_| stream.down.pop_front()).collect();
        // A leader that may be none any more takes nothing.
        if self.has_lease(to) {
            let now_ms = self.clock_ms(to);
            let leader = self.nodes[to].as_mut().unwrap();
            for command in sent {
                let command = rmp_serde::from_slice(&command).unwrap();
                assert!(leader.members[shard].handle_peer(peer(at), command, now_ms));
            }
        } else {
            let stream = self.nodes[at].as_mut().unwrap().streams[shard].as_mut().unwrap();
            sent.into_iter().rev().for_each(|command| stream.up.push_front(command));
        }
        let node = self.nodes[at].as_mut().unwrap();
        for event in heard {
            node.members[shard].take(rmp_serde::from_slice(&event).unwrap());
        }
    }

    pub(super) fn pass_on(&mut self, at: usize, shard: usize, output: Output) {
        let node = self.nodes[at].as_mut().unwrap();
        if let Some(stream) = &mut node.streams[shard] {
            let encode = |command: &Command| rmp_serde::to_vec_named(command).unwrap();
            stream.up.extend(output.to_leader.iter().map(encode));
        }
        for (to, event) in node.hear(output.told) {
            if is_peer(to) {
                let other = self.nodes[usize::from(to) - 64].as_mut();
                let stream = other.and_then(|other| other.streams[shard].as_mut());
                if let Some(stream) = stream.filter(|stream| stream.to == at) {
                    stream.down.push_back(rmp_serde::to_vec_named(&event).unwrap());
                }
            } else {
                self.clients.hear(&event);
            }
        }
    }
}

fn peer(node: usize) -> u8 {
    64 + node as u8
}
