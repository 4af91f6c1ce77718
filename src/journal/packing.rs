//! What goes into one commit, and how it is packed into blocks.

use std::io;
use std::sync::mpsc::Receiver;

#[cfg(test)]
use tidewire_core::SHARDS;
use tidewire_core::is_durable;
use tidewire_core::shard::Round;

use super::block::Body;
use super::message::{GroupWrite, Message, Pending};

/// Bytes that one commit takes, about, while there is more.
const COMMIT_BYTES: usize = 4 * 1024 * 1024;

/// What has gathered for one commit.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) rounds: Vec<Pending>,
    pub(super) groups: Vec<GroupWrite>,
}

/// What has gathered, as much as one commit takes, and what else came behind it.
pub(super) fn gather(first: Message, queue: &Receiver<Message>) -> (Gathered, Option<Message>) {
    let (mut gathered, mut weight) = (Gathered::default(), 0);
    let mut next = Some(first);
    while let Some(message) = next {
        match message {
            Message::Round(pending) => {
                weight += pending.weight;
                gathered.rounds.push(pending);
            }
            Message::Group(write) => {
                weight += write.weight;
                gathered.groups.push(write);
            }
            other @ (Message::Checkpoint { .. }
            | Message::Snapshot { .. }
            | Message::TakeOver { .. }
            | Message::Written { .. }
            | Message::Stop) => {
                return (gathered, Some(other));
            }
        }
        next = if weight < COMMIT_BYTES { queue.try_recv().ok() } else { None };
    }
    (gathered, None)
}

/// The rounds of each shard, packed into blocks.
///
/// # Errors
/// When a change cannot be encoded.
pub(super) fn collect(rounds: &[Pending]) -> io::Result<Vec<(u16, Body)>> {
    collect_all(rounds.iter().map(|pending| (&pending.shard, &pending.round, &pending.time_ms)))
}

/// A round of a shard that leads a group, packed into the bodies of entries. None if it logs nothing.
///
/// # Errors
/// When a change cannot be encoded.
#[cfg(test)]
pub(crate) fn bodies_of(round: &Round, time_ms: u64) -> io::Result<Vec<Body>> {
    let bodies = collect_all([(&SHARDS, round, &time_ms)].into_iter())?;
    Ok(bodies.into_iter().map(|(_, body)| body).collect())
}

fn collect_all<'a>(
    rounds: impl Iterator<Item = (&'a u16, &'a Round, &'a u64)>,
) -> io::Result<Vec<(u16, Body)>> {
    let mut full = Vec::new();
    let mut open: Vec<(u16, Body)> = Vec::new();
    for (shard, round, time_ms) in rounds {
        debug_assert!(is_durable(*shard), "a shard in memory logs nothing");
        if round.log.is_empty() {
            continue;
        }
        let at = match open.iter().position(|(known, _)| known == shard) {
            Some(at) => at,
            None => {
                open.push((*shard, Body::default()));
                open.len() - 1
            }
        };
        let Some((_, body)) = open.get_mut(at) else { continue };
        for entry in &round.log {
            if !body.push(entry).map_err(io::Error::other)? {
                full.push((*shard, std::mem::take(body)));
                body.push(entry).map_err(io::Error::other)?;
            }
            body.version = round.version;
            body.time_ms = *time_ms;
        }
    }
    full.extend(open.into_iter().filter(|(_, body)| !body.is_empty()));
    Ok(full)
}
