//! Commands of every kind, at random from a seed.

use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::cell::VoterId;
use tidewire_core::group::{GroupRules, Member, Reason};
use tidewire_core::shard::{
    Command, DeadLetter, DeadOf, Expected, GroupAsk, GroupRequest, GroupStart, Interest, Origin,
    Request, SessionId, Terms,
};
use tidewire_core::topic::Step;
use tidewire_protocol::Name;
use tidewire_protocol::frame::{
    AckLevel, CellKind, CounterOp, PresenceOp, SettleOp, TallyOp, TopicOp,
};
use tidewire_protocol::options::{CounterOptions, GetOptions, TopicOptions};
use tidewire_protocol::record::{BodyBuilder, payload_body};
use tidewire_protocol::tally::{Choice, TallyKind, TallyRules};

pub(crate) use super::chance::Chance;

/// The commands of a seed are always the same.
impl Chance {
    pub(crate) fn maybe(&mut self, limit: u64) -> Option<u64> {
        (self.below(2) == 0).then(|| self.below(limit))
    }

    fn name(&mut self, kind: &str) -> Name {
        Name::parse(&format!("{kind}.{}", self.below(6))).unwrap()
    }

    fn session(&mut self) -> SessionId {
        SessionId { dispatcher: self.below(3) as u8, slot: self.below(5) as u32, generation: 1 }
    }

    fn command(&mut self) -> Command {
        let dispatcher = self.below(2) as u8;
        match self.below(18) {
            0..=2 => Command::Follow(dispatcher, self.interest()),
            3..=5 => Command::Unfollow(dispatcher, self.interest()),
            6 => Command::SessionEnded(self.session()),
            7 => {
                let topic = Name::parse("plain.0").unwrap();
                let group = Name::parse("group.0").unwrap();
                let of = DeadOf { shard: 4, topic, group, offset: self.below(60) };
                match self.below(3) {
                    0 => {
                        let (to, body) = (self.name("map"), payload_body(b"dead"));
                        Command::DeadLetter(Box::new(DeadLetter { of, to, body }))
                    }
                    _ => Command::Buried(Box::new(of)),
                }
            }
            _ => {
                let request = self.request();
                // Few consumers, so that what they say is often about what they have.
                let mut session = self.session();
                if matches!(request, Request::Group(_)) {
                    session.dispatcher = 0;
                    session.slot %= 2;
                }
                let origin = Origin { session, stream: 0, req: self.below(99) };
                Command::Request(origin, request)
            }
        }
    }

    pub(crate) fn interest(&mut self) -> Interest {
        match self.below(7) {
            0 => Interest::CommitLog,
            1 => Interest::Topic(self.name("plain")),
            // Nobody publishes to these, so that topics come and go.
            5 | 6 => Interest::Topic(self.name("idle")),
            2 => Interest::Cell(CellKind::Map, self.name("map")),
            3 => Interest::Cell(CellKind::Tally, self.name("tally")),
            _ => Interest::Cell(CellKind::Presence, self.name("room")),
        }
    }

    pub(crate) fn request(&mut self) -> Request {
        match self.below(13) {
            11 => {
                let op = if self.below(5) == 0 { TopicOp::Delete } else { TopicOp::Truncate };
                let kind = if self.below(2) == 0 { "map" } else { "plain" };
                let before_offset = Some(self.below(12));
                let options = TopicOptions { before_offset, before_time_ms: None };
                Request::Topic { topic: self.name(kind), op, options }
            }
            8..=10 => Request::Group(Box::new(self.group())),
            0 | 1 => self.publish(),
            2 => {
                let op = [CounterOp::Add, CounterOp::Add, CounterOp::Set, CounterOp::Reset];
                let op = op[self.below(4) as usize];
                let operand = if op == CounterOp::Reset { 0 } else { self.below(9) as i64 - 4 };
                let options = CounterOptions {
                    ttl_ms: self.maybe(90),
                    id: self.maybe(5).map(|id| format!("id {id}")),
                    min: self.maybe(2).map(|_| -5),
                    ..CounterOptions::default()
                };
                Request::Counter { name: self.name("counter"), op, operand, options }
            }
            3 => Request::Tally {
                name: self.name("tally"),
                op: [
                    TallyOp::Create,
                    TallyOp::Create,
                    TallyOp::Open,
                    TallyOp::Close,
                    TallyOp::Delete,
                ][self.below(5) as usize],
                rules: Some(self.rules()),
                incarnation: self.maybe(2),
            },
            12 => {
                let voters = (0..self.below(4)).map(|_| VoterId([self.below(20) as u8; 16]));
                let voters = voters.collect();
                Request::Invalidate { tally: self.name("tally"), voters, issuer: None }
            }
            4 | 5 => Request::Vote {
                tally: self.name("tally"),
                voter: VoterId([self.below(20) as u8; 16]),
                choices: (0..self.below(3)).map(|_| self.choice()).collect(),
                revision: self.maybe(9),
                issuer: None,
            },
            6 => Request::Get {
                kind: CellKind::Topic,
                name: self.name("map"),
                key: None,
                options: GetOptions::default(),
            },
            _ => Request::Presence {
                name: self.name("room"),
                op: if self.below(3) == 0 { PresenceOp::Leave } else { PresenceOp::Join },
                member: format!("member {}", self.below(8)),
                data: Bytes::from(vec![self.below(3) as u8]),
            },
        }
    }

    fn group(&mut self) -> GroupRequest {
        let topic = Name::parse(if self.below(9) == 0 { "idle.0" } else { "plain.0" }).unwrap();
        let group = Name::parse(if self.below(3) == 0 { "group.1" } else { "group.0" }).unwrap();
        let sub = 1;
        let ask = match self.below(16) {
            0 if self.below(3) == 0 => GroupAsk::Delete,
            1 => GroupAsk::Reset { start: GroupStart::Last(self.below(9)) },
            2 | 3 => GroupAsk::Create { rules: self.group_rules(), start: GroupStart::Earliest },
            4 => GroupAsk::Leave { sub },
            5 | 6 => {
                let (records_max, bytes_max) = (1 + self.below(9) as u32, 1 + self.below(400));
                GroupAsk::Consume { sub, takes: Member { records_max, bytes_max } }
            }
            7 => GroupAsk::Status,
            _ => {
                let op = [SettleOp::Ack, SettleOp::Ack, SettleOp::Nack, SettleOp::Reject];
                let op = op[self.below(4) as usize];
                let from = self.below(60);
                let ranges = vec![(from, from + 1 + self.below(30))];
                let (delay_ms, reason) = (self.maybe(50), Reason::Said("no".into()));
                GroupAsk::Settle { sub, op, ranges, delay_ms, reason }
            }
        };
        GroupRequest { topic, group, ask }
    }

    fn group_rules(&mut self) -> Arc<GroupRules> {
        let dead_letter = (self.below(2) == 0).then(|| self.name("map"));
        Arc::new(GroupRules {
            ack_timeout_ms: 1 + self.below(90),
            deliveries_max: if dead_letter.is_some() { self.below(4) as u32 } else { 0 },
            backoff_ms: self.below(20),
            backoff_max_ms: 30,
            dead_letter,
            ordered: self.below(2) == 0,
        })
    }

    fn publish(&mut self) -> Request {
        let mut body = BodyBuilder::new();
        let count = 1 + self.below(4);
        for _ in 0..count {
            let key = format!("key {}", self.below(9));
            let payload = vec![self.below(256) as u8; self.below(30) as usize];
            let payload = (self.below(4) > 0).then_some(payload.as_slice());
            body.push(Some(&key), &[], payload);
        }
        let kind = if self.below(2) == 0 { "map" } else { "plain" };
        let (topic, ttl_ms) = (self.name(kind), self.maybe(80));
        let (ack, body) = (AckLevel::Memory, body.finish());
        let step = (self.below(2) == 0)
            .then(|| Step { producer: 1 + self.below(3), sequence: 1 + self.below(40) });
        let expected = (self.below(8) == 0).then(|| {
            let key = (self.below(2) == 0).then(|| format!("key {}", self.below(9)));
            Box::new(Expected { offset: self.below(60), key })
        });
        let terms = Terms { ttl_ms, step, expected };
        Request::Publish { topic, ack, body, count, terms }
    }

    fn rules(&mut self) -> Arc<TallyRules> {
        let kind = [TallyKind::Single, TallyKind::Multiple, TallyKind::Ranked];
        let options = ["A", "B", "C"].map(str::to_owned).to_vec();
        let opens_at_ms = self.maybe(400);
        Arc::new(TallyRules {
            opens_at_ms,
            closes_at_ms: self.maybe(400).map(|after| after + opens_at_ms.unwrap_or(0) + 1),
            ..TallyRules::new(kind[self.below(3) as usize], options)
        })
    }

    fn choice(&mut self) -> Choice {
        match self.below(5) {
            0 => Choice::Skipped,
            1 => Choice::Over,
            2 => Choice::Name("B".to_owned()),
            _ => Choice::Index(self.below(3)),
        }
    }

    /// One turn of a shard: its time, and its commands.
    pub(crate) fn turn(&mut self, now_ms: &mut u64) -> Vec<Command> {
        *now_ms += self.below(12);
        (0..self.below(5)).map(|_| self.command()).collect()
    }
}
