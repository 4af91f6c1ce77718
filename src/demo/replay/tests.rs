use std::collections::HashSet;
use std::num::NonZeroU32;

use clap::Parser;

use super::*;
use crate::config::Config;
use crate::demo::election::Mark;
use crate::demo::lan::Lan;
use crate::server::Server;

fn replay(rate: Rate) -> Replay {
    let mut election = Election::new("Small".to_owned(), 1);
    let ada = election.mark("Ada").unwrap();
    election.add([ada].into(), 3);
    election.add([Mark::Skipped].into(), 2);
    Replay::new(Arc::new(election), rate, Instant::now())
}

#[test]
fn each_ballot_is_cast_once_by_a_voter_of_its_own() {
    let replay = replay(Rate::Max);
    let ballots: Vec<Ballot> = std::iter::from_fn(|| replay.take()).collect();
    let voters: HashSet<&str> = ballots.iter().map(|ballot| ballot.voter.as_str()).collect();
    assert_eq!((ballots.len(), voters.len()), (5, 5));
    assert!(voters.contains("ballot-00001") && voters.contains("ballot-00005"));
    assert!(replay.take().is_none());
}

#[test]
fn ballots_fall_due_at_the_rate() {
    let replay = replay(Rate::PerSecond(NonZeroU32::new(4).unwrap()));
    let due: Vec<u128> = std::iter::from_fn(|| replay.take())
        .map(|ballot| (ballot.due.unwrap() - replay.started).as_millis())
        .collect();
    assert_eq!(due, [0, 250, 500, 750, 1000]);
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    demo: DemoArgs,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_ballot_is_counted_once_and_every_watcher_agrees() {
    let server = Server::start(on_loopback()).await.unwrap();
    let endpoint = Endpoint::local(server.address(), server.certificate_sha256());
    assert_exact(endpoint).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_with_accounts_it_is_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let lan = Lan::prepare([127, 0, 0, 1].into(), directory.path()).unwrap();
    let mut config = on_loopback();
    lan.configure(&mut config, 1000);
    let server = Server::start(config).await.unwrap();
    let endpoint = Endpoint::local(server.address(), server.certificate_sha256());
    assert_exact(endpoint.with_token(lan.own_key())).await;
    server.stop().await;
}

fn on_loopback() -> Config {
    let listen = ([127, 0, 0, 1], 0).into();
    Config { listen, admin_listen: listen, ..Config::default() }
}

/// Replays an election and compares every figure.
async fn assert_exact(endpoint: Endpoint) {
    let mut election = Election::new("Small".to_owned(), 2);
    let [ada, bo, cy] = ["Ada", "Bo", "Cy"].map(|name| election.mark(name).unwrap());
    election.add([ada, bo].into(), 400);
    election.add([bo, Mark::Skipped].into(), 300);
    election.add([cy, bo].into(), 250);
    election.add([Mark::Skipped, Mark::Skipped].into(), 30);
    election.add([Mark::Over, ada].into(), 20);
    let cli = ["demo", "--rate", "max", "--watchers", "25", "--connections", "4"];
    let args = Cli::parse_from(cli).demo;

    let outcome = play(&args, election, endpoint).await.unwrap();

    assert_eq!(outcome.faults(), Vec::<String>::new());
    assert_eq!((outcome.accepted, outcome.duplicates, outcome.watchers), (1000, 0, 25));
    // Each pair of a vote and a watcher was measured, and each vote's last watcher.
    assert_eq!(outcome.latency_pairs, 25_000);
    let report = serde_json::to_value(outcome.report()).unwrap();
    assert_eq!(report["winner"], "Bo");
    assert_eq!(report["first_preferences"], serde_json::json!({"Ada": 400, "Bo": 300, "Cy": 250}));
    assert_eq!((report["blank"].as_u64(), report["overvotes"].as_u64()), (Some(30), Some(20)));
    assert_eq!(report["rounds"][1]["votes"], serde_json::json!({"Ada": 420, "Bo": 550}));
}
