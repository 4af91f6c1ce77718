//! Clients that repeat what was not answered, and the account of what they did.

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use super::super::*;
use super::world::World;

/// One client: it has one increment under way at a time, and numbers them.
#[derive(Default)]
pub(super) struct Client {
    session: u64,
    sequence: u64,
    under_way: Option<UnderWay>,
    /// Requests on their way: when they arrive, to whom, and what.
    requests: Vec<(u64, Actor, UnderWay)>,
    /// Answers that wait for the end of a node's round.
    answers: Vec<Answered>,
    /// What came of them.
    answered: Vec<Added>,
}

struct Answered {
    node: u64,
    session: u64,
    sequence: u64,
    added: Added,
}

/// An increment that was counted, with its session and sequence if it has them.
pub(super) struct Counted {
    by: Option<(u64, u64)>,
    counter: Name,
    amount: i64,
    added: Added,
}

#[derive(Clone)]
struct UnderWay {
    session: u64,
    sequence: u64,
    counter: Name,
    amount: i64,
    tried: Vec<Actor>,
}

impl World {
    pub(super) fn client_acts(&mut self, client: usize) {
        if self.chance.one_in(2) {
            self.add_once(client);
            return;
        }
        let is_new = self.clients[client].under_way.is_none();
        if is_new {
            if self.clients[client].session == 0 || self.chance.one_in(60) {
                self.sessions += 1;
                self.clients[client].session = self.sessions;
            }
            let counter = name(&std::format!("counter.{}", self.chance.below(3)));
            let amount = self.chance.below(9) as i64 - 3;
            let client = &mut self.clients[client];
            client.sequence += 1;
            let (session, sequence) = (client.session, client.sequence);
            client.under_way =
                Some(UnderWay { session, sequence, counter, amount, tried: Vec::new() });
        } else if !self.chance.one_in(4) {
            return;
        }
        let to = 1 + self.chance.below(self.nodes.len() as u64);
        let Some(to) = self.nodes[&to].counters.as_ref().map(EventualCounters::own) else { return };
        let Some(mut under_way) = self.clients[client].under_way.take() else { return };
        self.maybe_move(&under_way, to);
        let arrives_ms = self.now_ms + self.chance.below(80);
        let request = (arrives_ms, to, under_way.clone());
        under_way.tried.push(to);
        under_way.tried.dedup();
        let is_given_up = under_way.tried.len() > 15;
        let client = &mut self.clients[client];
        client.under_way = Some(under_way).filter(|_| !is_given_up);
        if !is_given_up {
            client.requests.push(request);
        }
    }

    /// Sometimes the node that was tried before is asked to let the session go.
    fn maybe_move(&mut self, under_way: &UnderWay, to: Actor) {
        let Some(before) = under_way.tried.last().filter(|before| **before != to) else { return };
        let now_ms = self.now_ms;
        if self.chance.one_in(3)
            && let Some(counters) = &mut self.nodes.get_mut(&before.node).unwrap().counters
        {
            counters.close_session(under_way.session, now_ms);
        }
    }

    /// An increment that nobody repeats.
    fn add_once(&mut self, client: usize) {
        let id = 1 + (client as u64 + self.chance.below(2)) % self.nodes.len() as u64;
        let counter = name(&std::format!("counter.{}", self.chance.below(3)));
        let Some(counters) = &mut self.nodes.get_mut(&id).unwrap().counters else { return };
        if let Ok(added) = counters.add(&counter, 1, None, self.now_ms) {
            self.counted.push(Counted { by: None, counter, amount: 1, added });
            self.figures.counted += 1;
            let answered = Answered { node: id, session: 0, sequence: 0, added };
            self.clients[client].answers.push(answered);
        }
    }

    pub(super) fn requests_arrive(&mut self) {
        for client in 0..self.clients.len() {
            let now_ms = self.now_ms;
            let arrived =
                self.clients[client].requests.extract_if(.., |(at_ms, ..)| *at_ms <= now_ms);
            for (_, to, request) in arrived.collect::<Vec<_>>() {
                self.request_arrives(client, to, &request);
            }
        }
    }

    fn request_arrives(&mut self, client: usize, to: Actor, request: &UnderWay) {
        let UnderWay { session, sequence, counter, amount, tried } = request;
        let (session, sequence, amount) = (*session, *sequence, *amount);
        let Some(counters) = &mut self.nodes.get_mut(&to.node).unwrap().counters else { return };
        if counters.own() != to {
            return;
        }
        match counters.add(counter, amount, by(session, sequence, tried), self.now_ms) {
            Ok(added) if added.duplicate => {
                self.figures.duplicates += 1;
                let first = Added { duplicate: false, ..added };
                let is_first = |counted: &Counted| {
                    counted.by == Some((session, sequence)) && counted.added == first
                };
                assert!(self.counted.iter().any(is_first), "the answer of the first: {added:?}");
                let answered = Answered { node: to.node, session, sequence, added };
                self.clients[client].answers.push(answered);
            }
            Ok(added) => {
                self.figures.counted += 1;
                self.figures.decided += u64::from(tried.iter().any(|actor| *actor != to));
                let (by, counter) = (Some((session, sequence)), counter.clone());
                self.counted.push(Counted { by, counter, amount, added });
                let answered = Answered { node: to.node, session, sequence, added };
                self.clients[client].answers.push(answered);
            }
            Err(refusal) if refusal.code == ErrorCode::OutcomeUnknown => self.figures.unknown += 1,
            Err(refusal) => {
                assert!(
                    [ErrorCode::ProducerUnknown, ErrorCode::Unavailable].contains(&refusal.code),
                    "{refusal}"
                );
                self.figures.refused += 1;
                let client = &mut self.clients[client];
                client.under_way.take_if(|under_way| under_way.sequence == sequence);
                if refusal.code == ErrorCode::ProducerUnknown {
                    client.session = 0;
                }
            }
        }
    }

    /// The node's round is released: its answers go out, unless they are lost on the way.
    pub(super) fn answer(&mut self, id: u64) {
        for client in 0..self.clients.len() {
            let client = &mut self.clients[client];
            let ready = client.answers.extract_if(.., |answered| answered.node == id);
            for Answered { node: _, session, sequence, added } in ready.collect::<Vec<_>>() {
                if self.chance.one_in(3) {
                    continue;
                }
                client.answered.push(added);
                client.under_way.take_if(|under_way| {
                    (under_way.session, under_way.sequence) == (session, sequence)
                });
            }
        }
    }

    pub(super) fn forget_unanswered(&mut self, id: u64) {
        for client in &mut self.clients {
            client.answers.retain(|answered| answered.node != id);
        }
    }

    /// The law.
    pub(super) fn check(&mut self) {
        let members: Vec<&EventualCounters> = self.members().collect();
        let (first, others) = members.split_first().unwrap();
        for other in others {
            assert_eq!(other.common_hash(), first.common_hash(), "all nodes have the same");
        }
        for member in &members {
            assert_eq!(member.apart(), 0, "one base of all that were removed");
        }
        let survives = |added: &Added| match first.seen(&[(added.actor, added.version)]) {
            Seen::Yes => true,
            Seen::NotYet { .. } | Seen::Never { .. } => false,
        };
        let mut sums: BTreeMap<&Name, i128> = BTreeMap::new();
        let mut once = BTreeSet::new();
        for Counted { by, counter, amount, added } in &self.counted {
            let is_there = survives(added);
            *sums.entry(counter).or_default() += i128::from(*amount) * i128::from(is_there);
            if let Some(by) = by.filter(|_| is_there) {
                assert!(once.insert(by), "{by:?} was counted twice");
            }
        }
        for (counter, sum) in sums {
            for member in &members {
                assert_eq!(member.exact(counter).unwrap_or(0), sum, "{counter}");
            }
        }
        let answered = self.clients.iter().flat_map(|client| &client.answered);
        self.figures.lost = answered.filter(|added| !survives(added)).count() as u64;
    }
}
