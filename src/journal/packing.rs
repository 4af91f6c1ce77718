//! What goes into one commit, and how it is packed into blocks.

use std::io;
use std::sync::mpsc::Receiver;

use tidewire_core::is_durable;

use super::block::Body;
use super::committer::{Message, Pending};

/// Bytes that one commit takes, about, while there is more.
const COMMIT_BYTES: usize = 4 * 1024 * 1024;

/// The rounds that have gathered, as many as one commit takes, and what else came behind them.
pub(super) fn gather(first: Message, queue: &Receiver<Message>) -> (Vec<Pending>, Option<Message>) {
    let (mut rounds, mut weight) = (Vec::new(), 0);
    let mut next = Some(first);
    while let Some(message) = next {
        match message {
            Message::Round(pending) => {
                weight += pending.weight;
                rounds.push(pending);
            }
            other @ (Message::Checkpoint { .. } | Message::Written { .. } | Message::Stop) => {
                return (rounds, Some(other));
            }
        }
        next = if weight < COMMIT_BYTES { queue.try_recv().ok() } else { None };
    }
    (rounds, None)
}

/// The rounds of each shard, packed into blocks.
///
/// # Errors
/// When a change cannot be encoded.
pub(super) fn collect(rounds: &[Pending]) -> io::Result<Vec<(u16, Body)>> {
    let mut full = Vec::new();
    let mut open: Vec<(u16, Body)> = Vec::new();
    for Pending { shard, round, time_ms, .. } in rounds {
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
