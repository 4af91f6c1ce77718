//! A relay between the dispatchers of a node and a shard on another one, over a link that is slow and
//! breaks, to leaders that change.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use tidewire_core::relay::Relay;
use tidewire_core::shard::{
    Command, DispatcherId, Event, Interest, Origin, Request, SessionId, Shard,
};
use tidewire_protocol::frame::CellKind;
use tidewire_protocol::{ErrorCode, Refusal};

use super::commands::Chance;
use super::snapshot::shard;
use super::told::Told;

/// What this node is to the leader's shard.
const PEER: DispatcherId = 64;
const DISPATCHERS: usize = 3;

/// The dispatchers of a node, their relay and the link.
struct World {
    chance: Chance,
    now_ms: u64,
    leader: Shard,
    epoch: u64,
    relay: Relay,
    is_connected: bool,
    up: VecDeque<Vec<u8>>,
    down: VecDeque<Vec<u8>>,
    told: Vec<Told>,
    /// What each dispatcher follows, and how many answers it waits for.
    follows: Vec<BTreeMap<Interest, i64>>,
    /// Requests that have not been answered.
    asked: BTreeMap<(SessionId, u64), u64>,
    next_req: u64,
    /// Events that crossed the link, and those that dispatchers were given for them.
    crossed: u64,
    given: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            chance: Chance(seed),
            now_ms: 1,
            leader: shard(seed, 77),
            epoch: 77,
            relay: Relay::new(4, Vec::new()),
            is_connected: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
            told: (0..DISPATCHERS)
                .map(|_| Told { may_ask_twice: true, ..Told::default() })
                .collect(),
            follows: vec![BTreeMap::new(); DISPATCHERS],
            asked: BTreeMap::new(),
            next_req: 1,
            crossed: 0,
            given: 0,
        }
    }

    fn send(&mut self, command: Command) {
        if let Some(command) = self.relay.handle(command)
            && self.is_connected
        {
            self.up.push_back(rmp_serde::to_vec_named(&command).unwrap());
        }
    }

    fn connect(&mut self) {
        self.is_connected = true;
        for command in self.relay.connect() {
            self.up.push_back(rmp_serde::to_vec_named(&command).unwrap());
        }
    }

    fn disconnect(&mut self) {
        self.is_connected = false;
        self.up.clear();
        self.down.clear();
        self.leader.handle(Command::PeerEnded(PEER), self.now_ms);
        let mut told = Vec::new();
        let refusal = Refusal::new(ErrorCode::Unavailable, "the leader is gone");
        self.relay.disconnect(&refusal, &mut told);
        self.give(told);
    }

    fn dispatcher_acts(&mut self) {
        let at = self.chance.below(DISPATCHERS as u64) as usize;
        let dispatcher = at as DispatcherId;
        let interest = self.chance.interest();
        match self.chance.below(4) {
            // As dispatchers do: one follows a thing once.
            0 | 1 if !self.follows[at].contains_key(&interest) => {
                self.follows[at].insert(interest.clone(), 1);
                self.send(Command::Follow(dispatcher, interest));
            }
            2 if self.follows[at].get(&interest).is_some_and(|due| *due <= 0) => {
                self.follows[at].remove(&interest);
                self.forget(at, &interest);
                self.send(Command::Unfollow(dispatcher, interest));
            }
            _ if self.is_connected => {
                let request = self.chance.request();
                if !matches!(request, Request::Presence { .. } | Request::Group(_)) {
                    let slot = self.chance.below(4) as u32;
                    let session = SessionId { dispatcher, slot, generation: 1 };
                    let req = self.next_req;
                    self.next_req += 1;
                    self.asked.insert((session, req), self.now_ms);
                    self.send(Command::Request(Origin { session, stream: 0, req }, request));
                }
            }
            _ => {}
        }
    }

    fn forget(&mut self, at: usize, interest: &Interest) {
        match interest {
            Interest::Topic(name) => drop(self.told[at].topics.remove(name)),
            Interest::CommitLog => self.told[at].sequence = None,
            Interest::Cell(kind, name) => {
                drop(self.told[at].cells.remove(&(*kind, name.clone())));
            }
        }
    }

    /// The leader takes some of what has come, and does something of its own.
    fn leader_acts(&mut self, commands: u64) {
        for _ in 0..commands {
            let Some(command) = self.up.pop_front() else { break };
            let command: Command = rmp_serde::from_slice(&command).unwrap();
            self.leader.handle(command.of_peer(PEER).unwrap(), self.now_ms);
        }
        if self.chance.below(3) == 0 {
            for command in self.chance.turn(&mut self.now_ms) {
                self.leader.handle(command, self.now_ms);
            }
        }
        self.leader.handle_timeout(self.now_ms);
        let events = self.leader.seal().into_iter().flat_map(|round| round.events);
        for (_, event) in events.filter(|(to, _)| *to == PEER) {
            if self.is_connected {
                self.down.push_back(rmp_serde::to_vec_named(&event).unwrap());
            }
        }
    }

    fn node_hears(&mut self, events: u64) {
        for _ in 0..events {
            let Some(event) = self.down.pop_front() else { break };
            self.crossed += 1;
            let mut told = Vec::new();
            self.relay.take(rmp_serde::from_slice(&event).unwrap(), &mut told);
            self.given += told.len() as u64;
            self.give(told);
        }
    }

    fn give(&mut self, told: Vec<(DispatcherId, Event)>) {
        for (dispatcher, event) in told {
            let at = usize::from(dispatcher);
            if let Event::Reply { session, req, .. } = &event {
                assert_eq!(session.dispatcher, dispatcher);
                assert!(self.asked.remove(&(*session, *req)).is_some(), "answered twice");
            }
            if let Some(interest) = snapshot_of(&event)
                && let Some(due) = self.follows[at].get_mut(&interest)
            {
                *due -= 1;
            }
            if self.is_followed(at, &event) {
                self.told[at].take(event);
            }
        }
    }

    /// A dispatcher passes over what it does not follow any more.
    fn is_followed(&self, at: usize, event: &Event) -> bool {
        match event {
            Event::Cell { kind, name, .. } => {
                self.follows[at].contains_key(&Interest::Cell(*kind, name.clone()))
            }
            Event::TopicSnapshot { name, .. } | Event::TopicRefused { name, .. } => {
                self.follows[at].contains_key(&Interest::Topic(name.clone()))
            }
            Event::LogSnapshot { .. } => self.follows[at].contains_key(&Interest::CommitLog),
            _ => true,
        }
    }

    fn step(&mut self) {
        self.now_ms += self.chance.below(3);
        match self.chance.below(60) {
            0 if self.is_connected => self.disconnect(),
            1 if self.is_connected => {
                // Another node leads it, which knows nothing of what was in memory there.
                self.disconnect();
                self.epoch += 1_000;
                self.leader = shard(self.chance.next(), self.epoch);
            }
            0..=9 if !self.is_connected => self.connect(),
            _ => {}
        }
        self.dispatcher_acts();
        let (commands, events) = (self.chance.below(4), self.chance.below(5));
        self.leader_acts(commands);
        self.node_hears(events);
    }

    /// Lets everything that is under way arrive.
    fn settle(&mut self) {
        if !self.is_connected {
            self.connect();
        }
        for _ in 0..1_000 {
            self.leader_acts(u64::MAX);
            self.node_hears(u64::MAX);
        }
        // Nothing is done any more.
        for _ in 0..3 {
            let events = self.leader.seal().into_iter().flat_map(|round| round.events);
            let events: Vec<Event> =
                events.filter(|(to, _)| *to == PEER).map(|(_, event)| event).collect();
            self.down.extend(events.iter().map(|event| rmp_serde::to_vec_named(event).unwrap()));
            self.node_hears(u64::MAX);
        }
    }

    /// What each dispatcher was told is what there is at the leader.
    fn check(&mut self) {
        assert!(self.asked.is_empty(), "not answered: {:?}", self.asked);
        assert_eq!(self.relay.pending(), 0);
        const VISITOR: DispatcherId = 9;
        for at in 0..DISPATCHERS {
            for (interest, due) in self.follows[at].clone() {
                assert!(due <= 0, "{at} still waits for {interest:?}");
                let mut seen = Told::default();
                self.leader.handle(Command::Follow(VISITOR, interest.clone()), self.now_ms);
                self.leader.handle(Command::Unfollow(VISITOR, interest.clone()), self.now_ms);
                seen.take_all(VISITOR, self.leader.seal());
                let told = &self.told[at];
                match &interest {
                    Interest::Topic(name) => {
                        assert_eq!(told.topics.get(name), seen.topics.get(name), "{name}");
                    }
                    Interest::CommitLog => assert_eq!(told.sequence, seen.sequence),
                    // What cannot be followed was refused.
                    Interest::Cell(CellKind::Tally, _) => {}
                    Interest::Cell(kind, name) => {
                        let cell = (*kind, name.clone());
                        let value = told.cells.get(&cell).cloned().unwrap_or_default();
                        let wanted = seen.cells.get(&cell).cloned().unwrap_or_default();
                        assert_eq!(value, wanted, "{cell:?}");
                    }
                }
            }
        }
    }
}

/// What an event answers, if it says how something is.
fn snapshot_of(event: &Event) -> Option<Interest> {
    match event {
        Event::TopicSnapshot { name, .. } | Event::TopicRefused { name, .. } => {
            Some(Interest::Topic(name.clone()))
        }
        Event::LogSnapshot { .. } => Some(Interest::CommitLog),
        Event::Cell { kind, name, snapshot: true, .. } => Some(Interest::Cell(*kind, name.clone())),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_relay_answers_everything_once_and_tells_what_there_is(
        seed in any::<u64>(),
        steps in 0_usize..400,
    ) {
        let mut world = World::new(seed);
        (0..steps).for_each(|_| world.step());
        world.settle();
        world.check();
    }
}

#[test]
fn what_is_to_be_recalled_while_nobody_leads_is_asked_for_when_somebody_does() {
    let mut relay = Relay::new(4, Vec::new());
    // Nobody sends it on.
    drop(relay.handle(Command::Recall(1, 7)));
    let asked = relay.connect();
    assert!(matches!(&asked[..], [Command::Recall(1, 7)]), "{asked:?}");
}

#[test]
fn an_event_crosses_the_link_once_for_all_who_follow() {
    let mut world = World::new(5);
    world.connect();
    let interest = Interest::CommitLog;
    for at in 0..DISPATCHERS {
        world.follows[at].insert(interest.clone(), 1);
        world.send(Command::Follow(at as DispatcherId, interest.clone()));
    }
    world.leader_acts(10);
    world.node_hears(1_000);
    (world.crossed, world.given) = (0, 0);
    for _ in 0..2_000 {
        world.leader_acts(0);
    }
    world.node_hears(u64::MAX);
    assert!(world.crossed > 20);
    assert_eq!(world.given, world.crossed * DISPATCHERS as u64);
}
