//! `tidewire bench failover`: how long writes wait when the leader of a shard is killed.
//!
//! The bench starts three nodes. In each round every group has a topic, which is published to and
//! subscribed to all the time; then one node is killed that leads some of the groups. Told is the longest
//! time between two acknowledgements of a topic whose leader was killed, and the longest time between two
//! deliveries of the others.

mod round;

use std::net::Ipv4Addr;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tidewire_core::{SHARDS, shard_of};
use tidewire_protocol::Name;

use super::progress::Progress;
use super::{USAGE, WRONG, unfinished};
use crate::child::cluster::{ChildCluster, Shape};
use crate::cli::{CliError, Globals};
use crate::demo::latency::{Latencies, SummaryMs};
use crate::demo::screen::{print, stop_asked};
use round::{Round, Seen};

/// The names that are published to.
const NAMES: &str = "bench.failover.>";
/// Nodes of the cluster.
const NODES: usize = 3;

/// Options of `failover`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct FailoverArgs {
    /// Nodes that are killed, one after the other; each is started again and catches up before the next
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) kills: u32,
}

/// What all rounds together have shown.
#[derive(Debug, Default)]
struct Figures {
    kills: u32,
    /// Of topics whose leader was killed: by clients of nodes that live, and of the killed one.
    resumed: Latencies,
    resumed_elsewhere: Latencies,
    /// Of subscribers of topics whose leader lives, on nodes that live.
    untouched: Latencies,
    /// The longest of the first two.
    slowest: Option<Slowest>,
    faults: Vec<String>,
}

/// A kill behind which the writes to a topic have waited longest.
#[derive(Debug)]
struct Slowest {
    kill: u32,
    killed: usize,
    group: u16,
    pause: Duration,
}

/// Runs it and prints what was measured.
///
/// # Errors
/// When the nodes cannot be started or do not go on, or when a publish failed or a record was lost.
pub(super) async fn run(args: FailoverArgs, globals: &Globals) -> Result<(), CliError> {
    let failed = |message| CliError { exit_code: USAGE, message };
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    let shape = Shape { nodes: NODES, listen, kept: NAMES, cores: 1, beside: None };
    let mut cluster = ChildCluster::start(shape).await.map_err(failed)?;
    let progress = Progress::start();
    let mut figures = Figures::default();
    let measured = tokio::select! {
        measured = measure(args, &mut cluster, &mut figures, &progress) => measured,
        () = stop_asked() => Err(unfinished("the bench was stopped before its end")),
    };
    progress.end();
    let stopped = cluster.stop().await;
    measured?;
    figures.faults.extend(stopped.err());
    figures.tell(globals);
    match figures.faults.as_slice() {
        [] => Ok(()),
        faults => Err(CliError { exit_code: WRONG, message: faults.join("; ") }),
    }
}

async fn measure(
    args: FailoverArgs,
    cluster: &mut ChildCluster,
    figures: &mut Figures,
    progress: &Progress,
) -> Result<(), CliError> {
    let failed = |message| CliError { exit_code: WRONG, message };
    for kill in 0..args.kills {
        progress.note(&format!("bench: kill {} of {}", kill + 1, args.kills));
        let topics = topics(kill)?;
        let mut round = Round::start(&cluster.addresses(), &topics).await.map_err(failed)?;
        let mut leaders = Vec::with_capacity(topics.len());
        for topic in &topics {
            leaders.push(cluster.leader_of(topic).await.map_err(failed)?);
        }
        // Each group in turn is the one that loses its leader.
        let turn = usize::try_from(kill).unwrap_or(0) % leaders.len().max(1);
        let killed = leaders.get(turn).copied().unwrap_or_default();
        round.mark();
        cluster.kill(killed);
        figures.kills += 1;
        let seen = round.until_all_go_on().await.map_err(failed)?;
        for (group, (seen, leader)) in (0..).zip(seen.iter().zip(&leaders)) {
            let is_lost = *leader == killed;
            // Leadership that was about to be spread may have been handed over meanwhile.
            let stays = match topics.get(usize::from(group)) {
                Some(topic) if !is_lost => {
                    cluster.leader_of(topic).await.map_err(failed)? == *leader
                }
                Some(_) | None => false,
            };
            if is_lost || stays {
                figures.add(seen, is_lost, killed);
            }
            if is_lost {
                figures.waited(Slowest { kill, killed, group, pause: seen.acknowledgements });
            }
        }
        figures.faults.extend(round.end().await);
        cluster.restart(killed).await.map_err(failed)?;
        let entries = cluster.entries_beside(killed).await.map_err(failed)?;
        cluster.caught_up(killed, &entries).await.map_err(failed)?;
    }
    Ok(())
}

impl Figures {
    fn add(&mut self, seen: &Seen, has_lost_its_leader: bool, killed: usize) {
        let ns = |pause: Duration| u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        if !has_lost_its_leader {
            if seen.publisher_at != killed && seen.subscriber_at != killed {
                self.untouched.record(ns(seen.deliveries), 1);
            }
        } else if seen.publisher_at == killed {
            self.resumed_elsewhere.record(ns(seen.acknowledgements), 1);
        } else {
            self.resumed.record(ns(seen.acknowledgements), 1);
        }
    }

    fn waited(&mut self, one: Slowest) {
        if self.slowest.as_ref().is_none_or(|slowest| slowest.pause < one.pause) {
            self.slowest = Some(one);
        }
    }

    fn tell(&self, globals: &Globals) {
        let Self { kills, resumed, resumed_elsewhere, untouched, slowest, faults } = self;
        if globals.json {
            let group = |latencies: &Latencies| json!({ "topics": latencies.count(), "ms": latencies.summary_ms() });
            let slowest = slowest.as_ref().map(|slowest| {
                let Slowest { kill, killed, group, pause } = slowest;
                let ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                json!({ "kill": kill + 1, "node": killed + 1, "group": group, "ms": ms })
            });
            let object = json!({
                "kills": kills,
                "writes_resume": group(resumed),
                "writes_resume_elsewhere": group(resumed_elsewhere),
                "others_longest_pause": group(untouched),
                "slowest": slowest,
                "faults": faults,
            });
            return print(&object.to_string());
        }
        let mut lines = vec![format!("{kills} kills of a node that leads, of {NODES}")];
        for (what, latencies) in [
            ("writes resume, clients of living nodes ", resumed),
            ("writes resume, clients of the killed   ", resumed_elsewhere),
            ("others' subscribers, longest pause     ", untouched),
        ] {
            lines.push(line(what, latencies));
        }
        if let Some(Slowest { kill, killed, group, pause }) = slowest {
            lines.push(format!(
                "slowest: group {group}, {} ms behind kill {}, of node {}",
                pause.as_millis(),
                kill + 1,
                killed + 1
            ));
        }
        lines.extend(faults.iter().map(|fault| format!("WRONG  {fault}")));
        print(&lines.join("\n"));
    }
}

fn line(what: &str, latencies: &Latencies) -> String {
    match latencies.summary_ms() {
        Some(SummaryMs { p50, p99, max, .. }) => {
            let topics = latencies.count();
            format!("{what} p50 {p50:.0} ms, p99 {p99:.0} ms, max {max:.0} ms ({topics} topics)")
        }
        None => format!("{what} none"),
    }
}

/// A topic for each group, new ones for each round.
fn topics(round: u32) -> Result<Vec<Name>, CliError> {
    let mut found: Vec<Option<Name>> = vec![None; usize::from(SHARDS)];
    let mut number = 0_u64;
    while found.iter().any(Option::is_none) {
        let name = NAMES.replace('>', &format!("{round}-{number}"));
        let name = Name::parse(&name).map_err(|refusal| CliError::usage(refusal.message))?;
        number += 1;
        if let Some(place) = found.get_mut(usize::from(shard_of(&name))) {
            place.get_or_insert(name);
        }
    }
    Ok(found.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_has_a_topic() {
        let topics = topics(3).unwrap();
        let shards: Vec<u16> = topics.iter().map(shard_of).collect();
        assert_eq!(shards, (0..SHARDS).collect::<Vec<_>>());
    }

    #[test]
    fn a_topic_counts_by_who_led_it_and_where_its_clients_were() {
        let mut figures = Figures::default();
        let seen = |publisher_at, subscriber_at| Seen {
            publisher_at,
            subscriber_at,
            acknowledgements: Duration::from_millis(1_500),
            deliveries: Duration::from_millis(30),
        };
        figures.add(&seen(1, 2), true, 0);
        figures.add(&seen(0, 2), true, 0);
        figures.add(&seen(1, 2), false, 0);
        figures.add(&seen(1, 0), false, 0);
        let counts = [&figures.resumed, &figures.resumed_elsewhere, &figures.untouched];
        assert_eq!(counts.map(Latencies::count), [1, 1, 1]);
        let line = line("x", &figures.resumed);
        assert!(line.starts_with("x p50 15"), "{line}");
    }
}
