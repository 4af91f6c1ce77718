//! `tidewire demo --cluster N`: the election over several nodes, each a process of its own. The one that
//! leads the tally is killed with half of the ballots counted, and started again later.

use std::net::SocketAddr;
use std::thread::available_parallelism;
use std::time::Duration;

use serde::Serialize;
use tidewire_client::{CellKind, Client, Error, Name, WatchOptions, WatchValue};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::connections::Endpoint;
use super::crash::wait_for;
use super::election::Election;
use super::report::Outcome;
use super::screen::say;
use super::{DemoArgs, USAGE, WRONG, conclude, failed, open_at, play, replay};
use crate::child::cluster::{ChildCluster, Shape};
use crate::cli::{CliError, Globals};

/// How long a node may take to show what it holds at the end.
const SETTLE: Duration = Duration::from_secs(30);

/// What became of the nodes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Nodes {
    pub(crate) nodes: usize,
    /// The one that was killed, and how many ballots were counted then.
    pub(crate) killed: usize,
    pub(crate) counted_before: u64,
    /// Entries of the logs that were written while it was dead, and the time from its start until it had
    /// all of them.
    pub(crate) missed_entries: u64,
    pub(crate) caught_up_ms: u128,
    /// What is wrong with what nodes hold.
    pub(crate) faults: Vec<String>,
}

/// Runs the demo over so many nodes.
///
/// # Errors
/// When the cluster cannot be started, a vote is refused, or a count is wrong on any node in the end.
pub(super) async fn run(
    args: &DemoArgs,
    nodes: usize,
    election: Election,
    globals: &Globals,
) -> Result<(), CliError> {
    say(&format!("Starting {nodes} nodes, which become one cluster ..."));
    let cores = available_parallelism().map_or(1, |all| (all.get() / nodes).max(1));
    let shape = Shape { nodes, listen: args.listen, kept: super::NAMES, cores, beside: None };
    let cluster = ChildCluster::start(shape).await.map_err(|error| failed(USAGE, error))?;
    let addresses = cluster.addresses();
    let certificate = cluster.certificate_sha256().unwrap_or_default();
    let endpoint = Endpoint::of_nodes(&addresses, certificate)
        .ok_or_else(|| failed(USAGE, "a cluster has a node".to_owned()))?;
    open_at(&endpoint);
    let all = election.ballots();
    let striking = tokio::spawn(strike(cluster, endpoint.clone(), all));
    let played = play(args, election, endpoint.clone()).await;
    let outcome = match played {
        Ok(outcome) => outcome,
        Err(error) => {
            // What went wrong first is worth more than what follows from it.
            striking.abort();
            return Err(error);
        }
    };
    let (cluster, nodes) = struck(striking).await?;
    let faults = faults_of(&addresses, &outcome).await;
    let outcome = Outcome { nodes: Some(Nodes { faults, ..nodes }), ..outcome };
    let ended = conclude(args, &outcome, globals).await;
    let stopped = cluster.stop().await.map_err(|error| failed(WRONG, error));
    ended.and(stopped)
}

async fn struck(
    striking: JoinHandle<Result<(ChildCluster, Nodes), String>>,
) -> Result<(ChildCluster, Nodes), CliError> {
    let ended = striking.await.map_err(|fault| failed(WRONG, fault.to_string()))?;
    ended.map_err(|error| failed(WRONG, error))
}

/// Kills the node that leads the tally once half of the ballots are counted, and starts it again when three
/// quarters are; waits until it has all that it missed.
async fn strike(
    mut cluster: ChildCluster,
    endpoint: Endpoint,
    ballots: u64,
) -> Result<(ChildCluster, Nodes), String> {
    let explain = |error: Error| format!("looking at the count: {error}");
    let client = endpoint.websocket("tidewire-demo-nodes").await.map_err(explain)?;
    let tally = Name::parse(replay::TALLY).map_err(|refusal| refusal.message)?;
    let nodes = cluster.addresses().len();
    let counted_before = wait_for(&client, &tally, ballots / 2).await?;
    let index = cluster.leader_of(&tally).await?;
    let before: u64 = cluster.entries_beside(index).await?.values().sum();
    cluster.kill(index);
    let killed = index + 1;
    say(&format!(
        "Node {killed}, which led the tally, was killed when {counted_before} ballots were counted."
    ));
    let counted = wait_for(&client, &tally, ballots - ballots / 4).await?;
    let leader = cluster.leader_of(&tally).await? + 1;
    say(&format!(
        "Node {leader} leads it now, and {counted} are counted. Node {killed} is started again."
    ));
    let entries = cluster.entries_beside(index).await?;
    let missed_entries = entries.values().sum::<u64>().saturating_sub(before);
    let started = Instant::now();
    cluster.restart(index).await?;
    cluster.caught_up(index, &entries).await?;
    let caught_up_ms = started.elapsed().as_millis();
    say(&format!(
        "Node {killed} has the {missed_entries} entries that it missed, {caught_up_ms} ms after its start."
    ));
    let faults = Vec::new();
    let nodes = Nodes { nodes, killed, counted_before, missed_entries, caught_up_ms, faults };
    Ok((cluster, nodes))
}

/// What is wrong with what each node holds: its own copy, and what it answers.
async fn faults_of(addresses: &[SocketAddr], outcome: &Outcome) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, address) in (1..).zip(addresses) {
        let looked = timeout(SETTLE, disagreement(*address, outcome)).await;
        match looked.map_err(|elapsed| elapsed.to_string()) {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(wrong))) => faults.push(format!("node {at} {wrong}")),
            Ok(Err(error)) => faults.push(format!("node {at} does not tell its count: {error}")),
            Err(late) => faults.push(format!("node {at} does not tell the last count: {late}")),
        }
    }
    faults
}

/// What is wrong on one node. Its copy may get the last ballots a little later.
async fn disagreement(address: SocketAddr, outcome: &Outcome) -> Result<Option<String>, Error> {
    let client = Client::builder(&format!("ws://{address}"))?.reconnect(false).connect().await?;
    let tally = Name::parse(replay::TALLY)?;
    let (_, answered) = client.standings(&tally).await?;
    if answered.counts != outcome.expected.counts || answered.ballots != outcome.expected.ballots {
        return Ok(Some(format!(
            "answers {:?}, not {:?}",
            answered.counts, outcome.expected.counts
        )));
    }
    let mut watch = client.watch(CellKind::Tally, &tally, WatchOptions::default()).await?;
    while let Some(event) = watch.next().await {
        if let WatchValue::Standings(held) = &event.value
            && held.counts == outcome.expected.counts
            && held.state == outcome.expected.state
        {
            return Ok(None);
        }
    }
    Ok(Some("ends the watch of its count".to_owned()))
}
