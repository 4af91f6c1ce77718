//! `tidewire bench converge`: how soon all nodes of a cluster show what one of them has counted.
//!
//! Each counter is eventual and has one writer, on one node, and a watcher on every other node. The time is from sending an
//! increment until a watcher holds a value that contains it, counted for each increment and each watcher.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tidewire_client::{
    CellKind, Client, CounterOp, CounterOptions, Error, WatchOptions, WatchValue,
};
use tidewire_protocol::Name;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use toml::Table;

use super::target::CLIENT_NAME;
use super::{USAGE, WRONG, unfinished};
use crate::child::cluster::{ChildCluster, Shape};
use crate::cli::{CliError, Globals};
use crate::demo::freshness::Clock;
use crate::demo::latency::{Latencies, SummaryMs};
use crate::demo::screen::{print, stop_asked};

/// The counters that are counted.
const POLICY: &str = "[[policy]]\nnames = \"bench.converge.>\"\nconsistency = \"eventual\"\n";
/// How long the last increments may take to be everywhere.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options of `converge`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct ConvergeArgs {
    /// Nodes of the cluster
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=7))]
    pub(crate) nodes: u8,
    /// Counters; each is counted on one of the nodes
    #[arg(long, value_name = "N", default_value_t = 30,
          value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) counters: u16,
    /// Increments of each counter in a second
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,
    /// Seconds that are measured
    #[arg(long, value_name = "S", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,
}

/// One counter: when each of its increments was sent.
struct Counter {
    name: Name,
    sent_ns: Mutex<Vec<u64>>,
    clock: Clock,
    increments: u64,
}

/// Runs it and prints what was measured.
///
/// # Errors
/// When the nodes cannot be started, refuse something, or do not come to the same.
pub(super) async fn run(args: ConvergeArgs, globals: &Globals) -> Result<(), CliError> {
    let failed = |message| CliError { exit_code: USAGE, message };
    let beside: Table = POLICY.parse().map_err(|error| failed(format!("{error}")))?;
    let (nodes, listen) = (usize::from(args.nodes), (Ipv4Addr::LOCALHOST, 0).into());
    let shape = Shape { nodes, listen, kept: "bench-kept.>", cores: 1, beside: Some(&beside) };
    let cluster = ChildCluster::start(shape).await.map_err(failed)?;
    let addresses = cluster.addresses();
    let measured = tokio::select! {
        measured = measure(args, &addresses) => measured,
        () = stop_asked() => Err(unfinished("the bench was stopped before its end")),
    };
    let stopped = cluster.stop().await;
    let latencies = measured.map_err(|error| CliError { exit_code: WRONG, ..error })?;
    stopped.map_err(failed)?;
    tell(args, &latencies, globals);
    Ok(())
}

async fn measure(args: ConvergeArgs, nodes: &[SocketAddr]) -> Result<Latencies, CliError> {
    let failed = |error: Error| unfinished(&error.to_string());
    let mut clients = Vec::with_capacity(nodes.len());
    for node in nodes {
        let builder = Client::builder(&format!("ws://{node}")).map_err(failed)?;
        clients.push(builder.client_name(CLIENT_NAME).connect().await.map_err(failed)?);
    }
    let (clock, mut writing, mut watching) = (Clock::start(), JoinSet::new(), JoinSet::new());
    for number in 0..usize::from(args.counters) {
        let name = Name::parse(&format!("bench.converge.{number}"));
        let counter = Arc::new(Counter {
            name: name.map_err(|refusal| CliError::usage(refusal.message))?,
            sent_ns: Mutex::default(),
            clock,
            increments: u64::from(args.rate) * u64::from(args.seconds),
        });
        for (node, client) in clients.iter().enumerate() {
            if node == number % clients.len() {
                let (client, counter) = (client.clone(), Arc::clone(&counter));
                writing.spawn(write(client, counter, args.rate));
            } else {
                watching.spawn(watch(client.clone(), Arc::clone(&counter)));
            }
        }
    }
    ended(&mut writing).await?;
    let watched = timeout(PATIENCE, ended(&mut watching)).await;
    watched.map_err(|_late| unfinished("the nodes do not come to the same"))?
}

/// Waits for all of them; returns what they have measured together.
async fn ended(tasks: &mut JoinSet<Result<Latencies, Error>>) -> Result<Latencies, CliError> {
    let mut all = Latencies::default();
    while let Some(ended) = tasks.join_next().await {
        let one = ended.map_err(|fault| unfinished(&fault.to_string()))?;
        all.merge(one.map_err(|error| unfinished(&error.to_string()))?);
    }
    Ok(all)
}

/// Increments by a schedule, without waiting for the answer to the one before.
async fn write(client: Client, counter: Arc<Counter>, rate: u32) -> Result<Latencies, Error> {
    let begun = Instant::now();
    let mut answers = JoinSet::new();
    for number in 0..counter.increments {
        sleep_until(begun + Duration::from_secs(number) / rate).await;
        counter.sent().push(counter.clock.now_ns());
        let options = CounterOptions::default();
        answers.spawn(client.start_counter(&counter.name, CounterOp::Add, 1, options).await?);
    }
    while let Some(answer) = answers.join_next().await {
        answer.map_err(|fault| Error::Config(fault.to_string()))??;
    }
    Ok(Latencies::default())
}

/// Watches until all increments are in the value.
async fn watch(client: Client, counter: Arc<Counter>) -> Result<Latencies, Error> {
    let options = WatchOptions { interval_ms: Some(0), ..WatchOptions::default() };
    let mut watch = client.watch(CellKind::Counter, &counter.name, options).await?;
    let (mut latencies, mut seen) = (Latencies::default(), 0);
    while seen < counter.increments {
        let value = match watch.next().await {
            Some(event) => match event.value {
                WatchValue::Counter(value) => u64::try_from(value).unwrap_or(0),
                WatchValue::Absent | WatchValue::Standings(_) | WatchValue::Entries { .. } => 0,
            },
            None => return Err(Error::Closed),
        };
        let (now_ns, from) = (counter.clock.now_ns(), index(seen));
        for sent_ns in counter.sent().get(from..index(value)).into_iter().flatten() {
            latencies.record(now_ns.saturating_sub(*sent_ns), 1);
        }
        seen = value.max(seen);
    }
    Ok(latencies)
}

impl Counter {
    fn sent(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.sent_ns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn tell(args: ConvergeArgs, latencies: &Latencies, globals: &Globals) {
    let ConvergeArgs { nodes, counters, rate, seconds } = args;
    if globals.json {
        let object = json!({
            "nodes": nodes, "counters": counters, "rate": rate, "seconds": seconds,
            "shown": latencies.count(), "ms": latencies.summary_ms(),
        });
        return print(&object.to_string());
    }
    let Some(SummaryMs { p50, p95, p99, max }) = latencies.summary_ms() else { return };
    let increments = u64::from(counters) * u64::from(rate);
    print(&format!(
        "{increments} increments a second on {nodes} nodes at once, {counters} counters; every node has come to the same\n\
         until another node shows an increment  p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms, max {max:.1} ms ({} times)",
        latencies.count()
    ));
}
