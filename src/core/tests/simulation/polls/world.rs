//! Voters that vote and change their minds, watchers that come and go, and a poll that is made,
//! closed, deleted and made again.

use std::collections::BTreeMap;

use tidewire_core::shard::SessionId;
use tidewire_protocol::frame::{CellKind, TallyOp, flags};
use tidewire_protocol::options::WatchOptions;
use tidewire_protocol::tally::{
    Choice, Rounds, Standings, TallyInfo, TallyReply, TallyRules, TallyState,
};
use tidewire_protocol::{ClientFrame, ErrorCode, Name, ServerFrame, wire};

use super::watcher::Watcher;
use super::{get, net, options_of, poll, refusal, rules, tally, value, vote};
use crate::net::{DISPATCHERS, Net};

const VOTERS: usize = 60;

struct World {
    net: Net,
    admin: SessionId,
    voters: Vec<Voter>,
    watchers: Vec<Watcher>,
    /// Which creation of the poll it is; each has another number of options.
    generation: usize,
    /// Ballots that have been accepted, by voter.
    ballots: BTreeMap<usize, Vec<Choice>>,
    /// First ballots that were acknowledged: partition and version.
    acknowledged: Vec<(u64, u64)>,
    /// Whether votes may be refused, because the poll is not open.
    between: bool,
}

struct Voter {
    session: SessionId,
    /// The ballot whose reply has not come.
    asked: Option<Vec<Choice>>,
}

fn plain() -> Name {
    Name::parse("plain.poll").unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut net = net(seed);
        let admin = net.open(2);
        let voters = (0..VOTERS)
            .map(|_| {
                let dispatcher = net.chance.index(DISPATCHERS.into());
                Voter { session: net.open(dispatcher), asked: None }
            })
            .collect();
        Self {
            net,
            admin,
            voters,
            watchers: (0..6).map(|_| Watcher::default()).collect(),
            generation: 0,
            ballots: BTreeMap::new(),
            acknowledged: Vec::new(),
            between: true,
        }
    }

    /// Asks for a change of the poll and goes on until it is answered.
    fn change(&mut self, op: TallyOp, rules: Option<TallyRules>) -> TallyReply {
        self.net.request(self.admin, tally(op, &poll(), rules));
        for _ in 0..1_000 {
            self.step();
            match &self.net.pull(self.admin, usize::MAX)[..] {
                [] => {}
                [ServerFrame::Ok { result: Some(result), .. }] => {
                    return wire::from_slice(result).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
        panic!("no reply to {op:?}");
    }

    fn step(&mut self) {
        self.net.now_ms += 1;
        for _ in 0..self.net.chance.index(8) {
            self.vote();
        }
        if self.net.chance.one_in(2) {
            self.net.seal();
        }
        self.net.arrive(false);
        (0..VOTERS).for_each(|voter| self.take_reply(voter));
        for index in 0..self.watchers.len() {
            match (self.net.chance.index(20), self.watchers[index].session) {
                (0, Some(session)) => {
                    self.net.close(session);
                    self.watchers[index].session = None;
                }
                (1..=4, None) => self.watch(index),
                (_, Some(_)) => self.read(index),
                (_, None) => {}
            }
        }
    }

    fn vote(&mut self) {
        let voter = self.net.chance.index(VOTERS);
        if self.voters[voter].asked.is_some() {
            return;
        }
        let count = self.net.chance.index(4);
        // Options that every generation has.
        let choices: Vec<Choice> =
            (0..count).map(|_| Choice::Index(self.net.chance.index(3) as u64)).collect();
        self.net.request(self.voters[voter].session, vote(&poll(), voter, &choices));
        self.voters[voter].asked = Some(choices);
    }

    fn take_reply(&mut self, voter: usize) {
        for frame in self.net.pull(self.voters[voter].session, usize::MAX) {
            let choices = self.voters[voter].asked.take().expect("one reply per vote");
            match frame {
                ServerFrame::Voted { version, status, partition, .. } => {
                    let partition = partition.expect("the poll has partitions");
                    if self.between {
                        continue;
                    }
                    let known = self.ballots.insert(voter, choices).is_some();
                    assert_eq!(status == 0, !known, "status {status}");
                    if !known {
                        self.acknowledged.push((partition, version));
                    }
                }
                ServerFrame::Error { code, .. } => {
                    let code = ErrorCode::from_number(code).unwrap();
                    assert!(self.between, "{code:?}");
                    assert!(matches!(code, ErrorCode::NotFound | ErrorCode::TallyClosed));
                }
                other => panic!("a voter got {other:?}"),
            }
        }
    }

    fn watch(&mut self, index: usize) {
        let dispatcher = self.net.chance.index(DISPATCHERS.into());
        let session = self.net.open(dispatcher);
        let watcher = &mut self.watchers[index];
        *watcher =
            Watcher { session: Some(session), updates: watcher.updates, ..Default::default() };
        let (name, options) = (poll(), WatchOptions::default());
        let frame = ClientFrame::Watch { req: 2, sub: 3, kind: CellKind::Tally, name, options };
        self.net.request(session, frame);
    }

    fn read(&mut self, index: usize) {
        let Some(session) = self.watchers[index].session else { return };
        for frame in self.net.pull(session, usize::MAX) {
            let watcher = &mut self.watchers[index];
            match frame {
                ServerFrame::Watching { info, .. } => {
                    let info: TallyInfo = wire::from_slice(&info.unwrap()).unwrap();
                    watcher.generation = info.options.len() - options_of(0);
                    assert!(watcher.generation <= self.generation);
                }
                ServerFrame::Update { version, flags, value, .. } => {
                    assert!(version > watcher.version, "versions grow");
                    watcher.version = version;
                    if flags & flags::DELETED != 0 {
                        (watcher.last, watcher.ballots) = (None, 0);
                        continue;
                    }
                    let standings: Standings = wire::from_slice(&value.unwrap()).unwrap();
                    watcher.take(standings, self.generation, &self.acknowledged);
                }
                // It came when there was none.
                ServerFrame::Error { code: 9, .. } => {
                    self.net.close(session);
                    self.watchers[index].session = None;
                    return;
                }
                other => panic!("a watcher got {other:?}"),
            }
        }
    }

    /// Lets everything arrive, and everyone see it.
    fn settle(&mut self) {
        for _ in 0..8 {
            self.net.settle();
            (0..VOTERS).for_each(|voter| self.take_reply(voter));
            (0..self.watchers.len()).for_each(|index| self.read(index));
        }
    }
}

#[test]
fn a_poll_with_partitions_is_the_exact_sum_of_its_ballots_and_has_the_same_runoff() {
    let mut updates = 0;
    for seed in 1..=6 {
        let mut world = World::new(seed);
        for generation in 0..4 {
            world.generation = generation;
            world.acknowledged.clear();
            let reply = world.change(TallyOp::Create, Some(rules(generation)));
            assert!(reply.created && reply.state == TallyState::Open);
            // Votes that are under way were for the poll before, or came too early.
            world.settle();
            world.ballots.clear();
            world.recount();
            world.between = false;
            (0..120).for_each(|_| world.step());
            world.settle();
            world.check();
            world.between = true;
            assert_eq!(world.change(TallyOp::Close, None).state, TallyState::Closed);
            // What was under way when it closed has been counted or refused; from here on nothing
            // changes any more.
            world.settle();
            let closed = world.standings();
            (0..40).for_each(|_| world.step());
            world.settle();
            assert_eq!(world.standings(), closed);
            assert_eq!(closed.state, TallyState::Closed);
            world.change(TallyOp::Delete, None);
            if seed.is_multiple_of(2) {
                // The next one is made before everyone has heard of the end of this one.
                continue;
            }
            world.settle();
            let gone = world.net.ask(world.admin, get(CellKind::Tally, &poll()));
            assert_eq!(refusal(&gone), ErrorCode::NotFound);
            for watcher in world.watchers.iter().filter(|watcher| watcher.session.is_some()) {
                assert_eq!(watcher.last, None, "who watches is told that it was deleted");
            }
        }
        updates += world.watchers.iter().map(|watcher| watcher.updates).sum::<u64>();
    }
    assert!(updates > 500, "{updates}");
}

impl World {
    fn standings(&mut self) -> Standings {
        value(&self.net.ask(self.admin, get(CellKind::Tally, &poll())))
    }

    /// Takes over the ballots that came in before the model looked.
    fn recount(&mut self) {
        // A fresh start: delete and create again, with nobody voting.
        self.net.ask(self.admin, tally(TallyOp::Delete, &poll(), None));
        self.settle();
        let create = tally(TallyOp::Create, &poll(), Some(rules(self.generation)));
        let created = self.net.ask(self.admin, create);
        assert!(matches!(created[..], [ServerFrame::Ok { .. }]), "{created:?}");
        self.settle();
    }

    /// Holds every watcher and every way to read against a poll without partitions that has the
    /// same ballots.
    fn check(&mut self) {
        let admin = self.admin;
        self.net.request(admin, tally(TallyOp::Delete, &plain(), None));
        self.net.ask(admin, tally(TallyOp::Create, &plain(), Some(rules(self.generation))));
        for (voter, choices) in self.ballots.clone() {
            self.net.request(admin, vote(&plain(), voter, &choices));
        }
        self.net.settle();
        self.net.pull(admin, usize::MAX);
        let expected: Standings = value(&self.net.ask(admin, get(CellKind::Tally, &plain())));
        assert_eq!(expected.ballots, self.ballots.len() as u64);
        let whole = self.standings();
        assert_eq!(Standings { partitions: None, ..whole.clone() }, expected);
        for watcher in self.watchers.iter().filter(|watcher| watcher.session.is_some()) {
            let seen = watcher.last.clone().expect("it has been seen");
            assert_eq!(Standings { options: None, rules: None, ..whole.clone() }, seen);
        }
        let rounds: Rounds = value(&self.net.ask(admin, get(CellKind::Rounds, &poll())));
        let plain: Rounds = value(&self.net.ask(admin, get(CellKind::Rounds, &plain())));
        assert_eq!(rounds, plain);
    }
}
