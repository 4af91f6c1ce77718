//! The task of one shard: drain the queue, end the round, pass on what is committed.

use tidewire_core::shard::{Command, Event, Round, Shard, ShardConfig};
use tokio::sync::mpsc;

use super::{Clock, Shared};
use crate::journal::{Journal, Memory};
use crate::recording::Tap;

/// Commands of one round at most, so that no round keeps replies waiting for long.
const ROUND_COMMANDS_MAX: usize = 2048;

pub(super) async fn run(
    shared: std::sync::Arc<Shared>,
    config: ShardConfig,
    mut queue: mpsc::Receiver<Command>,
) {
    let number = config.shard;
    let mut shard = Shard::new(config);
    let mut journal = Memory;
    let mut commands = Vec::new();
    let mut committed = Vec::new();
    let mut tap = Tap::new(number);
    loop {
        tokio::select! {
            // A shard with commands looks at nothing else; timers have their turn with them.
            biased;
            received = queue.recv_many(&mut commands, ROUND_COMMANDS_MAX) => {
                if received == 0 {
                    return;
                }
            }
            () = due(&shared.clock, shard.next_timeout_ms()) => {}
            () = shared.recorder.rung(number) => {
                tap.follow(&shared.recorder, &mut shard);
                continue;
            }
        }
        let now_ms = shared.clock.now_ms();
        let recorded = tap.begin(&shared.recorder, &mut shard, &commands, now_ms);
        shard.handle_timeout(now_ms);
        for command in commands.drain(..) {
            shard.handle(command, now_ms);
        }
        if let Some(round) = shard.seal() {
            journal.append(round, &mut committed);
        }
        if let Some(turn) = recorded {
            tap.end(&shared.recorder, turn, &shard);
        }
        for round in committed.drain(..) {
            tell(&shared, round).await;
        }
        shared.figures.set_shard(number, shard.stats());
    }
}

async fn due(clock: &Clock, at_ms: Option<u64>) {
    match at_ms {
        Some(at_ms) => tokio::time::sleep_until(clock.instant_of(at_ms)).await,
        None => std::future::pending().await,
    }
}

/// Sends each dispatcher its events of the round as one group.
async fn tell(shared: &Shared, round: Round) {
    let mut groups: Vec<Vec<Event>> = shared.dispatchers.iter().map(|_| Vec::new()).collect();
    for (dispatcher, event) in round.events {
        if let Some(group) = groups.get_mut(usize::from(dispatcher)) {
            group.push(event);
        }
    }
    for (dispatcher, group) in shared.dispatchers.iter().zip(groups) {
        if !group.is_empty() {
            // Fails only when the dispatcher's core has stopped: nobody is there to be told.
            drop(dispatcher.send(group).await);
        }
    }
}
