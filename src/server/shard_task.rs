//! The task of one shard: drain the queue, end the round, pass on what is committed.

use std::sync::Arc;

use tidewire_core::shard::{Command, DispatcherId, Event, Round, Shard};
use tidewire_protocol::{ErrorCode, Refusal};
use tokio::sync::mpsc;

use super::recalling::recall;
use super::tenants::Names;
use super::{Clock, Look, Queued, Shared};
use crate::journal::{Journal, Outcome};
use crate::recording::Tap;

/// Commands of one round at most, so that no round keeps replies waiting for long.
const ROUND_COMMANDS_MAX: usize = 2048;

/// A shard, and where its rounds are committed.
pub(crate) struct ShardTask {
    pub(super) number: u16,
    pub(super) shard: Shard,
    pub(super) journal: Journal,
    pub(super) queue: mpsc::Receiver<Queued>,
    /// Who wants to look at it.
    pub(super) looks: mpsc::Receiver<Look>,
    /// What tenants have in it.
    pub(super) names: Names,
}

pub(super) async fn run(shared: Arc<Shared>, task: ShardTask) {
    let ShardTask { number, mut shard, mut journal, mut queue, mut looks, mut names } = task;
    let (mut queued, mut commands, mut room) = (Vec::new(), Vec::new(), Vec::new());
    let mut tap = Tap::new(number);
    let mut committed = shard.progress().sequence;
    let mut stats = shard.stats();
    loop {
        let looks_ms = journal.next_look_ms(&stats);
        let due_ms = shard.next_timeout_ms().into_iter().chain(looks_ms).min();
        tokio::select! {
            // What is committed goes first: it makes room. A shard with commands looks at nothing
            // else; timers have their turn with them.
            biased;
            outcome = journal.next() => {
                settle(&shared, &journal, outcome, &mut committed).await;
                commands = journal.take_stored();
                if commands.is_empty() {
                    continue;
                }
            }
            Some(look) = looks.recv() => {
                look.at.show(&shard);
                continue;
            }
            received = queue.recv_many(&mut queued, ROUND_COMMANDS_MAX), if journal.has_room() => {
                if received == 0 {
                    return finish(&shared, &mut journal, &mut committed).await;
                }
                Queued::unpack(&mut queued, &mut commands, &mut room);
            }
            () = due(&shared.clock, due_ms), if journal.has_room() => {}
            () = shared.recorder.rung(number) => {
                tap.follow(&shared.recorder, &mut shard);
                continue;
            }
        }
        let now_ms = shared.clock.now_ms();
        let refused = match journal.refusal() {
            None => Vec::new(),
            Some(refusal) => Command::refuse_changes(&mut commands, &refusal),
        };
        names.look_at(&shared.tenants, &shard, &mut commands);
        let recorded = tap.begin(&shared.recorder, &mut shard, &commands, now_ms);
        shard.handle_timeout(now_ms);
        commands.drain(..).for_each(|command| shard.handle(command, now_ms));
        room.clear();
        let sealed = shard.seal();
        if let Some(turn) = recorded {
            tap.end(&shared.recorder, turn, &shard);
        }
        if let Some(round) = with_refusals(sealed, refused) {
            hand_over(&shared, number, &mut journal, (round, now_ms), &mut committed).await;
        }
        // Between two rounds there always is a snapshot.
        stats = shard.stats();
        if journal.wants_checkpoint(&stats, now_ms)
            && let Some(snapshot) = shard.checkpoint()
        {
            journal.checkpoint(snapshot, &stats);
        }
        names.settle(&shard);
        shared.figures.set_shard(number, stats);
    }
}

/// The round, with what those are told whose commands the shard has not heard of.
fn with_refusals(sealed: Option<Round>, refused: Vec<(DispatcherId, Event)>) -> Option<Round> {
    if refused.is_empty() {
        return sealed;
    }
    let mut round = sealed.unwrap_or_default();
    round.events.extend(refused);
    Some(round)
}

/// Hands a round over to the journal, but for what does not wait for that.
async fn hand_over(
    shared: &Shared,
    shard: u16,
    journal: &mut Journal,
    (mut round, now_ms): (Round, u64),
    committed: &mut u64,
) {
    recall(shared, journal, shard, std::mem::take(&mut round.recalls)).await;
    if !round.early.is_empty() {
        tell(shared, std::mem::take(&mut round.early)).await;
    }
    if let Some(outcome) = journal.append(round, now_ms) {
        settle(shared, journal, outcome, committed).await;
    }
}

/// Tells what is under way when no more commands come.
async fn finish(shared: &Shared, journal: &mut Journal, committed: &mut u64) {
    while journal.is_busy() {
        let outcome = journal.next().await;
        settle(shared, journal, outcome, committed).await;
    }
}

pub(super) async fn due(clock: &Clock, at_ms: Option<u64>) {
    match at_ms {
        Some(at_ms) => tokio::time::sleep_until(clock.instant_of(at_ms)).await,
        None => std::future::pending().await,
    }
}

/// Tells what has become of a round. `committed`: sequence behind the last committed batch.
async fn settle(shared: &Shared, journal: &Journal, outcome: Outcome, committed: &mut u64) {
    let round = match outcome {
        Outcome::Committed(round) => {
            if let Some(last) = round.batches.last() {
                *committed = last.sequence + 1;
            }
            round
        }
        Outcome::Failed(mut round) => {
            let refusal = journal
                .refusal()
                .unwrap_or_else(|| Refusal::new(ErrorCode::ShuttingDown, "the server is stopping"));
            round.refuse(&refusal, *committed);
            round
        }
    };
    tell(shared, round.events).await;
}

/// Sends each dispatcher its events of a round as one group.
pub(super) async fn tell(shared: &Shared, events: Vec<(DispatcherId, Event)>) {
    let mut groups: Vec<Vec<Event>> = shared.dispatchers.iter().map(|_| Vec::new()).collect();
    for (dispatcher, event) in events {
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
