mod files;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidewire_core::SHARDS;
use tidewire_core::cell::VoterId;
use tidewire_core::shard::{
    Command, Interest, Origin, Request, SessionId, Shard, ShardConfig, ShardLimits, Terms,
};
use tidewire_core::topic::{Policy, PolicyTable};
use tidewire_protocol::frame::{AckLevel, CounterOp, PresenceOp, TallyOp};
use tidewire_protocol::options::CounterOptions;
use tidewire_protocol::record::payload_body;
use tidewire_protocol::tally::{Choice, TallyKind, TallyRules};
use tidewire_protocol::{Name, Pattern};

use super::format::Header;
use super::session::{Beginning, Session};
use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// Shards that take their turns when they are told to, and a recorder.
struct Rig {
    directory: tempfile::TempDir,
    recorder: Arc<Recorder>,
    shards: Vec<(Shard, Tap)>,
    now_ms: u64,
    told: u64,
}

fn shard(number: u16) -> Shard {
    let map = Policy { map_keys_max: 50, retention_ms: Some(400), ..Policy::default() };
    let rules = vec![(Pattern::parse("map.>").unwrap(), map)];
    Shard::new(ShardConfig {
        shard: number,
        epoch: 77,
        seed: 5,
        policies: Arc::new(PolicyTable::new(rules, Policy::default())),
        limits: ShardLimits::default(),
    })
}

fn name(raw: &str) -> Name {
    Name::parse(raw).unwrap()
}

fn request(request: Request) -> Command {
    let session = SessionId { dispatcher: 0, slot: 1, generation: 2 };
    Command::Request(Origin { session, stream: 0, req: 9 }, request)
}

fn publish(topic: &str, body: Bytes) -> Command {
    let (topic, ack) = (name(topic), AckLevel::Memory);
    request(Request::Publish { topic, ack, body, count: 1, terms: Terms::default() })
}

/// The command of this number: something of everything, over and over.
fn command(number: u64) -> Command {
    match number % 7 {
        0 => Command::Follow((number % 3) as u8, Interest::Topic(name("news"))),
        1 => {
            let options = vec!["soup".to_owned(), "pie".to_owned()];
            let rules = Some(TallyRules::new(TallyKind::Single, options).into());
            let (name, op, incarnation) = (name("poll"), TallyOp::Create, None);
            request(Request::Tally { name, op, rules, incarnation })
        }
        2 => request(Request::Vote {
            tally: name("poll"),
            voter: VoterId([(number % 97) as u8; 16]),
            choices: vec![Choice::Index(number % 2)],
            revision: None,
            issuer: None,
        }),
        3 => request(Request::Counter {
            name: name("hits"),
            op: CounterOp::Add,
            operand: 3,
            options: CounterOptions {
                id: Some(format!("id {number}")),
                ttl_ms: Some(500),
                ..CounterOptions::default()
            },
        }),
        4 => request(Request::Presence {
            name: name("room"),
            op: PresenceOp::Join,
            member: format!("member {}", number % 20),
            data: Bytes::from_static(b"d"),
        }),
        5 => publish("map.a", payload_body(number.to_string().as_bytes())),
        _ => publish("news", payload_body(number.to_string().as_bytes())),
    }
}

impl Rig {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            recorder: Arc::new(Recorder::new(SHARDS)),
            shards: (0..SHARDS).map(|number| (shard(number), Tap::new(number))).collect(),
            now_ms: 1_000,
            told: 0,
        }
    }

    fn turn(&mut self, number: usize, commands: Vec<Command>) {
        self.now_ms += 3;
        let (shard, tap) = &mut self.shards[number];
        let recorded = tap.begin(&self.recorder, shard, &commands, self.now_ms);
        shard.handle_timeout(self.now_ms);
        for command in commands {
            shard.handle(command, self.now_ms);
        }
        shard.seal();
        if let Some(turn) = recorded {
            tap.end(&self.recorder, turn, shard);
        }
    }

    /// A turn of each shard, with up to three commands.
    fn turns(&mut self) {
        for number in 0..self.shards.len() {
            let commands = (0..number % 4).map(|_| {
                self.told += 1;
                command(self.told)
            });
            let commands = commands.collect();
            self.turn(number, commands);
        }
    }

    fn start(&self, name: &str, max_bytes: u64) -> PathBuf {
        let request = StartRequest {
            directory: Some(self.directory.path().to_owned()),
            name: name.to_owned(),
            limits: Limits { max_bytes, max_seconds: 60 },
            node: "test".to_owned(),
            now_ms: self.now_ms,
        };
        self.recorder.start(request).unwrap().file.into()
    }

    /// Goes on until something holds of the recording's status.
    fn until(&mut self, holds: impl Fn(&Status) -> bool) -> Status {
        let started = Instant::now();
        loop {
            self.turns();
            let status = self.recorder.status().unwrap();
            if holds(&status) {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "{status:?}");
            std::thread::yield_now();
        }
    }

    fn joined(&mut self) {
        self.until(|status| status.shards == usize::from(SHARDS));
    }

    fn stop(&mut self) -> Status {
        let recorder = Arc::clone(&self.recorder);
        let stopping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            runtime.unwrap().block_on(recorder.stop(StopReason::Requested)).unwrap()
        });
        self.until(|status| status.state == "finished");
        stopping.join().unwrap()
    }

    /// A whole recording of a rig that has lived before it.
    fn recorded(name: &str) -> (Self, PathBuf, Status) {
        let mut rig = Self::new();
        (0..40).for_each(|_| rig.turns());
        let file = rig.start(name, 1 << 30);
        rig.joined();
        (0..40).for_each(|_| rig.turns());
        let status = rig.stop();
        (rig, file, status)
    }
}

fn header() -> Header {
    Header { server: "s".to_owned(), node: "n".to_owned(), started_at_ms: 1, shards: SHARDS }
}

fn open(file: &Path, only: Option<u16>) -> Replay<BufReader<File>> {
    Replay::open(BufReader::new(File::open(file).unwrap()), only).unwrap()
}

/// Replays to the end, or to where it leaves the recording.
fn play<R: std::io::Read>(replay: &mut Replay<R>) -> Result<Option<Divergence>, ReadError> {
    loop {
        match replay.look()? {
            Look::Input(_) => {
                if let Some(diverged) = replay.tell(false).unwrap().diverged {
                    return Ok(Some(diverged));
                }
            }
            Look::Equal(_) => {}
            Look::Diverged(divergence) => return Ok(Some(divergence)),
            Look::Over => return Ok(None),
        }
    }
}

#[test]
fn a_recording_from_the_middle_on_replays_to_the_state_at_its_end() {
    let (rig, file, status) = Rig::recorded("middle");
    assert_eq!((status.state, status.stop_code), ("finished", Some("requested")));
    let mut replay = open(&file, None);
    assert_eq!(play(&mut replay).unwrap(), None);
    assert_eq!(replay.shards().len(), usize::from(SHARDS));
    assert_eq!((replay.number(), replay.end().unwrap().inputs), (status.inputs, status.inputs));
    for (number, replayed) in replay.shards() {
        assert!(replayed.inputs > 40 && replayed.hashes >= 2, "shard {number}");
        assert_eq!(replayed.last, Some(replayed.shard.state_hash()));
    }
    assert_eq!(status.bytes, std::fs::metadata(&file).unwrap().len());
    assert!(rig.told > 2_000);
}

#[test]
fn effects_and_inputs_are_shown_one_by_one_and_change_nothing() {
    let (_rig, file, status) = Rig::recorded("steps");
    let mut replay = open(&file, None);
    let (mut inputs, mut effects, mut numbers) = (0, 0, Vec::new());
    loop {
        match replay.look().unwrap() {
            Look::Input(coming) => {
                let done = replay.tell(true).unwrap();
                assert_eq!((done.what.number, done.diverged), (coming.number, None));
                numbers.push(coming.number);
                inputs += 1;
                effects += done.effects.len();
            }
            Look::Equal(_) => {}
            Look::Diverged(divergence) => panic!("{divergence:?}"),
            Look::Over => break,
        }
    }
    assert_eq!(inputs, status.inputs);
    assert_eq!(numbers, (1..=inputs).collect::<Vec<_>>());
    // Each request is answered, and is told once only.
    assert!(effects > 500 && effects < 3 * inputs as usize, "{effects} effects");
}

#[test]
fn one_shard_replays_alone() {
    let (_rig, file, status) = Rig::recorded("alone");
    let mut replay = open(&file, Some(7));
    assert_eq!(play(&mut replay).unwrap(), None);
    assert_eq!(replay.shards().keys().collect::<Vec<_>>(), [&7]);
    assert!(replay.shards()[&7].last.is_some());
    assert_eq!(replay.number(), status.inputs);
}

#[test]
fn a_full_file_ends_the_recording_says_so_and_replays() {
    let mut rig = Rig::new();
    rig.turns();
    let file = rig.start("full", 128 * 1024);
    let status = rig.until(|status| status.state == "finished");
    assert_eq!(status.stop_code, Some("max_bytes"));
    assert!(status.stop_reason.unwrap().contains("131072"));
    let bytes = std::fs::metadata(&file).unwrap().len();
    assert!(bytes <= 128 * 1024 && bytes > 100 * 1024, "{bytes}");
    let mut replay = open(&file, None);
    assert_eq!(play(&mut replay).unwrap(), None);
    assert_eq!(replay.end().unwrap().code, "max_bytes");
    assert!(replay.torn().is_none() && replay.number() > 100);
    let (_, ended) = rig.recorder.counts();
    assert!(ended.into_iter().any(|count| count == ("max_bytes", 1)));
}

#[test]
fn a_state_that_does_not_fit_ends_the_recording_as_well() {
    let mut rig = Rig::new();
    rig.turn(0, vec![publish("large", payload_body(&[7; 400_000]))]);
    let file = rig.start("large", 128 * 1024);
    assert_eq!(rig.until(|status| status.state == "finished").stop_code, Some("max_bytes"),);
    assert!(std::fs::metadata(&file).unwrap().len() <= 128 * 1024);
    let mut replay = open(&file, None);
    assert_eq!(play(&mut replay).unwrap(), None);
    assert_eq!(replay.shards().len(), 0);
}

#[test]
fn a_state_of_many_pieces_comes_back() {
    let mut rig = Rig::new();
    let bodies: Vec<Bytes> = (0..5).map(|byte| payload_body(&[byte; 700_000])).collect();
    rig.turn(3, bodies.into_iter().map(|body| publish("large", body)).collect());
    let file = rig.start("pieces", 1 << 30);
    rig.joined();
    rig.stop();
    let mut replay = open(&file, None);
    assert_eq!(play(&mut replay).unwrap(), None);
    assert!(replay.shards()[&3].shard.stats().topic_bytes > 3_500_000);
}

#[test]
fn a_shard_never_waits_for_the_writer() {
    let mut rig = Rig::new();
    let file = rig.start("queue", 1 << 30);
    rig.joined();
    // More than may wait, in one turn; the bytes are there once only.
    let body = payload_body(&[7; 1_000_000]);
    rig.turn(5, (0..70).map(|_| publish("large", body.clone())).collect());
    let status = rig.until(|status| status.state == "finished");
    assert_eq!(status.stop_code, Some("queue_full"));
    assert!(status.stop_reason.unwrap().contains("shard 5"));
    let mut replay = open(&file, None);
    assert_eq!(play(&mut replay).unwrap(), None);
    let is_whole = |number: u16| replay.shards()[&number].last.is_some();
    assert!(!is_whole(5) && is_whole(4) && is_whole(6));
}

#[test]
fn a_disk_that_takes_nothing_ends_the_recording() {
    let recorder = Arc::new(Recorder::new(SHARDS));
    let session = Session::new(Beginning {
        number: 1,
        name: "x".to_owned(),
        path: "/dev/full".into(),
        limits: Limits { max_bytes: 1 << 20, max_seconds: 60 },
        started_at_ms: 1,
    });
    let file = File::options().write(true).open("/dev/full").unwrap();
    let (_queue, entries) = sync_channel(1);
    writer::run(&recorder, &session, &entries, file, &header());
    let status = session.status();
    assert_eq!((status.state, status.stop_code), ("finished", Some("write_failed")));
    assert!(status.stop_reason.unwrap().contains("No space left"));
}

#[test]
fn one_recording_at_a_time_and_bounds_within_reason() {
    let mut rig = Rig::new();
    let request = |directory: Option<&Path>, name: &str, max_bytes, max_seconds| StartRequest {
        directory: directory.map(Path::to_owned),
        name: name.to_owned(),
        limits: Limits { max_bytes, max_seconds },
        node: "test".to_owned(),
        now_ms: 1,
    };
    let directory = rig.directory.path().to_owned();
    let refused = |rig: &Rig, request| rig.recorder.start(request).unwrap_err().to_string();
    assert!(refused(&rig, request(None, "a", 1 << 20, 9)).contains("recordings_dir"));
    assert!(refused(&rig, request(Some(&directory), "a/b", 1 << 20, 9)).contains("a/b"));
    assert!(refused(&rig, request(Some(&directory), "a", 1000, 9)).contains("max_bytes"));
    assert!(refused(&rig, request(Some(&directory), "a", 1 << 20, 0)).contains("max_seconds"));
    rig.start("a", 1 << 20);
    assert!(refused(&rig, request(Some(&directory), "b", 1 << 20, 9)).contains("'a' is under way"));
    assert!(!directory.join("b").exists());
    rig.stop();
    assert!(refused(&rig, request(Some(&directory), "a", 1 << 20, 9)).contains("exists already"));
    rig.start("b", 1 << 20);
    rig.stop();
}
