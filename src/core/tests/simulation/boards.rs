//! Maps that are larger than a frame: whoever watches one sees it as it was at some version, never
//! a mixture of two.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use tidewire_core::fanout::FanoutLimits;
use tidewire_core::shard::{SessionId, ShardLimits};
use tidewire_core::topic::{Policy, PolicyTable};
use tidewire_protocol::frame::{AckLevel, CellKind, KeyedEntry, flags, read_entries};
use tidewire_protocol::options::{PublishOptions, WatchOptions};
use tidewire_protocol::record::BodyBuilder;
use tidewire_protocol::{ClientFrame, Name, ServerFrame};

use crate::net::{DISPATCHERS, Net};

const ROWS: usize = 600;
const FRAME_BYTES_MAX: usize = 4096;

type State = BTreeMap<String, Bytes>;

struct World {
    net: Net,
    publisher: SessionId,
    now: State,
    /// Records published; each takes one of the shard's versions.
    written: u64,
    /// The version that changed the board last.
    version: u64,
    /// The board at each version that ends a publish.
    states: HashMap<u64, State>,
    watchers: Vec<Watcher>,
}

#[derive(Default)]
struct Watcher {
    session: Option<SessionId>,
    dispatcher: usize,
    /// Epoch and version of what it holds.
    held: Option<(u64, u64)>,
    epoch: u64,
    state: State,
    /// Version and entries of an update that is not complete.
    collected: (u64, Vec<KeyedEntry>),
    updates: u64,
    in_parts: u64,
}

fn board() -> Name {
    Name::parse("map.board").unwrap()
}

fn watch(options: WatchOptions) -> ClientFrame {
    ClientFrame::Watch { req: 1, sub: 4, kind: CellKind::Map, name: board(), options }
}

impl World {
    fn new(seed: u64, watchers: usize, retired_updates_bytes_max: usize) -> Self {
        let policy = Policy { map_keys_max: ROWS, ..Policy::default() };
        let policies = PolicyTable::new(Vec::new(), policy);
        let fanout = FanoutLimits {
            max_frame_bytes: FRAME_BYTES_MAX,
            retired_updates_bytes_max,
            ..FanoutLimits::default()
        };
        let mut net = Net::with_fanout(seed, policies, ShardLimits::default(), &fanout);
        let publisher = net.open(0);
        let watchers = (0..watchers).map(|_| Watcher::default()).collect();
        let (now, states) = (State::new(), HashMap::new());
        let mut world = Self { net, publisher, now, written: 0, version: 0, states, watchers };
        world.write(0..ROWS, false);
        world
    }

    /// Writes rows, or deletes some of them, in one body.
    fn write(&mut self, rows: impl IntoIterator<Item = usize>, deletes: bool) {
        let mut body = BodyBuilder::new();
        for row in rows {
            self.written += 1;
            let key = format!("row {row:03}");
            if deletes && self.net.chance.one_in(3) {
                body.push(Some(&key), &[], None);
                if self.now.remove(&key).is_some() {
                    self.version = self.written;
                }
            } else {
                let value = format!("{} of a row that is written again and again", self.written);
                body.push(Some(&key), &[], Some(value.as_bytes()));
                self.now.insert(key, value.into());
                self.version = self.written;
            }
        }
        self.states.insert(self.version, self.now.clone());
        let (topic, ack, options) = (board(), AckLevel::None, PublishOptions::default());
        let frame = ClientFrame::Publish { req: 0, topic, ack, body: body.finish(), options };
        self.net.request(self.publisher, frame);
    }

    fn step(&mut self) {
        self.net.now_ms += 1;
        for _ in 0..self.net.chance.index(3) {
            let (first, count) = (self.net.chance.index(ROWS), 1 + self.net.chance.index(8));
            self.write((0..count).map(|row| (first + 37 * row) % ROWS), true);
        }
        if self.net.chance.one_in(40) {
            // More than a frame holds has changed at once.
            self.write(0..ROWS / 2, false);
        }
        if self.net.chance.one_in(2) {
            self.net.seal();
        }
        self.net.arrive(false);
        for index in 0..self.watchers.len() {
            match self.net.chance.index(20) {
                0 => self.vanish(index),
                _ if self.watchers[index].session.is_none() => self.connect(index),
                _ => {
                    let budget = 1 + self.net.chance.index(3 * FRAME_BYTES_MAX);
                    self.read(index, budget);
                }
            }
        }
    }

    fn connect(&mut self, index: usize) {
        let dispatcher = self.net.chance.index(DISPATCHERS.into());
        let session = self.net.open(dispatcher);
        let watcher = &mut self.watchers[index];
        (watcher.session, watcher.dispatcher) = (Some(session), dispatcher);
        watcher.collected = (0, Vec::new());
        let (epoch, version) = watcher.held.unzip();
        self.net.request(session, watch(WatchOptions { epoch, version, ..Default::default() }));
    }

    fn vanish(&mut self, index: usize) {
        if let Some(session) = self.watchers[index].session.take() {
            self.net.close(session);
        }
    }

    fn read(&mut self, index: usize, budget: usize) {
        let Some(session) = self.watchers[index].session else { return };
        for frame in self.net.pull(session, budget) {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            assert!(bytes.len() <= FRAME_BYTES_MAX, "{}", bytes.len());
            if self.watchers[index].take(frame) {
                let watcher = &self.watchers[index];
                let (_, version) = watcher.held.unwrap();
                assert_eq!(watcher.state, self.states[&version], "as it was at {version}");
            }
        }
    }

    fn settle(&mut self) {
        for index in 0..self.watchers.len() {
            if self.watchers[index].session.is_none() {
                self.connect(index);
            }
        }
        for _ in 0..6 {
            self.net.seal();
            self.net.arrive(true);
            self.net.now_ms += 1;
            (0..self.watchers.len()).for_each(|index| self.read(index, usize::MAX));
        }
    }
}

impl Watcher {
    /// Takes a frame as PROTOCOL.md says; whether the state is a newer one now.
    fn take(&mut self, frame: ServerFrame) -> bool {
        match frame {
            ServerFrame::Watching { epoch, .. } => {
                self.epoch = epoch;
                false
            }
            ServerFrame::Update { version, flags, value, .. } => {
                // Another dispatcher may not have come as far yet as the one before.
                if self.held.is_some_and(|(_, held)| version <= held) {
                    return false;
                }
                if self.collected.0 != version {
                    self.collected = (version, Vec::new());
                }
                self.collected.1.extend(read_entries(&value.unwrap()).unwrap());
                if flags & flags::MORE != 0 {
                    self.in_parts += 1;
                    return false;
                }
                if flags & flags::FULL != 0 {
                    self.state.clear();
                }
                for entry in std::mem::take(&mut self.collected.1) {
                    match entry.value {
                        Some(value) => self.state.insert(entry.key, value),
                        None => self.state.remove(&entry.key),
                    };
                }
                self.held = Some((self.epoch, version));
                self.updates += 1;
                true
            }
            other => panic!("a watcher got {other:?}"),
        }
    }
}

/// Updates taken, parts among them, and updates begun anew.
fn run(seed: u64, retired_updates_bytes_max: usize) -> (u64, u64, u64) {
    let mut world = World::new(seed, 12, retired_updates_bytes_max);
    (0..300).for_each(|_| world.step());
    world.settle();
    for watcher in &world.watchers {
        assert_eq!(watcher.state, world.now, "seed {seed}: every watcher ends at the last state");
    }
    let sum = |figure: fn(&Watcher) -> u64| world.watchers.iter().map(figure).sum();
    let restarted = world.net.dispatchers.iter().map(|d| d.stats().updates_restarted).sum();
    (sum(|watcher| watcher.updates), sum(|watcher| watcher.in_parts), restarted)
}

#[test]
fn a_large_map_is_seen_as_it_was_at_some_version_and_in_the_end_as_it_is() {
    let (mut updates, mut in_parts) = (0, 0);
    for seed in 1..=3 {
        let (taken, parts, restarted) = run(seed, 64 * 1024 * 1024);
        (updates, in_parts) = (updates + taken, in_parts + parts);
        assert_eq!(restarted, 0, "there is room for all that are taken");
    }
    assert!(updates > 1_000 && in_parts > 1_000, "{updates} updates, {in_parts} parts");
}

#[test]
fn without_room_for_older_updates_slow_watchers_begin_anew_and_see_no_mixture() {
    let (mut updates, mut restarts) = (0, 0);
    for seed in 1..=3 {
        let (taken, _, restarted) = run(seed, 0);
        (updates, restarts) = (updates + taken, restarts + restarted);
    }
    assert!(updates > 1_000 && restarts > 10, "{updates} updates, {restarts} begun anew");
}

#[test]
fn watchers_that_come_one_after_the_other_share_one_encoding_while_little_changes() {
    let mut world = World::new(3, 0, 0);
    world.net.settle();
    let mut versions = Vec::new();
    for row in 0..40 {
        let session = world.net.open(1);
        let frames = world.net.ask(session, watch(WatchOptions::default()));
        let full = |frame: &ServerFrame| match frame {
            ServerFrame::Update { version, flags, .. } if flags & flags::FULL != 0 => {
                Some(*version)
            }
            _ => None,
        };
        versions.push(frames.iter().find_map(full).unwrap());
        world.write([row], false);
        world.net.seal();
        world.net.arrive(true);
    }
    versions.dedup();
    // Each change makes the board a new version; who comes gets an older one, and the changes.
    assert!(versions.len() <= 2, "{versions:?}");
}

#[test]
fn what_changes_while_a_watcher_takes_the_parts_follows_by_itself() {
    let mut world = World::new(3, 1, 0);
    world.net.settle();
    world.connect(0);
    world.net.settle();
    world.read(0, 1);
    world.read(0, 1);
    assert!(world.watchers[0].in_parts > 0 && world.watchers[0].held.is_none());
    world.write([7], false);
    world.net.settle();
    // Nothing happens from here on but that the watcher reads.
    world.read(0, usize::MAX);
    assert_eq!(world.watchers[0].state, world.now);
    assert_eq!(world.watchers[0].updates, 2, "the board as it was, and the change");
}

#[test]
fn a_watcher_of_one_key_hears_nothing_of_the_others() {
    let mut world = World::new(4, 0, 0);
    let session = world.net.open(1);
    let key = Some("row 005".to_owned());
    let frames = world.net.ask(session, watch(WatchOptions { key, ..Default::default() }));
    assert_eq!(frames.len(), 2, "{frames:?}");
    world.write([1, 2, 3], false);
    world.net.settle();
    assert_eq!(world.net.pull(session, usize::MAX), []);
    world.write([4, 5], false);
    world.net.settle();
    assert_eq!(world.net.pull(session, usize::MAX).len(), 1);
}
