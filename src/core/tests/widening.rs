//! Values that go out less often while the server is loaded, and say so.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail"
)]

use bytes::Bytes;
use tidewire_core::access::Voter;
use tidewire_core::cell::VoterId;
use tidewire_core::fanout::{Dispatcher, FanoutLimits, Framing, Lane, SessionOptions, Sink};
use tidewire_core::shard::{CellValue, Event, SessionId};
use tidewire_core::shard_of;
use tidewire_protocol::frame::{CellKind, flags};
use tidewire_protocol::options::WatchOptions;
use tidewire_protocol::{ClientFrame, Name, ServerFrame};

const STEP_MS: u64 = 10;

/// The updates that a connection is sent: version and flags.
#[derive(Default)]
struct Updates(Vec<(u64, u64)>);

impl Sink for Updates {
    fn is_open(&mut self, _lane: Lane) -> bool {
        true
    }

    fn control(&mut self, _stream: u16, _frames: &[u8]) {}

    fn frame(&mut self, _lane: Lane, head: &[u8], shared: &Bytes) {
        let frame = [head, shared].concat();
        if let Ok(ServerFrame::Update { version, flags, .. }) = ServerFrame::decode(&frame.into()) {
            self.0.push((version, flags));
        }
    }

    fn finish(&mut self, _sub: u32) {}
}

/// A dispatcher with a watcher of a counter that grows at each step.
struct World {
    dispatcher: Dispatcher,
    session: SessionId,
    now_ms: u64,
    version: u64,
}

fn counter() -> Name {
    Name::parse("likes").unwrap()
}

impl World {
    fn new(interval_ms: Option<u64>) -> Self {
        let mut dispatcher = Dispatcher::new(0, 7, FanoutLimits::default());
        let options = SessionOptions { framing: Framing::Bare, datagrams: false };
        let session = dispatcher.open(options, 0);
        let watch = ClientFrame::Watch {
            req: 1,
            sub: 1,
            kind: CellKind::Counter,
            name: counter(),
            options: WatchOptions { interval_ms, ..WatchOptions::default() },
        };
        let hash = |_: &Name, _: Voter<'_>| VoterId([0; 16]);
        assert!(dispatcher.request(session, 0, Ok(watch), &hash).is_none());
        while dispatcher.outgoing().is_some() {}
        let mut world = Self { dispatcher, session, now_ms: 1_000, version: 0 };
        world.change(true);
        world
    }

    fn change(&mut self, snapshot: bool) {
        self.version += 1;
        let event = Event::Cell {
            shard: shard_of(&counter()),
            kind: CellKind::Counter,
            name: counter(),
            version: self.version,
            epoch: 1,
            value: CellValue::Whole { value: vec![7].into(), info: None },
            snapshot,
        };
        self.dispatcher.apply(event, self.now_ms);
    }

    /// Lets so many steps pass; returns the updates that the watcher was sent.
    fn steps(&mut self, steps: u64) -> Vec<(u64, u64)> {
        let (mut head, mut updates) = (Vec::new(), Updates::default());
        for _ in 0..steps {
            self.now_ms += STEP_MS;
            self.change(false);
            self.dispatcher.handle_timeout(self.now_ms);
            while let Some(session) = self.dispatcher.next_ready() {
                assert_eq!(session, self.session);
                self.dispatcher.pull(session, 256 * 1024, self.now_ms, &mut head, &mut updates);
            }
        }
        updates.0
    }
}

#[test]
fn a_loaded_server_sends_values_less_often_and_says_so() {
    let mut world = World::new(None);
    assert_eq!(world.steps(100).len(), 100, "as often as they change");
    world.dispatcher.widen(250);
    let widened = world.steps(100);
    assert!(widened.len() <= 5, "a second in steps of 250 ms: {widened:?}");
    let stale = flags::FULL | flags::STALE | 250 << flags::INTERVAL_SHIFT;
    assert!(widened.iter().all(|(_, flags)| *flags == stale), "{widened:?}");
    let newest = widened.last().unwrap().0;
    assert!(world.version - newest <= 250 / STEP_MS, "no older than it says");
    world.dispatcher.widen(0);
    let normal = world.steps(100);
    assert!(normal.len() >= 75, "again as often as they change: {}", normal.len());
    assert!(normal.iter().all(|(_, flags)| *flags == flags::FULL));
}

#[test]
fn who_asks_for_less_gets_what_was_asked_for() {
    let mut world = World::new(Some(500));
    world.dispatcher.widen(250);
    let updates = world.steps(200);
    assert!((4..=5).contains(&updates.len()), "{updates:?}");
    assert!(updates.iter().all(|(_, flags)| *flags == flags::FULL), "nothing is stale");
}
