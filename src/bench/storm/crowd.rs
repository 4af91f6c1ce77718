//! All clients that are cut off.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::stream::{self, StreamExt};
use tidewire_client::{CellKind, Client, Error, Pattern, Start, SubscribeOptions, WatchOptions};
use tokio::task::JoinSet;

use super::Names;
use super::follower::{Follower, Standing};
use super::scene::Way;
use super::writers::Written;
use crate::bench::progress::Progress;
use crate::demo::freshness::{Clock, lock};
use crate::demo::latency::Latencies;

/// Clients that connect at the same time, before the cut.
const CONNECTING_MAX: usize = 32;

/// The crowd. Dropping it ends it.
pub(super) struct Crowd {
    members: Vec<Member>,
    clock: Clock,
    cut_ns: Mutex<u64>,
    _following: JoinSet<()>,
}

struct Member {
    client: Client,
    standing: Arc<Mutex<Standing>>,
}

/// What became of the crowd.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// From the cut until a client was back, and until it had caught up.
    pub(super) back: Latencies,
    pub(super) caught_up: Latencies,
    /// How many clients came back with so many attempts.
    pub(super) attempts: BTreeMap<u64, u64>,
    pub(super) faults: Vec<String>,
}

impl Crowd {
    /// Connects all clients, each of which follows both names from the beginning.
    pub(super) async fn gather(
        way: &Way,
        names: &Names,
        written: Arc<Written>,
        count: u32,
        progress: &Progress,
    ) -> Result<Self, String> {
        let clock = Clock::start();
        let (mut members, mut following) = (Vec::new(), JoinSet::new());
        let joining = stream::iter(0..count).map(|_| join(way, names, &written, clock));
        let mut joining = std::pin::pin!(joining.buffer_unordered(CONNECTING_MAX));
        while let Some(joined) = joining.next().await {
            let follower = joined.map_err(|error| {
                format!("{} of {count} clients follow, and then: {error}", members.len())
            })?;
            let standing = Arc::clone(&follower.standing);
            members.push(Member { client: follower.client.clone(), standing });
            following.spawn(follower.follow());
            progress.step(1);
        }
        Ok(Self { members, clock, cut_ns: Mutex::default(), _following: following })
    }

    /// They are about to be cut off: times and attempts count from now on.
    pub(super) fn mark(&self) {
        for Member { client, standing } in &self.members {
            lock(standing).mark(client.attempts());
        }
        *lock(&self.cut_ns) = self.clock.now_ns();
    }

    /// How many are back and have caught up.
    pub(super) fn caught_up(&self) -> u64 {
        let is_there = |member: &&Member| lock(&member.standing).caught_up_ns.is_some();
        self.members.iter().filter(is_there).count() as u64
    }

    /// Whether all of them have all that was written.
    pub(super) fn has_everything(&self, written: &Written) -> bool {
        self.members.iter().all(|member| has_everything(&lock(&member.standing), written))
    }

    /// Ends it, and sums up.
    pub(super) fn disband(self, written: &Written) -> Seen {
        let (mut seen, mut lacking, mut wrong) = (Seen::default(), 0_u64, 0_u64);
        let (cut_ns, mut first) = (*lock(&self.cut_ns), None);
        for member in &self.members {
            let standing = lock(&member.standing);
            if let (Some(back), Some(caught_up_ns)) = (standing.back(), standing.caught_up_ns) {
                seen.back.record(back.at_ns.saturating_sub(cut_ns), 1);
                seen.caught_up.record(caught_up_ns.saturating_sub(cut_ns), 1);
                *seen.attempts.entry(back.attempts).or_default() += 1;
            }
            lacking += u64::from(!has_everything(&standing, written));
            if let Some(fault) = &standing.fault {
                wrong += 1;
                first.get_or_insert_with(|| fault.clone());
            }
        }
        let missing = self.members.len() as u64 - seen.caught_up.count();
        let told = [(missing, "were not back in time"), (lacking, "lack something at the end")];
        let faults = told.iter().filter(|(count, _)| *count > 0);
        seen.faults.extend(faults.map(|(count, what)| format!("{count} clients {what}")));
        if let Some(first) = first {
            seen.faults.push(format!("{wrong} clients were served wrongly; the first: {first}"));
        }
        seen
    }
}

fn has_everything(standing: &Standing, written: &Written) -> bool {
    standing.records == written.records() && standing.votes == written.votes()
}

async fn join(
    way: &Way,
    names: &Names,
    written: &Arc<Written>,
    clock: Clock,
) -> Result<Follower, Error> {
    let client = way.client()?.connect().await?;
    let pattern = Pattern::parse(names.topic.as_str())?;
    let options = SubscribeOptions::default();
    let subscription = client.subscribe(&pattern, Start::Earliest, options).await?;
    let watch = client.watch(CellKind::Tally, &names.tally, WatchOptions::default()).await?;
    let (standing, written) = (Arc::default(), Arc::clone(written));
    Ok(Follower { client, subscription, watch, standing, written, clock })
}
