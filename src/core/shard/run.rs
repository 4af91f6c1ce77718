//! Publishes that came together: what a connection publishes to one topic without a pause travels
//! to the shard, and its acknowledgements back, as one.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewire_protocol::Name;
use tidewire_protocol::frame::AckLevel;

use super::Shard;
use super::append::{Append, Appended};
use super::message::{Command, Event, Origin, Reply, Request, SessionId, Terms};
use crate::topic::{Place, Step};

/// Publishes of one run at most: a shard's rounds are counted in commands.
const RUN_PUBLISHES_MAX: usize = 256;

/// Publishes of one connection to one topic, in their order. Each succeeds or is refused for itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PublishRun {
    /// The connection.
    pub session: SessionId,
    /// The stream of the connection that carried them.
    pub stream: u16,
    /// Where they go.
    pub topic: Name,
    /// The acknowledgement that each asks for.
    pub ack: AckLevel,
    /// How long values of the topic's map live, if not for ever.
    pub ttl_ms: Option<u64>,
    /// Who numbers them, if somebody does.
    pub producer: Option<u64>,
    /// The publishes.
    pub publishes: Vec<RunPublish>,
}

/// One publish of a run. Its body has been validated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunPublish {
    /// The request id; 0 if no reply is wanted.
    pub req: u64,
    /// The records.
    pub body: Bytes,
    /// Number of the records.
    pub count: u64,
    /// The producer's number; 0 without a producer.
    pub sequence: u64,
}

impl Command {
    /// How many requests it stands for.
    #[must_use]
    pub fn requests(&self) -> u32 {
        if let Self::Publishes(run) = self {
            return u32::try_from(run.publishes.len()).unwrap_or(u32::MAX);
        }
        1
    }

    /// Takes the next command of the same connection into this one, if both publish to the same
    /// topic in the same way; returns it if it has to travel alone.
    pub fn join(&mut self, next: Self) -> Option<Self> {
        if !self.is_continued_by(&next) {
            return Some(next);
        }
        if let Self::Request(origin, Request::Publish { topic, ack, body, count, terms }) = self {
            let (req, body, sequence) = (origin.req, body.clone(), sequence_of(terms));
            let first = RunPublish { req, body, count: *count, sequence };
            *self = Self::Publishes(Box::new(PublishRun {
                session: origin.session,
                stream: origin.stream,
                topic: topic.clone(),
                ack: *ack,
                ttl_ms: terms.ttl_ms,
                producer: terms.step.map(|step| step.producer),
                publishes: Vec::from([first]),
            }));
        }
        match (self, next) {
            (
                Self::Publishes(run),
                Self::Request(Origin { req, .. }, Request::Publish { body, count, terms, .. }),
            ) => {
                let sequence = sequence_of(&terms);
                run.publishes.push(RunPublish { req, body, count, sequence });
                None
            }
            (_, next) => Some(next),
        }
    }

    fn is_continued_by(&self, next: &Self) -> bool {
        let Self::Request(origin, Request::Publish { topic, ack, terms, .. }) = next else {
            return false;
        };
        if terms.expected.is_some() {
            return false;
        }
        let producer = terms.step.map(|step| step.producer);
        let next = (origin.session, origin.stream, topic, ack, terms.ttl_ms, producer);
        match self {
            Self::Request(origin, Request::Publish { topic, ack, terms, .. }) => {
                let producer = terms.step.map(|step| step.producer);
                let this = (origin.session, origin.stream, topic, ack, terms.ttl_ms, producer);
                terms.expected.is_none() && this == next
            }
            Self::Publishes(run) => {
                let PublishRun { session, stream, topic, ack, ttl_ms, producer, publishes } =
                    &**run;
                publishes.len() < RUN_PUBLISHES_MAX
                    && (*session, *stream, topic, ack, *ttl_ms, *producer) == next
            }
            Self::Request(..)
            | Self::Follow(..)
            | Self::Unfollow(..)
            | Self::SessionEnded(_)
            | Self::DeadLetter(_)
            | Self::Buried(_)
            | Self::Stored { .. }
            | Self::Recall(..)
            | Self::Recalled(_)
            | Self::Tenants(_)
            | Self::TenantFull { .. }
            | Self::PeerEnded(_) => false,
        }
    }
}

fn sequence_of(terms: &Terms) -> u64 {
    terms.step.map_or(0, |step| step.sequence)
}

/// Acknowledgements of publishes, in their order: the request id and the offset of the first record,
/// or none if no acknowledgement is wanted.
pub type Acks = Vec<(u64, Option<u64>)>;

impl Shard {
    pub(super) fn publish_run(&mut self, run: PublishRun) {
        let PublishRun { session, stream, topic, ack, ttl_ms, producer, publishes } = run;
        let mut acks = Acks::with_capacity(publishes.len());
        let mut acks_epoch = 0;
        for RunPublish { req, body, count, sequence } in publishes {
            let step = producer.map(|producer| Step { producer, sequence });
            let terms = Terms { ttl_ms, step, expected: None };
            match self.append(&topic, Append { ack, body: &body, count, terms: &terms }) {
                Ok(appended) if self.is_ordinary(appended) => {
                    let Appended { place: Place { epoch, offset }, ack, .. } = appended;
                    acks_epoch = epoch;
                    acks.push((req, (ack > AckLevel::None).then_some(offset)));
                }
                Ok(appended) => {
                    self.acknowledge(session, stream, acks_epoch, &mut acks);
                    self.acknowledge_one(Origin { session, stream, req }, appended);
                }
                Err(refusal) => {
                    self.acknowledge(session, stream, acks_epoch, &mut acks);
                    self.drop_unused_topic(&topic);
                    self.reply(Origin { session, stream, req }, Reply::Refused(refusal));
                }
            }
        }
        self.acknowledge(session, stream, acks_epoch, &mut acks);
    }

    /// Whether a publish is acknowledged with others: it is new, and told when the round is
    /// committed. One that stood there before may belong to an earlier life of the topic.
    fn is_ordinary(&self, Appended { duplicate, ack, .. }: Appended) -> bool {
        !duplicate && (ack != AckLevel::Memory || self.level() == AckLevel::Memory)
    }

    fn acknowledge(&mut self, session: SessionId, stream: u16, epoch: u64, acks: &mut Acks) {
        if acks.is_empty() {
            return;
        }
        let (level, acks) = (self.level(), core::mem::take(acks));
        let event = Event::Published { session, stream, epoch, level, acks };
        self.round.events.push((session.dispatcher, event));
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;
    use std::sync::Arc;
    use std::vec;
    use std::vec::Vec;

    use tidewire_protocol::record::BodyBuilder;

    use super::super::{ShardConfig, ShardLimits};
    use super::*;
    use crate::topic::{Policy, PolicyTable};

    fn session(slot: u32) -> SessionId {
        SessionId { dispatcher: 2, slot, generation: 1 }
    }

    fn publish(slot: u32, req: u64, topic: &str, ack: AckLevel, key: &str) -> Command {
        let mut body = BodyBuilder::new();
        body.push(Some(key), &[], Some(b"value"));
        let topic = Name::parse(topic).unwrap();
        let request =
            Request::Publish { topic, ack, body: body.finish(), count: 1, terms: Terms::default() };
        Command::Request(Origin { session: session(slot), stream: 0, req }, request)
    }

    /// A shard whose topics have room for two keys.
    fn shard() -> Shard {
        let policy = Policy { map_keys_max: 2, ..Policy::default() };
        let policies = Arc::new(PolicyTable::new(Vec::new(), policy));
        let limits = ShardLimits::default();
        Shard::new(ShardConfig { shard: 0, epoch: 7, seed: 1, policies, limits })
    }

    /// Replies as lines, whether they came one by one or together.
    fn replies(shard: &mut Shard) -> Vec<String> {
        let mut lines = Vec::new();
        for (_, event) in shard.seal().unwrap().events {
            match event {
                Event::Reply {
                    req,
                    reply: Reply::Published { epoch, offset: Some(offset), .. },
                    ..
                } => {
                    lines.push(std::format!("{req}: {epoch} {offset:?}"));
                }
                Event::Reply { req, reply: Reply::Silent, .. } => {
                    lines.push(std::format!("{req}: silent"));
                }
                Event::Reply { req, reply, .. } => lines.push(std::format!("{req}: {reply:?}")),
                Event::Published { epoch, acks, .. } => {
                    lines.extend(acks.into_iter().map(|(req, offset)| match offset {
                        Some(offset) => std::format!("{req}: {epoch} {offset:?}"),
                        None => std::format!("{req}: silent"),
                    }));
                }
                Event::TopicSnapshot { .. }
                | Event::TopicRefused { .. }
                | Event::Appended { .. }
                | Event::Trimmed { .. }
                | Event::Cooled { .. }
                | Event::Recalled { .. }
                | Event::LogSnapshot { .. }
                | Event::Cell { .. }
                | Event::Leased { .. }
                | Event::ConsumerEnded { .. }
                | Event::Renumbered { .. }
                | Event::Behind { .. }
                | Event::Forward(_) => panic!("unexpected: {event:?}"),
            }
        }
        lines
    }

    fn joined(commands: Vec<Command>) -> Vec<Command> {
        let mut joined: Vec<Command> = Vec::new();
        for command in commands {
            let alone = match joined.last_mut() {
                Some(last) => last.join(command),
                None => Some(command),
            };
            joined.extend(alone);
        }
        joined
    }

    #[test]
    fn a_run_does_what_its_publishes_do_one_by_one() {
        for ack in [AckLevel::None, AckLevel::Memory, AckLevel::Quorum] {
            // The third key finds no room, the publishes around it do.
            let keys = ["a", "b", "c", "a"];
            let commands = || -> Vec<Command> {
                (1..).zip(keys).map(|(req, key)| publish(1, req, "board", ack, key)).collect()
            };
            let (mut alone, mut together) = (shard(), shard());
            commands().into_iter().for_each(|command| alone.handle(command, 5));
            let run = joined(commands());
            assert_eq!(run.len(), 1);
            run.into_iter().for_each(|command| together.handle(command, 5));
            assert_eq!(replies(&mut alone), replies(&mut together));
            assert_eq!(alone.state_hash(), together.state_hash());
        }
    }

    #[test]
    fn only_publishes_of_one_connection_to_one_topic_in_one_way_travel_together() {
        let memory = AckLevel::Memory;
        let ended = Command::SessionEnded(session(1));
        let mut last = publish(1, 1, "a", memory, "k");
        for other in [
            publish(2, 2, "a", memory, "k"),
            publish(1, 2, "b", memory, "k"),
            publish(1, 2, "a", AckLevel::None, "k"),
            ended.clone(),
        ] {
            assert!(last.join(other).is_some());
        }
        assert!(ended.clone().join(publish(1, 1, "a", memory, "k")).is_some());
        assert!(last.join(publish(1, 2, "a", memory, "k")).is_none());
        assert!(last.join(publish(1, 3, "b", memory, "k")).is_some());
    }

    #[test]
    fn a_run_has_an_end() {
        let many = vec![publish(1, 0, "a", AckLevel::None, "k"); RUN_PUBLISHES_MAX + 1];
        assert_eq!(joined(many).len(), 2);
    }
}
