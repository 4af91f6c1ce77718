//! The task that looks at the load, and tells when it changes.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::json;
use tidewire_protocol::Name;

use super::ladder::{Ladder, Level, Signals};
use super::{Load, memory};
use crate::server::{Shared, wall_ms};

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(100);
/// A commit that takes so long has stalled: no more is taken that has to wait for it.
const STALLED_MS: u64 = 10_000;
/// Where changes of the level are published.
const TOPIC: &str = "$sys.load";

/// Looks at the load until the server ends.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let topic = Name::parse(TOPIC).ok();
    let topic = topic.map(|name| (shared.config.policies().home(&name), name));
    let (mut ladder, mut in_use) = (Ladder::default(), memory::InUse::default());
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let signals = look(&shared, &mut in_use);
        let load = &shared.load;
        *load.signals.lock().unwrap_or_else(PoisonError::into_inner) = signals;
        let is_full = signals.is_full(load.is_full());
        if load.is_full.swap(is_full, Relaxed) != is_full {
            tell_full(load, is_full, signals);
        }
        tell_stalled(load, signals);
        let (was, level) = (load.level(), ladder.look(&signals, shared.clock.now_ms()));
        if level != was {
            load.level.store(level.number(), Relaxed);
            if let Some(line) = tell(load, was, level, signals)
                && let Some((shard, name)) = &topic
            {
                // A shard that has no room may be what the load is about.
                shared.offer(*shard, name, &line);
            }
        }
    }
}

fn look(shared: &Shared, in_use: &mut memory::InUse) -> Signals {
    let memory_max = u128::from(shared.load.memory_max_bytes.max(1));
    let permille =
        |bytes: u64| u64::try_from(u128::from(bytes) * 1000 / memory_max).unwrap_or(u64::MAX);
    let resident = memory::resident_bytes().unwrap_or(0);
    let records = shared.figures.shards().warm_bytes;
    Signals {
        fanout_lag_ms: shared.figures.take_fanout_lag_ms(),
        commit_ms: shared.journal.as_deref().map_or(0, |journal| journal.take_commit_ms()),
        memory_permille: permille(in_use.look(resident, records)),
        resident_permille: permille(resident),
    }
}

/// Tells people of another level; returns what programs are told.
fn tell(load: &Load, was: Level, level: Level, signals: Signals) -> Option<String> {
    let Signals { fanout_lag_ms, commit_ms, memory_permille, .. } = signals;
    let (from, to) = (was.name(), level.name());
    let interval_ms = level.interval_ms();
    if level > was {
        load.rises.fetch_add(1, Relaxed);
        tracing::warn!(
            fanout_lag_ms,
            commit_ms,
            memory_permille,
            interval_ms,
            "load: {from} -> {to}"
        );
    } else {
        load.falls.fetch_add(1, Relaxed);
        tracing::info!(
            fanout_lag_ms,
            commit_ms,
            memory_permille,
            interval_ms,
            "load: {from} -> {to}"
        );
    }
    serde_json::to_string(&json!({
        "time_ms": wall_ms(),
        "level": level.number(),
        "name": to,
        "before": from,
        "interval_ms": interval_ms,
        "fanout_lag_ms": fanout_lag_ms,
        "commit_ms": commit_ms,
        "memory_permille": memory_permille,
    }))
    .ok()
}

fn tell_full(load: &Load, is_full: bool, signals: Signals) {
    let budget_mib = load.memory_max_bytes / (1024 * 1024);
    let used_percent = signals.memory_permille / 10;
    if is_full {
        tracing::warn!(
            used_percent,
            budget_mib,
            "the memory budget is used up: what takes memory is refused"
        );
    } else {
        tracing::info!(used_percent, budget_mib, "there is memory again");
    }
}

fn tell_stalled(load: &Load, signals: Signals) {
    let is_stalled = signals.commit_ms >= STALLED_MS;
    match (load.is_stalled.swap(is_stalled, Relaxed), is_stalled) {
        (false, true) => tracing::error!(
            commit_ms = signals.commit_ms,
            "the disk does not answer: what has to be on it is refused until it does"
        ),
        (true, false) => tracing::info!("the disk answers again"),
        (false, false) | (true, true) => {}
    }
}
