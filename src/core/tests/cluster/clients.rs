//! Those who publish, count, vote and read, at any node, and again until they know the outcome.

use std::collections::{BTreeMap, BTreeSet};

use tidewire_core::cell::VoterId;
use tidewire_core::shard::{Event, Reply, Request, SessionId, Terms, Value};
use tidewire_core::topic::Step;
use tidewire_protocol::frame::{AckLevel, CellKind, CounterOp};
use tidewire_protocol::options::{CounterOptions, GetOptions};
use tidewire_protocol::record::payload_body;
use tidewire_protocol::tally::Choice;

use super::chance::Chance;
use super::follower::Place;
use super::node::{CLIENTS, DURABLE, DURABLE_TOPICS, MEMORY, MEMORY_TOPICS, name};

/// What somebody wants to be done, until it is known to be done.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    /// A publish to a durable topic: producer and sequence.
    Publish {
        topic: &'static str,
        producer: u64,
        sequence: u64,
    },
    /// A publish to a topic in memory; it is not repeated.
    Mention {
        topic: &'static str,
        number: u64,
    },
    /// One more; the number is its idempotence id.
    Count {
        number: u64,
    },
    Vote {
        voter: u64,
        choice: u64,
    },
    /// With what was known when it began: increments acknowledged, and the largest value read.
    Read {
        at_least: i64,
    },
}

impl Task {
    pub(crate) fn shard(&self) -> usize {
        if matches!(self, Self::Mention { .. }) { MEMORY } else { DURABLE }
    }

    pub(crate) fn request(&self) -> Request {
        let publish = |topic, ack, text: String, step| Request::Publish {
            topic: name(topic),
            ack,
            body: payload_body(text.as_bytes()),
            count: 1,
            terms: Terms { step, ..Terms::default() },
        };
        match self {
            Self::Publish { topic, producer, sequence } => {
                let (producer, sequence) = (*producer, *sequence);
                let text = format!("{producer}:{sequence}");
                publish(topic, AckLevel::Disk, text, Some(Step { producer, sequence }))
            }
            Self::Mention { topic, number } => {
                publish(topic, AckLevel::Memory, number.to_string(), None)
            }
            Self::Count { number } => {
                let id = Some(number.to_string());
                let options = CounterOptions { id, ..CounterOptions::default() };
                Request::Counter { name: name("count"), op: CounterOp::Add, operand: 1, options }
            }
            Self::Vote { voter, choice } => {
                let mut id = [0; 16];
                id[0] = *voter as u8;
                let (voter, choices) = (VoterId(id), vec![Choice::Index(*choice)]);
                let (revision, issuer) = (None, None);
                Request::Vote { tally: name("poll"), voter, choices, revision, issuer }
            }
            Self::Read { at_least } => Request::Get {
                kind: CellKind::Counter,
                name: name("count"),
                key: None,
                options: GetOptions {
                    // Others take what a copy knows when there is no leader.
                    linearizable: (at_least % 2 == 0).then_some(true),
                    ..GetOptions::default()
                },
            },
        }
    }
}

/// Somebody with one thing to do at a time.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) number: u32,
    /// What is to be done, and the attempt that is under way, if one is: at which node, its number.
    pub(crate) task: Option<(Task, Option<(usize, u32)>)>,
    next_sequence: u64,
}

/// All of them, and what they know.
pub(crate) struct Clients {
    pub(crate) clients: Vec<Client>,
    /// Acknowledged publishes to durable topics: payload and place.
    pub(crate) published: BTreeMap<String, Place>,
    /// Publishes that were begun.
    pub(crate) begun: BTreeSet<String>,
    /// Acknowledged publishes to topics in memory.
    pub(crate) mentioned: BTreeMap<Place, String>,
    pub(crate) counts_begun: i64,
    pub(crate) counted: i64,
    read_max: i64,
    /// Voters whose ballots were acknowledged, each with the newest.
    pub(crate) voted: BTreeMap<u64, u64>,
    next_number: u64,
    pub(crate) generation: u32,
    pub(crate) answers: u64,
    pub(crate) stale_reads: u64,
}

const CLIENTS_MAX: u32 = 12;
const VOTERS: u64 = 9;

impl Clients {
    pub(crate) fn new() -> Self {
        let client = |number| Client { number, task: None, next_sequence: 1 };
        Self {
            clients: (0..CLIENTS_MAX).map(client).collect(),
            published: BTreeMap::new(),
            begun: BTreeSet::new(),
            mentioned: BTreeMap::new(),
            counts_begun: 0,
            counted: 0,
            read_max: 0,
            voted: BTreeMap::new(),
            next_number: 1,
            generation: 1,
            answers: 0,
            stale_reads: 0,
        }
    }

    /// A client asks at this node. Each attempt has a connection of its own, so that no late answer is
    /// taken for that to another.
    pub(crate) fn ask(&mut self, at: usize, node: usize) -> Option<(usize, SessionId, Request)> {
        let client = &mut self.clients[at];
        let (task, attempt) = client.task.as_mut()?;
        if attempt.is_some() {
            return None;
        }
        self.generation += 1;
        *attempt = Some((node, self.generation));
        let (slot, generation) = (client.number, self.generation);
        let session = SessionId { dispatcher: CLIENTS, slot, generation };
        Some((task.shard(), session, task.request()))
    }

    /// A node has crashed, or is left: what was asked there is asked elsewhere.
    pub(crate) fn leave(&mut self, node: usize) {
        for client in &mut self.clients {
            let is_there = |task: &(Task, Option<(usize, u32)>)| {
                task.1.is_some_and(|(asked, _)| asked == node)
            };
            if client.task.as_ref().is_some_and(is_there) {
                let (task, _) = client.task.take().unwrap();
                let is_repeated = !matches!(task, Task::Mention { .. });
                client.task = is_repeated.then_some((task, None));
            }
        }
    }

    pub(crate) fn begin(&mut self, at: usize, chance: &mut Chance) {
        let number = self.next_number;
        self.next_number += 1;
        let client = &mut self.clients[at];
        let task = match chance.below(7) {
            0..=2 => {
                let (producer, sequence) = (u64::from(client.number) + 1, client.next_sequence);
                client.next_sequence += 1;
                self.begun.insert(format!("{producer}:{sequence}"));
                let topic = DURABLE_TOPICS[usize::from(client.number.is_multiple_of(2))];
                Task::Publish { topic, producer, sequence }
            }
            3 => Task::Mention { topic: MEMORY_TOPICS[chance.below(2) as usize], number },
            4 => {
                self.counts_begun += 1;
                Task::Count { number }
            }
            5 => Task::Vote { voter: chance.below(VOTERS), choice: chance.below(2) },
            _ => Task::Read { at_least: self.counted.max(self.read_max) },
        };
        client.task = Some((task, None));
    }

    /// What a node has told its clients.
    pub(crate) fn hear(&mut self, event: &Event) {
        let (session, reply) = match event {
            Event::Reply { session, reply, .. } => (*session, Some(reply.clone())),
            Event::Published { session, epoch, acks, .. } => {
                let (epoch, offset) = (*epoch, acks[0].1);
                let (level, duplicate) = (AckLevel::Disk, false);
                (*session, Some(Reply::Published { epoch, offset, level, duplicate }))
            }
            _ => return,
        };
        let asked = self.clients.iter().position(|client| {
            let attempt = client.task.as_ref().and_then(|(_, attempt)| *attempt);
            client.number == session.slot
                && attempt.is_some_and(|(_, number)| number == session.generation)
        });
        let (Some(at), Some(reply)) = (asked, reply) else { return };
        let Some((task, _)) = self.clients[at].task.take() else { return };
        self.answers += 1;
        if let Err(task) = self.settle(task, reply) {
            self.clients[at].task = Some((task, None));
        }
    }

    /// Takes an answer; gives the task back if it is to be tried again.
    fn settle(&mut self, task: Task, reply: Reply) -> Result<(), Task> {
        match (task, reply) {
            (Task::Mention { .. }, Reply::Refused(_)) => Ok(()),
            (task, Reply::Refused(refusal)) => {
                assert!(refusal.code.is_retryable(), "{task:?}: {refusal}");
                Err(task)
            }
            (
                Task::Publish { topic, producer, sequence },
                Reply::Published { epoch, offset, .. },
            ) => {
                let place = (name(topic), epoch, offset.unwrap());
                self.published.insert(format!("{producer}:{sequence}"), place);
                Ok(())
            }
            (Task::Mention { topic, number }, Reply::Published { epoch, offset, .. }) => {
                let place = (name(topic), epoch, offset.unwrap());
                let earlier = self.mentioned.insert(place, number.to_string());
                assert_eq!(earlier, None, "two publishes were given one place");
                Ok(())
            }
            (Task::Count { .. }, Reply::Counted { .. }) => {
                self.counted += 1;
                Ok(())
            }
            (Task::Vote { voter, choice }, Reply::Voted { .. }) => {
                self.voted.insert(voter, choice);
                Ok(())
            }
            (Task::Read { at_least }, Reply::Value { value, as_of, .. }) => {
                let value = match value {
                    Value::Counter(value) => value,
                    Value::Absent => 0,
                    other => panic!("unexpected: {other:?}"),
                };
                // Increments only: this, and that reads never go back, is linearizability.
                let is_stale = as_of.is_some_and(|as_of| as_of.is_stale);
                assert!(!is_stale || at_least % 2 == 1, "what is to be linearizable is stale");
                if is_stale {
                    assert!(value <= self.counts_begun, "read {value} of {}", self.counts_begun);
                    self.stale_reads += 1;
                    return Ok(());
                }
                assert!(value >= at_least, "read {value} after {at_least}");
                assert!(value <= self.counts_begun, "read {value} of {}", self.counts_begun);
                self.read_max = self.read_max.max(value);
                Ok(())
            }
            (task, reply) => panic!("{task:?} was answered by {reply:?}"),
        }
    }
}
