//! Subscriptions that live on while what they follow gets another history: a shard in the memory of
//! another node, for one. Each subscriber is told so, once, and gets the new history as a whole.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail"
)]

use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::access::Voter;
use tidewire_core::cell::VoterId;
use tidewire_core::fanout::{Dispatcher, FanoutLimits, Framing, Lane, SessionOptions, Sink};
use tidewire_core::shard::{
    Command, Event, Origin, Recalled, Request, SessionId, Shard, ShardConfig, ShardLimits, Terms,
};
use tidewire_core::topic::{Batch, Policy, PolicyTable};
use tidewire_core::{SHARDS, shard_of};
use tidewire_protocol::frame::{AckLevel, Start};
use tidewire_protocol::options::SubscribeOptions;
use tidewire_protocol::record::payload_body;
use tidewire_protocol::{ClientFrame, ErrorCode, Name, Pattern, ServerFrame};

/// What a connection is sent, in short.
#[derive(Default)]
struct Seen(Vec<String>);

impl Sink for Seen {
    fn is_open(&mut self, _lane: Lane) -> bool {
        true
    }

    fn control(&mut self, _stream: u16, frames: &[u8]) {
        if let Ok(ServerFrame::Error { code, .. }) = ServerFrame::decode(&frames.to_vec().into()) {
            let code = ErrorCode::from_number(code).unwrap();
            self.0.push(format!("error {code:?}"));
        }
    }

    fn frame(&mut self, _lane: Lane, head: &[u8], shared: &Bytes) {
        let frame = [head, shared].concat();
        let line = match ServerFrame::decode(&frame.into()).unwrap() {
            ServerFrame::Subscribed { epoch, offset, .. } => format!("from {epoch}:{offset}"),
            ServerFrame::Deliver { epoch, from, next, .. } => format!("{epoch}:{from}..{next}"),
            ServerFrame::Gap { epoch, from, next, reason, position, .. } => {
                let at = position.map(|position| format!(" {}:{}", position.1, position.2));
                format!("gap {reason} {epoch}:{from}..{next}{}", at.unwrap_or_default())
            }
            other => panic!("unexpected: {other:?}"),
        };
        self.0.push(line);
    }

    fn finish(&mut self, _sub: u32) {}
}

fn topic() -> Name {
    Name::parse("ticker").unwrap()
}

fn shard(number: u16, epoch: u64) -> Shard {
    let policies = Arc::new(PolicyTable::new(Vec::new(), Policy::default()));
    Shard::new(ShardConfig {
        shard: number,
        epoch,
        seed: 1,
        policies,
        limits: ShardLimits::default(),
    })
}

struct World {
    dispatcher: Dispatcher,
    session: SessionId,
    shards: Vec<Shard>,
}

impl World {
    /// Somebody has subscribed to a name or pattern, from the oldest record on.
    fn new(pattern: &str, options: SubscribeOptions) -> Self {
        let mut dispatcher = Dispatcher::new(0, 7, FanoutLimits::default());
        let options_of_session = SessionOptions { framing: Framing::Bare, datagrams: false };
        let session = dispatcher.open(options_of_session, 0);
        let frame = ClientFrame::Subscribe {
            req: 1,
            sub: 1,
            pattern: Pattern::parse(pattern).unwrap(),
            start: Start::Earliest,
            options,
        };
        let hash = |_: &Name, _: Voter<'_>| VoterId([0; 16]);
        assert!(dispatcher.request(session, 0, Ok(frame), &hash).is_none());
        let shards = (0..SHARDS).map(|number| shard(number, 7)).collect();
        Self { dispatcher, session, shards }
    }

    fn publish(&mut self, times: u64) {
        for _ in 0..times {
            let body = payload_body(b"x");
            let (ack, terms) = (AckLevel::None, Terms::default());
            let request = Request::Publish { topic: topic(), ack, body, count: 1, terms };
            let origin = Origin { session: self.session, stream: 0, req: 0 };
            let home = usize::from(shard_of(&topic()));
            self.shards[home].handle(Command::Request(origin, request), 5);
            // Each a batch of its own.
            let round = self.shards[home].seal();
            self.tell(round.into_iter().flat_map(|round| round.events).map(|(_, event)| event));
        }
    }

    fn tell(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            if !matches!(event, Event::Reply { .. }) {
                self.dispatcher.apply(event, 5);
            }
        }
    }

    /// The shard of the topic is another one from now on, that knows nothing of what was before.
    fn replace(&mut self, epoch: u64) {
        let home = shard_of(&topic());
        let place = &mut self.shards[usize::from(home)];
        let interests = place.interests();
        *place = shard(home, epoch);
        place.take_interests(interests);
        let round = place.seal().unwrap();
        self.tell(round.events.into_iter().map(|(_, event)| event));
    }

    fn seen(&mut self) -> Vec<String> {
        while let Some((shard, command)) = self.dispatcher.outgoing() {
            let place = &mut self.shards[usize::from(shard)];
            place.handle(command, 5);
            let round = place.seal();
            self.tell(round.into_iter().flat_map(|round| round.events).map(|(_, event)| event));
        }
        self.pull()
    }

    /// The same without what the dispatcher wants of the shards.
    fn pull(&mut self) -> Vec<String> {
        let (mut head, mut seen) = (Vec::new(), Seen::default());
        while let Some(session) = self.dispatcher.next_ready() {
            self.dispatcher.pull(session, 256 * 1024, 5, &mut head, &mut seen);
        }
        seen.0
    }
}

#[test]
fn a_subscriber_of_a_topic_is_told_of_another_history_once() {
    let mut world = World::new("ticker", SubscribeOptions::default());
    assert_eq!(world.seen(), ["from 7:0"]);
    world.publish(2);
    assert_eq!(world.seen(), ["7:0..1", "7:1..2"]);
    world.replace(9);
    assert_eq!(world.seen(), ["gap 1 9:0..0"]);
    world.publish(2);
    assert_eq!(world.seen(), ["9:0..1", "9:1..2"]);
    // What it has not taken yet of the earlier one is gone with it.
    world.publish(3);
    world.replace(11);
    world.publish(1);
    assert_eq!(world.seen(), ["gap 1 11:0..0", "11:0..1"]);
}

#[test]
fn what_was_recalled_of_an_earlier_history_is_not_taken_for_another_record() {
    let mut world = World::new("ticker", SubscribeOptions::default());
    assert_eq!(world.seen(), ["from 7:0"]);
    let shard = shard_of(&topic());
    let batch = Batch {
        topic: topic(),
        topic_id: 0,
        shard,
        epoch: 7,
        base: 0,
        count: 1,
        time_ms: 5,
        sequence: 3,
        body: payload_body(b"x").into(),
    };
    let batch = Arc::new(batch.cooled());
    world.tell([Event::Appended { batch, first: 0, evicted: Vec::new() }]);
    let answer = |payload: &[u8]| {
        let bodies = vec![(3, payload_body(payload))];
        let recalled = Arc::new(Recalled { sequences: 3..4, bodies, reason: None });
        Event::Recalled { shard, recalled }
    };
    let asks = |world: &mut World| {
        assert!(world.pull().is_empty());
        let asked = world.dispatcher.outgoing();
        matches!(asked, Some((of, Command::Recall(0, 3))) if of == shard)
    };
    assert!(asks(&mut world));
    // Who answers counts otherwise, and has another record of that length there.
    world.tell([Event::Renumbered { shard }, answer(b"y")]);
    assert!(asks(&mut world));
    world.tell([answer(b"x")]);
    assert_eq!(world.pull(), ["7:0..1"]);
}

#[test]
fn a_subscriber_is_told_the_same_history_again_without_a_gap() {
    let mut world = World::new("ticker", SubscribeOptions::default());
    assert_eq!(world.seen(), ["from 7:0"]);
    world.publish(2);
    assert_eq!(world.seen().len(), 2);
    let home = usize::from(shard_of(&topic()));
    world.publish(1);
    world.shards[home].tell_anew();
    let round = world.shards[home].seal().unwrap();
    world.tell(round.events.into_iter().map(|(_, event)| event));
    world.publish(1);
    assert_eq!(world.seen(), ["7:2..3", "7:3..4"]);
}

#[test]
fn a_subscriber_of_a_pattern_is_told_of_another_history_of_a_shard() {
    let mut world = World::new("*", SubscribeOptions::default());
    world.seen();
    world.publish(2);
    assert_eq!(world.seen(), ["7:0..1", "7:1..2"]);
    world.replace(9);
    world.publish(1);
    assert_eq!(world.seen(), ["gap 1 9:0..0 9:0", "9:0..1"]);
}

#[test]
fn who_wants_no_gaps_is_told_why_the_subscription_ends() {
    let on_gap = Some(2);
    let mut world =
        World::new("ticker", SubscribeOptions { on_gap, ..SubscribeOptions::default() });
    world.seen();
    world.publish(1);
    assert_eq!(world.seen(), ["7:0..1"]);
    world.replace(9);
    world.publish(1);
    assert_eq!(world.seen(), ["error TooSlow"]);
}
