//! The laboratory of faults: five nodes in processes of their own, with a network between them that does
//! what a seed wants. Clients on all of them write, read and follow, while one fault after the other
//! happens. Afterwards what was acknowledged is held against what is there.
//!
//! `TIDEWIRE_FAULTS` says how often each fault happens (1 unless set), `TIDEWIRE_FAULTS_SEED` repeats the
//! order and the chances of a run, `TIDEWIRE_FAULTS_ONLY` takes the faults whose name contains it, and
//! `TIDEWIRE_FAULTS_REPORT` is where the plot goes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::cast_precision_loss,
    clippy::print_stderr,
    reason = "a test that meets what it does not expect is to fail"
)]

#[path = "../crash/chance.rs"]
mod chance;
#[path = "../live/daemon.rs"]
#[allow(dead_code, reason = "the laboratory needs less of it than the other tests")]
mod daemon;
mod examine;
mod faults;
mod follow;
mod load;
mod nodes;
mod relay;
mod report;
mod seat;
mod stalled;
mod timeline;
#[path = "../crash/volume.rs"]
#[allow(dead_code, reason = "the laboratory needs less of it than the crash tests")]
mod volume;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chance::{chance, number};
use faults::Fault;
use follow::{Follower, Told, Until};
use load::{Operation, Sent};
use nodes::Nodes;
use seat::Stage;
use tidewire_client::Name;
use timeline::{Mark, Timeline};
use tokio::task::JoinSet;

const NODES: usize = 5;
/// The disk of one node.
const VOLUME_MIB: u64 = 1_024;
/// Between one fault and the next.
const CALM: Duration = Duration::from_secs(2);

/// Everybody at work.
#[derive(Default)]
struct Work {
    publishers: JoinSet<Vec<Sent>>,
    passing: JoinSet<Vec<Sent>>,
    voters: JoinSet<[u64; 3]>,
    counting: JoinSet<Vec<Operation>>,
    followers: JoinSet<(Name, Told)>,
}

impl Work {
    fn begin(stage: &Stage) -> Self {
        let mut work = Self::default();
        for node in 0..NODES {
            let topic = load::topic(node % load::TOPICS);
            work.publishers.spawn_local(load::publish(stage.clone(), node, topic));
            work.counting.spawn_local(load::count(stage.clone(), node));
            let topic = load::topic((node + 1) % load::TOPICS);
            work.follow(stage, node, topic, true);
            work.follow(stage, node, load::passing(), false);
        }
        for node in [0, 2] {
            work.passing.spawn_local(load::publish_passing(stage.clone(), node));
            work.voters.spawn_local(load::vote(stage.clone(), node + 1));
            work.counting.spawn_local(load::read(stage.clone(), node + 1));
        }
        work
    }

    fn follow(&mut self, stage: &Stage, node: usize, topic: Name, is_kept: bool) {
        let stage = stage.clone();
        self.followers.spawn_local(async move {
            let follower = Follower::of(&stage, node, topic.clone(), is_kept);
            (topic, follower.run(Until::Ended).await)
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_whatever_happens() {
    let rounds = number("TIDEWIRE_FAULTS", 1);
    let mut seed = number("TIDEWIRE_FAULTS_SEED", u64::from(std::process::id()));
    eprintln!("TIDEWIRE_FAULTS_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let volume = volume::volume_or_say(folder.path(), VOLUME_MIB);
    let mut nodes = Nodes::start(NODES, volume, seed).await;
    let timeline = Arc::new(Timeline::new());
    let has_ended = Arc::new(AtomicBool::new(false));
    let stage = Stage { urls: Arc::clone(&nodes.urls), timeline: Arc::clone(&timeline), has_ended };
    let load = begin(stage.clone());
    for fault in plan(&nodes, rounds, &mut seed) {
        tokio::time::sleep(CALM).await;
        assert!(!load.is_finished(), "the load has ended: {:?}", load.join().err());
        suffer(&mut nodes, fault, &timeline).await;
    }
    tokio::time::sleep(CALM).await;
    stage.has_ended.store(true, Ordering::Relaxed);
    eprintln!("{}", tokio::task::block_in_place(|| load.join().unwrap()));
    let title = format!("Five nodes through {} faults", timeline.marks().len());
    eprintln!("{}", report::draw(&timeline, &title).display());
}

/// The load and its examination have a thread of their own.
fn begin(stage: Stage) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let work = async {
            load::prepare(&stage).await;
            let work = Work::begin(&stage);
            examine(&stage, work).await
        };
        tokio::task::LocalSet::new().block_on(&runtime, work)
    })
}

/// The faults, in an order of chance.
fn plan(nodes: &Nodes, rounds: u64, seed: &mut u64) -> Vec<Fault> {
    let only = std::env::var("TIDEWIRE_FAULTS_ONLY").unwrap_or_default();
    let mut all = Vec::new();
    for _ in 0..rounds {
        let mut round = Fault::all(nodes);
        round.retain(|fault| fault.name().contains(&only));
        while !round.is_empty() {
            let at = usize::try_from(chance(seed) % round.len() as u64).unwrap();
            all.push(round.swap_remove(at));
        }
    }
    assert!(!all.is_empty(), "no fault is called '{only}'");
    all
}

async fn suffer(nodes: &mut Nodes, fault: Fault, timeline: &Timeline) {
    let from = timeline.now();
    fault.happen(nodes).await;
    let until = timeline.now();
    Fault::heal(nodes);
    let whole = timeline.now();
    let mark = Mark { what: fault.name().to_owned(), from, until, whole };
    let silence = report::silence(&timeline.points(), &mark);
    let (lasts, heals) = (until - from, whole - until);
    eprintln!("{}: for {lasts:.1?}, whole after {heals:.1?}, silent for {silence:.2} s", mark.what);
    timeline.mark(mark);
}

async fn examine(stage: &Stage, work: Work) -> String {
    let sent: Vec<Sent> = work.publishers.join_all().await.concat();
    let passed: Vec<Sent> = work.passing.join_all().await.concat();
    let followed = work.followers.join_all().await;
    let mut voted = [0; 3];
    for counts in work.voters.join_all().await {
        voted.iter_mut().zip(counts).for_each(|(all, one)| *all += one);
    }
    let operations = work.counting.join_all().await.concat();
    let readings = operations.iter().filter(|operation| operation.is_read).count();
    let (passing, kept): (Vec<_>, Vec<_>) =
        followed.into_iter().partition(|(topic, _)| *topic == load::passing());
    let passing: Vec<Told> = passing.into_iter().map(|(_, told)| told).collect();
    let lost = examine::passing(&passed, &passing);
    let records = examine::topics(stage, &sent, kept).await;
    let ballots = examine::tally(stage, voted).await;
    let counted = examine::counter(operations);
    format!(
        "{records} records, {ballots} ballots, {counted} increments and {readings} readings as they \
         were acknowledged; of {} records in memory {lost} were not told",
        passed.len()
    )
}
